"""The thread that removes uploads which nobody has gone on with in time, while the daemon runs."""

from __future__ import annotations

import threading

from .snapshot_upload import Uploads

EVERY_SECONDS = 600.0


class UploadExpiry:
    """``run`` is the thread; ``stop`` is for any other and does not block."""

    def __init__(self, uploads: Uploads, every_seconds: float = EVERY_SECONDS) -> None:
        self._uploads = uploads
        self._every_seconds = every_seconds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()

    def run(self) -> None:
        """The uploads thread."""
        while not self._stopped.wait(self._every_seconds):
            self._uploads.forget_old()
