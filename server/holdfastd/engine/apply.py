"""The one function that changes state: a change and its sequence in, the catalog and its collections changed.

A client's write, recovery, a replay and a restore all end here, so that the same history always gives the same state.
Belongs to whoever commits at the moment; an exception in here means that memory no longer equals the log, and the
committer ends the process rather than serve it (RULES 16).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..model import CatalogOrigin, CollectionSpec, Mark, Sequence64
from ..storage.id_index import IdIndex
from .catalog import Catalog
from .changes import (
    Change,
    CreateCollection,
    DeleteAlias,
    DeleteIds,
    DropCollection,
    PutAlias,
    Replayed,
    Restore,
    RestoredCollection,
    SetMark,
    Truncate,
    UpsertRows,
)
from .collection import Collection
from .unsealed import Unsealed


@dataclass(frozen=True, slots=True)
class Applied:
    """``count``: points affected. ``versions``: (n,) u32 for an upsert. ``names``: those that it took from others."""

    count: int = 0
    versions: NDArray[np.uint32] | None = None
    names: tuple[str, ...] = ()


_NOTHING = Applied()


class Applier:
    """The state and the function that changes it. ``open_restored`` makes a collection of a staged directory."""

    def __init__(
        self,
        open_restored: Callable[[CollectionSpec, RestoredCollection], Collection],
        new_index: Callable[[], IdIndex],
    ) -> None:
        # Replaced once, when recovery is over: from then on damage is an error.
        self.open_restored = open_restored
        self._new_index = new_index
        # Replaced by the applier, read by anybody.
        self.catalog = Catalog()
        self.marks: dict[str, Mark] = {}
        # Changed by the applier, read by anybody.
        self.unsealed = Unsealed()
        # The applier's own.
        self._counted = self.catalog
        self.sequence: Sequence64 = 0
        self.time_us = 0
        self._touched: dict[uuid.UUID, Collection] = {}

    def apply(self, change: Change, sequence: Sequence64, time_us: int, origin_sequence: Sequence64 = 0) -> Applied:
        """Apply one change. Changes to collections that are gone do nothing (RULES 18)."""
        self.sequence = sequence
        self.time_us = time_us
        match change:
            case UpsertRows() | DeleteIds() | Truncate():
                return self._apply_to_points(change, sequence, time_us, origin_sequence)
            case Replayed():
                return self._move_watermark(change)
            case Restore():
                return self._restore(change, sequence, time_us)
            case SetMark(name):
                self.marks = {**self.marks, name: Mark(name, sequence, time_us)}
                return _NOTHING
        applied = self._apply_to_catalog(change, sequence, time_us)
        if origin_sequence and self.catalog.origin is not None:
            self.catalog = replace(self.catalog, origin=replace(self.catalog.origin, through=origin_sequence))
        return applied

    def _apply_to_catalog(
        self, change: CreateCollection | DropCollection | PutAlias | DeleteAlias, sequence: Sequence64, time_us: int
    ) -> Applied:
        match change:
            case CreateCollection(spec):
                made = replace(spec, created_sequence=sequence, created_us=time_us)
                collection = Collection(made, index=self._new_index(), sequence=sequence, updated_us=time_us)
                self.catalog = self.catalog.with_collection(collection)
            case DropCollection(collection_id):
                return self._drop(collection_id)
            case PutAlias(alias, collection_id):
                before = self._target_of(alias)
                if self.catalog.get(collection_id) is not None:
                    self.catalog = self.catalog.with_alias(alias, collection_id)
                return Applied(names=before)
            case DeleteAlias(alias):
                before = self._target_of(alias)
                self.catalog = self.catalog.without_alias(alias)
                return Applied(names=before)
        return _NOTHING

    def publish(self) -> None:
        """Let readers see everything applied since the last call."""
        for collection in self._touched.values():
            collection.publish()
            self.unsealed.note(collection)
        self._touched.clear()
        if self.catalog is not self._counted:
            self.recount()

    def recount(self) -> None:
        """Count anew what waits to be written into segments."""
        self._counted = self.catalog
        self.unsealed.recount(self.catalog.collections.values())

    def adopt(
        self,
        collections: list[Collection],
        aliases: dict[str, uuid.UUID],
        sequence: Sequence64,
        origin: CatalogOrigin | None = None,
    ) -> None:
        """Take over what a manifest holds (before any change is applied)."""
        catalog = Catalog()
        for collection in collections:
            catalog = catalog.with_collection(collection)
        self.catalog = replace(catalog, aliases=dict(aliases), origin=origin)
        self.sequence = sequence

    def _apply_to_points(
        self, change: UpsertRows | DeleteIds | Truncate, sequence: Sequence64, time_us: int, origin_sequence: Sequence64
    ) -> Applied:
        collection = self.catalog.get(change.collection_id)
        if collection is None:
            return _NOTHING
        self._touched[change.collection_id] = collection
        if origin_sequence:
            collection.move_watermark(origin_sequence)
        else:
            collection.own_writes = True
        match change:
            case UpsertRows(_, rows):
                return Applied(len(rows), collection.upsert(rows, sequence, time_us))
            case DeleteIds(_, ids, id_hashes):
                return Applied(collection.delete(ids, id_hashes, sequence, time_us))
            case Truncate():
                return Applied(collection.truncate(sequence, time_us))

    def _move_watermark(self, change: Replayed) -> Applied:
        collection = self.catalog.get(change.collection_id)
        if collection is not None:
            self._touched[change.collection_id] = collection
            collection.move_watermark(change.through, change.timeline)
        return _NOTHING

    def _drop(self, collection_id: uuid.UUID) -> Applied:
        collection = self.catalog.get(collection_id)
        if collection is None:
            return _NOTHING
        self._touched.pop(collection_id, None)
        aliases = self.catalog.aliases_of(collection_id)
        self.catalog = self.catalog.without(collection_id)
        return Applied(collection.count, names=aliases)

    def _target_of(self, alias: str) -> tuple[str, ...]:
        """The name of the collection that an alias stands for, if there is one."""
        target = self.catalog.aliases.get(alias)
        return () if target is None else (self.catalog.collections[target].spec.name,)

    def _restore(self, change: Restore, sequence: Sequence64, time_us: int) -> Applied:
        catalog, count = self.catalog, 0
        for restored in change.collections:
            aliases = () if restored.replaces is None else catalog.aliases_of(restored.replaces)
            if restored.replaces is not None:
                catalog = catalog.without(restored.replaces)
            made = replace(restored.spec, created_sequence=sequence, created_us=time_us)
            collection = self.open_restored(made, restored)
            catalog = catalog.with_collection(collection)
            for alias in (*aliases, *restored.aliases):
                catalog = catalog.with_alias(alias, restored.spec.id)
            count += restored.count
        if change.catalog is not None:
            catalog = replace(catalog, origin=replace(change.catalog, since=sequence))
        self.catalog = catalog
        return Applied(count)
