"""The changes of state that an operation can ask for: one frozen class each, to and from the log's message.

Whether a change comes from a client, from recovery, from replay or from a restore, it has one of these shapes and is
applied by the one function in ``apply``. A change holds final rows or ids, never an instruction to be evaluated again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TypeAlias

from ..model import CatalogOrigin, CollectionSpec, Digest, Rows, Sequence64, Uint64Array


@dataclass(frozen=True, slots=True)
class UpsertRows:
    """Write ``rows``; ids that exist are superseded."""

    collection_id: uuid.UUID
    rows: Rows


@dataclass(frozen=True, slots=True)
class DeleteIds:
    """Delete ``ids``; unknown ones are no error."""

    collection_id: uuid.UUID
    ids: list[bytes]
    id_hashes: Uint64Array


@dataclass(frozen=True, slots=True)
class Truncate:
    """Delete every point of a collection."""

    collection_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Make a collection; ``spec.created_sequence`` is filled in when it is applied."""

    spec: CollectionSpec


@dataclass(frozen=True, slots=True)
class DropCollection:
    """Remove a collection and the aliases that point to it. Snapshots are not touched.

    ``name``: what it is called, for whoever looks for it in the log; "" where the log does not say.
    """

    collection_id: uuid.UUID
    name: str = ""


@dataclass(frozen=True, slots=True)
class PutAlias:
    """Create or switch an alias."""

    alias: str
    collection_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class DeleteAlias:
    """Remove an alias."""

    alias: str


@dataclass(frozen=True, slots=True)
class RestoredCollection:
    """One collection of a restore: its staged segments become a new collection.

    ``replaces`` is the collection of the same name that makes room, or None. The digest and the count are those that
    the staging directory proved. ``aliases``: names that point to it from then on, beside those of what it replaces.
    """

    spec: CollectionSpec
    digest: Digest
    count: int
    replaces: uuid.UUID | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restore:
    """Publish staged collections, all or none. ``snapshot_id``: where they came from; informational.

    ``catalog``: whose catalog is continued from here on, where they are the whole of another store.
    """

    collections: tuple[RestoredCollection, ...]
    snapshot_id: str = ""
    catalog: CatalogOrigin | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A collection holds all of its origin's history ``through`` that sequence.

    ``count``: operations that it took; informational. ``timeline``: where history goes on from there; 0: where it was.
    """

    collection_id: uuid.UUID
    through: Sequence64
    count: int = 0
    timeline: int = 0


@dataclass(frozen=True, slots=True)
class SetMark:
    """Name this very sequence as a restore point."""

    name: str


Change: TypeAlias = (
    UpsertRows
    | DeleteIds
    | Truncate
    | CreateCollection
    | DropCollection
    | PutAlias
    | DeleteAlias
    | Restore
    | Replayed
    | SetMark
)

POINTS = (UpsertRows, DeleteIds, Truncate, Replayed)
"""Changes of what a collection holds: only its next checkpoint reflects them, all others the next manifest does."""
