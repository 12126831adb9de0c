"""The checkpoint thread: decides when memtables become segments, and keeps trying when that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import EngineFailed, HoldfastError
from ..model import Sequence64
from ..storage.wal import Wal
from .alarms import Alarms
from .apply import Applier
from .checkpoint import Checkpointer
from .committer import Committer
from .retention import Retention
from .room import Room
from .settings import EngineConfig

HOLD_FACTOR = 3
"""Writers wait when all memtables together hold this many times the size at which one is checkpointed (RULES 26)."""
TOTAL_FACTOR = 2
"""A checkpoint is due, however small each memtable is, when all together hold this many times that size."""
RETRY_SECONDS = 5.0


class CheckpointThread:
    """``run`` is the thread; ``notice`` is called after each group and must be quick; the rest is for any thread.

    ``log_start``: recovery has read the log from there on. ``max_wal_bytes``: the log's cap.
    """

    def __init__(
        self,
        config: EngineConfig,
        applier: Applier,
        committer: Committer,
        checkpointer: Checkpointer,
        alarms: Alarms,
        room: Room,
        retention: Retention,
        *,
        log_start: Sequence64,
        max_wal_bytes: Callable[[], int],
    ) -> None:
        self._max_wal_bytes = max_wal_bytes
        self._config = config
        self._applier = applier
        self._committer = committer
        self._checkpointer = checkpointer
        self._alarms = alarms
        self._room = room
        self._retention = retention
        # Guarded by _wake.
        self._wake = threading.Condition()
        self._wanted = False
        self._stopped = False
        applier.recount()
        # The checkpoint thread's own. What a start has read from the log and no checkpoint covers is behind, too.
        self._logged_before = committer.logged_bytes - _bytes_behind(committer.log, log_start)

    def notice(self) -> None:
        """Look whether a checkpoint is due (committing thread)."""
        if self._is_due():
            self.request()

    def request(self) -> None:
        """Ask for a checkpoint soon."""
        with self._wake:
            self._wanted = True
            self._wake.notify()

    def memory_is_full(self) -> str | None:
        """Why writers have to wait, or None."""
        held = self._applier.unsealed.total
        if held < HOLD_FACTOR * self._config.memtable_bytes:
            return None
        return f"{held} bytes of points wait to be written into segments"

    def is_behind(self) -> bool:
        """Whether writers will soon have to wait for a checkpoint."""
        return self._applier.unsealed.total >= TOTAL_FACTOR * self._config.memtable_bytes

    def stop(self) -> None:
        """Let the thread end after the checkpoint under way."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def run(self) -> None:
        """The checkpoint thread."""
        again = False
        # What recovery has brought back may already be too much to let anybody write.
        self.notice()
        while True:
            with self._wake:
                if again and not self._wanted and not self._stopped:
                    self._wake.wait(RETRY_SECONDS)
                while not self._wanted and not self._stopped and not again:
                    self._wake.wait()
                if self._stopped:
                    return
                self._wanted = False
            again = not self.tend()
            self._committer.release_writers()

    def tend(self) -> bool:
        """A checkpoint, and room on a full disk; returns whether all is well. For the thread, and for tests without."""
        if self._room.full:
            self._let_history_yield()
        done = self._try_checkpoint()
        self._room.tend()
        if done and self._room.full:
            # What a checkpoint replaces goes with the one after it.
            done = self._try_checkpoint()
            self._let_history_yield()
            self._room.tend()
        return done and not self._room.full

    def _let_history_yield(self) -> None:
        """Give up as much of the log as it takes to have room, for a checkpoint as well (RULES 13)."""
        log, needed = self._committer.log, self._applier.unsealed.total
        if log is not None:
            try:
                self._retention.give_way(log, lambda: self._room.enough_for_log(needed))
            except OSError as error:
                self._alarms.raise_("WAL_TRIM", f"no room can be found in the log: {error}", hint="check its directory")

    def _try_checkpoint(self) -> bool:
        logged = self._committer.logged_bytes
        try:
            self._checkpointer.run()
        except EngineFailed as error:
            self._committer.fail(error)
            return True
        except Exception as error:  # whatever it is: a thread that dies here would stop all writers without a word
            reason = error.message if isinstance(error, HoldfastError) else f"{type(error).__name__}: {error}"
            self._alarms.raise_(
                "CHECKPOINT_FAILING",
                f"points cannot be written into segments: {reason}",
                hint=f"{_hint_of(error)}; checkpoints go on by themselves",
                severity="critical",
            )
            return False
        self._alarms.clear("CHECKPOINT_FAILING")
        self._logged_before = logged
        return True

    def _is_due(self) -> bool:
        unsealed, limit = self._applier.unsealed, self._config.memtable_bytes
        if unsealed.largest >= limit or unsealed.growing >= TOTAL_FACTOR * limit:
            return True
        behind = self._committer.logged_bytes - self._logged_before
        # What is not checkpointed never yields to the log's cap, so it must not come to fill it.
        return behind > min(self._config.laggard_bytes, self._max_wal_bytes() // 2)


def _hint_of(error: Exception) -> str:
    hint = error.hint if isinstance(error, HoldfastError) else None
    return hint or "look for disk errors with dmesg, and for the cause in the daemon's log"


def _bytes_behind(log: Wal | None, log_start: Sequence64) -> int:
    """Bytes of log that recovery would read from ``log_start`` on, in whole WAL segments."""
    files = log.files if log is not None else ()
    return sum(file.size_bytes for file in files if file.last_sequence >= log_start)
