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
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec

from ..errors import Corruption, NotFound, OutOfRange
from ..format.hashing import digest_sums
from ..format.manifest import CollectionEntry
from ..format.record import padded_size
from ..format.snapshot import SnapshotCollection
from ..model import CollectionSpec, Digest, Sequence64, StorageKind
from ..storage.bulk import write_document
from ..storage.files import make_dirs, remove_tree
from ..storage.id_index import IdIndex
from ..storage.wal_reader import LoggedRecord
from .change_codec import decode_change
from .changes import (
    POINTS,
    Change,
    CreateCollection,
    DeleteAlias,
    DeleteIds,
    DropCollection,
    PutAlias,
    Replayed,
    Restore,
    Truncate,
    UpsertRows,
)
from .collection import Collection, alive_rows, hashes_at
from .history import NOT_YET
from .recovery_open import STAGED_ENTRY, open_collection
from .sealing import FrozenCollection, Sealer, Written, freeze, install
from .snapshot_context import SnapshotContext

Advance = Callable[[int, int], None]
"""Called with bytes of the log and vectors done since the last call; may raise Cancelled."""


@dataclass(slots=True)
class Rolling:
    """One collection on its way. ``source``: its spec in the history; ``collection`` and ``entry`` have the new id."""

    source: CollectionSpec
    collection: Collection
    entry: CollectionEntry


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

    ``wanted``: names of collections of the history; None: all. ``new_id`` gives the id under which one is staged.
    """

    def __init__(
        self, context: SnapshotContext, wanted: frozenset[str] | None, new_id: Callable[[uuid.UUID], uuid.UUID]
    ) -> None:
        self._context = context
        self._wanted = wanted
        self._new_id = new_id
        self._sealer = Sealer(context.fs, context.layout, context.randomness, context.pace)
        self._here: dict[uuid.UUID, Rolling] = {}
        self._dropped: dict[str, LoggedRecord] = {}
        self._unsealed_bytes = 0
        self._sealing: Future[list[tuple[FrozenCollection, Written]]] | None = None
        self._sealing_sequence = 0
        self.aliases: dict[str, uuid.UUID] = {}
        self.done = Rolled()

    @property
    def staged(self) -> list[uuid.UUID]:
        """The ids of the directories that are staged now."""
        return [rolling.collection.spec.id for rolling in self._here.values()]

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
                    change = decode_change(record.payload).change
                    rows = self._apply(change, record) if change is not None else 0
                    advance(padded_size(len(record.payload)), rows)
                    if self._unsealed_bytes >= self._context.config.memtable_bytes:
                        self._begin_sealing(writer, record.sequence)
                self._end_sealing()
            finally:
                if self._sealing is not None:
                    # Whatever ended it early: nothing is being written any more when the staging is removed.
                    with suppress(Exception):
                        self._sealing.result()

    def finish(self, sequence: Sequence64, *, deep: bool) -> list[SnapshotCollection]:
        """Seal and prove what is there now, as of ``sequence``; returns what a snapshot of that moment would say of it.

        ``deep``: recompute every row's hash and norm. Raises Corruption, NotFound where a wanted collection is gone.
        """
        names = {rolling.source.name for rolling in self._here.values()}
        for name in sorted((self._wanted or frozenset()) - names):
            raise _not_there(name, self._dropped.get(name))
        return [self._finish(rolling, sequence, deep=deep) for rolling in self._here.values()]

    # One operation --------------------------------------------------------------------------------------------------

    def _apply(self, change: Change, record: LoggedRecord) -> int:
        """Returns the number of points that changed."""
        if isinstance(change, POINTS):
            return self._apply_to_points(change, record)
        changed = True
        match change:
            case CreateCollection(spec) if self._wanted is None or spec.name in self._wanted:
                self._create(spec, record)
            case DropCollection(collection_id) if collection_id in self._here:
                self._drop(collection_id, record)
            case PutAlias(alias, collection_id):
                self.aliases[alias] = collection_id
                changed = self._wanted is None
            case DeleteAlias(alias):
                self.aliases.pop(alias, None)
                changed = self._wanted is None
            case Restore():
                _refuse_restored(change, self._here.keys(), self._wanted, record)
                changed = False
            case _:
                changed = False
        if changed:
            self.done.note(record)
        return 0

    def _apply_to_points(self, change: UpsertRows | DeleteIds | Truncate | Replayed, record: LoggedRecord) -> int:
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

    def _create(self, source: CollectionSpec, record: LoggedRecord) -> None:
        made = replace(source, created_sequence=record.sequence, created_us=record.timestamp_us)
        spec = replace(made, id=self._new_id(source.id))
        make_dirs(self._context.fs, self._context.layout.collection_dir(spec.id))
        collection = Collection(spec, index=IdIndex(), sequence=record.sequence, updated_us=record.timestamp_us)
        entry = CollectionEntry(spec=spec, checkpoint_sequence=record.sequence, count=0, digest=Digest())
        self._here[source.id] = Rolling(made, collection, entry)

    def _drop(self, collection_id: uuid.UUID, record: LoggedRecord) -> None:
        self._end_sealing()
        rolling = self._here.pop(collection_id)
        self._unsealed_bytes -= rolling.collection.memtable.bytes
        self._dropped[rolling.source.name] = record
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != collection_id}
        with suppress(OSError):
            # What cannot be removed is garbage to the next start.
            remove_tree(self._context.fs, self._context.layout.collection_dir(rolling.collection.spec.id))

    # Sealing --------------------------------------------------------------------------------------------------------

    def _begin_sealing(self, writer: ThreadPoolExecutor, sequence: Sequence64) -> None:
        self._end_sealing()
        frozen = self._frozen()
        self._sealing_sequence = sequence
        self._sealing = writer.submit(lambda: [(each, self._write(each, entry, sequence)) for each, entry in frozen])

    def _end_sealing(self) -> None:
        """Wait for the segments that are being written, and let them stand in for their memtables."""
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            for frozen, written in sealing.result():
                self._install(frozen, written, self._sealing_sequence)

    def _frozen(self) -> list[tuple[FrozenCollection, CollectionEntry]]:
        """What is not sealed yet, set aside; volatile ones never are: the log has nothing of them."""
        self._unsealed_bytes = 0
        return [
            (freeze(rolling.collection), rolling.entry)
            for rolling in self._here.values()
            if rolling.collection.memtable.length
        ]

    def _write(self, frozen: FrozenCollection, entry: CollectionEntry, sequence: Sequence64) -> Written:
        return self._sealer.write(frozen, entry, sequence)

    def _install(self, frozen: FrozenCollection, written: Written, sequence: Sequence64) -> None:
        install(frozen, written, sequence)
        for rolling in self._here.values():
            if rolling.collection is frozen.collection:
                rolling.entry = written.entry
        for path in written.replaced:
            self._context.fs.unlink(path)

    # The end --------------------------------------------------------------------------------------------------------

    def _finish(self, rolling: Rolling, sequence: Sequence64, *, deep: bool) -> SnapshotCollection:
        context, collection = self._context, rolling.collection
        if collection.spec.storage is not StorageKind.MEMORY:
            frozen = freeze(collection)
            self._install(frozen, self._sealer.write(frozen, rolling.entry, sequence), sequence)
        entry = replace(rolling.entry, checkpoint_sequence=0)
        self._prove(rolling, deep=deep)
        directory = context.layout.collection_dir(collection.spec.id)
        write_document(context.fs, posixpath.join(directory, STAGED_ENTRY), msgspec.json.encode(entry))
        context.fs.sync_dir(directory)
        return SnapshotCollection(rolling.source, entry.count, entry.digest, entry.updated_us)

    def _prove(self, rolling: Rolling, *, deep: bool) -> None:
        """Open what is there as a restart would, and compare its rows' digest with the one that was carried along."""
        context, digest, count = self._context, Digest(), 0
        for segment in open_collection(context.fs, context.layout, rolling.entry).segments:
            if deep:
                segment.verify(True, pace=context.pace)
            rows = alive_rows(segment)
            digest, count = digest.plus(*digest_sums(hashes_at(segment, rows))), count + len(rows)
        if (digest, count) != (rolling.entry.digest, rolling.entry.count):
            raise Corruption(
                f"{rolling.source.name} was rolled forward to {rolling.entry.count} rows with the digest "
                f"{rolling.entry.digest.hex()}, but {count} rows with {digest.hex()} are there",
                path=context.layout.collection_dir(rolling.collection.spec.id),
                reason="DIGEST_MISMATCH",
                hint="report this as a bug; a plain restore of the snapshot is not touched by it",
            )


def _not_there(name: str, dropped: LoggedRecord | None) -> NotFound:
    """The error for a wanted collection that did not exist. ``dropped``: the operation that ended it, if known."""
    if dropped is None:
        return NotFound(
            f"there was no collection {name!r} at that moment",
            reason="COLLECTION_NOT_FOUND",
            hint="look for its creation with `holdfast storage wal dump`, or restore to another moment",
            collection=name,
        )
    return NotFound(
        f"there was no collection {name!r} at that moment: sequence {dropped.sequence} dropped it",
        reason="COLLECTION_NOT_FOUND",
        hint=f"restore it as it was just before: --before {dropped.sequence}",
        collection=name,
        sequence=dropped.sequence,
    )


def _not_in_the_log(name: str, snapshot_id: str, record: LoggedRecord) -> OutOfRange:
    return OutOfRange(
        f"sequence {record.sequence} restored {name} from {snapshot_id}, whose content is not in the log: nothing "
        "leads across it",
        reason=NOT_YET,
        hint=f"choose a moment before it (--before {record.sequence}), or one behind the next snapshot that was made "
        "after it",
        sequence=record.sequence,
        snapshot=snapshot_id,
    )


def foresee(
    records: Iterable[LoggedRecord], sources: Mapping[uuid.UUID, str], wanted: frozenset[str] | None, advance: Advance
) -> Rolled:
    """What rolling forward would come to, with nothing done. ``sources``: the names of what it would begin with, by id.

    Raises as ``RollForward`` does.
    """
    done, here = Rolled(), dict(sources)
    for record in records:
        advance(padded_size(len(record.payload)), 0)
        change, changed = decode_change(record.payload).change, True
        match change:
            case UpsertRows() | DeleteIds() | Truncate():
                changed = change.collection_id in here
            case CreateCollection(spec) if wanted is None or spec.name in wanted:
                here[spec.id] = spec.name
            case DropCollection(collection_id):
                changed = here.pop(collection_id, None) is not None
            case Restore():
                _refuse_restored(change, here.keys(), wanted, record)
                changed = False
            case _:
                changed = wanted is None and isinstance(change, PutAlias | DeleteAlias)
        if changed:
            done.note(record)
    for name in sorted((wanted or frozenset()) - set(here.values())):
        raise _not_there(name, None)
    return done


def _refuse_restored(
    change: Restore, here: Container[uuid.UUID], wanted: frozenset[str] | None, record: LoggedRecord
) -> None:
    """Raise OutOfRange where a restore made what is wanted: its content is not in the log."""
    for restored in change.collections:
        if wanted is None or restored.spec.name in wanted or restored.replaces in here:
            raise _not_in_the_log(restored.spec.name, change.snapshot_id, record)
