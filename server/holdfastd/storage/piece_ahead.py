"""Pieces of files read one after the other, each on its way from the disk while the one before is dealt with.

Where the next one begins is known only from what is in this one, so there is one on its way and no more.
"""

from __future__ import annotations

from typing import NamedTuple

from .beside import Beside, Pending
from .files import ReadsFiles


class Place(NamedTuple):
    """A piece of a file: ``length`` bytes, fewer at its end."""

    path: str
    offset: int
    length: int


class PieceAhead:
    """See the module. One thread. ``beside``: what reads meanwhile; None: nothing is read before it is asked for.

    ``then``: what follows the file that is being read, begun once there is nothing more of that.
    """

    def __init__(self, fs: ReadsFiles, beside: Beside | None = None) -> None:
        self._fs = fs
        self._beside = beside
        self._coming: tuple[Place, Pending] | None = None
        self.then: Place | None = None

    def begin(self, place: Place) -> None:
        """Have it on its way; where it is nothing, what comes ``then``. Does not block, and raises nothing."""
        wanted = place if place.length > 0 else self.then
        if self._beside is not None and wanted is not None:
            self._coming = (wanted, self._beside(lambda: self._fs.read(*wanted)))

    def read(self, place: Place) -> bytes:
        """The bytes there, which may be on their way. Raises ``OSError`` as the file system does."""
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == place:
            found: bytes = coming[1].result()
            return found
        return self._fs.read(*place)
