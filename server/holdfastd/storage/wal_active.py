"""The WAL segment being written: how it comes into being, and the handle that the log writes through.

Staging allocates under a name ending in ``.next`` and writes the header; when it fails, nothing has happened.
Publishing syncs the file, renames it into the log, syncs the directory; when it fails, what the disk holds is unknown.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import FailedPrecondition
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header, encode_file_header
from .files import File, FileSystem, make_dirs, parent_of
from .names import wal_file
from .wal_entry import Link
from .wal_errors import is_lack_of_space
from .wal_files import NEXT_SUFFIX, has_operations

LEAST_BYTES = 1 << 16
"""WAL segments that are made smaller for lack of space come in multiples of this."""
STEP_BYTES = 1 << 20
"""Zeros written at once ahead of the log's end: a few milliseconds of the disk, between two groups."""


@dataclass(slots=True)
class ActiveFile:
    """An open WAL segment. ``limit``: bytes that may be written to it before the log moves on to the next one.

    ``zeroed``: up to where it was written with zeros ahead of the log, if that is beyond the log's end.
    """

    file: File
    path: str
    header: WalFileHeader
    limit: int
    first_timestamp_us: int = 0
    has_operations: bool = False
    zeroed: int = 0

    @property
    def directory(self) -> str:
        """The WAL directory that holds it."""
        return parent_of(self.path)

    def write_zeros(self, end: int) -> bool:
        """Write zeros over the next STEP_BYTES behind ``end``, the log's, and behind earlier zeros; False at the limit.

        Space that was written before is overwritten in place: the sync of a later append is then one write to the disk
        and no commit of the file system's journal, which waits for whatever else is being written. Raises OSError.
        """
        start = max(end, self.zeroed)
        stop = min(start + STEP_BYTES, self.limit)
        if start >= stop:
            return False
        try:
            self.file.pwrite([bytes(stop - start)], start)
        except OSError as error:
            if not is_lack_of_space(error):
                raise
            stop = self.limit  # not in this file; an append that finds no room says so itself
        self.zeroed = stop
        return True


@dataclass(frozen=True, slots=True)
class StagedFile:
    """Allocated space that has no place in the log yet."""

    file: File
    path: str
    size: int

    def fits(self, directory: str, size: int) -> bool:
        """Whether it can become a WAL segment of ``directory`` with room for ``size`` bytes."""
        return self.size >= size and parent_of(self.path) == directory


def next_header(
    old: WalFileHeader, link: Link, salt: int, now_us: int, timeline: int, replaces: bool, first_sequence: int
) -> WalFileHeader:
    """The header of the WAL segment that follows ``old``, or that takes its place in the log (``replaces``).

    ``first_sequence``: the operations to come have at least this one, where it is more than the log can tell.
    """
    return WalFileHeader(
        store_id=old.store_id,
        timeline=timeline,
        chain=old.chain if replaces else link.chain,
        salt=salt,
        first_sequence=old.first_sequence if replaces else max(first_sequence, link.sequence + 1),
        previous_sequence=old.previous_sequence if replaces else link.sequence,
        created_us=max(link.timestamp_us, now_us, old.created_us + 1),
        flags=old.flags if replaces else 0,
    )


def prepare_file(fs: FileSystem, directory: str, size: int, *, token: int) -> StagedFile:
    """Allocate ``size`` bytes for a later ``stage_file``. Raises OSError, leaving nothing behind.

    ``token`` makes the name unique, so that this may run while an earlier one is being published.
    """
    return _allocate(fs, posixpath.join(directory, f"prepared-{token:016x}.wal{NEXT_SUFFIX}"), size)


def stage_file(
    fs: FileSystem, directory: str, header: WalFileHeader, size: int, prepared: StagedFile | None, *, least: int = 0
) -> StagedFile:
    """Space for ``size`` bytes with ``header`` at its head, out of ``prepared`` where that fits. Not durable.

    On a disk that has no room for ``size`` bytes, ``least`` will do where it is given, in steps of ``LEAST_BYTES``.
    ``directory`` is made where it is missing. Raises OSError, leaving nothing behind;
    FailedPrecondition when the log already has a file of that name with operations in it.
    """
    path = wal_file(directory, header.timeline, header.first_sequence)
    if prepared is not None and not prepared.fits(directory, size):
        discard(fs, prepared)
        prepared = None
    make_dirs(fs, directory)
    _check_replaceable(fs, path)
    if prepared is not None:
        staged = prepared
    else:
        staged = _allocate_some(fs, path + NEXT_SUFFIX, size, least)
    try:
        staged.file.pwrite([encode_file_header(header)], 0)
    except OSError:
        discard(fs, staged)
        raise
    return staged


def publish_file(fs: FileSystem, staged: StagedFile, directory: str, header: WalFileHeader) -> ActiveFile:
    """Make a staged file the log's next one; durable on return. After an OSError its state is unknown."""
    path = wal_file(directory, header.timeline, header.first_sequence)
    try:
        staged.file.sync()
        fs.rename(staged.path, path)
        fs.sync_dir(directory)
    except OSError:
        staged.file.close()
        raise
    return ActiveFile(staged.file, path, header, staged.size)


def discard(fs: FileSystem, staged: StagedFile) -> None:
    """Give staged space back; what the disk refuses to remove is removed at the next start."""
    staged.file.close()
    with contextlib.suppress(OSError):
        fs.unlink(staged.path)


def remove_files(fs: FileSystem, paths: Iterable[str]) -> None:
    """Remove WAL segments one by one, each durably before the next; one that is gone is no obstacle. Raises OSError."""
    for path in paths:
        # The log may have been disabled and begun anew while somebody was still trimming it.
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(path)
        fs.sync_dir(parent_of(path))


def _allocate(fs: FileSystem, path: str, size: int) -> StagedFile:
    if fs.exists(path):
        fs.unlink(path)
    return StagedFile(fs.create(path, size), path, size)


def _allocate_some(fs: FileSystem, path: str, size: int, least: int) -> StagedFile:
    try:
        return _allocate(fs, path, size)
    except OSError as error:
        smallest = -(-least // LEAST_BYTES) * LEAST_BYTES
        if not is_lack_of_space(error) or not 0 < smallest < size:
            raise
    return _allocate(fs, path, smallest)


def _check_replaceable(fs: FileSystem, path: str) -> None:
    """A file without operations may be replaced by another for the same place; one with operations never."""
    if not fs.exists(path):
        return
    header = decode_file_header(fs.read(path, 0, FILE_HEADER_SIZE))
    if isinstance(header, WalFileHeader) and not has_operations(fs, path, header):
        return
    raise FailedPrecondition(
        f"{path} exists already and would be overwritten",
        reason="WAL_FILE_EXISTS",
        hint="move it out of the WAL directory: it is no part of this log",
        path=path,
    )
