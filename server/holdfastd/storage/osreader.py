"""A file of the operating system held open for reading.

The kernel reads ahead of whoever keeps a descriptor, and begins anew with each that is opened: by pieces of 4 MiB out
of a cold page cache that costs more than half of the speed.
"""

from __future__ import annotations

import errno
import os
import weakref

import numpy as np

from .files import Cache
from .osmap import OsMapping

ADVICE = {
    "normal": os.POSIX_FADV_NORMAL,
    "random": os.POSIX_FADV_RANDOM,
    "sequential": os.POSIX_FADV_SEQUENTIAL,
    "willneed": os.POSIX_FADV_WILLNEED,
    "dontneed": os.POSIX_FADV_DONTNEED,
}

READ_PIECE_BYTES = 1 << 30
"""One read returns at most 0x7ffff000 bytes."""


class OsReader:
    """See the module. Any thread. What is open is closed with the last reference."""

    def __init__(self, path: str, cache: Cache = Cache.USE) -> None:
        self._descriptor = open_for_reading(path)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size
        self._direct = None if cache is Cache.USE else _open_direct(path)
        if self._direct is not None:
            weakref.finalize(self, os.close, self._direct)
        self._mapping = OsMapping(self._descriptor, self.size, path) if cache is Cache.SPARE else None

    def read(self, offset: int, length: int) -> bytes:
        left = max(0, os.fstat(self._descriptor).st_size - offset)
        return read_exactly(self._descriptor, offset, min(length, left))

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = 0
        if self._direct is not None and not self._is_cached(offset, len(buffer)):
            done = _read_direct(self._direct, offset, buffer)
        # What ended early need not go on at a whole block; where it did so for a bad one, that is raised here.
        return done + _read_all_into(self._descriptor, offset + done, buffer[done:])

    def advise(self, mode: str) -> None:
        os.posix_fadvise(self._descriptor, 0, 0, ADVICE[mode])

    def _is_cached(self, offset: int, length: int) -> bool:
        """Whether more than half of these bytes, of those that the file had at the start, is in the page cache.

        Its pages are counted and never touched: the file may be cut.
        """
        if self._mapping is None:
            return False
        pages = self._mapping.resident_pages(offset, length)
        return not len(pages) or int(np.count_nonzero(pages)) * 2 > len(pages)


def open_for_reading(path: str, flags: int = 0) -> int:
    """A descriptor. A pipe that lies in the place of a file is not waited for: nobody may ever write to it."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)


def read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset``, fewer at the end of the file."""
    data = os.pread(descriptor, min(length, READ_PIECE_BYTES), offset)
    if len(data) == length:
        return data
    pieces = [data]
    done = len(data)
    while done < length and pieces[-1]:
        pieces.append(os.pread(descriptor, min(length - done, READ_PIECE_BYTES), offset + done))
        done += len(pieces[-1])
    return b"".join(pieces)


def _read_all_into(descriptor: int, offset: int, buffer: memoryview) -> int:
    done = 0
    while done < len(buffer) and (count := os.preadv(descriptor, [buffer[done:]], offset + done)):
        done += count
    return done


def _read_direct(descriptor: int, offset: int, buffer: memoryview) -> int:
    try:
        return os.preadv(descriptor, [buffer], offset)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return 0


def _open_direct(path: str) -> int | None:
    """A descriptor past the page cache; None where the file system refuses."""
    try:
        return open_for_reading(path, os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
