"""Opening collections: as a manifest's entry describes them, or as a restore has staged them.

At start, damage to one of them must not keep the others from being served. A segment that cannot be opened is
quarantined; a damaged part of an id index, which holds nothing of its own, is made anew from the segments; a memory
collection, whose points end with the daemon, is empty after a start whatever its files look like. While the store
serves, nothing of this is done: a restore that staged something damaged fails, and leaves the store as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

import msgspec

from ..errors import Corruption
from ..format.manifest import CollectionEntry, RunEntry
from ..model import MMAP_AS_USUAL, CollectionSpec, Digest, MmapSettings, StorageKind
from ..storage.checks import DamageOf
from ..storage.files import FileSystem
from ..storage.id_index import IdIndex, open_index
from ..storage.id_rebuild import SegmentDamaged, open_runs, rebuild_run
from ..storage.id_run import Run
from ..storage.names import Layout
from ..storage.quarantine import QuarantinedSegment, lost_segment, quarantine
from ..storage.run_names import last_ordinal
from ..storage.segment import Segment, open_segment
from ..storage.segment_check import check_files
from .changes import RestoredCollection
from .collection import Collection

STAGED_ENTRY = "staged.json"

MmapOf = Callable[[uuid.UUID], MmapSettings]
"""How the segments of a collection are read."""

OpenRestored = Callable[[CollectionSpec, RestoredCollection], Collection]
"""What makes a collection of a staged directory: its spec with the sequence of the restore, and the record's part."""


# While the store serves -----------------------------------------------------------------------------------------------


def open_collection(
    fs: FileSystem, layout: Layout, entry: CollectionEntry, settings: MmapSettings = MMAP_AS_USUAL
) -> Collection:
    """A collection as an entry describes it. Opens its segments; no work per row. Raises Corruption."""
    return _collection(
        entry,
        open_index(fs, layout, entry.spec.id, entry.index_runs, settings),
        tuple(open_segment(fs, layout, entry.spec.id, segment, settings) for segment in entry.segments),
    )


def staged_opener(fs: FileSystem, layout: Layout, mmap_of: MmapOf) -> OpenRestored:
    """What opens restored collections where they were staged, once recovery is over."""

    def open_restored(spec: CollectionSpec, restored: RestoredCollection) -> Collection:
        return staged_collection(fs, layout, spec, mmap_of(spec.id))

    return open_restored


def staged_collection(
    fs: FileSystem, layout: Layout, spec: CollectionSpec, settings: MmapSettings = MMAP_AS_USUAL
) -> Collection:
    """A restored collection where it was staged; ``spec`` says since which sequence it is there. Raises Corruption."""
    entry = replace(read_staged_entry(fs, layout, spec), spec=spec, checkpoint_sequence=spec.created_sequence)
    collection = open_collection(fs, layout, entry, settings)
    # A memory collection too: its points have just been read from a file, and live until the daemon ends.
    collection.count, collection.digest = entry.count, entry.digest
    collection.publish()
    return collection


def read_staged_entry(fs: FileSystem, layout: Layout, spec: CollectionSpec) -> CollectionEntry:
    """What a restore left beside the segments of the collection that it staged. Raises Corruption."""
    path = f"{layout.collection_dir(spec.id)}/{STAGED_ENTRY}"
    try:
        with DamageOf(path):
            return msgspec.json.decode(fs.read(path), type=CollectionEntry)
    except msgspec.MsgspecError as error:
        raise Corruption(f"describes no collection: {error}", path=path) from error


def staged_or_new_entry(fs: FileSystem, layout: Layout, collection: Collection) -> CollectionEntry:
    """The entry of a collection that no manifest knows yet: created or restored, and not reached by a checkpoint."""
    spec = collection.spec_when_made
    if fs.exists(f"{layout.collection_dir(spec.id)}/{STAGED_ENTRY}"):
        entry = read_staged_entry(fs, layout, spec)
        return replace(entry, spec=spec, checkpoint_sequence=collection.checkpoint_sequence)
    return CollectionEntry(spec=spec, checkpoint_sequence=spec.created_sequence, count=0, digest=Digest())


def _collection(
    entry: CollectionEntry,
    index: IdIndex,
    segments: tuple[Segment, ...],
    quarantined: tuple[QuarantinedSegment, ...] = (),
) -> Collection:
    volatile = entry.spec.storage is StorageKind.MEMORY
    return Collection(
        entry.spec,
        index=index,
        segments=segments,
        count=0 if volatile else entry.count,
        digest=Digest() if volatile else entry.digest,
        sequence=entry.checkpoint_sequence,
        updated_us=entry.updated_us,
        own_writes=entry.own_writes,
        quarantined=quarantined,
    )


# At start -------------------------------------------------------------------------------------------------------------


class StartOpener:
    """Opens collections at start. ``open`` changes nothing on the disk, ``mend`` and ``open_restored`` may.

    ``mmap_of``: how it reads their segments. ``thorough``: read every file and compare its checksum, instead of
    trusting what costs no work per row.
    ``warnings``: what was found damaged, for the operator's log. ``rebuilt``: names of collections whose index was.
    """

    def __init__(self, fs: FileSystem, layout: Layout, mmap_of: MmapOf, *, thorough: bool = False) -> None:
        self._fs = fs
        self._layout = layout
        self._mmap_of = mmap_of
        self._thorough = thorough
        self._entries: dict[uuid.UUID, CollectionEntry] = {}
        self._runs: dict[uuid.UUID, list[Run | Corruption]] = {}
        self.warnings: list[str] = []
        self.rebuilt: list[str] = []

    def open(self, entry: CollectionEntry) -> Collection:
        """The collection, with what is damaged set aside. Raises UnsupportedFormat, or OSError that is no damage."""
        self._entries[entry.spec.id] = entry
        if entry.spec.storage is StorageKind.MEMORY:
            return _collection(entry, IdIndex(), ())
        settings = self._mmap_of(entry.spec.id)
        runs = open_runs(self._fs, self._layout, entry.spec.id, entry.index_runs, settings, thorough=self._thorough)
        if any(isinstance(run, Corruption) for run in runs):
            self._runs[entry.spec.id] = runs
        segments, quarantined = [], []
        for each in entry.segments:
            try:
                segment = open_segment(self._fs, self._layout, entry.spec.id, each, settings)
                if self._thorough:
                    check_files(self._fs, segment, segment.info.files)
                segments.append(segment)
            except Corruption as damage:
                at = _run_of(entry.index_runs, each.ordinal)
                indexed = at is not None and isinstance(runs[at], Run)
                set_aside = quarantine(self._fs, self._layout, entry.spec.id, each, damage, indexed=indexed)
                quarantined.append(set_aside)
                self._tell(entry.spec, set_aside)
        index = IdIndex([run for run in runs if isinstance(run, Run)])
        return _collection(entry, index, tuple(segments), tuple(quarantined))

    def mend(self, collection: Collection) -> None:
        """Make the damaged runs of its id index anew, if there are any. Blocks; durable, and named by no manifest yet.

        Raises OSError where they cannot be written.
        """
        runs = self._runs.pop(collection.spec.id, None)
        if runs is None:
            return
        entry = self._entries[collection.spec.id]
        mended: list[Run] = []
        for at, run in enumerate(runs):
            made = self._rebuild(collection, entry.index_runs, at, run) if isinstance(run, Corruption) else run
            if made is not None:
                made.opened.read_as(self._mmap_of(collection.spec.id))
                mended.append(made)
        collection.index = IdIndex(mended)
        collection.publish()
        self.rebuilt.append(collection.spec.name)

    def open_restored(self, spec: CollectionSpec, restored: RestoredCollection) -> Collection:
        """What a restore staged and the log published, with what is damaged set aside."""
        try:
            entry = read_staged_entry(self._fs, self._layout, spec)
        except Corruption as damage:
            return self._lost(spec, restored, damage)
        collection = self.open(replace(entry, spec=spec, checkpoint_sequence=spec.created_sequence))
        self.mend(collection)
        return collection

    def entry_of(self, collection: Collection) -> CollectionEntry:
        """How the next manifest names a collection. What it does not reflect yet stays in the log."""
        entry = self._entries.get(collection.spec.id)
        if entry is None:
            spec = collection.spec_when_made
            return CollectionEntry(spec=spec, checkpoint_sequence=spec.created_sequence, count=0, digest=Digest())
        if all(segment.indexed for segment in collection.quarantined):
            return replace(entry, index_runs=collection.index.entries or entry.index_runs)
        # An index without the rows of a quarantined segment must not pass for whole: each start makes it anew.
        return entry

    def _lost(self, spec: CollectionSpec, restored: RestoredCollection, damage: Corruption) -> Collection:
        """A restored collection of which nobody can tell any more what its segments are called."""
        entry = CollectionEntry(spec, spec.created_sequence, restored.count, restored.digest)
        if spec.storage is StorageKind.MEMORY:
            self._entries[spec.id] = replace(entry, count=0, digest=Digest())
            return _collection(entry, IdIndex(), ())
        lost = lost_segment(spec.id, restored.count, damage)
        self._entries[spec.id] = replace(entry, segments=(lost.entry,), next_ordinal=1)
        self._tell(spec, lost)
        return _collection(entry, IdIndex(), (), (lost,))

    def _rebuild(
        self, collection: Collection, entries: tuple[RunEntry, ...], at: int, damage: Corruption
    ) -> Run | None:
        self.warnings.append(
            f"{damage.message}; this part of the id index of {collection.spec.name!r} was made anew from its segments"
        )
        while True:
            listed = [segment for segment in collection.segments if _run_of(entries, segment.ordinal) == at]
            try:
                return rebuild_run(self._fs, self._layout, collection.spec.id, entries[at], listed)
            except SegmentDamaged as found:
                self._set_aside(collection, found)

    def _set_aside(self, collection: Collection, found: SegmentDamaged) -> None:
        """Quarantine a segment that could be opened, but not be read."""
        spec, segment = collection.spec, found.segment
        entry = segment.entry(segment.kills_file)
        bad = quarantine(self._fs, self._layout, spec.id, entry, found.damage, indexed=False)
        collection.segments = tuple(each for each in collection.segments if each is not segment)
        collection.quarantined = (*collection.quarantined, bad)
        self._tell(spec, bad)

    def _tell(self, spec: CollectionSpec, segment: QuarantinedSegment) -> None:
        self.warnings.append(
            f"{segment.path}: {segment.problem}; segment {segment.id} of {spec.name!r} with {segment.rows_count} rows "
            "is quarantined: the collection takes no writes, and only what is certain is read"
        )


def _run_of(entries: tuple[RunEntry, ...], ordinal: int) -> int | None:
    """Which of the runs, newest first, lists the segment with this number: the oldest that goes so far."""
    for at in reversed(range(len(entries))):
        if last_ordinal(entries[at]) >= ordinal:
            return at
    return None
