"""Room on the disk: what is refused, and what is still done, when there is none left (RULES 13, 26).

While there is room, a reserve file keeps some of it from being used. Whoever finds the disk full calls ``give_way``:

    full           whatever makes the store larger is refused with RESOURCE_EXHAUSTED; reads go on
    first part     of the reserve: for deletes, for a checkpoint of what is in memory, and for compactions that free
                   more than they take, as far as it fits
    last quarter   for what must not fail: drops, truncations, the manifest, the log's last word before a stop

The checkpoint thread then looks for room: history of the log yields first, checkpoints let what was deleted go. Once
the reserve fits twice, ``tend`` takes it again, and only then is writing allowed; whoever wants to write looks as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import HoldfastError, ResourceExhausted
from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.reserve import HEAD_BYTES, Reserve
from .alarms import Alarms
from .changes import Change, CreateCollection, DropCollection, Restore, SetMark, Truncate, UpsertRows
from .disk_errors import lacks_space

FULL = "DISK_FULL"
SMALL = "RESERVE_SMALL"
SHARE = 4
"""The reserve takes at most this part of what is free when it is made; and its last part is as large a part of it."""
MIN_BYTES = 1 << 16
"""A smaller reserve would hold no manifest."""
RETRY_MS = 5000

GROWS = (UpsertRows, CreateCollection, Restore, SetMark)
"""Changes that make the store larger; all others are let through when there is no room."""
_FREES_MOST = (DropCollection, Truncate)

T = TypeVar("T")


class Room:
    """See the module. Any thread; everything but ``full`` and ``admit`` may block for the disk.

    ``log_directory``: where the log is written to; it may lie on another disk than ``layout.root``.
    ``on_full`` is called when the disk is found full, by whoever found it so: it must be quick.
    """

    def __init__(
        self,
        fs: FileSystem,
        layout: Layout,
        alarms: Alarms,
        wanted_bytes: int,
        log_directory: Callable[[], str],
    ) -> None:
        self._fs = fs
        self._root = layout.root
        self._alarms = alarms
        self._wanted = wanted_bytes
        self._log_directory = log_directory
        self._reserve = Reserve(fs, layout.reserve)
        self.on_full: Callable[[], None] = lambda: None
        # Held while the reserve changes; ``full`` is changed under it and read by anybody.
        self._lock = threading.Lock()
        self.full = False

    @property
    def reserve_bytes(self) -> int:
        """Bytes that are set aside now."""
        return self._reserve.size

    def open(self) -> None:
        """Take the reserve, or go on with what an earlier process left of it. Raises OSError. Call once, at start."""
        with self._lock:
            self._reserve.find()
            self.full = self._reserve.size < self._reserve.nominal
            if self._reserve.nominal > self._wanted:
                self._reserve.remove()
        self.tend()

    def admit(self, change: Change | None) -> None:
        """Raise ResourceExhausted for what makes the store larger while the disk is full; looks whether it still is."""
        if not self.full or not isinstance(change, GROWS):
            return
        self.tend()
        if self.full:
            raise ResourceExhausted(
                f"the disk of {self._root} is full, and what is left is kept for deletes",
                reason=FULL,
                hint=_FREE_SPACE,
                retry_after_ms=RETRY_MS,
            )

    def give_way(self, *, last: bool = False) -> bool:
        """The disk is full: give back the first part of the reserve, or with ``last`` all of it.

        Returns whether there is more room now than before.
        """
        with self._lock:
            kept = 0 if last else self._reserve.nominal // SHARE
            try:
                more = self._reserve.give_back(kept)
            except OSError:
                more = False
            was_full, self.full = self.full, True
            self._tell()
        if not was_full:
            self.on_full()
        return more

    def make_way(self, changes: Sequence[Change | None]) -> list[bool]:
        """Give way to a group for which the log had no room; returns which of its changes may be tried again."""
        if self.give_way():
            return [not isinstance(change, GROWS) for change in changes]
        most = [isinstance(change, _FREES_MOST) for change in changes]
        return most if any(most) and self.give_way(last=True) else [False] * len(most)

    def insist(self, action: Callable[[], T]) -> T:
        """Do what must not fail for lack of room, giving up the reserve for it; ``action`` may run several times."""
        while True:
            try:
                return action()
            except (OSError, HoldfastError) as error:
                if not lacks_space(error) or not (self.give_way() or self.give_way(last=True)):
                    raise

    def tend(self) -> None:
        """Take the reserve (again) where there is room for it, and allow writing then. Never fails."""
        with self._lock:
            try:
                self._take()
            except OSError as error:
                if not lacks_space(error):
                    self._alarms.raise_(
                        SMALL,
                        f"the reserve in {self._root} cannot be made: {error.strerror or error}",
                        hint=_CHECK_DISK,
                    )
                    return
            self._tell()

    def enough_for_log(self, checkpoint_bytes: int = 0) -> bool:
        """Whether history of the log need not yield: there is room on its disk for what is to be written there next."""
        directory = self._log_directory()
        if not self._fs.exists(directory) or self._fs.same_disk(directory, self._root):
            return self._enough(checkpoint_bytes)
        return self._fs.free_bytes(directory) >= 2 * MIN_BYTES

    def next_segment_fits(self, size: int) -> bool:
        """Whether the disk of the log has ``size`` bytes for the next WAL segment."""
        return self._fs.free_bytes(self._log_directory()) >= size

    def _enough(self, besides: int = 0) -> bool:
        nominal = max(self._reserve.nominal, MIN_BYTES)
        return self._fs.free_bytes(self._root) + self._reserve.size >= 2 * nominal + besides

    def _take(self) -> None:
        if self.full and not (self._enough() and self.enough_for_log()):
            return
        room = self._fs.free_bytes(self._root) + self._reserve.size
        size = max(min(self._wanted, room // SHARE), min(self._reserve.nominal, self._wanted))
        size -= size % HEAD_BYTES
        # It does not grow by every page that becomes free.
        if size >= MIN_BYTES and (size >= 2 * self._reserve.size or size == self._wanted > self._reserve.size):
            self._reserve.take(size)
        self.full = False

    def _tell(self) -> None:
        held = self._reserve.size
        if self.full:
            self._alarms.raise_(
                FULL,
                f"the disk of {self._root} or of the log is full: writes are refused, reads and deletes are served; "
                f"{held} of the {self._reserve.nominal} bytes kept for that are left",
                hint=_FREE_SPACE,
                severity="critical",
            )
            return
        self._alarms.clear(FULL)
        if held >= self._wanted:
            self._alarms.clear(SMALL)
            return
        self._alarms.raise_(
            SMALL,
            f"{held} instead of {self._wanted} bytes of {self._root} are kept for the day on which the disk is full",
            hint="free space there, or ask for less with holdfastd --disk-reserve SIZE",
        )


_FREE_SPACE = (
    "free space there: holdfast collection delete NAME, holdfast storage snapshot delete ID, or less history with "
    "holdfast storage wal enable --retention 1h; writing goes on by itself"
)
_CHECK_DISK = "let the daemon write to its data directory, then restart it"
