"""Bytes of a WAL segment copied into an archive, every record of them checked on its way.

What is sent is the very buffer that was checked, and only once the record behind it was reached: a file with damage in
it never comes into being. A copy is written as ``X.part`` and gets its name last.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable

from ..errors import Corruption
from ..format.urls import is_object_url
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header
from .bulk import BulkWriter, Pace
from .files import Buffer, Cache, FileSystem, PathReader, Reader, parent_of
from .objects import PART
from .wal_entry import Link
from .wal_files import DAMAGE_HINT
from .wal_scan import ScanEnd, exhaust, scan_file
from .wal_tail import Before, live_problem, sealed_problem


def copy_sealed(fs: FileSystem, path: str, header: WalFileHeader, target: str, *, pace: Pace) -> Before:
    """Copy a WAL segment that is written no more, without what was only preallocated; returns where it ended.

    Durable on return. Blocks; memory as in ``scan_file``. Raises Corruption, FileExistsError where ``target`` is there
    already, OSError; nothing is left then, except where the last step failed, the sync of the directory.
    """
    with _written(fs, target, fs.size(path), pace) as out:
        end = _pass_records(fs, path, header, beginning(path, header), fs.size(path), out.write)
        problem = sealed_problem(fs, path, end)
        if problem is not None:
            raise problem.error()
        out.close()
    publish_part(fs, target)
    return Before.of(path, end)


def check_sealed(fs: FileSystem, path: str, header: WalFileHeader) -> None:
    """Read what ``copy_sealed`` would copy, and raise Corruption where it would. Blocks."""
    end = _pass_records(fs, path, header, beginning(path, header), fs.size(path), lambda data: None)
    problem = sealed_problem(fs, path, end)
    if problem is not None:
        raise problem.error()


def copy_piece(fs: FileSystem, start: Before, header: WalFileHeader, end: int, target: str, *, pace: Pace) -> Before:
    """Copy a WAL segment from ``start`` up to byte ``end``, synced and between two groups; else as ``copy_sealed``."""
    with _written(fs, target, end - start.offset, pace) as out:
        reached = _checked(fs, start, header, end, out.write)
        out.close()
    publish_part(fs, target)
    return reached


def checked_up_to(fs: FileSystem, path: str, header: WalFileHeader, end: int) -> Before:
    """What stands at byte ``end`` of a WAL segment, every record before it checked. Blocks; raises Corruption."""
    return _checked(fs, beginning(path, header), header, end, lambda data: None)


def beginning(path: str, header: WalFileHeader) -> Before:
    """The place in front of a WAL segment's header."""
    return Before(path, 0, Link(header.chain, header.previous_sequence, 0), closed=False)


def _checked(
    fs: FileSystem, start: Before, header: WalFileHeader, end: int, sink: Callable[[Buffer], object]
) -> Before:
    found = _pass_records(fs, start.path, header, start, end, sink)
    problem = live_problem(start.path, found, end)
    if problem is not None:
        raise problem.error()
    return Before.of(start.path, found, closed=start.closed)


def _pass_records(
    fs: FileSystem, path: str, header: WalFileHeader, start: Before, end: int, sink: Callable[[Buffer], object]
) -> ScanEnd:
    """Scan from ``start`` to byte ``end``, and hand to ``sink`` what was found good, in order."""
    passing, offset = _Passing(fs, sink), start.offset
    if not offset:
        _check_header(passing.read(path, 0, FILE_HEADER_SIZE), path, header)
        offset = FILE_HEADER_SIZE
    found = exhaust(scan_file(passing, path, header, start.link, start=offset, end=end, check_only=True))
    passing.accept(found.offset)
    return found


def _check_header(raw: bytes, path: str, header: WalFileHeader) -> None:
    found = decode_file_header(raw)
    if found != header:
        said = "it is another WAL segment's" if isinstance(found, WalFileHeader) else found.reason
        raise Corruption(f"file header: {said}", path=path, offset=0, hint=DAMAGE_HINT)


class _Passing:
    """What ``scan_file`` reads of a file, handed on as far as the scan has come."""

    def __init__(self, fs: FileSystem, sink: Callable[[Buffer], object]) -> None:
        self._fs = fs
        self._sink = sink
        self._base = 0
        self._held = b""

    def listdir(self, path: str) -> list[str]:
        return self._fs.listdir(path)

    def size(self, path: str) -> int:
        return self._fs.size(path)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Each reading begins where the one before was found good up to."""
        self.accept(offset)
        try:
            self._base, self._held = offset, self._fs.read(path, offset, length)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            what = f"it cannot be read: {error.strerror}"
            raise Corruption(what, path=path, offset=offset, hint=DAMAGE_HINT) from error
        return self._held

    def reader(self, path: str, cache: Cache = Cache.USE) -> Reader:
        return PathReader(self, path)

    def accept(self, offset: int) -> None:
        """Hand on what was read, up to ``offset``."""
        if offset > self._base and self._held:
            good = offset - self._base
            self._sink(memoryview(self._held)[:good])
            self._base, self._held = offset, self._held[good:]


def _written(fs: FileSystem, target: str, size: int, pace: Pace) -> BulkWriter:
    return BulkWriter(fs, target + PART, size, pace=pace)


def publish_part(fs: FileSystem, target: str) -> None:
    """Give ``target`` + ``.part``, which is whole and synced, its name. Durable on return.

    Raises FileExistsError where that is there already, OSError; nothing is left then, except where the last step
    failed, the sync of the directory.
    """
    part = target + PART
    try:
        # An object store refuses that by itself.
        if not is_object_url(target) and fs.exists(target):
            raise FileExistsError(errno.EEXIST, "somebody else has put a file of this name there", target)
        fs.rename(part, target)
    except OSError:
        with contextlib.suppress(OSError):
            fs.unlink(part)
        raise
    fs.sync_dir(parent_of(target))
