"""An archive of the log as a chain of WAL segments, held together link by link, without reading what is in them.

The header of each says what came before it, and the last record of the one before says whether that is so. Both are
read once; what was read is remembered for as long as the file has its size.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..format.record import HEADER_SIZE, RecordHeader, RecordKind, decode_header
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header
from .files import FileSystem
from .log_archive_listing import LogArchiveListing, Piece, log_order, reach_of
from .log_archive_note import Through
from .wal_files import last_record

GIVEN_UP, MISSING, DISABLED = "given_up", "missing", "disabled"


@dataclass(frozen=True, slots=True)
class Gap:
    """Operations that an archive does not have, and why. Times in microseconds.

    ``kind``: GIVEN_UP by the log before they were archived, MISSING from the archive, or DISABLED, where there was no
    log to archive, which is nothing to be alarmed about. ``first`` is greater than ``last`` where bytes are missing or
    damaged, and perhaps no operation.
    """

    kind: str
    first: int
    first_us: int
    last: int
    last_us: int
    why: str

    @property
    def is_loss(self) -> bool:
        """Whether something was lost."""
        return self.kind != DISABLED


@dataclass(frozen=True, slots=True)
class ChainLink:
    """What one WAL segment in an archive says of itself. ``header`` is None where that cannot be used.

    ``first_us``: the time of its first record, 0 without one. ``sequence``, ``time_us`` and ``chain``: where it ends.
    ``closed``: with the log switched off. ``problem``: why it does not end well, or "".
    """

    name: str
    header: WalFileHeader | None
    first_us: int
    sequence: int
    time_us: int
    chain: int
    closed: bool
    problem: str


@dataclass(frozen=True, slots=True)
class Chain:
    """``unread``: WAL segments that have not been looked into yet; next to them no gap is found.

    ``gaps``: oldest first. ``unbroken``: the links behind the last of them, and ``links``: all that were read; both in
    log order.
    """

    gaps: tuple[Gap, ...]
    unbroken: tuple[ChainLink, ...]
    unread: int
    links: tuple[ChainLink, ...] = ()


class ArchiveChain:
    """See the module. One thread at a time; blocks for the archive."""

    def __init__(self, fs: FileSystem, directory: str) -> None:
        self._fs = fs
        self._directory = directory
        self._known: dict[tuple[str, int, bool], ChainLink] = {}

    def end_before(self, listing: LogArchiveListing, name: str) -> Through | None:
        """Where the newest WAL segment ends that lies in front of ``name``, if any does, and tells. Raises OSError."""
        older = [each for each in listing.names if log_order(each) < log_order(name)]
        if not older:
            return None
        pieces = listing.parts_of(older[-1], self._directory)
        size = reach_of(pieces)
        link = _read_link(Parts(self._fs, pieces), older[-1], size, torn=False)
        if link.header is None or link.problem:
            return None
        whole = older[-1] in listing.whole
        return Through(link.name, size, link.sequence, link.time_us, whole=whole, closed=link.closed)

    def look(
        self,
        listing: LogArchiveListing,
        at_most: int,
        here: Mapping[str, str] = MappingProxyType({}),
        go_on: Callable[[], bool] = lambda: True,
    ) -> Chain:
        """Read what is not known yet of what was listed, the newest first, ``at_most`` so many. Raises OSError.

        ``here``: where the same WAL segment lies in the log itself, by its name, so that the archive need not be asked.
        ``go_on``: whether there is time for one more.
        """
        known, unread = {}, 0
        for name in reversed(listing.names):
            pieces = listing.parts_of(name, self._directory)
            size = reach_of(pieces)
            torn = any(piece.end > size for piece in pieces)
            link = self._known.get((name, size, torn))
            if link is None and name in here:
                link = self._read_here(name, size, here[name], torn=torn)
            if link is None and at_most > 0 and go_on():
                at_most -= 1
                link = _read_link(Parts(self._fs, pieces), name, size, torn=torn)
            if link is None:
                unread += 1
            else:
                known[name, size, torn] = link
        self._known = known
        links = {link.name: link for link in known.values()}
        return _chained([links.get(name) for name in listing.names], unread)

    def _read_here(self, name: str, size: int, path: str, *, torn: bool) -> ChainLink | None:
        """None for what is damaged in the log, which says nothing of the archive."""
        link = _read_link(Parts(self._fs, (Piece(0, size, path),)), name, size, torn=torn)
        return None if link.header is None or link.problem else link

    def stores(self) -> set[uuid.UUID]:
        """The stores whose log there is, as far as it was looked into."""
        return {link.header.store_id for link in self._known.values() if link.header is not None}


def _chained(links: list[ChainLink | None], unread: int) -> Chain:
    """``links``: in log order, None for what was not read yet."""
    gaps: list[Gap] = []
    unbroken: list[ChainLink] = []
    problem = ""
    for link in links:
        if link is None:
            unbroken, problem = [], ""
        elif link.header is None:
            problem = problem or link.problem
        else:
            gap = _gap_between(unbroken[-1], link, link.header, problem) if unbroken else None
            if gap is not None:
                gaps.append(gap)
                unbroken = []
            unbroken.append(link)
            problem = ""
    if unbroken and problem:
        last = unbroken[-1]
        gaps.append(Gap(MISSING, last.sequence + 1, last.time_us, last.sequence, last.time_us, problem))
    return Chain(tuple(gaps), tuple(unbroken), unread, tuple(link for link in links if link is not None))


def _gap_between(before: ChainLink, link: ChainLink, header: WalFileHeader, problem: str) -> Gap | None:
    """What is missing between a WAL segment and the next usable one there is, or None.

    ``problem``: of an unusable one between them.
    """
    last, last_us, why = header.previous_sequence, header.created_us, before.problem or problem
    if not why and (header.chain, last) == (before.chain, before.sequence):
        return None
    if not why and header.gap_before and last <= before.sequence:
        return None
    # A log that was switched off says so itself, in its last record.
    if not why and header.gap_before and before.closed:
        disabled = f"the log was disabled behind sequence {before.sequence}"
        return Gap(DISABLED, before.sequence + 1, before.time_us, last, last_us, disabled)
    why = why or f"what led from {before.name} to {link.name} is not there"
    return Gap(MISSING, before.sequence + 1, before.time_us, last, last_us, why)


class Parts:
    """The bytes of a WAL segment in an archive, as far as they are there without a hole."""

    def __init__(self, fs: FileSystem, pieces: tuple[Piece, ...]) -> None:
        self._fs = fs
        self._pieces = pieces

    def read(self, offset: int, end: int) -> bytes:
        """Bytes ``offset`` up to ``end``. Blocks; raises OSError."""
        found = []
        for piece in self._pieces:
            if piece.start <= offset < min(piece.end, end):
                stop = min(piece.end, end)
                found.append(self._fs.read(piece.path, offset - piece.start, stop - offset))
                offset = stop
        return b"".join(found)


def _read_link(parts: Parts, name: str, size: int, *, torn: bool) -> ChainLink:
    if size < FILE_HEADER_SIZE:
        return _unusable(name, "its beginning is not there")
    raw = parts.read(0, min(size, FILE_HEADER_SIZE + HEADER_SIZE))
    header = decode_file_header(raw)
    if not isinstance(header, WalFileHeader):
        return _unusable(name, f"file header: {header.reason}")
    first = decode_header(
        raw, FILE_HEADER_SIZE, salt=header.salt, offset=FILE_HEADER_SIZE, remaining=size - FILE_HEADER_SIZE
    )
    first_us = first.timestamp_us if isinstance(first, RecordHeader) else 0
    problem = f"bytes of {name} from {size} on are not there" if torn else ""
    found = last_record(parts.read, header, size)
    if found is None:
        if size > FILE_HEADER_SIZE:
            problem = problem or f"no record of {name} can be found"
        previous, created_us = header.previous_sequence, header.created_us
        return ChainLink(name, header, first_us, previous, created_us, header.chain, False, problem)
    offset, record = found
    if offset + record.size != size:
        problem = problem or f"{name} does not end with a record: it was cut short or damaged near byte {offset}"
    sequence, closed = record.sequence, record.kind == RecordKind.CLOSED
    if offset + record.size > size and record.kind == RecordKind.OPERATION:
        sequence = record.previous
    return ChainLink(name, header, first_us, sequence, record.timestamp_us, record.crc, closed, problem)


def _unusable(name: str, why: str) -> ChainLink:
    return ChainLink(name, None, 0, 0, 0, 0, False, f"{name}: {why}")
