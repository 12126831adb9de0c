"""Checkpoint: memtables become segments, so that a prefix of the log is no longer needed.

    freeze   between two groups: every memtable is set aside at one sequence S, a new one takes over
    sync     the log is made durable through S, before anything that reflects S is published (RULES 4)
    write    segments, kills files, id-index runs: written and synced while writes go on
    commit   the manifest names them: from here on recovery starts after S
    install  between two groups: readers get segments for memtables; kills made since S are carried over
    clean    files that nothing names any more are removed and the log is trimmed

A checkpoint that fails anywhere before the commit changes nothing: its files are garbage, the memtables stay frozen and
the next checkpoint takes them along (RULES 27).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import EngineFailed, ResourceExhausted
from ..format.manifest import CollectionEntry, Manifest, SegmentEntry
from ..format.requests import RequestRow
from ..model import CatalogOrigin, CollectionSpec, Digest, Int64Array, Mark, Sequence64, StorageKind, Uint64Array
from ..storage.clock import Randomness
from ..storage.files import FileSystem, remove_tree
from ..storage.id_index import IdIndex
from ..storage.names import Layout
from ..storage.segment import Segment, SegmentColumns, open_segment, write_segment
from .apply import Applier
from .collection import Collection
from .committer import Committer
from .disk_errors import disk_errors_of, lacks_space
from .manifest_keeper import ManifestKeeper
from .memtable import Memtable
from .recovery_open import staged_or_new_entry
from .requests import store_requests
from .room import Room


@dataclass(frozen=True, slots=True)
class FrozenCollection:
    """One collection at the checkpoint's sequence."""

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
class Frozen:
    """The whole store at the checkpoint's sequence."""

    sequence: Sequence64
    logged_sequence: Sequence64
    time_us: int
    collections: tuple[FrozenCollection, ...]
    aliases: dict[str, uuid.UUID]
    marks: tuple[Mark, ...]
    requests: list[RequestRow]
    catalog_origin: CatalogOrigin | None


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


class Checkpointer:
    """See the module. One checkpoint at a time; callable from any thread; blocks until it is done."""

    def __init__(
        self,
        *,
        fs: FileSystem,
        layout: Layout,
        randomness: Randomness,
        applier: Applier,
        committer: Committer,
        keeper: ManifestKeeper,
        pace: Callable[[int], None],
        trim: Callable[[Sequence64], None],
    ) -> None:
        self._trim_log = trim
        self._fs = fs
        self._layout = layout
        self._randomness = randomness
        self._applier = applier
        self._committer = committer
        self._keeper = keeper
        self._pace = pace
        self._one_at_a_time = threading.Lock()
        # Guarded by _one_at_a_time: files that only the manifest before the current one still names.
        self._obsolete: list[str] = []
        # Guarded by _one_at_a_time: files of the checkpoint under way, which no manifest names yet.
        self._begun: list[str] = []
        # Set once by the engine.
        self.room: Room | None = None

    def run(self, *, clean: bool = False, insist: bool = False) -> Sequence64:
        """Checkpoint the whole store; returns the sequence through which everything is in segments.

        On a full disk the reserve gives way to it, all of it with ``insist``: for what nothing else would keep.
        ``clean`` marks the store as stopped in order. Raises a HoldfastError; then nothing has changed.
        """
        with self._one_at_a_time:
            try:
                return self._run(clean)
            except ResourceExhausted as error:
                if self.room is None or not lacks_space(error) or not self.room.give_way(last=insist):
                    raise
                return self._run(clean)

    def _run(self, clean: bool) -> Sequence64:
        with disk_errors_of("a checkpoint"):
            frozen: Frozen = self._committer.between_groups(self._freeze)
            self._sync_log()
            before = self._keeper.current
            written = self._publish(frozen, clean)
            self._committer.between_groups(lambda: self._install(frozen, written))
            self._remove_obsolete(before, [path for done in written for path in done.replaced])
            return frozen.sequence

    def _publish(self, frozen: Frozen, clean: bool) -> list[Written]:
        """Files, then the manifest that names them; where one fails, those before it are thrown away (RULES 27)."""
        self._begun.clear()
        try:
            written = [self._write(each, frozen.sequence) for each in frozen.collections]
            requests_file = self._write_requests(frozen)
            self._keeper.update(lambda manifest: self._updated(manifest, frozen, written, requests_file, clean))
        except EngineFailed:
            # A restart may find the manifest that names them.
            raise
        except BaseException:
            for path in self._begun:
                with suppress(OSError):
                    remove_tree(self._fs, path)
            raise
        return written

    def _sync_log(self) -> None:
        try:
            if self._committer.log is not None:
                self._committer.log.sync()
        except EngineFailed as error:
            self._committer.fail(error)
            raise

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold off checkpoints while the block publishes something of its own."""
        with self._one_at_a_time:
            yield

    def leave(self, path: str) -> None:
        """Remove a file with the next checkpoint: only the manifest before the current one names it. For the block."""
        self._obsolete.append(path)

    # Freeze ---------------------------------------------------------------------------------------------------------

    def _freeze(self) -> Frozen:
        applier = self._applier
        log = self._committer.log
        collections = tuple(map(_freeze_collection, applier.catalog.collections.values()))
        applier.recount()
        return Frozen(
            sequence=applier.sequence,
            logged_sequence=log.last_sequence if log is not None else self._keeper.current.logged_sequence,
            time_us=applier.time_us,
            collections=collections,
            aliases=dict(applier.catalog.aliases),
            marks=tuple(applier.marks.values()),
            requests=self._committer.requests.rows(),
            catalog_origin=applier.catalog.origin,
        )

    # Write ----------------------------------------------------------------------------------------------------------

    def _write(self, frozen: FrozenCollection, sequence: Sequence64) -> Written:
        known = {entry.spec.id: entry for entry in self._keeper.current.collections}
        entry = known.get(frozen.spec.id) or staged_or_new_entry(self._fs, self._layout, frozen.collection)
        if frozen.collection.quarantined:
            # What it will be cannot be known before its segment can be read again: the log keeps what follows.
            return Written(entry, None, (), frozen.index, ())
        kept = tuple(
            _rows_to_keep(table, length, entry.high_water, sequence)
            for table, length in zip(frozen.tables, frozen.lengths, strict=True)
        )
        entries, replaced = self._write_kills(frozen, entry, sequence)
        segment, index, next_ordinal = None, frozen.index, entry.next_ordinal
        if sum(map(len, kept)):
            segment, segment_entry, hashes = self._write_segment(frozen, kept, next_ordinal, sequence)
            entries = (*entries, segment_entry)
            rows = np.arange(segment_entry.rows, dtype=np.uint32)
            index, obsolete = index.with_run(
                self._fs, self._layout, frozen.spec.id, hashes, next_ordinal, rows, pace=self._pace
            )
            self._begun += self._layout.run_files(frozen.spec.id, index.entries[0].name)
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
                self._begun.append(f"{self._layout.segment_dir(frozen.spec.id, known.id)}/{name}")
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
            self._begun.append(directory)
        info = write_segment(self._fs, self._layout, frozen.spec.id, segment_id, ordinal, columns, pace=self._pace)
        entry = SegmentEntry(segment_id, ordinal, info.rows, info.size_bytes)
        segment = open_segment(self._fs, self._layout, frozen.spec.id, entry)
        killed = np.concatenate([table.killed[rows] for table, rows in zip(frozen.tables, kept, strict=True)])
        dead = np.flatnonzero((killed != 0) & (killed <= sequence))
        if len(dead):
            segment.kill(dead, killed[dead])
            entry = replace(entry, kills=segment.write_kills(self._fs, self._layout, sequence))
        return segment, entry, columns.id_hashes

    def _write_requests(self, frozen: Frozen) -> str | None:
        path = self._layout.requests(frozen.sequence)
        if frozen.requests and path.rsplit("/", 1)[1] != self._keeper.current.requests_file:
            self._begun.append(path)
        return store_requests(self._fs, self._layout, frozen.requests, frozen.sequence)

    def _updated(
        self, manifest: Manifest, frozen: Frozen, written: Sequence[Written], requests_file: str | None, clean: bool
    ) -> Manifest:
        log = self._committer.log
        directories = manifest.wal_directories
        if log is not None:
            directories = tuple(self._layout.relative(directory) for directory in log.directories)
        return replace(
            manifest,
            sequence=frozen.sequence,
            logged_sequence=frozen.logged_sequence,
            last_timestamp_us=frozen.time_us,
            collections=tuple(done.entry for done in written),
            aliases=frozen.aliases,
            marks=frozen.marks,
            requests_file=requests_file,
            catalog_origin=frozen.catalog_origin or msgspec.UNSET,
            log_start_required=min([frozen.sequence, *_held_back(frozen.collections)]) + 1,
            wal_directories=directories,
            clean=clean,
        )

    # Install --------------------------------------------------------------------------------------------------------

    def _install(self, frozen: Frozen, written: Sequence[Written]) -> None:
        """Exchange memtables for segments in every collection that still exists (on the committing thread)."""
        for each, done in zip(frozen.collections, written, strict=True):
            collection = each.collection
            if self._applier.catalog.get(each.spec.id) is not collection or collection.quarantined:
                continue
            if done.segment is not None:
                _carry_over_kills(each.tables, done.kept, done.segment)
                collection.segments = (*collection.segments, done.segment)
            collection.frozen = collection.frozen[len(each.tables) :]
            collection.index = done.index
            collection.checkpoint_sequence = frozen.sequence
            collection.publish()
        self._applier.recount()

    def _remove_obsolete(self, before: Manifest, replaced: list[str]) -> None:
        """Delete what was replaced by the checkpoint before this one, and the log that no kept manifest needs.

        What this checkpoint replaced stays until the next one: the manifest before the current one still names it, and
        has to do when the current one is ever damaged. Whoever drops a collection wants its space back, however: then
        the manifest is replaced once more, by itself, and nothing names it any longer.
        """
        current = self._keeper.current
        if before.requests_file not in (None, current.requests_file):
            replaced.append(f"{self._layout.root}/{before.requests_file}")
        kept = {entry.spec.id for entry in current.collections}
        dropped = [entry.spec.id for entry in before.collections if entry.spec.id not in kept]
        replaced += map(self._layout.collection_dir, dropped)
        if dropped:
            self._keeper.update(lambda manifest: manifest)
            before, self._obsolete = current, [*self._obsolete, *replaced]
            replaced = []
        obsolete, self._obsolete = self._obsolete, replaced
        for path in obsolete:
            # What cannot be removed now is removed at the next start.
            with suppress(OSError):
                remove_tree(self._fs, path)
        self._trim_log(before.log_start_required)


def _freeze_collection(collection: Collection) -> FrozenCollection:
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


def _held_back(collections: Sequence[FrozenCollection]) -> Iterator[Sequence64]:
    """Where the log has to begin behind, because a checkpoint does not reach what it holds of these collections."""
    for each in collections:
        if each.collection.held_back:
            yield each.collection.checkpoint_sequence


def _rows_to_keep(table: Memtable, length: int, high_water: Sequence64, sequence: Sequence64) -> Int64Array:
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
