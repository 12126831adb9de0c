"""How much of the log is kept: by age and by need, within a cap (RULES 12, 13).

Never trimmed: what is not checkpointed, and what something pins (a running replay or tail). Kept within the cap: what
is younger than the retention period, and what the newest snapshot needs to be rolled forward.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import HoldfastError
from ..model import Sequence64
from ..storage.clock import Clock
from ..storage.wal import Wal, WalFileInfo
from .alarms import Alarms
from .manifest_keeper import ManifestKeeper

CLOCK_JUMP_US = 3600 * 1_000_000


class Retention:
    """See the module. ``trim`` is called by one thread at a time; pins from any thread."""

    def __init__(self, keeper: ManifestKeeper, clock: Clock, alarms: Alarms) -> None:
        self._keeper = keeper
        self._clock = clock
        self._alarms = alarms
        self._started_us = clock.now_us()
        self._started_ns = clock.monotonic_ns()
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._pins: dict[object, Sequence64] = {}

    @contextmanager
    def pinned(self, sequence: Sequence64) -> Iterator[None]:
        """Keep every record from ``sequence`` on while the block runs."""
        pin = object()
        with self._lock:
            self._pins[pin] = sequence
        try:
            yield
        finally:
            with self._lock:
                del self._pins[pin]

    def trim(self, log: Wal, not_needed_before: Sequence64) -> None:
        """Remove WAL segments that neither recovery (from ``not_needed_before`` on) nor the rules above need."""
        files = log.files
        before = min(not_needed_before, self._pinned_from())
        wanted = min(self._young_from(files), self._snapshots_need())
        keep_from = min(before, wanted)
        cap = self._keeper.current.wal_settings.max_wal_bytes
        excess = sum(file.size_bytes for file in files if file.last_sequence >= keep_from) - cap
        for file in files:
            # Readers' pins yield to the cap; what is not checkpointed never does.
            if excess <= 0 or file.last_sequence >= not_needed_before:
                break
            if file.last_sequence >= keep_from:
                excess -= file.size_bytes
                keep_from = file.last_sequence + 1
                self._alarms.raise_(
                    "WAL_CAP",
                    f"the log exceeds {cap} bytes: history up to sequence {file.last_sequence} was given up",
                    hint="shorten --retention, take snapshots more often, or end readers of the log that stand still",
                )
        try:
            log.trim(keep_from)
        except HoldfastError as error:
            self._alarms.raise_("WAL_TRIM", error.message, hint=error.hint or "check the WAL directory")
        else:
            self._alarms.clear("WAL_TRIM")

    def _pinned_from(self) -> Sequence64:
        with self._lock:
            return min(self._pins.values(), default=1 << 63)

    def _young_from(self, files: tuple[WalFileInfo, ...]) -> Sequence64:
        """The first sequence that age keeps; everything while the clock cannot be trusted."""
        now = self._clock.now_us()
        elapsed_us = (self._clock.monotonic_ns() - self._started_ns) // 1000
        if abs(now - self._started_us - elapsed_us) > CLOCK_JUMP_US:
            self._alarms.raise_(
                "CLOCK_JUMP",
                "the clock jumped by more than an hour since the start: the log is not trimmed by age",
                hint="check the clock (chronyc tracking), then restart the daemon",
            )
            return 0
        horizon = now - self._keeper.current.wal_settings.retention_us
        for file in files:
            if file.last_timestamp_us >= horizon:
                return file.first_sequence
        return 1 << 63

    def _snapshots_need(self) -> Sequence64:
        marks = [entry.high_water for entry in self._keeper.current.collections if entry.high_water]
        return min(marks, default=1 << 63) + 1
