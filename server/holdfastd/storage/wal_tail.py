"""Torn or corrupt? What the end of a scan means, by the rules of the log. Reads only; nothing is changed here.

* In any WAL segment but the last, whatever stops a scan before the end is corruption: the file was synced through its
  last record before its successor was made. So is a successor that does not take up the chain.
* In the last one, a bad record is corruption when a record behind it, intact by its own checksum, knew the bad place to
  be durable. Otherwise it was never acknowledged as durable: a torn tail.
* In an archive nothing is torn: what lies there was synced when it was put there.
* A log that ends below what the manifest reflects was cut by something else than a power cut: corruption.

Damage to the last synced group of a log, with no marker behind it, cannot be told from a torn tail.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Corruption
from ..format.record import ALIGNMENT, HEADER_SIZE, RecordHeader, RecordKind, find_headers
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader
from .archived_log import ArchivedLog
from .files import ReadsFiles
from .wal_entry import Link
from .wal_files import DAMAGE_HINT, FoundFile
from .wal_scan import PIECE_BYTES, ScanEnd, first_nonzero


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage to what was durable: byte ``offset`` of ``path``; 0 condemns the file as a whole."""

    path: str
    offset: int
    message: str

    def error(self) -> Corruption:
        """As the exception that refuses to go on."""
        return Corruption(self.message, path=self.path, offset=self.offset, hint=DAMAGE_HINT)


@dataclass(frozen=True, slots=True)
class Before:
    """Where the WAL segment before a file ended."""

    path: str
    offset: int
    link: Link
    closed: bool

    @classmethod
    def of(cls, path: str, end: ScanEnd, *, closed: bool = False) -> Before:
        """``closed``: whether a closing record stood before the place where the scan began."""
        return cls(path, end.offset, end.link, closed or end.last_kind == RecordKind.CLOSED)


def link_into(header: WalFileHeader, before: Before | None) -> Link:
    """The link that the first record of a file takes up, once ``chain_problem`` has found none."""
    return Link(header.chain, header.previous_sequence, before.link.timestamp_us if before else 0)


def chain_problem(file: FoundFile, before: Before | None) -> Problem | None:
    """Why ``file`` is not the next WAL segment after ``before`` (None: the first that is looked at), or None."""
    header = file.header
    if header is None:
        return Problem(file.path, 0, file.problem or "the file has no header")
    if before is None:
        return None
    ends = f"{before.path} ends at offset {before.offset} after sequence {before.link.sequence}"
    if header.gap_before:
        if header.previous_sequence >= before.link.sequence:
            return None
        return Problem(file.path, 0, f"it goes back to sequence {header.previous_sequence}, but {ends}")
    if before.closed:
        return Problem(file.path, 0, f"{ends} with the log closed, and this file does not say that history is missing")
    if (header.chain, header.previous_sequence) == (before.link.chain, before.link.sequence):
        return None
    return Problem(
        file.path,
        0,
        f"it follows sequence {header.previous_sequence} with header checksum {header.chain:#010x}, but {ends} "
        f"with {before.link.chain:#010x}: records or a WAL segment between them are missing",
    )


def sealed_problem(fs: ReadsFiles, path: str, end: ScanEnd) -> Problem | None:
    """Why a WAL segment that is not the last does not end well, or None."""
    if not end.clean:
        return Problem(path, end.bad_offset, f"{end.finding}, in a WAL segment that is not the last")
    stray = first_nonzero(fs, path, end.offset)
    if stray is None:
        return None
    message = f"{end.finding}, but bytes follow at offset {stray} of a WAL segment that is not the last"
    return Problem(path, end.bad_offset, message)


def live_problem(path: str, end: ScanEnd, synced_offset: int) -> Problem | None:
    """Why a log that is being written is not whole up to where it was synced, or None."""
    if end.clean and end.offset == synced_offset:
        return None
    return Problem(path, end.bad_offset, f"{end.finding}, below the place synced last")


def tail_problem(
    fs: ReadsFiles, path: str, header: WalFileHeader, end: ScanEnd, *, required_sequence: int = 0
) -> Problem | None:
    """Why the end of the last WAL segment is corruption; None for a clean end or a torn tail.

    ``required_sequence``: what the manifest reflects of the log, 0 for nothing.
    """
    if end.misplaced:
        return Problem(path, end.bad_offset, f"{end.finding}, and no power cut leaves that behind")
    witness = _later_witness(fs, path, header.salt, end.bad_offset)
    if witness is not None:
        offset, record = witness
        return Problem(
            path,
            end.bad_offset,
            f"{end.finding}, but the record at offset {offset} (sequence {record.sequence}) was written when "
            f"everything below {record.durable_offset} was durable",
        )
    if isinstance(fs, ArchivedLog) and fs.is_archive:
        return live_problem(path, end, fs.size(path))
    if end.link.sequence < required_sequence:
        return Problem(
            path,
            end.bad_offset,
            f"the log ends after sequence {end.link.sequence}, but the manifest reflects sequence {required_sequence}",
        )
    return None


def torn_bytes(fs: ReadsFiles, path: str, end: ScanEnd) -> int:
    """Bytes from the end of history to the last one that is not zero; 0 for a clean end."""
    if first_nonzero(fs, path, end.offset) is None:
        return 0
    size = fs.size(path)
    while size > end.offset:
        start = max(end.offset, size - PIECE_BYTES)
        used = len(fs.read(path, start, size - start).rstrip(b"\0"))
        if used:
            return start + used - end.offset
        size = start
    return 0


def _later_witness(fs: ReadsFiles, path: str, salt: int, bad_offset: int) -> tuple[int, RecordHeader] | None:
    """The first intact header after ``bad_offset`` that knew this place to be durable."""
    overlap = HEADER_SIZE - ALIGNMENT
    offset = max(bad_offset, FILE_HEADER_SIZE)
    while len(piece := fs.read(path, offset, PIECE_BYTES)) >= HEADER_SIZE:
        for place, record in find_headers(piece, offset, salt):
            if record.durable_offset > bad_offset:
                return place, record
        offset += len(piece) - overlap
    return None
