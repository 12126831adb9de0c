"""Compaction: neighbouring segments of a collection are written anew as one, without the rows that are dead.

    take     which rows stay: all but those that were dead at the collection's checkpoint (RULES 20). Of what an
             increment may still have to tell a tombstone stays (RULES 21)
    write    the new segment's arrays, each old one proven while it is read; reads, writes and checkpoints go on
    number   with checkpoints held off: the new segment gets its number, the kills so far, its rows in the id index
    commit   the manifest names it instead of the old ones: the same state in other files
    install  between two groups: readers get it; kills made meanwhile are carried over
    clean    the old files are removed. Who still reads them keeps them on the disk until it lets go

One that fails before the commit changes nothing: its files are removed, or are garbage to the next start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np

from ..errors import EngineFailed, ResourceExhausted
from ..format.hashing import hash_ids
from ..format.manifest import CollectionEntry, Manifest, SegmentEntry
from ..format.segment import FileInfo
from ..model import Uint64Array
from ..storage.bulk import Pace, unpaced
from ..storage.clock import Randomness
from ..storage.disk_usage import disk_usage
from ..storage.files import FileSystem, remove_tree
from ..storage.id_index import IdIndex
from ..storage.names import Layout
from ..storage.segment import Segment, open_segment
from ..storage.segment_files import name_segment, write_files
from ..storage.segment_merge import ROWS_AT_ONCE, merged, prove
from .apply import Applier
from .checkpoint import Checkpointer
from .collection import Collection
from .committer import Committer
from .compaction_rows import CarriedKills, take
from .manifest_keeper import ManifestKeeper
from .populating import settle


@dataclass(frozen=True, slots=True)
class CompactionGround:
    """The parts of the engine that a compaction works with. ``held_pace``: of what holds checkpoints off."""

    fs: FileSystem
    layout: Layout
    randomness: Randomness
    applier: Applier
    committer: Committer
    keeper: ManifestKeeper
    checkpointer: Checkpointer
    held_pace: Pace = unpaced

    def entry_of(self, collection: Collection) -> CollectionEntry | None:
        """How the manifest has a collection that is there; None where it is gone, or no manifest knows it yet."""
        if self.applier.catalog.get(collection.spec.id) is not collection:
            return None
        return next((each for each in self.keeper.current.collections if each.spec.id == collection.spec.id), None)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of a group of segments: dead rows that are gone, and bytes on the disk before and after."""

    rows_dropped: int
    before_bytes: int
    after_bytes: int


@dataclass(frozen=True, slots=True)
class _Successor:
    """What takes the place of the group: a segment, or None where nothing is left of it, and the id index with it.

    ``next_ordinal``: of the collection's next segment.
    """

    segment: Segment | None
    entry: SegmentEntry | None
    index: IdIndex
    next_ordinal: int


class Compaction:
    """One group of neighbouring segments of one collection, written anew as one segment.

    One thread; whoever runs it sees to it that no other compaction of the collection runs. ``pace``: called with the
    bytes of each piece that is read or written, it may block; what it raises ends the compaction. ``index_anew``: the
    whole id index becomes one run as well.
    """

    def __init__(
        self,
        ground: CompactionGround,
        collection: Collection,
        group: Sequence[Segment],
        pace: Pace,
        *,
        index_anew: bool = False,
    ) -> None:
        self._ground = ground
        self._fs, self._layout = ground.fs, ground.layout
        self._collection = collection
        self._id = collection.spec.id
        self._group = tuple(group)
        self._pace = pace
        self._index_anew = index_anew
        self._segment_id = ground.randomness.uuid4()
        self._begun = [self._layout.segment_dir(self._id, self._segment_id)]

    def run(self) -> Rewritten | None:
        """Durable on return; blocks. None where the collection is gone, and nothing is left to be done.

        Raises Corruption where a segment is damaged, EngineFailed, ResourceExhausted or OSError.
        """
        entry = self._ground.entry_of(self._collection)
        if entry is None:
            return None
        with self._given_up_on_failure():
            self._taken = [take(segment, entry) for segment in self._group]
            self._write()
        # The next checkpoint may give the same number and name: what is given up has to be gone before it begins.
        done: Rewritten | None = None
        with self._ground.checkpointer.exclusive(), self._given_up_on_failure():
            done = self._replace()
        return done

    @contextmanager
    def _given_up_on_failure(self) -> Iterator[None]:
        try:
            yield
        except EngineFailed:
            # A restart may find the manifest that names them.
            raise
        except BaseException as error:
            self._give_up()
            # Whoever removed the collection removed what was being written as well.
            if not isinstance(error, OSError) or self._ground.entry_of(self._collection) is not None:
                raise

    def _give_up(self) -> None:
        for path in self._begun:
            with suppress(OSError):
                remove_tree(self._fs, path)
        if self._ground.entry_of(self._collection) is None:
            # Whoever removes a collection that is gone came before this had begun, or found it in the way.
            with suppress(OSError):
                self._fs.rmdir(self._layout.collection_dir(self._id))

    def _write(self) -> None:
        for each in self._taken:
            prove(each.segment, self._pace)
        self._content, self._files = merged(self._taken), dict[str, FileInfo]()
        self._hashes = self._id_hashes()
        if not self._content.is_empty:
            self._files = write_files(
                self._fs, self._layout, self._id, self._segment_id, self._content, pace=self._pace
            )

    def _id_hashes(self) -> Uint64Array:
        """(rows,) of the ids that stay. Segments do not have them: they are the index's."""
        found = [np.zeros(0, np.uint64)]
        for each in self._taken:
            steps = range(0, len(each.rows), ROWS_AT_ONCE)
            found += [hash_ids(each.segment.ids_at(each.rows[start : start + ROWS_AT_ONCE])) for start in steps]
        return np.concatenate(found)

    # With checkpoints held off --------------------------------------------------------------------------------------

    def _replace(self) -> Rewritten | None:
        entry = self._ground.entry_of(self._collection)
        if entry is None:
            self._give_up()
            return None
        carried, before = CarriedKills(self._taken), self._collection.index
        self._ground.committer.between_groups(carried.begin)
        try:
            successor = self._number(entry, carried)
            settle(successor.segment, successor.index, self._ground.keeper.current.mmap_of(self._id))
            self._ground.keeper.update(lambda manifest: self._renamed(manifest, successor))
            # From here on they are the store's.
            begun, self._begun = self._begun, []
            self._ground.committer.between_groups(lambda: self._install(successor, carried))
        finally:
            carried.end()
        return self._clean(before, successor, begun)

    def _number(self, entry: CollectionEntry, carried: CarriedKills) -> _Successor:
        if self._content.is_empty:
            index = self._without_stale(self._collection.index, self._left)
            return _Successor(None, None, index, entry.next_ordinal)
        ordinal = entry.next_ordinal
        info = name_segment(self._fs, self._layout, self._id, self._segment_id, ordinal, self._content, self._files)
        named = SegmentEntry(self._segment_id, ordinal, info.rows, info.size_bytes)
        segment = open_segment(self._fs, self._layout, self._id, named)
        rows, sequences = carried.known()
        if len(rows):
            segment.kill(rows, sequences)
            if int(sequences.min()) <= entry.checkpoint_sequence:
                pace = self._ground.held_pace
                kills = segment.write_kills(self._fs, self._layout, entry.checkpoint_sequence, pace=pace)
                named = replace(named, kills=kills)
        index = self._without_stale(self._index_with(ordinal), {ordinal, *self._left})
        return _Successor(segment, named, index, ordinal + 1)

    @property
    def _left(self) -> set[int]:
        """The numbers of the collection's other segments."""
        return {each.ordinal for each in self._collection.segments} - {each.ordinal for each in self._group}

    def _index_with(self, ordinal: int) -> IdIndex:
        """The id index with the rows that stay, under the number of the new segment."""
        rows = np.arange(len(self._hashes), dtype=np.uint32)
        index, _ = self._collection.index.with_run(
            self._fs,
            self._layout,
            self._id,
            self._hashes,
            ordinal,
            rows,
            live_ordinals=self._left,
            pace=self._ground.held_pace,
        )
        self._begin(index)
        return index

    def _without_stale(self, index: IdIndex, live_ordinals: set[int]) -> IdIndex:
        """The same without what it lists of segments that are gone, where that is more than half or all is wanted."""
        live = len(self._hashes) + sum(s.rows_count for s in self._collection.segments if s.ordinal in self._left)
        if not (self._index_anew or index.rows_count > 2 * live):
            return index
        pace = self._ground.held_pace
        index, _ = index.as_one_run(self._fs, self._layout, self._id, live_ordinals, pace=pace)
        self._begin(index)
        return index

    def _begin(self, index: IdIndex) -> None:
        if index.entries:
            self._begun += self._layout.run_files(self._id, index.entries[0].name)

    def _renamed(self, manifest: Manifest, successor: _Successor) -> Manifest:
        """The manifest that names the successor; count, digest and checkpoint are what they were."""
        gone = {segment.info.id for segment in self._group}

        def changed(entry: CollectionEntry) -> CollectionEntry:
            if entry.spec.id != self._id:
                return entry
            at = next(number for number, each in enumerate(entry.segments) if each.id in gone)
            kept = [each for each in entry.segments if each.id not in gone]
            kept[at:at] = [] if successor.entry is None else [successor.entry]
            return replace(
                entry,
                segments=tuple(kept),
                index_runs=successor.index.entries,
                next_ordinal=successor.next_ordinal,
            )

        return replace(manifest, collections=tuple(map(changed, manifest.collections)))

    def _install(self, successor: _Successor, carried: CarriedKills) -> None:
        """Let readers have it (applier only). A collection that was dropped meanwhile has none."""
        collection = self._collection
        if successor.segment is not None:
            for rows, sequences in carried.since():
                successor.segment.kill(rows, sequences)
        at = collection.segments.index(self._group[0])
        new = () if successor.segment is None else (successor.segment,)
        collection.segments = (*collection.segments[:at], *new, *collection.segments[at + len(self._group) :])
        collection.index = successor.index
        collection.publish()

    # Afterwards -----------------------------------------------------------------------------------------------------

    def _clean(self, before: IdIndex, successor: _Successor, begun: list[str]) -> Rewritten:
        """Remove what was replaced, once the manifest before the current one does not name it either.

        ``before``: the index that readers had; ``begun``: what was written.
        """
        named = {path for run in successor.index.runs for path in run.files}
        old = [self._layout.segment_dir(self._id, segment.info.id) for segment in self._group]
        old += [path for run in before.runs for path in run.files if path not in named]
        new = [path for path in begun if path in named or path == begun[0]]
        old_bytes, new_bytes = (sum(disk_usage(self._fs, path) for path in paths) for paths in (old, new))
        # Of two runs that were written one after the other nothing ever named the first.
        old += [path for path in begun if path not in new]
        try:
            self._ground.keeper.update(lambda manifest: manifest)
        except ResourceExhausted:
            for path in old:
                self._ground.checkpointer.leave(path)
        else:
            for path in old:
                # What cannot be removed now is removed at the next start.
                with suppress(OSError):
                    remove_tree(self._fs, path)
        dropped = sum(segment.rows_count for segment in self._group) - self._content.rows
        return Rewritten(dropped, old_bytes, new_bytes)
