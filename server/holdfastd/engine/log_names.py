"""Which collection a logged operation is about, and what that was called: now, or when the log told of it."""

from __future__ import annotations

from collections.abc import Iterable

from ..format.operation import LogOperation
from ..model import CollectionSpec, family


class LogNames:
    """Names of collections by id: those of now, and those that the log has told of so far. Belongs to one thread.

    A collection in memory has another id after each start; all of them have its name.
    """

    def __init__(self, now: Iterable[CollectionSpec]) -> None:
        self._names = {family(spec.id): spec.name for spec in now}

    def learn(self, operation: LogOperation) -> None:
        """Remember the names that an operation gives to collections, or tells of where it ends them."""
        match operation.WhichOneof("body"):
            case "create_collection":
                made = operation.create_collection.collection
                self._learn(made.id, made.name)
            case "drop_collection":
                self._learn(operation.collection_id, operation.drop_collection.name)
            case "restore":
                for each in operation.restore.collections:
                    self._learn(each.collection.id, each.collection.name)
                    self._learn(each.replaced_collection_id, each.collection.name)
            case _:
                return

    def _learn(self, collection_id: bytes, name: str) -> None:
        if collection_id and name:
            self._names.setdefault(family(collection_id), name)

    def of(self, collection_id: bytes) -> str | None:
        """The name of a collection; None for one that is gone, of which nothing was learned."""
        return self._names.get(family(collection_id))

    def called(self, name: str) -> bool:
        """Whether any collection has, or had, this name."""
        return name in self._names.values()


def collections_of(operation: LogOperation) -> list[bytes]:
    """The ids of every collection that an operation is about; none for the store as a whole."""
    if operation.WhichOneof("body") == "restore":
        restored = operation.restore.collections
        ids = [id for each in restored for id in (each.collection.id, each.replaced_collection_id)]
        return [id for id in ids if id]
    return [operation.collection_id] if operation.collection_id else []


def collection_of(operation: LogOperation) -> bytes | None:
    """The id of the one collection that an operation is about; None for several, and for the store as a whole."""
    if operation.WhichOneof("body") == "restore":
        restored = operation.restore.collections
        return restored[0].collection.id if len(restored) == 1 else None
    return operation.collection_id or None


def alias_of(operation: LogOperation) -> str | None:
    """The alias that an operation makes, switches or deletes; None for any other."""
    match operation.WhichOneof("body"):
        case "put_alias":
            return operation.put_alias.alias
        case "delete_alias":
            return operation.delete_alias.alias
        case _:
            return None
