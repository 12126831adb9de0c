"""Snapshots of which nobody knows whether they are whole, or gone: they were on their way to an object store, or were
being deleted there, when the daemon ended, or when the store could no longer be asked.

They are noted in the registry as all others are. What became of them shows when somebody looks into their directory:
neither a start nor a list waits for a network on their account.
"""

from __future__ import annotations

from collections.abc import Container

from ..format.urls import is_object_url
from ..storage.files import parent_of
from ..storage.registry import PendingSnapshot, Registry, SnapshotRecord
from .snapshot_holds import Holds


class Unsettled:
    """Those of one moment. ``under_way``: the ids of what is being written, which is in somebody's hands, as what
    ``holds`` says to be leaving is. Whoever makes one has the lock of both."""

    def __init__(self, registry: Registry, under_way: Container[str], holds: Holds) -> None:
        noted = [each for each in registry.pending if is_object_url(each.path)]
        self.written: list[PendingSnapshot] = [each for each in noted if each.id not in under_way]
        left = [record for id in registry.leaving if (record := registry.find(id)) is not None]
        left = [record for record in left if is_object_url(record.path) and record.id not in under_way]
        self.deleted: list[SnapshotRecord] = [record for record in left if not holds.is_leaving(record.path)]

    def only_in(self, directory: str) -> Unsettled:
        """These, without those of other directories."""
        self.written = [each for each in self.written if parent_of(each.path) == directory]
        self.deleted = [record for record in self.deleted if parent_of(record.path) == directory]
        return self

    @property
    def ids(self) -> set[str]:
        """The ids of all of them."""
        return {each.id for each in self.written} | {record.id for record in self.deleted}

    def told(self) -> list[str]:
        """What is to be said of them."""
        left = [(each.id, each.path, "written to", "whole") for each in self.written]
        left += [(each.id, each.path, "deleted from", "gone") for each in self.deleted]
        return [
            f"{id} was being {done} {path} when the daemon ended or lost the store; whether it is {end} shows once you "
            f"look there: holdfast storage snapshot list --path {parent_of(path)}"
            for id, path, done, end in left
        ]
