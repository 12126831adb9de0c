"""Whether somebody reads points at the moment: whoever works in the background for nobody in particular gives way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..storage.clock import Clock


class Presence:
    """Of readers. Any thread; waits for nobody."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reading = 0
        self._left_ns = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Somebody reads for as long as the block runs."""
        with self._lock:
            self._reading += 1
        try:
            yield
        finally:
            with self._lock:
                self._reading -= 1
                self._left_ns = self._clock.monotonic_ns()

    def last_ns(self) -> int:
        """When somebody was last reading, by ``clock.monotonic_ns``: now, while somebody is."""
        with self._lock:
            return self._clock.monotonic_ns() if self._reading else self._left_ns
