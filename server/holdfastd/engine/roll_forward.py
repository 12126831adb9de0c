"""Rolling forward what is staged, before anybody sees it: the log behind a snapshot, applied up to one moment.

Nothing of it is logged or visible: the staged collections become what they were at that moment, segment by segment,
and are published like those of a snapshot that had been made then. Collections that the log creates on the way are
staged too, those that it drops are thrown away, and aliases follow.

While one memtable is being written as a segment, the next operations are applied to the one after it: memory holds two
of them, however long the log is.
"""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec

from ..errors import Corruption
from ..format.hashing import digest_sums
from ..format.manifest import CollectionEntry
from ..format.record import padded_size
from ..format.snapshot import SnapshotCollection
from ..model import CollectionSpec, Digest, Sequence64, StorageKind
from ..storage.bulk import write_document
from ..storage.files import make_dirs, remove_tree
from ..storage.id_index import IdIndex
from ..storage.wal_reader import LoggedRecord
from .change_codec import Logged
from .changes import POINTS, DeleteIds, Replayed, Truncate, UpsertRows
from .collection import Collection, alive_rows, hashes_at
from .course import Course
from .left_out import LeftOut
from .logged import decode_record
from .meter import Advance
from .recovery_open import STAGED_ENTRY, open_collection
from .sealing import FrozenCollection, Sealer, Written, freeze, install
from .snapshot_context import SnapshotContext

PointsChange: TypeAlias = UpsertRows | DeleteIds | Truncate | Replayed


@dataclass(slots=True)
class Rolling:
    """One collection on its way. ``source``: its spec in the history; ``collection`` and ``entry`` have the new id."""

    source: CollectionSpec
    collection: Collection
    entry: CollectionEntry


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What a collection's memtables became."""

    rolling: Rolling
    frozen: FrozenCollection
    written: Written


@dataclass(slots=True)
class Rolled:
    """What was done: ``operations`` that concern what is wanted, the time of the last one, the files they lie in.

    ``vectors``: points written and deleted.
    """

    operations: int = 0
    vectors: int = 0
    time_us: int = 0
    files: set[str] = field(default_factory=set)

    def note(self, record: LoggedRecord) -> None:
        """Count one operation."""
        self.operations += 1
        self.time_us = record.timestamp_us
        self.files.add(record.path)


class RollForward:
    """See the module. Belongs to one thread; blocks; everything is durable when ``finish`` returns.

    ``course``: which collections there are; ``new_id`` gives the id under which one is staged. ``left_out``: what is
    not to be applied.
    """

    def __init__(
        self,
        context: SnapshotContext,
        course: Course,
        new_id: Callable[[uuid.UUID], uuid.UUID],
        left_out: LeftOut | None = None,
    ) -> None:
        self._context = context
        self._course = course
        self._new_id = new_id
        self._left_out = left_out
        self._sealer = Sealer(context.fs, context.layout, context.randomness, context.pace)
        self._here: dict[uuid.UUID, Rolling] = {}
        self._unsealed_bytes = 0
        self._sealing: Future[list[_Sealed]] | None = None
        self._sealing_sequence = 0
        self.done = Rolled()

    def begin(self, source: CollectionSpec, staged: CollectionEntry, sequence: Sequence64) -> None:
        """Take over a collection that was staged from a snapshot of ``sequence``. Raises Corruption, OSError."""
        # What was said of it will not be so; nothing publishes it meanwhile.
        self._context.fs.unlink(posixpath.join(self._context.layout.collection_dir(staged.spec.id), STAGED_ENTRY))
        entry = replace(staged, checkpoint_sequence=sequence)
        collection = open_collection(self._context.fs, self._context.layout, entry)
        collection.count, collection.digest = staged.count, staged.digest
        self._here[source.id] = Rolling(source, collection, entry)

    def run(self, records: Iterable[LoggedRecord], advance: Advance) -> None:
        """Apply what the log says behind what was begun with.

        Raises OutOfRange where its content is not in the log, Corruption, Cancelled or OSError.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="roll-forward") as writer:
            try:
                for record in records:
                    rows = self._apply(decode_record(record), record)
                    advance(padded_size(len(record.payload)), rows)
                    if self._unsealed_bytes >= self._context.config.memtable_bytes:
                        self._begin_sealing(writer, record.sequence)
                self._end_sealing()
            finally:
                if self._sealing is not None:
                    # Whatever ended it early: nothing is being written any more when the staging is removed.
                    with suppress(Exception):
                        self._sealing.result()

    @property
    def count(self) -> int:
        """Points that are there now."""
        return sum(rolling.collection.count for rolling in self._here.values())

    def finish(self, sequence: Sequence64, advance: Advance, *, deep: bool) -> list[SnapshotCollection]:
        """Seal and prove what is there now, as of ``sequence``; returns what a snapshot of that moment would say of it.

        ``deep``: recompute every row's hash and norm. Raises Corruption, Cancelled, and as ``Course.check_end``.
        """
        self._course.check_end()
        return [self._finish(rolling, sequence, advance, deep=deep) for rolling in self._here.values()]

    # One operation --------------------------------------------------------------------------------------------------

    def _apply(self, logged: Logged, record: LoggedRecord) -> int:
        """Returns the number of points that changed."""
        change = logged.change
        if change is None:
            return 0
        if isinstance(change, POINTS):
            return 0 if self._leaves_out(change, logged, record) else self._apply_to_points(change, record)
        step = self._course.follow(change, record)
        for collection_id in step.gone:
            self._throw_away(collection_id)
        if step.made is not None:
            self._create(step.made)
        if step.concerns:
            _end_left_out(self._left_out, logged, record)
            self.done.note(record)
        return 0

    def _leaves_out(self, change: PointsChange, logged: Logged, record: LoggedRecord) -> bool:
        rolling = self._here.get(change.collection_id)
        if rolling is None or self._left_out is None:
            return False
        return self._left_out.takes(logged, record.sequence, rolling.collection)

    def _apply_to_points(self, change: PointsChange, record: LoggedRecord) -> int:
        rolling = self._here.get(change.collection_id)
        if rolling is None:
            return 0
        sequence, time_us, collection = record.sequence, record.timestamp_us, rolling.collection
        before = collection.memtable.bytes
        match change:
            case UpsertRows(_, rows):
                collection.upsert(rows, sequence, time_us)
                count = len(rows)
            case DeleteIds(_, ids, id_hashes):
                count = collection.delete(ids, id_hashes, sequence, time_us)
            case Truncate():
                count = collection.truncate(sequence, time_us)
            case _:
                return 0
        self._unsealed_bytes += collection.memtable.bytes - before
        self.done.vectors += count
        self.done.note(record)
        return count

    def _create(self, source: CollectionSpec) -> None:
        spec, sequence = replace(source, id=self._new_id(source.id)), source.created_sequence
        make_dirs(self._context.fs, self._context.layout.collection_dir(spec.id))
        collection = Collection(spec, index=IdIndex(), sequence=sequence, updated_us=source.created_us)
        entry = CollectionEntry(spec=spec, checkpoint_sequence=sequence, count=0, digest=Digest())
        self._here[source.id] = Rolling(source, collection, entry)

    def _throw_away(self, collection_id: uuid.UUID) -> None:
        self._end_sealing()
        rolling = self._here.pop(collection_id)
        self._unsealed_bytes -= rolling.collection.memtable.bytes
        with suppress(OSError):
            # What cannot be removed is garbage to the next start.
            remove_tree(self._context.fs, self._context.layout.collection_dir(rolling.collection.spec.id))

    # Sealing --------------------------------------------------------------------------------------------------------

    def _begin_sealing(self, writer: ThreadPoolExecutor, sequence: Sequence64) -> None:
        self._end_sealing()
        frozen = self._frozen()
        self._sealing_sequence = sequence
        self._sealing = writer.submit(lambda: [self._seal(*each, sequence) for each in frozen])

    def _end_sealing(self) -> None:
        """Wait for the segments that are being written, and let them stand in for their memtables."""
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            for sealed in sealing.result():
                self._install(sealed, self._sealing_sequence)

    def _frozen(self) -> list[tuple[Rolling, FrozenCollection]]:
        """What is not sealed yet, set aside; volatile ones never are: the log has nothing of them."""
        self._unsealed_bytes = 0
        return [
            (rolling, freeze(rolling.collection))
            for rolling in self._here.values()
            if rolling.collection.memtable.length
        ]

    def _seal(self, rolling: Rolling, frozen: FrozenCollection, sequence: Sequence64) -> _Sealed:
        return _Sealed(rolling, frozen, self._sealer.write(frozen, rolling.entry, sequence))

    def _install(self, sealed: _Sealed, sequence: Sequence64) -> None:
        install(sealed.frozen, sealed.written, sequence)
        sealed.rolling.entry = sealed.written.entry
        for path in sealed.written.replaced:
            self._context.fs.unlink(path)

    # The end --------------------------------------------------------------------------------------------------------

    def _finish(self, rolling: Rolling, sequence: Sequence64, advance: Advance, *, deep: bool) -> SnapshotCollection:
        context, collection = self._context, rolling.collection
        if collection.spec.storage is not StorageKind.MEMORY:
            self._install(self._seal(rolling, freeze(collection), sequence), sequence)
        entry = replace(rolling.entry, checkpoint_sequence=0)
        self._prove(rolling, advance, deep=deep)
        directory = context.layout.collection_dir(collection.spec.id)
        write_document(context.fs, posixpath.join(directory, STAGED_ENTRY), msgspec.json.encode(entry))
        context.fs.sync_dir(directory)
        return SnapshotCollection(rolling.source, entry.count, entry.digest, entry.updated_us)

    def _prove(self, rolling: Rolling, advance: Advance, *, deep: bool) -> None:
        """Open what is there as a restart would, and compare its rows' digest with the one that was carried along."""
        context, digest, count = self._context, Digest(), 0
        for segment in open_collection(context.fs, context.layout, rolling.entry).segments:
            if deep:
                segment.verify(True, pace=context.pace)
            rows = alive_rows(segment)
            digest, count = digest.plus(*digest_sums(hashes_at(segment, rows))), count + len(rows)
            advance(0, len(rows))
        if (digest, count) != (rolling.entry.digest, rolling.entry.count):
            raise Corruption(
                f"{rolling.source.name} was rolled forward to {rolling.entry.count} rows with the digest "
                f"{rolling.entry.digest.hex()}, but {count} rows with {digest.hex()} are there",
                path=context.layout.collection_dir(rolling.collection.spec.id),
                reason="DIGEST_MISMATCH",
                hint="report this as a bug; a plain restore of the snapshot is not touched by it",
            )


def _end_left_out(left_out: LeftOut | None, logged: Logged, record: LoggedRecord) -> None:
    """Before a change of the catalog that concerns what is wanted: no point of before it is there any more."""
    if left_out is not None:
        left_out.refuse(logged, record.sequence)
        left_out.forget()


def foresee(
    records: Iterable[LoggedRecord], course: Course, advance: Advance, left_out: LeftOut | None = None
) -> Rolled:
    """What rolling forward would come to, with nothing done; ``course`` then is at its end. Raises as it does."""
    done = Rolled()
    for record in records:
        advance(padded_size(len(record.payload)), 0)
        logged = decode_record(record)
        change = logged.change
        if isinstance(change, UpsertRows | DeleteIds | Truncate):
            concerns = course.find(change.collection_id) is not None
            if concerns and left_out is not None:
                concerns = not left_out.takes(logged, record.sequence, None)
        else:
            concerns = change is not None and course.follow(change, record).concerns
            if concerns:
                _end_left_out(left_out, logged, record)
        if concerns:
            done.note(record)
    course.check_end()
    return done
