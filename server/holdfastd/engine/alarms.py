"""Conditions that an operator should know of: raised and cleared by whoever notices, listed by ``storage alarms``."""

from __future__ import annotations

import threading

from ..model import Alarm
from ..storage.clock import Clock


class Alarms:
    """Alarms by code. Thread-safe; nothing blocks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, Alarm] = {}

    def raise_(self, code: str, message: str, *, hint: str, severity: str = "warning") -> None:
        """Raise an alarm, or update its text; it keeps the time at which it was first raised."""
        with self._lock:
            known = self._active.get(code)
            since = known.since_us if known is not None else self._clock.now_us()
            self._active[code] = Alarm(code, message, hint, severity, since)

    def clear(self, code: str) -> None:
        """Take an alarm back; one that is not active is no error."""
        with self._lock:
            self._active.pop(code, None)

    def list(self) -> list[Alarm]:
        """Active alarms, the oldest first."""
        with self._lock:
            return sorted(self._active.values(), key=lambda alarm: alarm.since_us)
