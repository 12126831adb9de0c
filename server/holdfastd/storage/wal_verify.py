"""The whole log checked, going on behind damage: an inventory for an operator, not a judgement for recovery."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..format.record import ALIGNMENT, HEADER_SIZE, RecordHeader, RecordKind, find_headers
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader
from .beside import Beside
from .files import ReadsFiles
from .piece_ahead import PieceAhead
from .wal_entry import Link
from .wal_errors import unreadable
from .wal_files import FoundFile, Position, find_wal_files, start_index
from .wal_reader import up_to
from .wal_scan import PIECE_BYTES, LoggedRecord, ScanEnd, scan_file
from .wal_tail import Before, Problem, chain_problem, link_into, live_problem, sealed_problem, tail_problem, torn_bytes

MAX_PROBLEMS = 100
"""Enough to see the extent of the damage; a destroyed file would give one for each of its records."""


@dataclass(frozen=True, slots=True)
class LogCheck:
    """What the log holds, and what is wrong with it.

    ``records`` counts operations, markers and closing records that are intact, ``bytes`` their payloads. Sequences are
    0 without an operation. ``gaps``: files in front of which something was done that is not logged. ``torn_bytes``:
    unfinished writes at the end, which the next start cuts off; no damage.
    """

    files: int
    records: int
    operations: int
    bytes: int
    first_sequence: int
    last_sequence: int
    gaps: int
    torn_bytes: int
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether everything durable is there and in order."""
        return not self.problems


def verify_log(
    fs: ReadsFiles,
    directories: Sequence[str],
    *,
    store_id: uuid.UUID,
    upto_synced: Position | None = None,
    from_sequence: int = 0,
    inspect: Callable[[LoggedRecord], str | None] = lambda record: None,
    beside: Beside | None = None,
) -> LogCheck:
    """Read every WAL segment and check all that can be checked. Blocks; changes nothing; memory as in ``scan_file``.

    With the log being written, ``upto_synced`` is its ``synced_position``. ``from_sequence``: leave out the WAL
    segments before it. ``inspect`` says what is wrong with an operation whose bytes are whole, or None. ``beside``:
    what reads the next piece while one is checked. Damage is reported, not raised. Raises UnsupportedFormat for what a
    newer version wrote, Corruption where the disk refuses to read.
    """
    check = _Check(fs, inspect, beside)
    try:
        files = up_to(find_wal_files(fs, directories, store_id=store_id), upto_synced)
        before: Before | None = None
        for file in files[start_index(files, from_sequence) :]:
            limit = upto_synced.offset if upto_synced and file is files[-1] else None
            before = check.file(file, before, last=file is files[-1], limit=limit)
    except OSError as error:
        raise unreadable(error) from error
    return check.result(len(files))


class _Check:
    """The counters of one verification."""

    def __init__(
        self, fs: ReadsFiles, inspect: Callable[[LoggedRecord], str | None], beside: Beside | None = None
    ) -> None:
        self.fs = fs
        self.ahead = PieceAhead(fs, beside, PIECE_BYTES)
        self.inspect = inspect
        self.problems: list[Problem] = []
        self.records = self.operations = self.bytes = self.gaps = self.torn = 0
        self.first = self.last = 0

    def file(self, file: FoundFile, before: Before | None, *, last: bool, limit: int | None) -> Before | None:
        """Check one file; returns where it ended, or None when its end says nothing about the next one's beginning."""
        problem = chain_problem(file, before)
        self._report(problem)
        header = file.header
        if header is None:
            return None
        # Where it was only closed and begun again, no operation lies between.
        self.gaps += header.gap_before and not (before and before.link.sequence == header.previous_sequence)
        end = self._scan(file.path, header, link_into(header, None if problem else before), FILE_HEADER_SIZE, limit)
        problem = self._judge(file.path, header, end, last=last, limit=limit)
        while problem is not None and len(self.problems) < MAX_PROBLEMS:
            self._report(problem)
            found = self._next_intact(file.path, header.salt, problem.offset + ALIGNMENT, limit)
            if found is None:
                return None
            offset, record = found
            end = self._scan(file.path, header, Link(record.chain, record.previous), offset, limit)
            problem = self._judge(file.path, header, end, last=last, limit=limit)
        if last and limit is None:
            self.torn = torn_bytes(self.fs, file.path, end)
        return Before.of(file.path, end)

    def result(self, files: int) -> LogCheck:
        return LogCheck(
            files=files,
            records=self.records,
            operations=self.operations,
            bytes=self.bytes,
            first_sequence=self.first,
            last_sequence=self.last,
            gaps=self.gaps,
            torn_bytes=self.torn,
            problems=tuple(self.problems),
        )

    def _scan(self, path: str, header: WalFileHeader, link: Link, start: int, limit: int | None) -> ScanEnd:
        scan = scan_file(self.fs, path, header, link, start=start, end=limit, ahead=self.ahead)
        while True:
            try:
                self._count(next(scan))
            except StopIteration as stop:
                end: ScanEnd = stop.value
                return end

    def _count(self, record: LoggedRecord) -> None:
        self.records += 1
        self.bytes += len(record.payload)
        if record.kind == RecordKind.OPERATION:
            self.operations += 1
            self.first = self.first or record.sequence
            self.last = record.sequence
            fault = self.inspect(record)
            self._report(None if fault is None else Problem(record.path, record.offset, fault))

    def _judge(
        self, path: str, header: WalFileHeader, end: ScanEnd, *, last: bool, limit: int | None
    ) -> Problem | None:
        if not last:
            return sealed_problem(self.fs, path, end)
        if limit is None:
            return tail_problem(self.fs, path, header, end)
        return live_problem(path, end, limit)

    def _next_intact(self, path: str, salt: int, offset: int, limit: int | None) -> tuple[int, RecordHeader] | None:
        """The next place at or after ``offset`` where a record starts."""
        size = self.fs.size(path) if limit is None else limit
        offset = max(offset, FILE_HEADER_SIZE)
        while len(piece := self.fs.read(path, offset, max(0, min(PIECE_BYTES, size - offset)))) >= HEADER_SIZE:
            for found in find_headers(piece, offset, salt):
                return found
            offset += len(piece) - (HEADER_SIZE - ALIGNMENT)
        return None

    def _report(self, problem: Problem | None) -> None:
        if problem is not None and len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
