"""The log as an archive wants it: the WAL segments that are complete, and how far the one being written is synced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..format.record import HEADER_SIZE, RecordHeader, RecordKind, decode_header
from ..format.walfile import FILE_HEADER_SIZE
from ..model import Sequence64
from ..storage.files import FileSystem
from ..storage.log_archive_listing import log_order
from ..storage.log_archive_note import Through
from ..storage.wal import Position, Wal, WalFileInfo


@dataclass(frozen=True, slots=True)
class Stretch:
    """A WAL segment up to byte ``end``: all that is durable of it."""

    info: WalFileInfo
    end: int

    @property
    def name(self) -> str:
        """Its base name, which stays the same wherever the log moves."""
        return self.info.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class LogNow:
    """``files``: all there are, oldest first. ``sealed``: so many of them, from the first on, are complete for good.

    ``begun``: the one behind those has an operation; without one, another file may still come to take its name.
    ``sequence``: the last operation that is durable. ``switched_off``: nothing more will come.
    """

    files: tuple[Stretch, ...]
    sealed: int
    begun: bool
    sequence: Sequence64
    switched_off: bool

    @property
    def wanted(self) -> tuple[Stretch, ...]:
        """What an archive ought to have, oldest first."""
        return self.files[: self.sealed + self.begun]

    @property
    def complete(self) -> tuple[Stretch, ...]:
        """What it ought to have whole."""
        return self.files[: self.sealed]

    @property
    def active(self) -> Stretch | None:
        """What it ought to have in pieces."""
        return self.files[self.sealed] if self.begun else None

    def ends_closed(self, number: int) -> bool:
        """Whether the log was switched off behind a complete WAL segment, the one with this number in ``files``."""
        behind = number + 1
        return self.files[behind].info.header.gap_before if behind < len(self.files) else self.switched_off


def log_now(log: Wal | None, closed: Iterable[WalFileInfo]) -> LogNow:
    """``closed``: what is left of the log while it is switched off. Does not block."""
    if log is None:
        files = tuple(Stretch(info, info.size_bytes) for info in closed)
        last = files[-1].info if files else None
        empty = last is not None and last.last_sequence < last.first_sequence
        return LogNow(files, len(files) - empty, False, last.last_sequence if last else 0, True)
    infos, synced = _at_once(log)
    files = (*(Stretch(info, info.size_bytes) for info in infos[:-1]), Stretch(infos[-1], synced.offset))
    return LogNow(files, len(infos) - 1, synced.sequence >= infos[-1].first_sequence, synced.sequence, False)


def first_behind(fs: FileSystem, now: LogNow, through: Through) -> int | None:
    """The time of the first operation that is durable and not in the archive, or None. Reads a header of the log."""
    for stretch in now.wanted:
        offset = FILE_HEADER_SIZE
        if through.file and log_order(stretch.name) <= log_order(through.file):
            if stretch.name != through.file or through.whole:
                continue
            offset = max(through.offset, offset)
        found = _operation_from(fs, stretch, offset)
        if found is not None:
            return found
    return None


def _operation_from(fs: FileSystem, stretch: Stretch, offset: int) -> int | None:
    """The time of the first operation at or behind ``offset``; that of damage there is where the file begins."""
    while offset < stretch.end:
        raw = fs.read(stretch.info.path, offset, HEADER_SIZE)
        salt, remaining = stretch.info.header.salt, stretch.end - offset
        record = decode_header(raw, 0, salt=salt, offset=offset, remaining=remaining)
        if not isinstance(record, RecordHeader):
            # Preallocated space behind the last record, or damage, which is told of when it is to be copied.
            return None if not any(raw) else stretch.info.header.created_us
        if record.kind == RecordKind.OPERATION:
            return record.timestamp_us
        offset += record.size
    return None


def _at_once(log: Wal) -> tuple[tuple[WalFileInfo, ...], Position]:
    """The files of a log and how far it is synced, with no rotation in between."""
    while True:
        files, synced = log.files, log.synced_position
        if files[-1].path == synced.path:
            return files, synced
