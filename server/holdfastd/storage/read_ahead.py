"""A file read in order, with the next pieces on their way from the disk while one is dealt with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial

from ..format.urls import is_object_url
from .beside import Done, Pending
from .files import Buffer, FileSystem, Reader
from .read_buffers import ReadBuffers
from .write_buffer import BLOCK_BYTES, whole_blocks

PIECE_BYTES = 2 << 20
AHEAD = 2
"""Pieces that are on their way from the disk while one is dealt with."""


def read_ahead(
    fs: FileSystem, path: str, source: Reader, offset: int, end: int, buffers: ReadBuffers | None = None
) -> Iterator[Buffer]:
    """The bytes from ``offset`` up to ``end``, piece by piece; ends early where the file does. Raises ``OSError``.

    ``source``: the file's reader. Of an object it is asked on the calling thread, and has what comes next on its way by
    itself. ``buffers``: of PIECE_BYTES, kept from one call to the next. Pieces never change, however long they are
    held.
    """
    if is_object_url(path):
        return _coming(_begin_here(source, offset, end))
    return _coming(_begin_beside(fs, source, buffers or ReadBuffers(PIECE_BYTES), offset, end))


def _coming(begun: Iterator[Pending]) -> Iterator[Buffer]:
    coming: deque[Pending] = deque()
    while True:
        while len(coming) < AHEAD and (pending := next(begun, None)) is not None:
            coming.append(pending)
        if not coming:
            return
        piece: Buffer = coming.popleft().result()
        if not piece:
            return
        yield piece


def _begin_here(source: Reader, offset: int, end: int) -> Iterator[Pending]:
    for start in range(offset, end, PIECE_BYTES):
        yield Done(lambda start=start: source.read(start, min(PIECE_BYTES, end - start)))  # type: ignore[misc]


def _begin_beside(fs: FileSystem, source: Reader, buffers: ReadBuffers, offset: int, end: int) -> Iterator[Pending]:
    """Of more than a piece whole blocks are read, as direct reads have to be, and given what was asked for of them."""
    in_blocks = end - offset > PIECE_BYTES
    for start in range(offset - offset % BLOCK_BYTES if in_blocks else offset, end, PIECE_BYTES):
        buffer = buffers.take(min(PIECE_BYTES, whole_blocks(end - start) if in_blocks else end - start))
        wanted = slice(max(0, offset - start), end - start)
        yield fs.beside(partial(_fill, source, start, buffer, wanted))
        # Not held on to here: it is whoever's gets the piece.
        del buffer


def _fill(source: Reader, start: int, buffer: memoryview, wanted: slice) -> memoryview:
    return buffer[: source.read_into(start, buffer)][wanted].toreadonly()
