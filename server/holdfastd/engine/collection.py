"""One collection as the applier sees it: memtables, segments, count and digest, and how a write changes them.

Everything here belongs to the applier (whoever commits at the moment, one thread at a time). Readers use the ``view``
that is published after each group; other threads never touch a Collection's attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..format.operation import digest_sums
from ..model import CollectionSpec, Digest, Int64Array, Rows, Sequence64, StorageKind, Uint64Array
from ..storage.id_index import IdIndex
from ..storage.quarantine import QuarantinedSegment
from ..storage.segment import Segment
from .memtable import Memtable
from .payload_check import check_of
from .quarantine import lost_rows
from .view import MemtableSlice, View

Table: TypeAlias = Memtable | Segment

UNKNOWN_VERSION = 0
"""The version of a row whose predecessor stands in a quarantined segment. It never reaches the disk."""


@dataclass(frozen=True, slots=True)
class LivePoints:
    """Live rows of one table, and which of the asked ids (``positions``) they hold."""

    table: Table
    rows: Int64Array
    positions: Int64Array


class Collection:
    """See the module. ``checkpoint_sequence``: the log up to there is reflected in segments.

    ``quarantined``: segments that cannot be read. Then nobody writes to the collection, and no checkpoint reaches it:
    what the log holds after its last one is applied at each start, as far as that can be known.
    """

    def __init__(
        self,
        spec: CollectionSpec,
        *,
        index: IdIndex,
        segments: tuple[Segment, ...] = (),
        count: int = 0,
        digest: Digest | None = None,
        sequence: Sequence64 = 0,
        updated_us: int = 0,
        own_writes: bool = False,
        quarantined: tuple[QuarantinedSegment, ...] = (),
    ) -> None:
        self.spec = spec
        self._first_origin = spec.origin
        self.payload_check = check_of(spec.schema_json)
        self.index = index
        self.segments = segments
        self.frozen: tuple[Memtable, ...] = ()
        self.memtable = Memtable(spec.dimensions)
        self.count = count
        self.digest = digest or Digest()
        self.sequence = sequence
        self.checkpoint_sequence = sequence
        self.updated_us = updated_us
        self.own_writes = own_writes
        """Whether anything but a replay has written to it since it was restored (RULES 31)."""
        self.quarantined = quarantined
        # Read by anybody, replaced by the applier.
        self.view = self.make_view()

    # Writes ---------------------------------------------------------------------------------------------------------

    def upsert(self, rows: Rows, sequence: Sequence64, time_us: int) -> NDArray[np.uint32]:
        """Write ``rows``; returns (n,) u32, the version that each now has."""
        versions = np.ones(len(rows), np.uint32)
        previous = self.memtable.latest_rows(rows.ids)
        found = self.find_live(rows.ids, rows.id_hashes, previous)
        for live in found:
            versions[live.positions] = versions_at(live.table, live.rows) + 1
        if self.quarantined:
            versions[self._supersede_lost(found, rows.id_hashes, sequence)] = UNKNOWN_VERSION
        for live in found:
            self._kill(live.table, live.rows, sequence)
        self.memtable.append(rows, previous, versions, sequence, time_us)
        self.count += len(rows)
        self.digest = self.digest.plus(*digest_sums(rows.hashes))
        self._touch(sequence, time_us)
        return versions

    def delete(self, ids: list[bytes], id_hashes: Uint64Array, sequence: Sequence64, time_us: int) -> int:
        """Delete ``ids``; returns how many of them existed."""
        before = self.count
        found = self.find_live(ids, id_hashes)
        if self.quarantined:
            self._supersede_lost(found, id_hashes, sequence)
        for live in found:
            self._kill(live.table, live.rows, sequence)
        self._touch(sequence, time_us)
        return before - self.count

    def truncate(self, sequence: Sequence64, time_us: int) -> int:
        """Delete every point; returns how many there were."""
        before = self.count
        for table in self.tables():
            self._kill(table, alive_rows(table), sequence)
        for segment in self.quarantined:
            segment.kill_all(sequence)
            self.count, self.digest = 0, Digest()
        self._touch(sequence, time_us)
        return before - self.count

    def sequences_of(self, ids: list[bytes], id_hashes: Uint64Array) -> Uint64Array:
        """(n,) u64: the sequence at which each id was last written, 0 where it does not exist now."""
        out = np.zeros(len(ids), np.uint64)
        for live in self.find_live(ids, id_hashes):
            out[live.positions] = sequences_at(live.table, live.rows)
        return out

    def _kill(self, table: Table, rows: Int64Array, sequence: Sequence64) -> None:
        high, low = digest_sums(hashes_at(table, rows))
        self.digest = self.digest.plus(-high, -low)
        self.count -= len(rows)
        if isinstance(table, Memtable):
            table.kill(rows, sequence)
        else:
            table.kill(rows, np.full(len(rows), sequence, np.uint64))

    def _supersede_lost(self, found: list[LivePoints], id_hashes: Uint64Array, sequence: Sequence64) -> Int64Array:
        """Kill what may have been these ids in quarantined segments, as far as its rows are known.

        Returns the positions of the ids whose version cannot be known from here on. The digest cannot follow.
        """
        known = np.zeros(len(id_hashes), np.bool_)
        unknown = np.zeros(len(id_hashes), np.bool_)
        for live in found:
            known[live.positions] = True
            unknown[live.positions] = versions_at(live.table, live.rows) == UNKNOWN_VERSION
        missing = np.flatnonzero(~known)
        for segment, rows, positions in lost_rows(self.quarantined, self.index, id_hashes[missing], sequence):
            segment.kill(rows, sequence)
            self.count -= len(rows) if segment.kills_known else 0
            unknown[missing[positions]] = True
        return np.flatnonzero(unknown)

    def _touch(self, sequence: Sequence64, time_us: int) -> None:
        self.sequence = sequence
        self.updated_us = time_us

    # Looking up -----------------------------------------------------------------------------------------------------

    def find_live(self, ids: list[bytes], id_hashes: Uint64Array, latest: Int64Array | None = None) -> list[LivePoints]:
        """The live rows of ``ids``, table by table. ``latest``: what the active memtable says of them, if known."""
        found: list[LivePoints] = []
        open_positions = np.arange(len(ids), dtype=np.int64)
        for table in (self.memtable, *reversed(self.frozen)):
            if not len(open_positions) or not table.length:
                continue
            wanted = ids if len(open_positions) == len(ids) else [ids[p] for p in open_positions]
            known = latest if table is self.memtable else None
            rows = table.latest_rows(wanted) if known is None else known
            hit = rows >= 0
            if hit.any():
                hit &= table.killed[rows] == 0
                found.append(LivePoints(table, rows[hit], open_positions[hit]))
                open_positions = open_positions[~hit]
        if len(open_positions) and self.segments:
            found.extend(self._find_in_segments(ids, id_hashes, open_positions))
        return found

    def _find_in_segments(self, ids: list[bytes], id_hashes: Uint64Array, wanted: Int64Array) -> Iterator[LivePoints]:
        mine = ids if len(wanted) == len(ids) else [ids[p] for p in wanted]
        for live in live_in_segments(self.index, self.segments, mine, id_hashes[wanted]):
            yield LivePoints(live.table, live.rows, wanted[live.positions])

    def tables(self) -> tuple[Table, ...]:
        """Every table, oldest first."""
        return (*self.segments, *self.frozen, self.memtable)

    # Publishing -----------------------------------------------------------------------------------------------------

    def make_view(self) -> View:
        """The state as it is now, as a value."""
        memtables = tuple(MemtableSlice(table, table.length) for table in (*self.frozen, self.memtable))
        return View(
            spec=self.spec,
            sequence=self.sequence,
            segments=self.segments,
            memtables=memtables,
            index=self.index,
            count=self.count,
            digest=self.digest,
            updated_us=self.updated_us,
            quarantined=self.quarantined,
        )

    def publish(self) -> None:
        """Let readers see the state as it is now."""
        self.view = self.make_view()

    def move_watermark(self, through: Sequence64, timeline: int = 0) -> None:
        """Record that a replay has brought the collection to ``through`` of its origin's history.

        ``timeline``: the one that this history goes on with from there; 0 where it stays the same.
        """
        origin = self.spec.origin
        assert origin is not None
        self.spec = replace(self.spec, origin=replace(origin, through=through, timeline=timeline or origin.timeline))

    @property
    def spec_when_made(self) -> CollectionSpec:
        """The spec before any replay: what a manifest says of it that holds none of what replays have brought."""
        return replace(self.spec, origin=self._first_origin)

    @property
    def held_back(self) -> bool:
        """Whether it was written to after its checkpoint and no other can reach it: the log has to be kept for it."""
        return bool(self.quarantined) and self.sequence > self.checkpoint_sequence

    @property
    def reached_by_checkpoints(self) -> bool:
        """Whether its points are to become segments."""
        return self.spec.storage is not StorageKind.MEMORY and not self.quarantined

    @property
    def memtable_bytes(self) -> int:
        """Bytes of points that are not in a segment yet, frozen ones included."""
        return self.memtable.bytes + sum(table.bytes for table in self.frozen)


def live_in_segments(
    index: IdIndex, segments: Sequence[Segment], ids: list[bytes], id_hashes: Uint64Array
) -> Iterator[LivePoints]:
    """The live rows of ``ids`` in sealed segments, segment by segment. May read the disk."""
    positions, ordinals, rows = index.lookup(id_hashes)
    if not len(positions):
        return
    by_ordinal = {segment.ordinal: segment for segment in segments}
    for ordinal in np.unique(ordinals):
        segment = by_ordinal.get(int(ordinal))
        if segment is None:
            continue
        here = ordinals == ordinal
        candidates, at = rows[here].astype(np.int64), positions[here]
        if segment.killed is not None:
            alive = segment.killed[candidates] == 0
            candidates, at = candidates[alive], at[alive]
        stored = segment.ids_at(candidates)
        same = np.fromiter((s == ids[p] for s, p in zip(stored, at, strict=True)), np.bool_, len(at))
        if same.any():
            yield LivePoints(segment, candidates[same], at[same])


def versions_at(table: Table, rows: Int64Array) -> NDArray[np.uint32]:
    """(len(rows),) u32 versions."""
    return table.versions[rows] if isinstance(table, Memtable) else table.facts_at(rows)["version"]


def hashes_at(table: Table, rows: Int64Array) -> Uint64Array:
    """(len(rows), 2) u64 row hashes, high and low."""
    if isinstance(table, Memtable):
        return table.hashes[rows]
    facts = table.facts_at(rows)
    return np.column_stack((facts["hash_high"], facts["hash_low"]))


def sequences_at(table: Table, rows: Int64Array) -> Uint64Array:
    """(len(rows),) u64 sequences."""
    return table.sequences[rows] if isinstance(table, Memtable) else table.facts_at(rows)["sequence"]


def alive_rows(table: Table) -> Int64Array:
    """The rows that nothing has superseded or deleted."""
    if isinstance(table, Memtable):
        return np.flatnonzero(table.killed[: table.length] == 0)
    if table.killed is None:
        return np.arange(table.rows_count, dtype=np.int64)
    return np.flatnonzero(table.killed == 0)
