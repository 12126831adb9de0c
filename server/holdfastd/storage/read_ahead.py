"""A file read in order, with the next pieces on their way from the disk while one is dealt with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..format.urls import is_object_url
from .beside import Done, Pending
from .files import FileSystem, Reader

PIECE_BYTES = 2 << 20
AHEAD = 2
"""Pieces that are on their way from the disk while one is dealt with."""


def read_ahead(fs: FileSystem, path: str, source: Reader, offset: int, end: int) -> Iterator[bytes]:
    """The bytes from ``offset`` up to ``end``, piece by piece; ends early where the file does. Raises ``OSError``.

    ``source``: the file's reader. Of an object it reads all of it: that is for one thread, and has what comes next on
    its way by itself.
    """
    starts = iter(range(offset, end, PIECE_BYTES))
    coming: deque[Pending] = deque()
    while True:
        while len(coming) < AHEAD and (start := next(starts, None)) is not None:
            coming.append(_begin(fs, path, source, start, min(PIECE_BYTES, end - start)))
        if not coming:
            return
        piece: bytes = coming.popleft().result()
        if not piece:
            return
        yield piece


def _begin(fs: FileSystem, path: str, source: Reader, start: int, count: int) -> Pending:
    if is_object_url(path):
        return Done(lambda: source.read(start, count))
    return fs.beside(lambda: fs.read(path, start, count))
