"""Sealing: the memtables of one collection become a segment, its id-index run and kills files.

    freeze   the memtable is set aside at one sequence, a new one takes over
    write    segment, kills files, run: written and synced, while the collection may be written to
    install  the segment stands in for the frozen memtables; kills made meanwhile are carried over

Nothing here is visible to a restart: who seals names the result in a manifest, or beside what it stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.manifest import CollectionEntry, SegmentEntry
from ..model import CollectionSpec, Digest, Int64Array, Sequence64, StorageKind, Uint64Array
from ..storage.bulk import Pace
from ..storage.clock import Randomness
from ..storage.files import FileSystem
from ..storage.id_index import IdIndex
from ..storage.names import Layout
from ..storage.segment import Segment, SegmentColumns, open_segment, write_segment
from .collection import Collection
from .memtable import Memtable


@dataclass(frozen=True, slots=True)
class FrozenCollection:
    """One collection at the moment at which it was frozen."""

    collection: Collection
    spec: CollectionSpec
    tables: tuple[Memtable, ...]
    lengths: tuple[int, ...]
    segments: tuple[Segment, ...]
    index: IdIndex
    count: int
    digest: Digest
    updated_us: int
    own_writes: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a collection's frozen memtables became.

    ``kept``: per table, the rows that are in the segment, in order. ``replaced``: files that the entry no longer names.
    """

    entry: CollectionEntry
    segment: Segment | None
    kept: tuple[Int64Array, ...]
    index: IdIndex
    replaced: tuple[str, ...]


class Sealer:
    """See the module. One thread at a time; blocks. ``begun``: the paths made so far, which no manifest names yet."""

    def __init__(self, fs: FileSystem, layout: Layout, randomness: Randomness, pace: Pace) -> None:
        self._fs = fs
        self._layout = layout
        self._randomness = randomness
        self._pace = pace
        self.begun: list[str] = []

    def write(self, frozen: FrozenCollection, entry: CollectionEntry, sequence: Sequence64) -> Written:
        """Write what memtables held at ``sequence``; ``entry``: the collection as it was before. Durable on return.

        Raises OSError or a HoldfastError; ``begun`` then lists what is to be removed.
        """
        kept = tuple(
            rows_to_keep(table, length, entry.high_water, sequence)
            for table, length in zip(frozen.tables, frozen.lengths, strict=True)
        )
        entries, replaced = self._write_kills(frozen, entry, sequence)
        segment, index, next_ordinal = None, frozen.index, entry.next_ordinal
        if sum(map(len, kept)):
            segment, segment_entry, hashes = self._write_segment(frozen, kept, next_ordinal, sequence)
            entries = (*entries, segment_entry)
            rows = np.arange(segment_entry.rows, dtype=np.uint32)
            index, obsolete = index.with_run(
                self._fs,
                self._layout,
                frozen.spec.id,
                hashes,
                next_ordinal,
                rows,
                live_ordinals=[known.ordinal for known in entry.segments],
                pace=self._pace,
            )
            self.begun += self._layout.run_files(frozen.spec.id, index.entries[0].name)
            replaced += obsolete
            next_ordinal += 1
        written = CollectionEntry(
            spec=frozen.spec,
            checkpoint_sequence=sequence,
            count=frozen.count,
            digest=frozen.digest,
            segments=entries,
            index_runs=index.entries,
            next_ordinal=next_ordinal,
            updated_us=frozen.updated_us,
            high_water=entry.high_water,
            own_writes=frozen.own_writes,
        )
        return Written(written, segment, kept, index, tuple(replaced))

    def _write_kills(
        self, frozen: FrozenCollection, entry: CollectionEntry, sequence: Sequence64
    ) -> tuple[tuple[SegmentEntry, ...], list[str]]:
        """The entries of the segments that exist, with new kills files where rows died since the last checkpoint.

        Also the kills files that these replace.
        """
        entries = {segment.id: segment for segment in entry.segments}
        out, replaced = [], []
        for segment in frozen.segments:
            known = entries[segment.info.id]
            if segment.killed is not None and int(segment.killed.max()) > entry.checkpoint_sequence:
                name = segment.write_kills(self._fs, self._layout, sequence)
                self.begun.append(f"{self._layout.segment_dir(frozen.spec.id, known.id)}/{name}")
                if known.kills is not None and known.kills != name:
                    directory = self._layout.segment_dir(frozen.spec.id, known.id)
                    replaced.append(f"{directory}/{known.kills}")
                known = replace(known, kills=name)
            out.append(known)
        return tuple(out), replaced

    def _write_segment(
        self, frozen: FrozenCollection, kept: Sequence[Int64Array], ordinal: int, sequence: Sequence64
    ) -> tuple[Segment, SegmentEntry, Uint64Array]:
        columns = gather(frozen.tables, frozen.lengths, kept)
        segment_id = self._randomness.uuid4()
        directory = self._layout.segment_dir(frozen.spec.id, segment_id)
        if not self._fs.exists(directory):
            self.begun.append(directory)
        info = write_segment(self._fs, self._layout, frozen.spec.id, segment_id, ordinal, columns, pace=self._pace)
        entry = SegmentEntry(segment_id, ordinal, info.rows, info.size_bytes)
        segment = open_segment(self._fs, self._layout, frozen.spec.id, entry)
        killed = np.concatenate([table.killed[rows] for table, rows in zip(frozen.tables, kept, strict=True)])
        dead = np.flatnonzero((killed != 0) & (killed <= sequence))
        if len(dead):
            segment.kill(dead, killed[dead])
            entry = replace(entry, kills=segment.write_kills(self._fs, self._layout, sequence))
        return segment, entry, columns.id_hashes


def freeze(collection: Collection) -> FrozenCollection:
    """Set aside what a collection's memtable holds (applier only). One in memory or in quarantine keeps it."""
    volatile = collection.spec.storage is StorageKind.MEMORY
    if collection.memtable.length and not volatile and not collection.quarantined:
        collection.frozen = (*collection.frozen, collection.memtable)
        collection.memtable = Memtable(collection.spec.dimensions)
        collection.publish()
    return FrozenCollection(
        collection=collection,
        spec=collection.spec,
        tables=collection.frozen,
        lengths=tuple(table.length for table in collection.frozen),
        segments=collection.segments,
        index=collection.index,
        count=0 if volatile else collection.count,
        digest=Digest() if volatile else collection.digest,
        updated_us=collection.updated_us,
        own_writes=collection.own_writes,
    )


def install(frozen: FrozenCollection, done: Written, sequence: Sequence64) -> None:
    """Put what was written in the place of the frozen memtables (applier only); ``sequence``: as it was written."""
    collection = frozen.collection
    if done.segment is not None:
        _carry_over_kills(frozen.tables, done.kept, done.segment)
        collection.segments = (*collection.segments, done.segment)
    collection.frozen = collection.frozen[len(frozen.tables) :]
    collection.index = done.index
    collection.checkpoint_sequence = sequence
    collection.publish()


def rows_to_keep(table: Memtable, length: int, high_water: Sequence64, sequence: Sequence64) -> Int64Array:
    """Rows that are alive at ``sequence``, or whose death the next incremental snapshot has to report (RULES 21)."""
    killed = table.killed[:length]
    keep = (killed == 0) | (killed > sequence)
    if high_water:
        keep |= killed > high_water
    return np.flatnonzero(keep)


def gather(tables: Sequence[Memtable], lengths: Sequence[int], kept: Sequence[Int64Array]) -> SegmentColumns:
    """The kept rows of the tables as a segment's columns; vectors are copied only where rows are left out."""
    vectors, ids, payloads = [], [], []
    for table, length, rows in zip(tables, lengths, kept, strict=True):
        if len(rows) == length:
            vectors += table.vector_chunks(length)
            ids += table.ids[:length]
            payloads += table.payloads[:length]
            continue
        step = table.chunk_rows
        vectors += [table.vectors_at(rows[start : start + step]) for start in range(0, len(rows), step)]
        ids += [table.ids[row] for row in rows.tolist()]
        payloads += [table.payloads[row] for row in rows.tolist()]

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(table, name)[rows] for table, rows in zip(tables, kept, strict=True)])

    return SegmentColumns(
        ids=ids,
        vectors=vectors,
        norms=column("norms"),
        payloads=payloads,
        sequences=column("sequences"),
        times=column("times"),
        versions=column("versions"),
        hashes=column("hashes"),
        id_hashes=column("id_hashes"),
    )


def _carry_over_kills(tables: Sequence[Memtable], kept: Sequence[Int64Array], segment: Segment) -> None:
    """Give the segment the kills that hit its rows while they were being written."""
    killed = np.concatenate([table.killed[rows] for table, rows in zip(tables, kept, strict=True)])
    known = segment.killed if segment.killed is not None else np.zeros(len(killed), np.uint64)
    fresh = np.flatnonzero((killed != 0) & (known == 0))
    if len(fresh):
        segment.kill(fresh, killed[fresh])
