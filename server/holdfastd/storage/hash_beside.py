"""A SHA-256 that is computed beside whoever reads or writes the data."""

from __future__ import annotations

import hashlib

from .beside import Beside, Pending
from .files import Buffer

_WORTH_A_THREAD = 64 * 1024


class HashBeside:
    """See the module. One thread gives the data, in order; it must not change before the next call."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._sha256 = hashlib.sha256()
        self._running: Pending | None = None

    def update(self, data: Buffer) -> None:
        """Take the next piece. Blocks for the one before; small ones are hashed at once."""
        self.wait()
        if len(data) < _WORTH_A_THREAD:
            self._sha256.update(data)
        else:
            self._running = self._beside(lambda: self._sha256.update(data))

    def wait(self) -> None:
        """Return when all that was given is hashed: it may change then."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def hexdigest(self) -> str:
        """Of all that was given. Blocks."""
        self.wait()
        return self._sha256.hexdigest()
