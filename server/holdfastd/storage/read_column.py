"""A column read into fresh memory with ``preadv``: nothing is mapped, and a bad block is an error like any other.

Items that lie near one another come with one read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.npy import MAX_HEADER_BYTES, npy_layout
from ..model import Advice, Int64Array
from .checks import DAMAGE
from .column import PIECE_BYTES, Advance, Column, Residence, unreadable
from .files import ByteArray, HeldFile

GAP_BYTES = 8 << 10
"""Reading so much more costs less than another call."""


class ReadColumn(Column):
    """See the module. It owns the descriptor. Raises ``Corruption`` where the file holds another array."""

    def __init__(self, file: HeldFile, path: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> None:
        self._file = file
        self.path = path
        head = self._read(0, min(file.size, MAX_HEADER_BYTES))
        try:
            found, its_shape, start = npy_layout(head.tobytes())
        except ValueError as error:
            raise Corruption(str(error), path=path, offset=0) from None
        if found != dtype or (len(its_shape) != 1 if shape is None else its_shape != shape):
            raise Corruption(f"holds {found} {its_shape}, not {dtype} {shape}", path=path, offset=0)
        super().__init__(path, file.size, dtype, its_shape)
        if self.start != start:
            raise Corruption(f"npy data of {file.size - start} bytes instead of {self.nbytes}", path=path, offset=0)

    def span(self, start: int, stop: int) -> NDArray[Any]:
        out = self._empty(stop - start)
        self._fill(_bytes_of(out), self.start + start * self.item_bytes)
        out.flags.writeable = False
        return out

    def piece(self, start: int, stop: int) -> NDArray[Any]:
        return self.span(start, min(stop, start + max(1, PIECE_BYTES // self.item_bytes)))

    def take(self, items: Int64Array) -> NDArray[Any]:
        out = self._empty(len(items))
        if not len(items) or not self.item_bytes:
            return out
        starts, rows = items * self.item_bytes, _bytes_of(out).reshape(len(items), self.item_bytes)
        for which, first, stop in _clusters(starts, starts + self.item_bytes):
            read = self._read(self.start + first, stop - first).reshape(-1, self.item_bytes)
            rows[which] = read.take((starts[which] - first) // self.item_bytes, axis=0)
        return out

    def searchsorted(self, values: NDArray[Any], side: Literal["left", "right"] = "left") -> Int64Array:
        low, high = np.zeros(len(values), np.int64), np.full(len(values), len(self), np.int64)
        while (open_ := np.flatnonzero(low < high)).size:
            middle = (low[open_] + high[open_]) // 2
            found, wanted = self.take(middle), values[open_]
            beyond = found < wanted if side == "left" else found <= wanted
            low[open_[beyond]] = middle[beyond] + 1
            high[open_[~beyond]] = middle[~beyond]
        return low

    def texts(self, starts: Int64Array, stops: Int64Array) -> list[bytes]:
        out = [b""] * len(starts)
        if not len(starts):
            return out
        for which, first, stop in _clusters(starts, stops):
            view = self._read(self.start + first, stop - first).data
            places = zip(which.tolist(), (starts[which] - first).tolist(), (stops[which] - first).tolist(), strict=True)
            for at, begin, end in places:
                out[at] = view[begin:end].tobytes()
        return out

    def raw(self, offset: int, length: int) -> ByteArray:
        return self._read(offset, min(length, self.size_bytes - offset))

    def advise(self, advice: Advice) -> None:
        self._file.advise(advice)

    def populate(self, advance: Advance) -> None:
        """There is no map."""

    def residence(self) -> Residence:
        return Residence()

    def _empty(self, count: int) -> NDArray[Any]:
        return np.empty((count, *self.shape[1:]), self.dtype)

    def _read(self, offset: int, length: int) -> ByteArray:
        out = np.empty(length, np.uint8)
        self._fill(out, offset)
        out.flags.writeable = False
        return out

    def _fill(self, out: ByteArray, offset: int) -> None:
        try:
            count = self._file.read_into(offset, out.data)
        except OSError as error:
            if error.errno in DAMAGE:
                raise unreadable(self.path, offset, error) from error
            raise
        if count != len(out):
            raise Corruption("the file is shorter than when it was opened", path=self.path, offset=offset + count)


def _bytes_of(array: NDArray[Any]) -> ByteArray:
    return array.reshape(-1).view(np.uint8)


def _clusters(starts: Int64Array, stops: Int64Array) -> Iterator[tuple[Int64Array, int, int]]:
    """Ranges that one read brings: which they are, where the first begins and where the last ends.

    Of at most ``PIECE_BYTES`` each, and the length of one range.
    """
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], stops[order]
    apart = (starts[1:] - np.maximum.accumulate(stops)[:-1] > GAP_BYTES) | (np.diff(starts // PIECE_BYTES) > 0)
    bounds = np.concatenate(([0], np.flatnonzero(apart) + 1))
    ends = np.maximum.reduceat(stops, bounds)
    for (begin, end), stop in zip(pairwise([*bounds.tolist(), len(order)]), ends.tolist(), strict=True):
        yield order[begin:end], int(starts[begin]), stop
