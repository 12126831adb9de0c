"""How long writes and searches take, per collection: running means for ``collection stats``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..storage.clock import Clock

_WINDOW_NS = 60 * 1_000_000_000


class Meter:
    """Mean duration since the start, and calls a second over about the last minute.

    Counts of concurrent calls may be lost now and then: the figures are for people, and no lock is worth them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._total_ns = 0
        self._window_start_ns = clock.monotonic_ns()
        self._window_count = 0
        self.per_second = 0.0

    @property
    def mean_ms(self) -> float:
        """Mean duration of a call in milliseconds, 0 before the first."""
        return self._total_ns / self._count / 1e6 if self._count else 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the block; calls that fail are left out."""
        start = self._clock.monotonic_ns()
        yield
        now = self._clock.monotonic_ns()
        self._count += 1
        self._window_count += 1
        self._total_ns += now - start
        elapsed = now - self._window_start_ns
        if elapsed > _WINDOW_NS or self.per_second == 0.0:
            self.per_second = self._window_count / max(elapsed / 1e9, 1.0)
        if elapsed > _WINDOW_NS:
            self._window_start_ns, self._window_count = now, 0


@dataclass(frozen=True, slots=True)
class CollectionMeter:
    """The meters of one collection."""

    insert: Meter
    search: Meter


@dataclass(slots=True)
class Meters:
    """Meters by collection, made on first use. Thread-safe."""

    clock: Clock
    _by_collection: dict[uuid.UUID, CollectionMeter] = field(default_factory=dict)

    def of(self, collection_id: uuid.UUID) -> CollectionMeter:
        """The meters of a collection."""
        found = self._by_collection.get(collection_id)
        if found is None:
            made = CollectionMeter(Meter(self.clock), Meter(self.clock))
            found = self._by_collection.setdefault(collection_id, made)
        return found
