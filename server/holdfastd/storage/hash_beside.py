"""A SHA-256 that is computed beside whoever reads or writes the data."""

from __future__ import annotations

import hashlib

from .beside import Beside, Pending
from .files import Buffer

AT_ONCE_BYTES = 1 << 20
"""So much is hashed at a time: handing over what is small costs more than hashing it."""


class HashBeside:
    """See the module. One thread gives the data, in order; it must not change before ``wait`` or ``hexdigest``.

    Holds on to about twice ``AT_ONCE_BYTES`` of it, or to two pieces.
    """

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._sha256 = hashlib.sha256()
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._running: Pending | None = None

    def update(self, data: Buffer) -> None:
        """Take the next piece. May block for those before."""
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= AT_ONCE_BYTES:
            self._wait_for_running()
            pieces = self._take()
            self._running = self._beside(lambda: self._hash(pieces))

    def wait(self) -> None:
        """Return when all that was given is hashed: it may change then."""
        self._wait_for_running()
        self._hash(self._take())

    def hexdigest(self) -> str:
        """Of all that was given. Blocks."""
        self.wait()
        return self._sha256.hexdigest()

    def _take(self) -> list[Buffer]:
        taken, self._gathered, self._gathered_bytes = self._gathered, [], 0
        return taken

    def _hash(self, pieces: list[Buffer]) -> None:
        for piece in pieces:
            self._sha256.update(piece)

    def _wait_for_running(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.result()
