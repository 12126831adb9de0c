"""What a change would do, told without doing it: for requests that only want to know."""

from __future__ import annotations

import numpy as np

from .apply import Applied
from .catalog import Catalog
from .changes import Change, CreateCollection, DeleteAlias, DeleteIds, DropCollection, PutAlias, Truncate, UpsertRows


def foresee(catalog: Catalog, change: Change) -> Applied:
    """What ``Applier.apply`` would answer, of these changes; on the committing thread. The ids of a delete are unique.

    Raises TypeError for a change that nobody can ask this of.
    """
    match change:
        case CreateCollection():
            return Applied()
        case UpsertRows(_, rows):
            return Applied(len(rows))
        case PutAlias(alias) | DeleteAlias(alias):
            target = catalog.aliases.get(alias)
            return Applied(names=() if target is None else (catalog.collections[target].spec.name,))
        case DropCollection(collection_id) | Truncate(collection_id) | DeleteIds(collection_id):
            collection = catalog.get(collection_id)
            if collection is None:
                return Applied()
            if isinstance(change, DropCollection):
                return Applied(collection.count, names=catalog.aliases_of(collection_id))
            if isinstance(change, Truncate):
                return Applied(collection.count)
            return Applied(int(np.count_nonzero(collection.sequences_of(change.ids, change.id_hashes))))
    raise TypeError(f"what {type(change).__name__} would do is not foreseen")
