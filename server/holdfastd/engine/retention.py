"""How much of the log is kept: by age and by need, within a cap, and only while the disk has room (RULES 12, 13).

Never given up: what is not checkpointed. Kept for as long as it is pinned (a running replay, snapshot or tail), needed
by the newest snapshot to be rolled forward, younger than the retention period, or not archived where the log is; but
all of that yields to the cap, and to a disk without room. An alarm then names the window of point-in-time recovery that
was lost, until that window would have passed anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..errors import HoldfastError
from ..model import Sequence64
from ..storage.wal import Wal, WalFileInfo
from .alarms import Alarms
from .clock_watch import ClockWatch
from .manifest_keeper import ManifestKeeper

_ALL = 1 << 63
CAP = "WAL_CAP"
ROOM = "WAL_GAVE_WAY"
_HINTS = {
    CAP: "take a snapshot; then allow the log more with `holdfast storage wal enable --max-size SIZE`, or ask for less "
    "with --retention",
    ROOM: "free space on the disk of the log, then take a snapshot: history is complete again from there",
}


@dataclass(frozen=True, slots=True)
class Lost:
    """History that was given up early: WAL segments from one sequence and time through another."""

    first: Sequence64
    first_us: int
    last: Sequence64
    last_us: int


class Retention:
    """See the module. Any thread; trimming blocks for the disk, one at a time."""

    def __init__(self, keeper: ManifestKeeper, watch: ClockWatch, alarms: Alarms, now_us: Callable[[], int]) -> None:
        self._keeper = keeper
        self._watch = watch
        self._alarms = alarms
        self._now_us = now_us
        # Set once by the engine, when it knows of snapshots: the moment of the newest that can be restored, or None.
        self.newest_snapshot: Callable[[], Sequence64 | None] = lambda: None
        # The same, where the log is archived: the first sequence that is not in a WAL segment which is there whole.
        self.unarchived_from: Callable[[tuple[WalFileInfo, ...]], Sequence64] = lambda files: _ALL
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._pins: dict[object, Sequence64] = {}
        # Held while files are removed: one trimming at a time. Guards what is below.
        self._trimming = threading.Lock()
        self._not_needed_before = keeper.current.log_start_required
        self._newest: Sequence64 | None = None
        self._lost: dict[str, Lost] = {}

    @contextmanager
    def pinned(self, sequence: Sequence64) -> Iterator[None]:
        """Keep every record from ``sequence`` on while the block runs, within the cap."""
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
        with self._trimming:
            self._not_needed_before = not_needed_before
            self._trim(log)

    def trim_again(self, log: Wal) -> None:
        """The same, after a change of the settings."""
        with self._trimming:
            self._trim(log)

    def give_way(self, log: Wal, enough: Callable[[], bool]) -> None:
        """Give up history, the oldest first, until there is ``enough`` room; what recovery needs stays."""
        with self._trimming:
            self._trim(log)
            for file in log.files[:-1]:
                if file.last_sequence >= self._not_needed_before or enough():
                    break
                if not self._remove(log, file.last_sequence + 1):
                    return
                self._note(ROOM, file)
            self._tell(log, self._wanted_from(log.files))

    def look(self, log: Wal | None) -> None:
        """Bring the alarms up to date: about the clock, and about history that was lost. Does not block."""
        if not self._trimming.acquire(blocking=False):
            return
        try:
            wanted = self._wanted_from(log.files if log is not None else ())
            if log is not None:
                self._tell(log, wanted)
        finally:
            self._trimming.release()

    def _trim(self, log: Wal) -> None:
        files = log.files
        self._newest = self.newest_snapshot()
        wanted = self._wanted_from(files)
        keep_from = min(self._not_needed_before, self._pinned_from(), self.unarchived_from(files), wanted)
        cap = self._keeper.current.wal_settings.max_wal_bytes
        excess = sum(file.size_bytes for file in files if file.last_sequence >= keep_from) - cap
        given_up = []
        for file in files[:-1]:
            # Readers' pins yield to the cap; what is not checkpointed never does.
            if excess <= 0 or file.last_sequence >= self._not_needed_before:
                break
            if file.last_sequence >= keep_from:
                excess -= file.size_bytes
                keep_from = file.last_sequence + 1
                given_up.append(file)
        if self._remove(log, keep_from):
            for file in given_up:
                self._note(CAP, file)
        self._tell(log, wanted)

    def _remove(self, log: Wal, keep_from: Sequence64) -> bool:
        try:
            log.trim(keep_from)
        except HoldfastError as error:
            self._alarms.raise_("WAL_TRIM", error.message, hint=error.hint or "check the WAL directory")
            return False
        self._alarms.clear("WAL_TRIM")
        return True

    def _wanted_from(self, files: tuple[WalFileInfo, ...]) -> Sequence64:
        """The first sequence that age or the newest snapshot keeps; everything while the clock cannot be trusted."""
        settings = self._keeper.current.wal_settings
        if not self._watch.trusted(settings.retention_us):
            return 0
        # Where the log no longer leads on from the newest snapshot, keeping more of it would be of no use to that one.
        cut_off = self._newest is not None and files and self._newest < files[0].header.previous_sequence
        needed = min(self._high_waters(), default=_ALL) + 1 if cut_off else self._snapshots_need()
        return min(self._young_from(files), needed)

    def _pinned_from(self) -> Sequence64:
        with self._lock:
            return min(self._pins.values(), default=_ALL)

    def _young_from(self, files: tuple[WalFileInfo, ...]) -> Sequence64:
        horizon = self._horizon()
        return next((file.first_sequence for file in files if file.last_timestamp_us >= horizon), _ALL)

    def _horizon(self) -> int:
        return self._now_us() - self._keeper.current.wal_settings.retention_us

    def _snapshots_need(self) -> Sequence64:
        """What the newest snapshot of each collection needs, and the newest of all, though what it holds is dropped."""
        newest = () if self._newest is None else (self._newest,)
        return min((*self._high_waters(), *newest), default=_ALL) + 1

    def _high_waters(self) -> list[Sequence64]:
        return [entry.high_water for entry in self._keeper.current.collections if entry.high_water]

    # What was lost ----------------------------------------------------------------------------------------------------

    def _note(self, code: str, file: WalFileInfo) -> None:
        known = self._lost.get(code)
        begun_us = file.first_timestamp_us or file.header.created_us
        lost = Lost(file.first_sequence, begun_us, file.last_sequence, file.last_timestamp_us)
        self._lost[code] = lost if known is None else replace(known, last=lost.last, last_us=lost.last_us)

    def _tell(self, log: Wal, wanted: Sequence64) -> None:
        """Raise or clear the alarms about lost history: it counts for as long as it would have been kept."""
        horizon, needed = self._horizon(), self._snapshots_need()
        for code, lost in list(self._lost.items()):
            if wanted and lost.last_us < horizon and lost.last < needed:
                del self._lost[code]
                self._alarms.clear(code)
                continue
            self._alarms.raise_(code, f"{self._why(code)}: {_window(lost, log)}", hint=_HINTS[code])

    def _why(self, code: str) -> str:
        cap = self._keeper.current.wal_settings.max_wal_bytes
        return f"the log may take {cap} bytes" if code == CAP else "the disk of the log is full"


def _window(lost: Lost, log: Wal) -> str:
    return (
        f"history from {_moment(lost.first_us)} (sequence {lost.first}) to {_moment(lost.last_us)} "
        f"(sequence {lost.last}) was given up, and nothing can be rolled forward to before sequence "
        f"{log.files[0].first_sequence}"
    )


def _moment(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
