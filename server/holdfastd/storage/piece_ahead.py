"""Pieces of files read one after the other, each on its way from the disk while the one before is dealt with.

Where the next one begins is known only from what is in this one, so there is one on its way and no more.
What two pieces have in common is read once. Whole blocks are read, and past the page cache what that does not hold.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from .beside import Beside, Pending
from .files import Cache, Reader, ReadsFiles, copy_into
from .read_buffers import ReadBuffers
from .write_buffer import BLOCK_BYTES, whole_blocks


class Place(NamedTuple):
    """A piece of a file: ``length`` bytes, fewer at its end."""

    path: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.offset + self.length


class PieceAhead:
    """See the module. One thread. ``beside``: what reads meanwhile; None: nothing is read before it is asked for.

    ``piece_bytes``: the usual length. ``then``: what follows the file that is being read, begun once there is nothing
    more of that. Pieces never change, however long they are held.
    """

    def __init__(self, fs: ReadsFiles, beside: Beside | None = None, piece_bytes: int = 0) -> None:
        self._fs = fs
        self._beside = beside
        self._buffers = ReadBuffers(whole_blocks(piece_bytes) + BLOCK_BYTES)
        self._source: tuple[str, Reader] | None = None
        self._coming: tuple[Place, Pending] | None = None
        self._last: _Blocks | None = None
        self.then: Place | None = None

    def begin(self, place: Place) -> None:
        """Have it on its way; where it is nothing, what comes ``then``. Does not block, and raises nothing."""
        wanted = place if place.length > 0 else self.then
        if self._beside is None or wanted is None:
            return
        start = wanted.offset - wanted.offset % BLOCK_BYTES
        blocks = _Blocks(wanted.path, start, self._buffers.take(whole_blocks(wanted.end - start)))
        last, self._last = self._last, None
        there = 0 if last is None else blocks.take_over(last)
        self._coming = (wanted, self._beside(partial(self._fill, wanted, blocks, there)))

    def read(self, place: Place) -> memoryview:
        """The bytes there, which may be on their way. Raises ``OSError`` as the file system does."""
        coming, self._coming = self._coming, None
        if coming is None or coming[0] != place:
            return memoryview(self._fs.read(*place))
        blocks: _Blocks = coming[1].result()
        self._last = blocks.whole_up_to(place.end)
        return blocks.data[place.offset - blocks.start : place.end - blocks.start].toreadonly()

    def _fill(self, place: Place, blocks: _Blocks, there: int) -> _Blocks:
        """On the other thread: the first bytes are ``there`` already."""
        if self._source is None or self._source[0] != place.path:
            self._source = (place.path, self._fs.reader(place.path, Cache.SPARE))
        read = self._source[1].read_into(blocks.start + there, blocks.data[there:])
        return blocks._replace(data=blocks.data[: there + read])


class _Blocks(NamedTuple):
    """The bytes of a file from ``start`` on, where a block begins."""

    path: str
    start: int
    data: memoryview

    def take_over(self, before: _Blocks) -> int:
        """Copy what another piece has of this one's beginning; returns how many bytes."""
        if before.path != self.path or before.start > self.start:
            return 0
        return copy_into(self.data, before.data[self.start - before.start :][: len(self.data)])

    def whole_up_to(self, end: int) -> _Blocks:
        """Its whole blocks in front of ``end``: what is behind may still be written to."""
        count = min(end - self.start, len(self.data))
        return self._replace(data=self.data[: count - count % BLOCK_BYTES])
