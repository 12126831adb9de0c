"""What a ``MemFileSystem`` hands out: open files, maps and locks; and the faults that it is told to raise."""

from __future__ import annotations

import errno
import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfastd.model import BoolArray
from holdfastd.storage.checks import PAGE_BYTES
from holdfastd.storage.files import Buffer, ByteArray, copy_into

if TYPE_CHECKING:
    from tests.support.memfs import MemFileSystem

DIRECT_ALIGNMENT = 4096


@dataclass(slots=True)
class Fault:
    """An error to raise at operation ``at`` or, without it, at calls of ``kind`` on paths like ``path``."""

    errno: int
    at: int | None = None
    kind: str | None = None
    path: str = "*"
    times: int = 1
    forever: bool = False

    def strikes(self, index: int | None, kind: str, path: str) -> bool:
        if self.at is not None:
            return index is not None and (index == self.at or (self.forever and index > self.at))
        if self.kind != kind or not fnmatch.fnmatchcase(path, self.path) or not (self.forever or self.times > 0):
            return False
        self.times -= 1
        return True


class MemFile:
    """An open file; it works on after the file is renamed or unlinked."""

    def __init__(self, fs: MemFileSystem, path: str, node: int, direct: bool) -> None:
        self._fs = fs
        self._path = path
        self._node = node
        self._direct = direct
        self._open = True

    @property
    def path(self) -> str:
        return self._path

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        data = b"".join(buffers)
        if self._direct and (offset % DIRECT_ALIGNMENT or len(data) % DIRECT_ALIGNMENT):
            raise OSError(errno.EINVAL, "unaligned direct write", self._path)
        self._fs.write_node(self._checked(), self._path, offset, data)
        return len(data)

    def sync(self) -> None:
        self._fs.sync_node(self._checked(), self._path)

    def truncate(self, size: int) -> None:
        self._fs.resize_node(self._checked(), self._path, size, grow=False)

    def allocate(self, size: int) -> None:
        if size > 0:
            self._fs.resize_node(self._checked(), self._path, size, grow=True)

    def size(self) -> int:
        return self._fs.size_of_node(self._checked())

    def close(self) -> None:
        if self._open:
            self._open = False
            self._fs.release_node(self._node)

    def _checked(self) -> int:
        if not self._open:
            raise OSError(errno.EBADF, "the file is closed", self._path)
        return self._node


class MemMapping:
    """A copy of a file's bytes at the moment of mapping: mapped files never change."""

    def __init__(self, content: bytes, check: Callable[[], None] = lambda: None) -> None:
        self._array: ByteArray = np.frombuffer(content, np.uint8)
        self._check = check
        self._pinned: set[tuple[int, int]] = set()
        self.advice: list[str] = []

    @property
    def array(self) -> ByteArray:
        return self._array

    @property
    def size(self) -> int:
        return int(self._array.size)

    def advise(self, mode: str) -> None:
        self.advice.append(mode)

    def populate(self, offset: int = 0, length: int | None = None) -> None:
        """Everything is in memory, but for what a test has spoiled."""
        self._check()

    def prefetch(self, offset: int, length: int) -> None:
        """Everything is in memory."""

    def resident_pages(self, offset: int = 0, length: int | None = None) -> BoolArray:
        end = self.size if length is None else min(offset + length, self.size)
        return np.ones(max(0, -(-end // PAGE_BYTES) - offset // PAGE_BYTES), np.bool_)

    def resident_bytes(self) -> int:
        return self.size

    @property
    def pinned_bytes(self) -> int:
        return sum(length for _, length in self._pinned)

    def lock(self, offset: int, length: int) -> None:
        self._pinned.add((offset, length))

    def unlock(self, offset: int, length: int) -> None:
        self._pinned.discard((offset, length))


class MemHeldFile:
    """A copy of a file's bytes at the moment of opening: files that are held never change."""

    def __init__(self, content: bytes, check: Callable[[], None] = lambda: None) -> None:
        self._content = content
        self._check = check
        self.advice: list[str] = []

    @property
    def size(self) -> int:
        return len(self._content)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self._check()
        return copy_into(buffer, self._content[offset : offset + len(buffer)])

    def advise(self, mode: str) -> None:
        self.advice.append(mode)


class MemLock:
    """A held lock."""

    def __init__(self, fs: MemFileSystem, path: str) -> None:
        self._fs = fs
        self._path = path

    def release(self) -> None:
        self._fs.locked.discard(self._path)
