"""Snapshots of which nobody knows whether they are whole, or gone: they were on their way to an object store, or were
being deleted there, when the daemon ended, or when the store could no longer be asked.

They are noted in the registry as all others are. What became of them shows when somebody looks into their directory:
neither a start nor a list waits for a network on their account.
"""

from __future__ import annotations

from collections.abc import Container

from ..format.urls import is_object_url
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import PendingSnapshot, Registry, SnapshotRecord
from .snapshot_settle import settle, settle_removal


def settle_in_store(
    fs: FileSystem, layout: Layout, registry: Registry, directory: str, under_way: Container[str]
) -> None:
    """Find out what became of those in a directory; its owner holds the lock. Durable on return; raises OSError.

    ``under_way``: the ids of what is being written, which is in somebody's hands.
    """
    for pending in _written(registry, under_way):
        if parent_of(pending.path) == directory:
            settle(fs, layout, registry, pending)
    for record in _deleted(registry):
        if parent_of(record.path) == directory:
            settle_removal(fs, layout, registry, record.id)


def left_in_stores(registry: Registry, under_way: Container[str]) -> list[str]:
    """What is to be said of those that are left."""
    left = [(each.id, each.path, "written to", "whole") for each in _written(registry, under_way)]
    left += [(each.id, each.path, "deleted from", "gone") for each in _deleted(registry)]
    return [
        f"{id} was being {done} {path} when the daemon ended or lost the store; whether it is {end} shows once you "
        f"look there: holdfast storage snapshot list --path {parent_of(path)}"
        for id, path, done, end in left
    ]


def _written(registry: Registry, under_way: Container[str]) -> list[PendingSnapshot]:
    return [each for each in registry.pending if is_object_url(each.path) and each.id not in under_way]


def _deleted(registry: Registry) -> list[SnapshotRecord]:
    found = [record for id in registry.leaving if (record := registry.find(id)) is not None]
    return [record for record in found if is_object_url(record.path)]
