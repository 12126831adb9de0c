"""One WAL segment read from end to end: each record checked against its own checksums and against the record before it.

The scan stops at the first thing that is no acceptable record and says where and why; what that means (the end of the
log, a torn tail, corruption) depends on which file it is and is decided by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedFormat
from ..format.checksum import crc32c
from ..format.record import HEADER_SIZE, RecordFlag, RecordHeader, RecordKind, decode_header
from ..format.records import RecordArray, header_of, intact_run
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader
from .files import ReadsFiles
from .piece_ahead import PieceAhead, Place
from .wal_entry import Link

PIECE_BYTES = (4 << 20) - (8 << 10)
"""Read at a time: large enough to amortise a system call; two huge pages with the blocks that it begins and ends in."""

END_OF_LOG = "end of log"

_OPERATION = int(RecordKind.OPERATION)
_LAST = int(RecordFlag.LAST)


@dataclass(slots=True)
class LoggedRecord:
    """One operation, marker or closing record as it stands in the log.

    ``payload`` is joined where it was divided among records, ``offset`` is where the first of them starts in ``path``.
    A marker repeats sequence and time of the operation before it.
    """

    kind: int
    sequence: int
    timestamp_us: int
    payload: memoryview
    path: str
    offset: int
    _header: np.void | RecordHeader

    @property
    def header(self) -> RecordHeader:
        """The header of its last record; made when it is asked for."""
        if not isinstance(self._header, RecordHeader):
            self._header = header_of(self._header)
        return self._header


@dataclass(frozen=True, slots=True)
class ScanEnd:
    """Where and why a scan stopped.

    ``offset`` and ``link``: the end of the last whole operation, where the log could go on. ``bad_offset``: the first
    byte that is no acceptable record; further on than ``offset`` only inside an operation of several records.
    ``reason``: END_OF_LOG, or what is wrong. ``misplaced``: the record there is intact but does not follow the one
    before, which no power cut explains. ``proven``: everything below was durable by the records' own word.
    """

    offset: int
    link: Link
    bad_offset: int
    reason: str
    misplaced: bool
    proven: int
    records: int
    last_kind: int

    @property
    def finding(self) -> str:
        """``reason`` where the end was not expected."""
        return "the log seems to end here" if self.reason == END_OF_LOG else self.reason

    @property
    def clean(self) -> bool:
        """Whether the file simply ends here, with nothing begun and left unfinished."""
        return self.reason == END_OF_LOG and self.offset == self.bad_offset


Scan = Generator[LoggedRecord, None, ScanEnd]


def scan_file(
    fs: ReadsFiles,
    path: str,
    header: WalFileHeader,
    link: Link,
    *,
    start: int = FILE_HEADER_SIZE,
    end: int | None = None,
    piece_bytes: int = PIECE_BYTES,
    check_only: bool = False,
    ahead: PieceAhead | None = None,
) -> Scan:
    """Yield what the file holds from ``start`` (where ``link`` ended) up to byte ``end``, or to the end of the file.

    Memory is bounded by one piece plus the largest operation, and by two more pieces with one that reads ``ahead``.
    Payload views stay valid as long as they are held. ``check_only`` checks everything and yields nothing. Raises
    UnsupportedFormat for an intact record of a kind that this version does not know, OSError as the file system does.
    """
    pieces = ahead or PieceAhead(fs)
    size = fs.size(path) if end is None else end

    def begin_next(offset: int) -> None:
        pieces.begin(Place(path, offset, min(piece_bytes, size - offset)))

    state = _ScanState(path, link, start)
    needed = HEADER_SIZE
    while True:
        # Each piece begins with a record; one that does not fit becomes the first of the next piece.
        base = state.offset
        buffer = pieces.read(Place(path, base, max(0, min(max(piece_bytes, needed), size - base))))
        ended = yield from _take_run(state, buffer, base, header.salt, check_only, begin_next)
        if ended is not None:
            return ended
        position = state.offset - base
        if position and base + len(buffer) < size and len(buffer) - position < HEADER_SIZE:
            continue
        remaining = size - state.offset
        record = _decode(buffer, position, path=path, salt=header.salt, offset=state.offset, remaining=remaining)
        if not isinstance(record, RecordHeader):
            too_short = remaining < HEADER_SIZE and not any(buffer[position:])
            return state.stop(END_OF_LOG if too_short else record)
        if len(buffer) - position < record.size and (position or needed < record.size):
            needed = record.size
            continue
        needed = HEADER_SIZE
        taken = state.take(buffer, position, record)
        if isinstance(taken, ScanEnd):
            return taken
        if taken is not None and not check_only:
            yield taken


def _take_run(
    state: _ScanState, buffer: memoryview, base: int, salt: int, check_only: bool, begin_next: Callable[[int], None]
) -> Generator[LoggedRecord, None, ScanEnd | None]:
    """Take the records of a piece that are intact in themselves: plain ones by the run, the others one by one.

    ``begin_next`` is told where the next piece will begin, unless something is wrong with this one.
    """
    rows, positions = intact_run(buffer, 0, salt=salt, offset=base, before_checks=lambda end: begin_next(base + end))
    done = 0
    while done < len(rows):
        first, done = done, done + state.take_plain(rows[done:])
        if not check_only:
            yield from _plain_records(buffer, state.path, base, rows[first:done], positions[first:done])
        if done < len(rows):
            position = positions[done]
            # Decoded again for its refusal of kinds and flags that this version does not know.
            record = _decode(
                buffer,
                position,
                path=state.path,
                salt=salt,
                offset=base + position,
                remaining=len(buffer) - position,
            )
            taken = state.stop(record) if isinstance(record, str) else state.take(buffer, position, record)
            if isinstance(taken, ScanEnd):
                return taken
            done += 1
            if taken is not None and not check_only:
                yield taken
    return None


def _plain_records(
    buffer: memoryview, path: str, base: int, rows: RecordArray, positions: list[int]
) -> Iterator[LoggedRecord]:
    view = memoryview(buffer)
    lengths, sequences, times = (rows[name].tolist() for name in ("payload_length", "sequence", "timestamp_us"))
    for row, position, length, sequence, time_us in zip(rows, positions, lengths, sequences, times, strict=True):
        start = position + HEADER_SIZE
        yield LoggedRecord(_OPERATION, sequence, time_us, view[start : start + length], path, base + position, row)


def exhaust(scan: Scan) -> ScanEnd:
    """Run a scan for its end alone."""
    while True:
        try:
            next(scan)
        except StopIteration as stop:
            return cast(ScanEnd, stop.value)


def first_nonzero(fs: ReadsFiles, path: str, offset: int) -> int | None:
    """Where the first byte other than zero stands at or after ``offset``; None when there is none."""
    while piece := fs.read(path, offset, PIECE_BYTES):
        array = np.frombuffer(piece, np.uint8)
        if array.any():
            return offset + int(np.flatnonzero(array)[0])
        offset += len(piece)
    return None


class _ScanState:
    """How far a scan has come: at ``offset`` in the file, and at the end of the last whole operation."""

    def __init__(self, path: str, link: Link, offset: int) -> None:
        self.path = path
        self.offset = offset
        self.chain = link.chain
        self.whole = link
        self.whole_offset = offset
        self.unfinished: RecordHeader | None = None
        self.parts: list[memoryview] = []
        self.proven = 0
        self.records = 0
        self.last_kind = 0

    def take_plain(self, rows: RecordArray) -> int:
        """Go past the first rows that are whole operations of one record each and follow each other; how many."""
        if self.unfinished is not None or self.last_kind == RecordKind.CLOSED or int(rows["chain"][0]) != self.chain:
            return 0
        sequences, times = rows["sequence"], rows["timestamp_us"]
        good = (rows["kind"] == _OPERATION) & (rows["flags"] == _LAST) & (rows["reserved"] == 0)
        good &= rows["previous"] == _shifted(sequences, self.whole.sequence)
        good &= sequences > rows["previous"]
        good &= times > _shifted(times, self.whole.timestamp_us)
        count = len(good) if good.all() else int(good.argmin())
        if count:
            taken, last = rows[:count], header_of(rows[count - 1])
            self.offset += int(np.sum((taken["payload_length"].astype(np.int64) + 7) & ~7)) + count * HEADER_SIZE
            self.records += count
            self.proven = max(self.proven, int(taken["durable_offset"].max()))
            self.chain, self.last_kind = last.crc, last.kind
            self.whole = Link(last.crc, last.sequence, last.timestamp_us)
            self.whole_offset = self.offset
        return count

    def take(self, buffer: memoryview, position: int, record: RecordHeader) -> LoggedRecord | ScanEnd | None:
        """Go past any acceptable record: what it completes, None inside an operation, or why it is not acceptable."""
        problem = _payload_problem(buffer, position, record)
        if problem is not None:
            return self.stop(problem)
        problem = self.contradiction(record)
        if problem is not None:
            return self.stop(problem, misplaced=True)
        self.offset += record.size
        self.chain, self.last_kind = record.crc, record.kind
        self.records += 1
        self.proven = max(self.proven, record.durable_offset)
        start = position + HEADER_SIZE
        self.parts.append(memoryview(buffer)[start : start + record.payload_length])
        if not record.flags & _LAST:
            self.unfinished = record
            return None
        return self._complete(record)

    def _complete(self, record: RecordHeader) -> LoggedRecord:
        payload = self.parts[0] if len(self.parts) == 1 else memoryview(b"".join(self.parts))
        time_us = record.timestamp_us if record.kind == _OPERATION else self.whole.timestamp_us
        begun, self.whole_offset = self.whole_offset, self.offset
        self.whole = Link(record.crc, record.sequence, time_us)
        self.unfinished = None
        self.parts.clear()
        return LoggedRecord(record.kind, record.sequence, record.timestamp_us, payload, self.path, begun, record)

    def contradiction(self, record: RecordHeader) -> str | None:
        """Why ``record`` cannot follow what came before it, or None."""
        before, first = self.whole, self.unfinished
        if record.chain != self.chain:
            return f"the record follows header checksum {record.chain:#010x}, the one before has {self.chain:#010x}"
        if record.previous != before.sequence:
            return f"the record follows sequence {record.previous}, the one before has {before.sequence}"
        if self.last_kind == RecordKind.CLOSED:
            return "the record follows the one that closed the log"
        if first is not None and (record.kind, record.sequence, record.timestamp_us) != (
            first.kind,
            first.sequence,
            first.timestamp_us,
        ):
            return f"operation {first.sequence} is not finished before the next record (sequence {record.sequence})"
        if record.kind == _OPERATION:
            if record.sequence <= before.sequence or record.timestamp_us <= before.timestamp_us:
                return (
                    f"operation {record.sequence} at {record.timestamp_us} us does not come after "
                    f"{before.sequence} at {before.timestamp_us} us"
                )
        elif record.sequence != before.sequence:
            return f"a marker has sequence {record.sequence}, the operation before it {before.sequence}"
        return None

    def stop(self, reason: str, *, misplaced: bool = False) -> ScanEnd:
        """The end of the scan, at this place."""
        if reason == END_OF_LOG and self.unfinished is not None:
            reason = f"operation {self.unfinished.sequence} ends before its last record"
        return ScanEnd(
            offset=self.whole_offset,
            link=self.whole,
            bad_offset=self.offset,
            reason=reason,
            misplaced=misplaced,
            proven=self.proven,
            records=self.records,
            last_kind=self.last_kind,
        )


def _shifted(values: NDArray[np.uint64], first: int) -> NDArray[np.uint64]:
    """Each value's predecessor; ``first`` is that of the first one."""
    before = np.empty_like(values)
    before[0] = first
    before[1:] = values[:-1]
    return before


def _decode(
    buffer: memoryview, position: int, *, path: str, salt: int, offset: int, remaining: int
) -> RecordHeader | str:
    """The header there, or why there is none."""
    try:
        found = decode_header(buffer, position, salt=salt, offset=offset, remaining=remaining)
    except UnsupportedFormat as error:
        raise UnsupportedFormat(f"{path}: {error.message}", hint=error.hint, path=path, **error.metadata) from error
    return found if isinstance(found, RecordHeader) else found.reason


def _payload_problem(buffer: memoryview, position: int, record: RecordHeader) -> str | None:
    """Why the payload and its padding are not what was written, or None."""
    start = position + HEADER_SIZE
    end = start + record.payload_length
    stop = position + record.size
    if len(buffer) < stop:
        return f"the file ends inside a record of {record.size} bytes"
    computed = crc32c(memoryview(buffer)[start:end])
    if computed != record.payload_crc:
        stored = record.payload_crc
        return f"payload checksum of sequence {record.sequence} is {stored:#010x}, computed {computed:#010x}"
    if end != stop and any(buffer[end:stop]):
        return f"the padding after sequence {record.sequence} is not zero"
    return None
