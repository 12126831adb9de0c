"""Which collection a logged operation is about, and what that was called: now, or when the log told of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from ..format.operation import LogOperation


class LogNames:
    """Names of collections by id: those of now, and those that the log has told of so far. Belongs to one thread."""

    def __init__(self, now: Mapping[uuid.UUID, str]) -> None:
        self._names = {id.bytes: name for id, name in now.items()}

    def learn(self, operation: LogOperation) -> None:
        """Remember the names that an operation gives to collections."""
        match operation.WhichOneof("body"):
            case "create_collection":
                made = [operation.create_collection.collection]
            case "restore":
                made = [each.collection for each in operation.restore.collections]
            case _:
                return
        for collection in made:
            self._names.setdefault(collection.id, collection.name)

    def of(self, collection_id: bytes) -> str | None:
        """The name of a collection; None for one that is gone, of which nothing was learned."""
        return self._names.get(collection_id)

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
