"""Bulk writes give way: at full speed while the log is quiet, at a rate while somebody writes to it (RULES 25).

A compaction, for which nobody waits, gives way to those who read as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..storage.bulk import Pace
from ..storage.clock import Clock

QUIET_NS = 100_000_000
"""So long after the last write to the log nobody is in the way any more."""
LONG_QUIET_NS = 1_000_000_000
"""So long after it the next one is not expected at any moment: then a write may find some megabytes before it."""
BACKUP_SHARE = 5
"""Backups write a fifth of what checkpoints and restores may: nobody waits for them. At 100 MB/s clients kept 0.7 of
their rate beside snapshots without end and had 1.5 times their p99, at 300 MB/s 0.4 and 8 times, at 50 all of both."""
AT_ONCE_BYTES = 4 << 20
"""What may go out before the rate is kept: small files wait for nothing."""


class Pacer:
    """Called before each piece of a checkpoint, snapshot or restore; may block. Any thread; callers share its rate."""

    def __init__(self, clock: Clock, bytes_per_second: int, last_write_ns: Callable[[], int]) -> None:
        """``last_write_ns``: when the log was last written to, by ``clock.monotonic_ns``. A rate of 0 is none."""
        self._clock = clock
        self._rate = bytes_per_second
        self._last_write_ns = last_write_ns
        self._lock = threading.Lock()
        self._free_ns = 0
        """When what has gone out so far is paid for. Guarded by _lock."""

    def is_quiet(self) -> bool:
        """Whether the log has not been written to for so long that nobody may mind large pieces. Does not block."""
        return self._clock.monotonic_ns() - self._last_write_ns() > LONG_QUIET_NS

    def __call__(self, count: int) -> None:
        """Wait until ``count`` bytes may be written."""
        self._wait(count, self._last_write_ns())

    def that_yields_to(self, last_ns: Callable[[], int]) -> Pace:
        """A pace that gives way to others as well, within the same rate. ``last_ns``: when one of them was there."""
        return lambda count: self._wait(count, max(self._last_write_ns(), last_ns()))

    def _wait(self, count: int, last_ns: int) -> None:
        if not self._rate:
            return
        cost = count * 1_000_000_000 // self._rate
        with self._lock:
            now = self._clock.monotonic_ns()
            if now - last_ns > QUIET_NS:
                self._free_ns = now
                return
            at_once = AT_ONCE_BYTES * 1_000_000_000 // self._rate
            self._free_ns = max(self._free_ns, now - at_once) + cost
            wait = self._free_ns - now
        if wait > 0:
            self._clock.sleep(wait / 1e9)
