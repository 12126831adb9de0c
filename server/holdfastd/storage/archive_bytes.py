"""The tar inside an archive by the places of its bytes, forward: with what is skipped not read, where it is plain.

What is read comes from the disk, not from memory that may remember better: the page cache is asked to forget it first,
and again behind the reading, so that a verification does not push out what searches need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from .archive_reader import FileInput
from .files import Buffer, Cache, FileSystem
from .gzip_members import GzipReader
from .read_ahead import PIECE_BYTES, read_ahead
from .read_buffers import ReadBuffers

FORGET_BYTES = 32 << 20


class TarBytes(Protocol):
    """See the module. Offsets are those of the tar; of a compressed one they never go back."""

    def read(self, offset: int, count: int) -> bytes:
        """``count`` bytes, fewer at the end. Raises ValueError where the compression is damaged, OSError."""

    def pieces(self, offset: int, count: int) -> Iterator[Buffer]:
        """The same, piece by piece; ends early where the archive does."""


class PlainBytes:
    """Of an archive that is not compressed. ``keep``: it is soon read again, so it may stay in the page cache.

    What may not is read past it: that costs the copy of it, and a fifth of the processor's time.
    """

    def __init__(self, fs: FileSystem, path: str, *, keep: bool) -> None:
        self._fs = fs
        self._path = path
        self._source = fs.reader(path, Cache.USE if keep else Cache.BYPASS)
        self._buffers = ReadBuffers(PIECE_BYTES)
        self._keep = keep
        forget(fs, path, 0, fs.size(path))

    def read(self, offset: int, count: int) -> bytes:
        return self._source.read(offset, count)

    def pieces(self, offset: int, count: int) -> Iterator[Buffer]:
        yield from read_ahead(self._fs, self._path, self._source, offset, offset + count, self._buffers)
        if not self._keep:
            forget(self._fs, self._path, offset, count)


class GzipBytes:
    """Of a compressed one: all of it is decompressed, skipped or not."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self._fs = fs
        self._path = path
        self._source = FileInput(fs, path, fs.reader(path))
        self._reader = GzipReader(self._source)
        self._at = self._forgotten = 0
        forget(fs, path, 0, fs.size(path))

    def read(self, offset: int, count: int) -> bytes:
        return b"".join(self.pieces(offset, count))

    def pieces(self, offset: int, count: int) -> Iterator[bytes]:
        while self._at < offset and (skipped := self._next(offset - self._at)):
            del skipped
        end = offset + count
        while self._at < end and (piece := self._next(end - self._at)):
            yield piece

    def _next(self, at_most: int) -> bytes:
        piece = self._reader.read(min(PIECE_BYTES, at_most))
        self._at += len(piece)
        if self._source.position - self._forgotten >= FORGET_BYTES:
            forget(self._fs, self._path, self._forgotten, self._source.position - self._forgotten)
            self._forgotten = self._source.position
        return piece


def forget(fs: FileSystem, path: str, offset: int, count: int) -> None:
    """Ask the page cache to let a part of a file go; where it cannot, nothing is wrong by that."""
    with contextlib.suppress(OSError):
        fs.drop_cache(path, offset, count)
