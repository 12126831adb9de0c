"""The real file system. Linux; every call releases the GIL while the kernel works."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence

from ..errors import DataDirectoryLocked
from .beside import Beside, Done
from .files import Buffer, Cache, FileFacts, facts_in
from .osmap import OsMapping
from .osreader import OsReader, open_for_reading, read_exactly

BUFFERS_PER_CALL = 1024
"""IOV_MAX of Linux."""


class OsFile:
    """A file descriptor open for writing. ``pwrite`` and ``sync`` may run in several threads at the same time."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def path(self) -> str:
        return self._path

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        total = 0
        for first in range(0, len(buffers), BUFFERS_PER_CALL):
            total += self._write_all(buffers[first : first + BUFFERS_PER_CALL], offset + total)
        return total

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def allocate(self, size: int) -> None:
        if size > 0:
            os.posix_fallocate(self._descriptor, 0, size)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write_all(self, buffers: Sequence[Buffer], offset: int) -> int:
        expected = sum(map(_bytes_in, buffers))
        written = self._write_some(buffers, offset)
        while written < expected:
            more = self._write_some(_without_prefix(buffers, written), offset + written)
            if more == 0:
                raise OSError(errno.EIO, "the kernel wrote nothing and named no error", self._path)
            written += more
        return written

    def _write_some(self, buffers: Sequence[Buffer], offset: int) -> int:
        try:
            return os.pwritev(self._descriptor, buffers, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._leave_direct_mode()
            return os.pwritev(self._descriptor, buffers, offset)

    def _leave_direct_mode(self) -> None:
        """Fall back to the page cache where O_DIRECT is refused at the write; another thread may have done so."""
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)


class OsLock:
    """A held ``flock``."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class OsFileSystem:
    """The operating system's files. Any thread. ``beside``: what runs work beside its caller."""

    def __init__(self, beside: Beside = Done) -> None:
        self.beside = beside

    def create(self, path: str, size: int = 0, *, direct: bool = False) -> OsFile:
        file = OsFile(path, _create_descriptor(path, direct))
        try:
            file.allocate(size)
        except OSError:
            file.close()
            os.unlink(path)
            raise
        return file

    def open(self, path: str) -> OsFile:
        return OsFile(path, os.open(path, os.O_RDWR))

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        descriptor = open_for_reading(path)
        try:
            remaining = max(0, os.fstat(descriptor).st_size - offset)
            wanted = remaining if length is None else min(length, remaining)
            return read_exactly(descriptor, offset, wanted)
        finally:
            os.close(descriptor)

    def reader(self, path: str, cache: Cache = Cache.USE) -> OsReader:
        return OsReader(path, cache)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def modified_ns(self, path: str) -> int:
        return os.stat(path).st_mtime_ns

    def facts(self, path: str) -> dict[str, FileFacts]:
        return facts_in(self, path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def real_path(self, path: str) -> str:
        return os.path.realpath(path)

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(path)

    def map(self, path: str) -> OsMapping:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return OsMapping(descriptor, os.fstat(descriptor).st_size, path)
        finally:
            os.close(descriptor)

    def hold(self, path: str) -> OsReader:
        return OsReader(path)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, 0o700)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def sync_dir(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def drop_cache(self, path: str, offset: int, length: int) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def same_disk(self, path: str, other: str) -> bool:
        return os.stat(path).st_dev == os.stat(other).st_dev

    def lock(self, path: str) -> OsLock:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DataDirectoryLocked(
                f"{path} is held by process {holder}",
                hint=f"stop process {holder}, or give this daemon another --data-dir",
                path=path,
                pid=holder,
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        return OsLock(descriptor)


def _create_descriptor(path: str, direct: bool) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    if direct:
        # A file system without O_DIRECT may refuse after it has made the file: remove it, or O_EXCL refuses the retry.
        try:
            return os.open(path, flags | os.O_DIRECT, 0o600)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    return os.open(path, flags, 0o600)


def _bytes_in(buffer: Buffer) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)


def _without_prefix(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """What is left of ``buffers`` after their first ``count`` bytes."""
    rest: list[Buffer] = []
    for buffer in buffers:
        if count >= _bytes_in(buffer):
            count -= _bytes_in(buffer)
            continue
        rest.append(memoryview(buffer).cast("B")[count:])
        count = 0
    return rest
