"""The catalog: which collections exist and what they are called, as one immutable value.

The applier replaces it by assignment when a collection or an alias changes; everybody else reads whichever they got.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import AlreadyExists, NotFound
from ..model import CatalogOrigin
from .collection import Collection


@dataclass(frozen=True, slots=True)
class Catalog:
    """Collections by id, and the two kinds of name that lead to them. Names and aliases share one namespace.

    ``origin``: whose catalog this one continues, where a whole other store was restored.
    """

    collections: Mapping[uuid.UUID, Collection] = field(default_factory=dict)
    names: Mapping[str, uuid.UUID] = field(default_factory=dict)
    aliases: Mapping[str, uuid.UUID] = field(default_factory=dict)
    origin: CatalogOrigin | None = None

    def resolve(self, name: str) -> Collection:
        """The collection that ``name``, a collection's name or an alias, stands for. Raises NotFound."""
        found = self.names.get(name) or self.aliases.get(name)
        if found is None:
            raise NotFound(
                f"there is no collection or alias named {name!r}",
                reason="COLLECTION_NOT_FOUND",
                hint="list them with `holdfast collection list`",
                collection=name,
            )
        return self.collections[found]

    def get(self, collection_id: uuid.UUID) -> Collection | None:
        """The collection with this id, or None when it is gone."""
        return self.collections.get(collection_id)

    def check_free(self, name: str, *, except_id: uuid.UUID | None = None) -> None:
        """Raise AlreadyExists if ``name`` is a collection's name (other than ``except_id``'s) or an alias."""
        holder = self.names.get(name)
        if holder is not None and holder != except_id:
            raise AlreadyExists(
                f"a collection named {name!r} already exists",
                reason="COLLECTION_EXISTS",
                hint=f"choose another name, or delete it with `holdfast collection delete {name}`",
                collection=name,
            )
        if name in self.aliases:
            raise AlreadyExists(
                f"{name!r} is an alias of {self.collections[self.aliases[name]].spec.name!r}",
                reason="ALIAS_EXISTS",
                hint=f"choose another name, or delete the alias with `holdfast collection alias delete {name}`",
                alias=name,
            )

    def aliases_of(self, collection_id: uuid.UUID) -> tuple[str, ...]:
        """The aliases of a collection, sorted."""
        return tuple(sorted(alias for alias, target in self.aliases.items() if target == collection_id))

    def with_collection(self, collection: Collection) -> Catalog:
        """The catalog with ``collection`` added."""
        spec = collection.spec
        return replace(
            self,
            collections={**self.collections, spec.id: collection},
            names={**self.names, spec.name: spec.id},
        )

    def without(self, collection_id: uuid.UUID) -> Catalog:
        """The catalog without a collection and its aliases."""
        return Catalog(
            {id: collection for id, collection in self.collections.items() if id != collection_id},
            {name: id for name, id in self.names.items() if id != collection_id},
            {alias: id for alias, id in self.aliases.items() if id != collection_id},
            self.origin,
        )

    def heir_of(self, collection_id: uuid.UUID) -> Collection | None:
        """What stands here for a collection of the origin: restored with its store, or created by a replay since."""
        origin = self.origin
        assert origin is not None
        heirs = [
            each
            for each in self.collections.values()
            if each.spec.origin is not None
            and (each.spec.origin.store_id, each.spec.origin.collection_id) == (origin.store_id, collection_id)
            and each.spec.created_sequence >= origin.since
        ]
        # Copies that were restored later under other names are somebody's own.
        return min(heirs, key=lambda each: each.spec.created_sequence, default=None)

    def with_alias(self, alias: str, collection_id: uuid.UUID) -> Catalog:
        """The catalog with ``alias`` pointing to a collection."""
        return replace(self, aliases={**self.aliases, alias: collection_id})

    def without_alias(self, alias: str) -> Catalog:
        """The catalog without ``alias``."""
        return replace(self, aliases={name: id for name, id in self.aliases.items() if name != alias})
