"""The one writer of the manifest: a lock, a generation, and the order write, sync, replace, then publish (RULES 20)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ..errors import EngineFailed
from ..format.manifest import Manifest
from ..storage import manifest as files
from ..storage.files import FileSystem
from ..storage.names import Layout
from .room import Room

T = TypeVar("T")


class ManifestKeeper:
    """Holds the manifest as it is on the disk. Thread-safe."""

    def __init__(self, fs: FileSystem, layout: Layout, manifest: Manifest) -> None:
        self._fs = fs
        self._layout = layout
        self._lock = threading.Lock()
        # Replaced under _lock, read by anybody.
        self.current = manifest
        self.failure: EngineFailed | None = None
        # Set once by the engine, when recovery is over.
        self.room: Room | None = None
        # Set once by the engine, before any change.
        self.on_failure: Callable[[EngineFailed], None] = lambda error: None

    def update(self, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Replace the manifest by ``change(current)``. Durable on return; blocks. Raises EngineFailed, for good."""
        with self._lock:
            if self.failure is not None:
                raise self.failure
            changed = change(self.current)
            wanted = replace(changed, generation=self.current.generation + 1)
            try:
                self._commit(wanted)
            except EngineFailed as error:
                self.failure = error
                self.on_failure(error)
                raise
            self.current = wanted
            return wanted

    def insist(self, action: Callable[[], T]) -> T:
        """Write what the next manifest names: it gets the same room as the manifest itself (RULES 26)."""
        return action() if self.room is None else self.room.insist(action)

    def _commit(self, wanted: Manifest) -> None:
        self.insist(lambda: files.commit(self._fs, self._layout, wanted))
