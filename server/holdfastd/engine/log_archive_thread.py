"""The archive thread: a round each interval, at once after a rotation of the log, and a last one at the end."""

from __future__ import annotations

import logging
import threading

from .log_archiver import LogArchiver

GLANCE_SECONDS = 1.0
"""So often is looked whether the log has gone on in another WAL segment."""
LAST_ROUND_SECONDS = 10.0
"""A stop waits no longer for an archive that does not answer; the next start goes on where this one ended."""

_log = logging.getLogger("holdfastd")


class ArchiveThread:
    """``start`` and ``finish`` are for who starts and stops the store."""

    def __init__(self, archiver: LogArchiver, last_round_seconds: float = LAST_ROUND_SECONDS) -> None:
        self._archiver = archiver
        self._last_round_seconds = last_round_seconds
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, with a first round at once. Does not block."""
        self._thread = threading.Thread(target=self.run, name="archive", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ship what is durable now, and end. Blocks for the archive, though not for long."""
        self._stopped.set()
        self._archiver.hurry()
        if self._thread is None:
            self._archiver.round()
        else:
            self._thread.join(self._last_round_seconds)
            if self._thread.is_alive():
                _log.warning(
                    "the end of the log is not archived: the archive does not answer in time",
                    extra={"archive": self._archiver.directory, "waited_seconds": self._last_round_seconds},
                )
        self._archiver.release()

    def run(self) -> None:
        """The archive thread."""
        while not self._stopped.is_set():
            self._archiver.round()
            self._wait(self._archiver.pause_seconds)
        self._archiver.round()

    def _wait(self, seconds: float) -> None:
        left = seconds
        while left > 0 and not self._stopped.wait(min(left, GLANCE_SECONDS)):
            left -= GLANCE_SECONDS
            if self._archiver.has_rotated():
                return
