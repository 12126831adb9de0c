"""How long writes and searches take, per collection: running means for ``collection stats``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..storage.clock import Clock
from .presence import Presence
from .tickets import Ticket

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
        begun_ns = self.begin()
        yield
        self.end(begun_ns)

    def begin(self) -> int:
        """When a call begins: what ``end`` is to be told."""
        return self._clock.monotonic_ns()

    def end(self, begun_ns: int) -> None:
        """Count a call that has succeeded now."""
        now = self._clock.monotonic_ns()
        self._count += 1
        self._window_count += 1
        self._total_ns += now - begun_ns
        elapsed = now - self._window_start_ns
        if elapsed > _WINDOW_NS or self.per_second == 0.0:
            self.per_second = self._window_count / max(elapsed / 1e9, 1.0)
        if elapsed > _WINDOW_NS:
            self._window_start_ns, self._window_count = now, 0


class MeteredTicket(Ticket):
    """A ticket whose call lasts from its making to its success, however late somebody looks at it."""

    __slots__ = ("_begun_ns", "_meter")

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        self._begun_ns = meter.begin()

    def succeed(self, result: Any) -> None:
        """Give the result (once), and count the call."""
        self._meter.end(self._begun_ns)
        super().succeed(result)


@dataclass(frozen=True, slots=True)
class CollectionMeter:
    """The meters of one collection."""

    insert: Meter
    search: Meter


@dataclass(slots=True)
class Meters:
    """Meters by collection, made on first use; ``presence``: of those who read any of them. Thread-safe."""

    clock: Clock
    presence: Presence
    _by_collection: dict[uuid.UUID, CollectionMeter] = field(default_factory=dict)

    def of(self, collection_id: uuid.UUID) -> CollectionMeter:
        """The meters of a collection."""
        found = self._by_collection.get(collection_id)
        if found is None:
            made = CollectionMeter(Meter(self.clock), Meter(self.clock))
            found = self._by_collection.setdefault(collection_id, made)
        return found
