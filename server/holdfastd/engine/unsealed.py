"""How many bytes of points wait in memory to be written into segments.

Counted as collections change, so that asking costs the same however many collections there are: every write asks.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from .collection import Collection


class Unsealed:
    """Changed by the applier; the three figures may be read by any thread. In bytes."""

    def __init__(self) -> None:
        self._of: dict[uuid.UUID, tuple[int, int]] = {}
        self.total = 0
        """All that is not in a segment yet."""
        self.growing = 0
        """Of that, what no checkpoint has taken up."""
        self.largest = 0
        """The fullest memtable that grows."""

    def note(self, collection: Collection) -> None:
        """A collection that has changed."""
        if not collection.reached_by_checkpoints:
            return
        total, growing = self._of.get(collection.spec.id, (0, 0))
        held = collection.memtable_bytes, collection.memtable.bytes
        self._of[collection.spec.id] = held
        self.total += held[0] - total
        self.growing += held[1] - growing
        self.largest = max(self.largest, held[1])

    def recount(self, collections: Iterable[Collection]) -> None:
        """All of them, after collections came or went, or a checkpoint took memtables up or away."""
        self._of.clear()
        self.total = self.growing = self.largest = 0
        for collection in collections:
            self.note(collection)
