"""The compaction thread: looks now and then whether segments have become worth writing anew."""

from __future__ import annotations

import threading

from ..errors import Cancelled, EngineFailed, HoldfastError
from .alarms import Alarms
from .compactions import Compactions

EVERY_SECONDS = 30.0
RETRY_SECONDS = 600.0
CODE = "COMPACTION_FAILING"


class CompactionThread:
    """``run`` is the thread; ``stop`` is for any other and does not block."""

    def __init__(self, compactions: Compactions, alarms: Alarms, every_seconds: float = EVERY_SECONDS) -> None:
        self._compactions = compactions
        self._alarms = alarms
        self._every_seconds = every_seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the thread end; what it is writing is given up."""
        self._stopped.set()

    def run(self) -> None:
        """The compaction thread."""
        seconds = self._every_seconds
        while not self._stopped.wait(seconds):
            try:
                seconds = self._every_seconds if self.look() else max(RETRY_SECONDS, self._every_seconds)
            except EngineFailed:
                # The store is read-only from here on, and says so.
                return

    def look(self) -> bool:
        """Compact what is worth it; whether nothing was refused. For the thread, and for tests without. Blocks."""
        try:
            self._compactions.tidy(self._check)
        except Cancelled:
            return True
        except EngineFailed:
            raise
        except HoldfastError as error:
            self._alarms.raise_(
                CODE,
                f"segments with dead rows cannot be written anew: {error.message}",
                hint=f"{error.hint or 'look at the daemon log'}; compactions go on by themselves",
            )
            return False
        self._alarms.clear(CODE)
        return True

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("the daemon is stopping")
