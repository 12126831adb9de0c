"""One WAL segment read from end to end: each record checked against its own checksums and against the record before it.

The scan stops at the first thing that is no acceptable record and says where and why; what that means (the end of the
log, a torn tail, corruption) depends on which file it is and is decided by the caller.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import cast

import numpy as np

from ..errors import UnsupportedFormat
from ..format.checksum import crc32c
from ..format.record import HEADER_SIZE, RecordHeader, RecordKind, decode_header
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader
from .files import FileSystem
from .wal_entry import Link

PIECE_BYTES = 4 << 20
"""Read at a time: large enough to amortise a system call, small enough to stay in the second-level cache's reach."""

END_OF_LOG = "end of log"


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """One operation, marker or closing record as it stands in the log.

    ``header`` is that of its last record; ``payload`` is joined where it was divided; ``offset`` is where its first
    record starts in ``path``.
    """

    header: RecordHeader
    payload: memoryview
    path: str
    offset: int

    @property
    def sequence(self) -> int:
        """The operation's sequence; a marker repeats that of the operation before it."""
        return self.header.sequence


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
    def clean(self) -> bool:
        """Whether the file simply ends here, with nothing begun and left unfinished."""
        return self.reason == END_OF_LOG and self.offset == self.bad_offset


Scan = Generator[LoggedRecord, None, ScanEnd]


def scan_file(
    fs: FileSystem,
    path: str,
    header: WalFileHeader,
    link: Link,
    *,
    start: int = FILE_HEADER_SIZE,
    end: int | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> Scan:
    """Yield what the file holds from ``start`` (where ``link`` ended) up to byte ``end``, or to the end of the file.

    Memory is bounded by one piece plus the largest operation. Payload views stay valid as long as they are held. Raises
    UnsupportedFormat for an intact record of a kind that this version does not know, OSError as the file system does.
    """
    size = fs.size(path) if end is None else end
    state = _ScanState(link, start)
    buffer, base = b"", start
    parts: list[memoryview] = []
    begun = start
    while True:
        position = state.offset - base
        if len(buffer) - position < HEADER_SIZE:
            wanted = max(0, min(piece_bytes, size - state.offset))
            buffer, base, position = fs.read(path, state.offset, wanted), state.offset, 0
        remaining = size - state.offset
        record = _decode(buffer, position, path=path, salt=header.salt, offset=state.offset, remaining=remaining)
        if not isinstance(record, RecordHeader):
            too_short = remaining < HEADER_SIZE and not any(buffer[position:])
            return state.stop(END_OF_LOG if too_short else record)
        if len(buffer) - position < record.size:
            wanted = min(max(piece_bytes, record.size), size - state.offset)
            buffer, base, position = fs.read(path, state.offset, wanted), state.offset, 0
        problem = _payload_problem(buffer, position, record)
        if problem is not None:
            return state.stop(problem)
        problem = state.contradiction(record)
        if problem is not None:
            return state.stop(problem, misplaced=True)
        first = position + HEADER_SIZE
        payload = memoryview(buffer)[first : first + record.payload_length]
        if not parts:
            begun = state.offset
        state.take(record)
        if record.is_last:
            joined = memoryview(b"".join([*parts, payload])) if parts else payload
            parts.clear()
            yield LoggedRecord(record, joined, path, begun)
        else:
            parts.append(payload)


def exhaust(scan: Scan) -> ScanEnd:
    """Run a scan for its end alone."""
    while True:
        try:
            next(scan)
        except StopIteration as stop:
            return cast(ScanEnd, stop.value)


def first_nonzero(fs: FileSystem, path: str, offset: int) -> int | None:
    """Where the first byte other than zero stands at or after ``offset``; None when there is none."""
    while piece := fs.read(path, offset, PIECE_BYTES):
        array = np.frombuffer(piece, np.uint8)
        if array.any():
            return offset + int(np.flatnonzero(array)[0])
        offset += len(piece)
    return None


class _ScanState:
    """How far a scan has come: at ``offset`` in the file, and at the end of the last whole operation."""

    def __init__(self, link: Link, offset: int) -> None:
        self.offset = offset
        self.chain = link.chain
        self.whole = link
        self.whole_offset = offset
        self.unfinished: RecordHeader | None = None
        self.proven = 0
        self.records = 0
        self.last_kind = 0

    def contradiction(self, record: RecordHeader) -> str | None:
        """Why ``record`` cannot follow what came before it, or None."""
        if record.chain != self.chain:
            return f"the record follows header checksum {record.chain:#010x}, the one before has {self.chain:#010x}"
        before = self.whole
        if record.previous != before.sequence:
            return f"the record follows sequence {record.previous}, the one before has {before.sequence}"
        if self.last_kind == RecordKind.CLOSED:
            return "the record follows the one that closed the log"
        first = self.unfinished
        if first is not None and (record.kind, record.sequence, record.timestamp_us) != (
            first.kind,
            first.sequence,
            first.timestamp_us,
        ):
            return f"operation {first.sequence} is not finished before the next record (sequence {record.sequence})"
        if record.kind == RecordKind.OPERATION:
            if record.sequence <= before.sequence or record.timestamp_us <= before.timestamp_us:
                return (
                    f"operation {record.sequence} at {record.timestamp_us} us does not come after "
                    f"{before.sequence} at {before.timestamp_us} us"
                )
        elif record.sequence != before.sequence:
            return f"a marker has sequence {record.sequence}, the operation before it {before.sequence}"
        return None

    def take(self, record: RecordHeader) -> None:
        self.offset += record.size
        self.chain = record.crc
        self.records += 1
        self.last_kind = record.kind
        if record.durable_offset > self.proven:
            self.proven = record.durable_offset
        if record.is_last:
            time_us = record.timestamp_us if record.kind == RecordKind.OPERATION else self.whole.timestamp_us
            self.whole = Link(record.crc, record.sequence, time_us)
            self.whole_offset = self.offset
            self.unfinished = None
        else:
            self.unfinished = record

    def stop(self, reason: str, *, misplaced: bool = False) -> ScanEnd:
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


def _decode(buffer: bytes, position: int, *, path: str, salt: int, offset: int, remaining: int) -> RecordHeader | str:
    """The header there, or why there is none."""
    try:
        found = decode_header(buffer, position, salt=salt, offset=offset, remaining=remaining)
    except UnsupportedFormat as error:
        raise UnsupportedFormat(f"{path}: {error.message}", hint=error.hint, path=path, **error.metadata) from error
    return found if isinstance(found, RecordHeader) else found.reason


def _payload_problem(buffer: bytes, position: int, record: RecordHeader) -> str | None:
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
