"""Memory to read files into, again and again: fresh memory for each piece has to be found and zeroed by the kernel."""

from __future__ import annotations

import weakref

from .files import ByteArray
from .write_buffer import write_buffer

MOST_KEPT = 12
"""Of two files read at a time: those being read into, the one that is dealt with, those that are being hashed."""


class ReadBuffers:
    """Lends memory of ``size`` bytes, fit for direct reads. One thread takes it.

    What is lent belongs to whoever has it or a part of it, and never changes under them: only what nobody looks at any
    more is lent again. What somebody keeps is theirs for good, and other memory takes its place.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lent: list[tuple[ByteArray, weakref.ref[ByteArray]]] = []

    def take(self, count: int) -> memoryview:
        """``count`` bytes to write to, with anything in them."""
        if count > self._size:
            return write_buffer(count).data
        for index, (buffer, seen) in enumerate(self._lent):
            if seen() is None:
                del self._lent[index]
                return self._lend(buffer, count)
        # The longest lent is the one that is most likely kept.
        del self._lent[: max(0, len(self._lent) + 1 - MOST_KEPT)]
        return self._lend(write_buffer(self._size), count)

    def _lend(self, buffer: ByteArray, count: int) -> memoryview:
        # Every part of a view of this array keeps the array, and none of them the memory alone.
        face = buffer[:count]
        self._lent.append((buffer, weakref.ref(face)))
        return face.data
