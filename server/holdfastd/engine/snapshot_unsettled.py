"""Snapshots of which nobody knows whether they are whole: they were on their way to an object store when the daemon
ended, or when the store could no longer be asked.

They are noted in the registry as being written. What became of them shows when somebody looks into their directory:
neither a start nor a list waits for a network on their account.
"""

from __future__ import annotations

from ..storage.files import parent_of
from ..storage.registry import PendingSnapshot, Registry


class Unsettled:
    """See the module. Its owner holds the lock that guards the registry."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def add(self, pending: PendingSnapshot) -> None:
        """Note one. Others that are being written are in somebody's hands."""
        self._ids.add(pending.id)

    def within(self, registry: Registry, directory: str) -> list[PendingSnapshot]:
        """Those on their way to a directory."""
        return [pending for pending in self._left(registry) if parent_of(pending.path) == directory]

    def warnings(self, registry: Registry) -> list[str]:
        """What is to be said of those that are left."""
        return [
            f"{pending.id} was being written to {pending.path} when the daemon ended or lost the store; whether it is "
            f"whole shows once you look there: holdfast storage snapshot list --path {parent_of(pending.path)}"
            for pending in self._left(registry)
        ]

    def _left(self, registry: Registry) -> list[PendingSnapshot]:
        self._ids.intersection_update(pending.id for pending in registry.pending)
        return [pending for pending in registry.pending if pending.id in self._ids]
