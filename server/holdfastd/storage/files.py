"""The file system as the engine sees it: Protocols, and the few helpers that make a change durable.

Paths are ``str``; callers build them with ``names``. Every function blocks and raises ``OSError`` as the kernel reports
it. Nothing is durable until ``File.sync`` (content) or ``FileSystem.sync_dir`` (names) has returned.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..format.urls import is_object_url, split_url
from ..model import BoolArray
from .beside import Pending

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What can be written: C contiguous bytes; a memoryview may be of any item type."""

ByteArray: TypeAlias = NDArray[np.uint8]

_NOT_OURS_TO_SYNC = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL})
"""What a directory answers that is closed to this process, cannot change, or has no such thing as a sync."""


class File(Protocol):
    """One file open for writing."""

    @property
    def path(self) -> str:
        """The path that the file was created or opened under; a later rename does not change it."""

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write all buffers one after the other at ``offset`` and return the number of bytes; never a short write.

        Not durable. On ``OSError`` any part may have been written.
        """

    def sync(self) -> None:
        """Make content and size durable (fdatasync). After an error the rest is lost or not: never retry."""

    def truncate(self, size: int) -> None:
        """Set the size; what a larger size adds reads as zeros. Not durable."""

    def allocate(self, size: int) -> None:
        """Reserve disk space for the first ``size`` bytes and grow the file to at least that. Raises ENOSPC early."""

    def size(self) -> int:
        """Current size in bytes."""

    def close(self) -> None:
        """Release the descriptor; does not sync. Closing twice is allowed."""


class Mapping(Protocol):
    """A whole file mapped read-only; it stays readable after an unlink and is unmapped with its last array."""

    @property
    def array(self) -> ByteArray:
        """(size,) u1, read-only, without a copy. Touch it only through NumPy operations, which release the GIL."""

    @property
    def size(self) -> int:
        """Bytes mapped."""

    def advise(self, mode: str) -> None:
        """Tell the kernel the access pattern: ``normal``, ``random``, ``sequential``, ``willneed`` or ``dontneed``."""

    def populate(self, offset: int = 0, length: int | None = None) -> None:
        """Fault the pages of a range in (default: all); raises ``OSError`` where touching them would kill the process.

        EFAULT is such a place; EINVAL says that the kernel (before 5.14) cannot tell.
        """

    def prefetch(self, offset: int, length: int) -> None:
        """Have the disk begin to read a range, whatever the advice; does not wait for it."""

    def resident_pages(self, offset: int = 0, length: int | None = None) -> BoolArray:
        """Of each page of a range, the one with ``offset`` first, whether the page cache holds it now."""

    def resident_bytes(self) -> int:
        """How many of the mapped bytes the page cache holds now."""

    @property
    def pinned_bytes(self) -> int:
        """How many of the mapped bytes ``lock`` has pinned."""

    def lock(self, offset: int, length: int) -> None:
        """Read the range in and pin it in RAM. Raises ``OSError`` beyond the process's limit for locked memory."""

    def unlock(self, offset: int, length: int) -> None:
        """Unpin a range that was pinned."""


class HeldFile(Protocol):
    """A file held open for reading at any place; it stays readable after an unlink, and is closed with its last user.

    Any thread, and several at once.
    """

    @property
    def size(self) -> int:
        """Its size in bytes when it was opened."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """As ``Reader.read_into``."""

    def advise(self, mode: str) -> None:
        """As ``Mapping.advise``, of the reads that follow."""


class Cache(Enum):
    """What the page cache is to ``Reader.read_into``. Bypassing it is a wish.

    It is granted where memory, offset and length are multiples of 4096 and the disk's file system can; what is not on
    the disk yet is written first.
    """

    USE = auto()
    SPARE = auto()
    """What it holds is read from it; what it lacks is read past it, and pushes nothing out."""
    BYPASS = auto()


class FileFacts(NamedTuple):
    """What a file system tells of a file without reading it: bytes, and when it was last written to."""

    size: int
    modified_ns: int


class Reader(Protocol):
    """One file open for reading, mostly from its beginning to its end. One thread, but for what ``read_into`` says."""

    @property
    def size(self) -> int:
        """Its size in bytes when it was opened."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer at the end of the file."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer``, bytes, from ``offset``; returns how many there were, fewer at the end of the file.

        Of a file of this machine several threads may do so at the same time.
        """


class Lock(Protocol):
    """A lock on a file, held until it is released or the process ends."""

    def release(self) -> None:
        """Give the lock up; releasing twice is allowed."""


class ReadsFiles(Protocol):
    """What reading a log asks of a file system; each as ``FileSystem`` says."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def size(self, path: str) -> int:
        """Size of a file in bytes."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``offset``, fewer at the end of the file; everything when ``length`` is None."""

    def reader(self, path: str, cache: Cache = Cache.USE) -> Reader:
        """Open an existing file for reading."""


class FileSystem(Protocol):
    """Everything that the engine asks of a file system."""

    def beside(self, work: Callable[[], object]) -> Pending:
        """Do something beside the caller, such as a large write: on another thread, or at once where there is none."""

    def create(self, path: str, size: int = 0, *, direct: bool = False) -> File:
        """Create a file that must not exist; ``size`` > 0 reserves that many bytes first.

        ``direct`` asks to bypass the page cache and is a wish: where it is refused, writes go through the cache. Its
        writes are aligned to 4096 bytes in memory, offset and length. Neither content nor name is durable.
        """

    def open(self, path: str) -> File:
        """Open an existing file for writing."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``offset``, fewer at the end of the file; everything when ``length`` is None."""

    def reader(self, path: str, cache: Cache = Cache.USE) -> Reader:
        """Open an existing file for reading."""

    def size(self, path: str) -> int:
        """Size of a file in bytes."""

    def modified_ns(self, path: str) -> int:
        """When a file was last written to, as far as the file system tells: another number, another content."""

    def facts(self, path: str) -> dict[str, FileFacts]:
        """Of the files in a directory, by their names, what ``size`` and ``modified_ns`` say, in one go."""

    def exists(self, path: str) -> bool:
        """Whether a file or directory has this name."""

    def real_path(self, path: str) -> str:
        """Where a path leads, every symbolic link on the way followed; what does not exist is taken as it is."""

    def is_dir(self, path: str) -> bool:
        """Whether a directory has this name."""

    def map(self, path: str) -> Mapping:
        """Map a whole file, which must never be truncated or rewritten while it is mapped."""

    def hold(self, path: str) -> HeldFile:
        """Open an existing file for reads at any place, without a map. Takes a descriptor for as long as it is held."""

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing ``target`` atomically. Durable after ``sync_dir`` of both directories."""

    def unlink(self, path: str) -> None:
        """Remove a file's name. Durable after ``sync_dir``."""

    def mkdir(self, path: str) -> None:
        """Create a directory, readable by its owner only. Durable after ``sync_dir`` of its parent."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory. Durable after ``sync_dir`` of its parent."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def sync_dir(self, path: str) -> None:
        """Make the names in a directory durable."""

    def drop_cache(self, path: str, offset: int, length: int) -> None:
        """Forget cached clean pages of a range, so that the next read asks the disk."""

    def free_bytes(self, path: str) -> int:
        """Bytes that this process may still write to the file system that holds ``path``."""

    def same_disk(self, path: str, other: str) -> bool:
        """Whether two existing paths lie in one file system, so that space freed at one is room at the other."""

    def lock(self, path: str) -> Lock:
        """Lock ``path`` for this process, creating the file, and write the process id into it.

        Raises ``DataDirectoryLocked`` naming the holder's process id.
        """


class PathReader:
    """A file of a file system that opens it for each read."""

    def __init__(self, fs: ReadsFiles, path: str) -> None:
        self._fs = fs
        self._path = path
        self.size = fs.size(path)

    def read(self, offset: int, length: int) -> bytes:
        return self._fs.read(self._path, offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        return copy_into(buffer, self.read(offset, len(buffer)))


def copy_into(buffer: memoryview, data: Buffer) -> int:
    """Put ``data`` at the beginning of ``buffer``; returns its bytes."""
    buffer[: len(data)] = data
    return len(data)


def facts_in(fs: FileSystem, directory: str) -> dict[str, FileFacts]:
    """``FileSystem.facts`` by calls for each name; what is removed meanwhile is left out."""
    found = {}
    for name in fs.listdir(directory):
        path = posixpath.join(directory, name)
        with contextlib.suppress(FileNotFoundError):
            if not fs.is_dir(path):
                found[name] = FileFacts(fs.size(path), fs.modified_ns(path))
    return found


def parent_of(path: str) -> str:
    """The directory that holds ``path``; ``.`` for a bare name, and of a bucket itself."""
    if is_object_url(path) and not split_url(path).key:
        return path
    return posixpath.dirname(path.rstrip("/")) or ("/" if path.startswith("/") else ".")


def replace_file(fs: FileSystem, path: str, data: Buffer) -> None:
    """Replace ``path`` atomically: either the old or the new content survives a crash. Durable on return.

    On ``OSError`` the old content is still there, unless only the last step, the sync of the directory, failed.
    """
    temporary = write_temporary(fs, path, data)
    fs.rename(temporary, path)
    fs.sync_dir(parent_of(path))


def write_temporary(fs: FileSystem, path: str, data: Buffer) -> str:
    """Write and sync ``path + ".tmp"`` for a rename; returns that name. Removes it again when the write fails."""
    temporary = path + ".tmp"
    if fs.exists(temporary):
        fs.unlink(temporary)
    file = fs.create(temporary)
    try:
        file.allocate(len(data))
        file.pwrite([data], 0)
        file.sync()
    except OSError:
        file.close()
        with contextlib.suppress(OSError):
            fs.unlink(temporary)
        raise
    file.close()
    return temporary


def make_dirs(fs: FileSystem, path: str) -> None:
    """Create a directory and its missing parents. Those are durable on return; what existed is as durable as it was."""
    missing = []
    while not fs.exists(path):
        missing.append(path)
        path = parent_of(path)
    for each in reversed(missing):
        fs.mkdir(each)
        try:
            fs.sync_dir(parent_of(each))
        except OSError:
            # Left where it is it would pass for durable the next time.
            with contextlib.suppress(OSError):
                fs.rmdir(each)
            raise


def make_lasting_dir(fs: FileSystem, path: str) -> None:
    """As ``make_dirs``, and so is what existed of it: somebody else may have made that just now, or a killed process.

    Where the parent of that is closed to this process or cannot be synced at all, it is left to whoever made it.
    """
    existing = path
    while not fs.exists(existing):
        existing = parent_of(existing)
    # First of all: a process that is killed when all of them are there would leave them for durable.
    try:
        fs.sync_dir(parent_of(existing))
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_SYNC:
            raise
    make_dirs(fs, path)


def remove_file(fs: FileSystem, path: str) -> None:
    """Remove a file, if it is there. Durable on return."""
    if fs.exists(path):
        fs.unlink(path)
        fs.sync_dir(parent_of(path))


def remove_tree(fs: FileSystem, path: str) -> None:
    """Remove a file or a directory with all it holds, if it exists. Durable after ``sync_dir`` of its parent."""
    if not fs.exists(path):
        return
    if not fs.is_dir(path):
        fs.unlink(path)
        return
    for name in fs.listdir(path):
        remove_tree(fs, posixpath.join(path, name))
    fs.rmdir(path)
