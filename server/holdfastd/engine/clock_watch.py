"""Whether the wall clock can be trusted with the age of records (RULES 12).

The times of the log strictly increase whatever the clock does; but how old a record is only the clock can say. After a
jump of more than an hour its word is worth nothing, and what is trimmed by mistake never comes back: trimming by age is
suspended, with an alarm. It goes on by itself

- when the clock comes back to within an hour of where it would be without the jump,
- when as much time as the log is kept for has passed since the jump: what was logged before it is old by any clock,
- and with a restart, which is how an operator says that the clock is right as it is.

Newest records that lie ahead of the clock are told of as well, until the clock has caught up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..storage.clock import Clock
from .alarms import Alarms

CLOCK_JUMP_US = 3600 * 1_000_000
CODE = "CLOCK_JUMP"


@dataclass(frozen=True, slots=True)
class _Reading:
    """What both clocks showed at one moment."""

    wall_us: int
    elapsed_us: int


class ClockWatch:
    """See the module. ``newest_us``: the time of the last operation. Any thread; nothing blocks."""

    def __init__(self, clock: Clock, alarms: Alarms, newest_us: Callable[[], int]) -> None:
        self._clock = clock
        self._alarms = alarms
        self._newest_us = newest_us
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._reference = self._read()
        self._jumped: _Reading | None = None

    def trusted(self, retention_us: int) -> bool:
        """Whether ages may be computed now; raises or clears the alarm. ``retention_us``: how long records are kept."""
        with self._lock:
            now = self._read()
            drift = self._drift(now, retention_us)
            ahead = self._newest_us() - now.wall_us
            if abs(drift) <= CLOCK_JUMP_US and ahead <= CLOCK_JUMP_US:
                self._alarms.clear(CODE)
                return True
            self._alarms.raise_(CODE, _what_happened(drift, ahead), hint=_HINT)
            return False

    def _drift(self, now: _Reading, retention_us: int) -> int:
        """How far the clock is from where it would be without a jump; 0 once its new time is taken for right."""
        reference = self._reference
        drift = (now.wall_us - reference.wall_us) - (now.elapsed_us - reference.elapsed_us)
        if abs(drift) <= CLOCK_JUMP_US:
            self._jumped = None
            return drift
        self._jumped = self._jumped or now
        if now.elapsed_us - self._jumped.elapsed_us <= retention_us:
            return drift
        self._reference, self._jumped = now, None
        return 0

    def _read(self) -> _Reading:
        return _Reading(self._clock.now_us(), self._clock.monotonic_ns() // 1000)


_HINT = (
    "check the clock (chronyc tracking); if it is right now, restart the daemon, or wait: "
    "trimming goes on once all that was logged before the jump is older than the retention"
)


def _what_happened(drift_us: int, ahead_us: int) -> str:
    end = "the log is not trimmed by age"
    if abs(drift_us) > CLOCK_JUMP_US:
        way = "forward" if drift_us > 0 else "back"
        return f"the clock jumped {way} by {abs(drift_us) // 1_000_000} seconds: {end}"
    return f"the newest records lie {ahead_us // 1_000_000} seconds ahead of the clock: {end}"
