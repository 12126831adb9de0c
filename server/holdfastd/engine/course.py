"""Which collections there are on the way to a moment, as the log tells it: names and aliases, not what they hold.

A restore on the way is followed without its content, which is not in the log: what it made is wanted or it is not, and
that is known only at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import InvalidArgument, NotFound, OutOfRange
from ..model import CollectionSpec, Sequence64, StorageKind, family
from ..storage.wal_reader import LoggedRecord
from .changes import Change, CreateCollection, DeleteAlias, DropCollection, PutAlias, Restore, RestoredCollection
from .history import OUT_OF_WINDOW


@dataclass(frozen=True, slots=True)
class Step:
    """What one operation did. ``concerns``: it changed what is wanted; ``gone``: the ids of collections that ended."""

    concerns: bool = False
    made: CollectionSpec | None = None
    gone: tuple[uuid.UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class _Restored:
    """A collection that a restore on the way made."""

    name: str
    snapshot_id: str
    sequence: Sequence64


class Course:
    """See the module. Belongs to one thread. ``here``: the collections that are wanted and there now, by id.

    ``wanted``: their names in the history; None: all. ``not_meant``: a name that must not turn up among the others.
    """

    def __init__(
        self,
        wanted: frozenset[str] | None,
        sources: Iterable[CollectionSpec],
        aliases: Mapping[str, uuid.UUID],
        *,
        not_meant: str | None = None,
    ) -> None:
        self.here: dict[uuid.UUID, CollectionSpec] = {}
        self.aliases = dict(aliases)
        self._wanted = wanted
        self._not_meant = not_meant
        self._volatile: dict[bytes, uuid.UUID] = {}
        self._restored: dict[uuid.UUID, _Restored] = {}
        self._dropped: dict[str, Sequence64] = {}
        for spec in sources:
            self._add(spec)

    def find(self, collection_id: uuid.UUID) -> uuid.UUID | None:
        """The id in ``here`` of what an operation names; one in memory has another at each start (RULES 30)."""
        return collection_id if collection_id in self.here else self._volatile.get(family(collection_id))

    def follow(self, change: Change, record: LoggedRecord) -> Step:
        """Apply a change of the catalog; others are nothing here. Raises InvalidArgument where another may be meant."""
        match change:
            case CreateCollection(spec):
                return self._create(spec, record)
            case DropCollection(collection_id):
                return self._drop(collection_id, record)
            case PutAlias(alias, collection_id):
                self.aliases[alias] = self.find(collection_id) or collection_id
                return Step(concerns=self._wanted is None)
            case DeleteAlias(alias):
                self.aliases.pop(alias, None)
                return Step(concerns=self._wanted is None)
            case Restore():
                gone = [self._restore(each, change.snapshot_id, record) for each in change.collections]
                made = self._restored.keys() & {each.spec.id for each in change.collections}
                return Step(concerns=any(gone) or bool(made), gone=tuple(filter(None, gone)))
        return Step()

    def check_end(self) -> None:
        """Raise NotFound where what is wanted is not there at the end, OutOfRange where the log lacks its content."""
        for restored in self._restored.values():
            raise _not_in_the_log(restored)
        names = {spec.name for spec in self.here.values()}
        for name in sorted((self._wanted or frozenset()) - names):
            raise _not_there(name, self._dropped.get(name))

    def _add(self, spec: CollectionSpec) -> None:
        self.here[spec.id] = spec
        if spec.storage is StorageKind.MEMORY:
            self._volatile[family(spec.id)] = spec.id

    def _create(self, spec: CollectionSpec, record: LoggedRecord) -> Step:
        self._check_meant(spec.name, record)
        if self._wanted is not None and spec.name not in self._wanted:
            return Step()
        made = replace(spec, created_sequence=record.sequence, created_us=record.timestamp_us)
        self._add(made)
        return Step(concerns=True, made=made)

    def _drop(self, collection_id: uuid.UUID, record: LoggedRecord) -> Step:
        gone = self.find(collection_id)
        restored = self._restored.pop(collection_id, None)
        if gone is None and restored is None:
            return Step()
        ended = gone or collection_id
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != ended}
        name = restored.name if restored is not None else self._end(ended)
        self._dropped[name] = record.sequence
        return Step(concerns=True, gone=() if gone is None else (gone,))

    def _restore(self, restored: RestoredCollection, snapshot_id: str, record: LoggedRecord) -> uuid.UUID | None:
        """Returns the id of what it replaced, where that was here."""
        spec = restored.spec
        self._check_meant(spec.name, record)
        replaced = None if restored.replaces is None else self.find(restored.replaces)
        before = replaced or restored.replaces
        self.aliases = {alias: spec.id if target == before else target for alias, target in self.aliases.items()}
        self.aliases.update(dict.fromkeys(restored.aliases, spec.id))
        if replaced is not None:
            self._end(replaced)
        if restored.replaces is not None:
            self._restored.pop(restored.replaces, None)
        if self._wanted is None or spec.name in self._wanted:
            self._restored[spec.id] = _Restored(spec.name, snapshot_id, record.sequence)
        return replaced

    def _end(self, collection_id: uuid.UUID) -> str:
        """Take a collection out; returns its name."""
        spec = self.here.pop(collection_id)
        if spec.storage is StorageKind.MEMORY:
            del self._volatile[family(collection_id)]
        return spec.name

    def _check_meant(self, name: str, record: LoggedRecord) -> None:
        if name == self._not_meant:
            raise InvalidArgument(
                f"--collection {name} names the target, but sequence {record.sequence} made a collection of that very "
                "name: it is not clear whose past is meant",
                field="from_collection",
                hint=f"say which with --from-collection: {', '.join(sorted({name, *(self._wanted or ())}))}",
            )


def _not_there(name: str, dropped: Sequence64 | None) -> NotFound:
    """The error for a wanted collection that did not exist. ``dropped``: the operation that ended it, if known."""
    if dropped is None:
        return NotFound(
            f"there was no collection {name!r} at that moment",
            reason="COLLECTION_NOT_FOUND",
            hint="look for its creation with `holdfast storage wal dump`, or restore to another moment",
            collection=name,
        )
    return NotFound(
        f"there was no collection {name!r} at that moment: sequence {dropped} dropped it",
        reason="COLLECTION_NOT_FOUND",
        hint=f"restore it as it was just before: --before {dropped}",
        collection=name,
        sequence=dropped,
    )


def _not_in_the_log(restored: _Restored) -> OutOfRange:
    return OutOfRange(
        f"sequence {restored.sequence} restored {restored.name} from {restored.snapshot_id or 'the log'}, whose "
        "content is not in the log: nothing leads across it",
        reason=OUT_OF_WINDOW,
        hint=f"choose a moment before it (--before {restored.sequence}), or one behind the next snapshot that was made "
        "after it",
        sequence=restored.sequence,
        snapshot=restored.snapshot_id,
    )
