"""Reading the log in order, across files and directories, while it is being written or long after.

Every record is checked, and so is the chain between records and between files: what comes out is gapless history, or
an error that names path and offset. Nothing is mapped, since the active file may be cut; reading releases the GIL.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Generator, Iterator, Sequence
from typing import Literal, cast

from ..errors import OutOfRange, Unavailable
from ..format.record import RecordKind
from ..format.walfile import FILE_HEADER_SIZE
from .beside import Beside
from .files import ReadsFiles
from .piece_ahead import PieceAhead, Place
from .wal_errors import unreadable
from .wal_files import FoundFile, Position, find_wal_files, start_index
from .wal_scan import PIECE_BYTES, LoggedRecord, Scan, ScanEnd, scan_file
from .wal_tail import Before, Problem, chain_problem, link_into, live_problem, sealed_problem, tail_problem

__all__ = ["LogReader", "LoggedRecord", "Mode", "Position", "read_log", "sequence_at_time", "trimmed"]

Mode = Literal["strict", "point-in-time"]

_OPERATION = int(RecordKind.OPERATION)


def read_log(
    fs: ReadsFiles,
    directories: Sequence[str],
    *,
    store_id: uuid.UUID,
    from_sequence: int = 0,
    upto_synced: Position | None = None,
    mode: Mode = "strict",
    allow_gaps: bool = False,
    operations_only: bool = True,
    beside: Beside | None = None,
) -> Iterator[LoggedRecord]:
    """Every operation from ``from_sequence`` on (0: from the oldest there is), in order. See ``LogReader``."""
    reader = LogReader(
        fs,
        directories,
        store_id=store_id,
        from_sequence=from_sequence,
        mode=mode,
        allow_gaps=allow_gaps,
        operations_only=operations_only,
        beside=beside,
    )
    return reader.read(upto_synced)


def sequence_at_time(
    fs: ReadsFiles,
    directories: Sequence[str],
    timestamp_us: int,
    *,
    store_id: uuid.UUID,
    upto_synced: Position | None = None,
) -> int | None:
    """The last sequence whose timestamp is at most ``timestamp_us``; None when the oldest record is later.

    Reads one WAL segment. Raises as ``LogReader`` does.
    """
    files = up_to(find_wal_files(fs, directories, store_id=store_id), upto_synced)
    for file in reversed(files):
        if not 0 < file.first_timestamp_us <= timestamp_us:
            continue
        found = None
        reader = LogReader(fs, directories, store_id=store_id, first_path=file.path, one_file=True)
        for record in reader.read(upto_synced):
            if record.timestamp_us > timestamp_us:
                break
            found = record.sequence
        return file.sound_header().previous_sequence if found is None else found
    return None


class LogReader:
    """A place in the log that moves on with each ``read``. One thread at a time; the log may be written meanwhile.

    ``mode``: ``strict`` raises Corruption at damage; ``point-in-time`` ends the log before it and sets ``problem``.
    ``allow_gaps``: read on across a time in which the log was disabled, instead of raising OutOfRange.
    ``operations_only``: leave out markers and closing records. ``first_path`` names the file to begin with, and with
    ``one_file`` to end with: whether another one follows it is nobody's business then. ``beside``: what reads the next
    piece while one is dealt with.
    """

    def __init__(
        self,
        fs: ReadsFiles,
        directories: Sequence[str],
        *,
        store_id: uuid.UUID,
        from_sequence: int = 0,
        mode: Mode = "strict",
        allow_gaps: bool = False,
        operations_only: bool = True,
        first_path: str | None = None,
        one_file: bool = False,
        piece_bytes: int = PIECE_BYTES,
        beside: Beside | None = None,
    ) -> None:
        self._fs = fs
        self._ahead = PieceAhead(fs, beside, piece_bytes)
        self._directories = tuple(directories)
        self._store_id = store_id
        self._mode = mode
        self._allow_gaps = allow_gaps
        self._operations_only = operations_only
        self._piece_bytes = piece_bytes
        self._from = from_sequence
        self._first_path = first_path
        self._one_file = one_file
        self._before: Before | None = None
        self.problem: Problem | None = None

    def read(self, upto_synced: Position | None = None) -> Iterator[LoggedRecord]:
        """Yield what follows the place reached so far, up to ``upto_synced``, and remember the new place.

        With the log being written, ``upto_synced`` is its ``synced_position``: what lies beyond it is not history yet.
        Without it, the log must be at rest: a torn tail is left out. Payload views stay valid as long as they are held.
        Raises Corruption; OutOfRange when records wanted were trimmed or lie behind a gap; UnsupportedFormat.
        """
        try:
            yield from self._read(upto_synced)
        except FileNotFoundError as error:
            raise self._trimmed(f"{error.filename} was removed while it was read") from error
        except OSError as error:
            raise unreadable(error) from error

    def _read(self, upto: Position | None) -> Iterator[LoggedRecord]:
        if self.problem is not None:
            return
        files = up_to(find_wal_files(self._fs, self._directories, store_id=self._store_id), upto)
        wanted = files[self._start(files) :]
        for file, following in itertools.zip_longest(wanted, wanted[1:]):
            self._ahead.then = self._beginning_of(following, upto if following is files[-1] else None)
            problem = yield from self._read_file(file, file is files[-1], upto)
            if problem is not None and self._mode == "strict":
                raise problem.error()
            if problem is not None:
                self.problem = problem
                return
            if self._one_file:
                return

    def _beginning_of(self, file: FoundFile | None, upto: Position | None) -> Place | None:
        """The first piece of the file that is read next; None where none is, or it is empty."""
        if file is None or self._one_file:
            return None
        end = file.size if upto is None else upto.offset
        count = min(self._piece_bytes, end - FILE_HEADER_SIZE)
        return Place(file.path, FILE_HEADER_SIZE, count) if count > 0 else None

    def _read_file(
        self, file: FoundFile, last: bool, upto: Position | None
    ) -> Generator[LoggedRecord, None, Problem | None]:
        """Yield what is wanted of one file, remember where it ended, and say what is wrong with it."""
        before = self._before
        if before is not None and before.path == file.path:
            header, start, link = file.sound_header(), before.offset, before.link
        else:
            problem = chain_problem(file, before)
            if problem is not None:
                return problem
            self._check_gap(file, before)
            header, start = file.sound_header(), FILE_HEADER_SIZE
            link = link_into(header, before)
        limit = upto.offset if upto and last else None
        end = yield from self._wanted(
            scan_file(
                self._fs,
                file.path,
                header,
                link,
                start=start,
                end=limit,
                piece_bytes=self._piece_bytes,
                ahead=self._ahead,
            )
        )
        resumed = before is not None and before.path == file.path
        self._before = Before.of(file.path, end, closed=before is not None and resumed and before.closed)
        if not last:
            return sealed_problem(self._fs, file.path, end)
        if limit is None:
            return tail_problem(self._fs, file.path, header, end)
        return live_problem(file.path, end, limit)

    def _wanted(self, scan: Scan) -> Scan:
        """The scan without what the caller did not ask for."""
        while True:
            try:
                record = next(scan)
            except StopIteration as stop:
                return cast(ScanEnd, stop.value)
            if record.kind == _OPERATION:
                if record.sequence >= self._from:
                    self._from = record.sequence + 1
                    yield record
            elif not self._operations_only and record.sequence + 1 >= self._from:
                yield record

    def _start(self, files: Sequence[FoundFile]) -> int:
        """The index of the file that holds the place reached so far, or the first record wanted."""
        path = self._before.path if self._before else self._first_path
        if path is not None:
            for index, file in enumerate(files):
                if file.path == path:
                    return index
            raise self._trimmed(f"{path} is no longer part of the log")
        start = start_index(files, self._from)
        header = files[start].header if files else None
        if header is not None and header.previous_sequence >= self._from > 0:
            raise self._trimmed(f"the log begins after sequence {header.previous_sequence}")
        return start

    def _check_gap(self, file: FoundFile, before: Before | None) -> None:
        header = file.sound_header()
        if before is None or self._allow_gaps or not header.gap_before:
            return
        if header.previous_sequence == before.link.sequence:
            # The log was closed and begun again, and no operation took a sequence in between.
            return
        raise OutOfRange(
            f"the log was disabled between sequence {before.link.sequence} and {file.first_sequence}: history before "
            f"{file.path} does not lead to it",
            reason="LOG_GAP",
            hint="start from a snapshot or checkpoint made after the log was enabled again",
            sequence=file.first_sequence,
        )

    def _trimmed(self, why: str) -> OutOfRange:
        return trimmed(f"records from sequence {self._from} on", why, sequence=self._from)


def trimmed(what: str, why: str, *, sequence: int) -> OutOfRange:
    """The error for records that were wanted, ``what``, and that the log does not reach back to."""
    return OutOfRange(
        f"{what} are no longer in the log: {why}",
        reason="LOG_TRIMMED",
        hint="start from a newer snapshot; for a longer window: holdfast storage wal enable --retention DURATION",
        sequence=sequence,
    )


def up_to(files: list[FoundFile], upto: Position | None) -> list[FoundFile]:
    """The files that hold the log up to ``upto``."""
    if upto is None:
        return files
    for index, file in enumerate(files):
        if file.path == upto.path:
            return files[: index + 1]
    raise Unavailable(f"{upto.path} left the log while it was read", reason="LOG_MOVED", hint="try again")
