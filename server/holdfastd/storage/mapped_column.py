"""A column read through a memory map.

A page that is not in the page cache is read by the fault of whoever touches it. NumPy touches little arrays, and Python
slices, with the GIL held: then every thread of the daemon waits for the disk. So what is cold is read in before, by
calls that do not hold it; whether it is cold costs a look at the page tables (mincore, some ns a page). The kernel's
own reading ahead follows the advice, and reads single pages for ``random``: a scan asks for its next piece by itself.
"""

from __future__ import annotations

import errno
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..model import Advice, Int64Array
from .checks import PAGE_BYTES, mapped_array
from .column import PIECE_BYTES, Advance, Column, Residence, unreadable
from .files import ByteArray, Mapping

FEW = 8
"""So many faults one after the other are let be."""
PAGES_PER_RANGE = 16
"""Ranges that are so dense are looked at together: the look at what is between them costs less than reading them."""


class MappedColumn(Column):
    """See the module. It owns the map, which goes with its last array. Raises ``Corruption`` for another array."""

    def __init__(self, mapping: Mapping, path: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> None:
        self._array = mapped_array(mapping, path, dtype, shape)
        self._mapping = mapping
        super().__init__(path, mapping.size, dtype, self._array.shape)

    def span(self, start: int, stop: int) -> NDArray[Any]:
        self._read_in(self.start + start * self.item_bytes, (stop - start) * self.item_bytes)
        return self._array[start:stop]

    def piece(self, start: int, stop: int) -> NDArray[Any]:
        offset, length = self.start + start * self.item_bytes, (stop - start) * self.item_bytes
        if not self._mapping.resident_pages(offset, length).all():
            stop = min(stop, start + max(1, PIECE_BYTES // self.item_bytes))
            behind = self.start + stop * self.item_bytes
            self._mapping.prefetch(offset, behind - offset)
            self._mapping.prefetch(behind, min(PIECE_BYTES, offset + length - behind))
            self._fault_in(offset, behind - offset)
        return self._array[start:stop]

    def take(self, items: Int64Array) -> NDArray[Any]:
        starts = items * self.item_bytes
        self._prefetch(starts, starts + self.item_bytes)
        taken: NDArray[Any] = self._array.take(items, axis=0)
        return taken

    def searchsorted(self, values: NDArray[Any], side: Literal["left", "right"] = "left") -> Int64Array:
        return self._array.searchsorted(values, side=side)

    def texts(self, starts: Int64Array, stops: Int64Array) -> list[bytes]:
        self._prefetch(starts, stops)
        self._touch(starts, stops)
        view = self._array.data
        return [view[start:stop].tobytes() for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]

    def raw(self, offset: int, length: int) -> ByteArray:
        self._mapping.prefetch(offset, length)
        self._fault_in(offset, length)
        return self._mapping.array[offset : offset + length]

    def advise(self, advice: Advice) -> None:
        self._mapping.advise(advice)

    def populate(self, advance: Advance) -> None:
        for offset in range(0, self.size_bytes, PIECE_BYTES):
            length = min(PIECE_BYTES, self.size_bytes - offset)
            self.raw(offset, length)
            advance(length)

    def residence(self) -> Residence:
        mapping = self._mapping
        return Residence(mapping.size, mapping.resident_bytes(), mapping.pinned_bytes)

    def _read_in(self, offset: int, length: int) -> None:
        """Read in what of a range the page cache lacks, a piece ahead of the one that is waited for."""
        if self._mapping.resident_pages(offset, length).all():
            return
        end = offset + length
        self._mapping.prefetch(offset, min(PIECE_BYTES, length))
        for at in range(offset, end, PIECE_BYTES):
            behind = min(at + PIECE_BYTES, end)
            self._mapping.prefetch(behind, min(PIECE_BYTES, end - behind))
            self._fault_in(at, behind - at)

    def _fault_in(self, offset: int, length: int) -> None:
        try:
            self._mapping.populate(offset, length)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise unreadable(self.path, offset, error) from error
            # A kernel that cannot tell (before 5.14): touched by a call that does not hold the GIL, as ever.
            self._mapping.array.take(np.arange(offset, min(offset + length, self.size_bytes), PAGE_BYTES))

    def _prefetch(self, starts: Int64Array, stops: Int64Array) -> None:
        """Have the disk read many ranges of the array at once, rather than each as it is touched."""
        if len(starts) <= FEW:
            return
        first, end = int(starts.min()) + self.start, int(stops.max()) + self.start
        base = first // PAGE_BYTES
        pages = (end - 1) // PAGE_BYTES - base + 1
        if pages > PAGES_PER_RANGE * len(starts):
            return
        resident = self._mapping.resident_pages(first, end - first)
        if resident.all():
            return
        edges = np.zeros(pages + 1, np.int64)
        np.add.at(edges, (starts + self.start) // PAGE_BYTES - base, 1)
        np.add.at(edges, (stops + (self.start - 1)) // PAGE_BYTES - base + 1, -1)
        missing = (np.cumsum(edges[:-1]) > 0) & ~resident
        turns = np.flatnonzero(np.diff(missing, prepend=False, append=False)).reshape(-1, 2)
        for begin, stop in turns.tolist():
            self._mapping.prefetch((base + begin) * PAGE_BYTES, (stop - begin) * PAGE_BYTES)

    def _touch(self, starts: Int64Array, stops: Int64Array) -> None:
        if not len(self) or not len(starts):
            return
        self._array.take(starts, mode="clip")
        self._array.take(stops - 1, mode="clip")
        longer = stops - starts > PAGE_BYTES
        for start, stop in zip(starts[longer].tolist(), stops[longer].tolist(), strict=True):
            self._read_in(self.start + start, stop - start)
