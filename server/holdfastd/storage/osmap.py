"""Read-only memory maps made through libc: no descriptor stays open per map, and no call holds the GIL while it waits.

``mmap.mmap`` keeps a duplicate of the descriptor for the life of each map, and its ``madvise`` keeps the GIL.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

from ..model import BoolArray
from .files import ByteArray

MADV_POPULATE_READ = 22
"""Faults pages in and answers EFAULT where an access would raise SIGBUS (Linux 5.14)."""

ADVICE = {
    "normal": mmap.MADV_NORMAL,
    "random": mmap.MADV_RANDOM,
    "sequential": mmap.MADV_SEQUENTIAL,
    "willneed": mmap.MADV_WILLNEED,
    "dontneed": mmap.MADV_DONTNEED,
}

PREFETCH_BYTES = 128 << 10
"""The kernel reads no more for one call than its read-ahead window, of which this is the smallest in use."""

_MAP_FAILED = ctypes.c_void_p(-1).value


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    address, length = ctypes.c_void_p, ctypes.c_size_t
    libc.mmap.argtypes = [address, length, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
    libc.mmap.restype = address
    libc.munmap.argtypes = [address, length]
    libc.madvise.argtypes = [address, length, ctypes.c_int]
    libc.mincore.argtypes = [address, length, address]
    libc.mlock.argtypes = [address, length]
    libc.munlock.argtypes = [address, length]
    return libc


LIBC = _libc()


class _Region:
    """Owns one mapped range: arrays over it keep it alive, and the last one to go unmaps it."""

    def __init__(self, descriptor: int, size: int, path: str) -> None:
        self.address = 0
        self.size = size
        found = LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if found is None or found == _MAP_FAILED:
            _raise_errno(path)
        self.address = found
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (found, True), "version": 3}

    def __del__(self, munmap: object = LIBC.munmap) -> None:
        if self.address and callable(munmap):
            munmap(self.address, self.size)


class OsMapping:
    """A file mapped read-only. Any thread."""

    def __init__(self, descriptor: int, size: int, path: str) -> None:
        self._path = path
        self._size = size
        self._address = 0
        # (offset, length) of what is locked.
        self._pinned: set[tuple[int, int]] = set()
        self._array: ByteArray = np.empty(0, np.uint8)
        if size:
            region = _Region(descriptor, size, path)
            self._address = region.address
            self._array = np.asarray(region)
        self._array.flags.writeable = False

    @property
    def array(self) -> ByteArray:
        return self._array

    @property
    def size(self) -> int:
        return self._size

    def advise(self, mode: str) -> None:
        self._call(LIBC.madvise, self._address, self._size, ADVICE[mode])

    def populate(self, offset: int = 0, length: int | None = None) -> None:
        start, length = self._pages_of(offset, length)
        self._call(LIBC.madvise, self._address + start, length, MADV_POPULATE_READ)

    def prefetch(self, offset: int, length: int) -> None:
        start, length = self._pages_of(offset, length)
        for at in range(start, start + length, PREFETCH_BYTES):
            size = min(PREFETCH_BYTES, start + length - at)
            self._call(LIBC.madvise, self._address + at, size, mmap.MADV_WILLNEED)

    def resident_pages(self, offset: int = 0, length: int | None = None) -> BoolArray:
        start, length = self._pages_of(offset, length)
        states = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
        self._call(LIBC.mincore, self._address + start, length, states.ctypes.data)
        # The other bits mean nothing yet.
        states &= 1
        return states.view(np.bool_)

    def resident_bytes(self) -> int:
        pages = self.resident_pages()
        if not len(pages):
            return 0
        # Of the last page only what the file fills is mapped bytes.
        beyond = len(pages) * mmap.PAGESIZE - self._size
        return int(np.count_nonzero(pages)) * mmap.PAGESIZE - (beyond if pages[-1] else 0)

    @property
    def pinned_bytes(self) -> int:
        return sum(length for _, length in self._pinned)

    def lock(self, offset: int, length: int) -> None:
        self._call(LIBC.mlock, self._address + offset, length)
        self._pinned.add((offset, length))

    def unlock(self, offset: int, length: int) -> None:
        self._call(LIBC.munlock, self._address + offset, length)
        self._pinned.discard((offset, length))

    def _pages_of(self, offset: int, length: int | None) -> tuple[int, int]:
        """Where the page with ``offset`` begins, and the bytes from there to the end of the range."""
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        end = self._size if length is None else min(offset + length, self._size)
        return start, max(0, end - start)

    def _call(self, function: object, address: int, length: int, *arguments: int) -> None:
        if length and callable(function) and function(address, length, *arguments) != 0:
            _raise_errno(self._path)


def _raise_errno(path: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), path)
