"""Texts that stand back to back in a mapped file: ids, payloads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..model import Int64Array
from .checks import PAGE_BYTES
from .files import ByteArray


class MappedTexts:
    """See the module. ``array``: the bytes; ``path``: of their file, for errors. Any thread; may read the disk."""

    def __init__(self, array: ByteArray, path: str) -> None:
        self._array = array
        self._view = array.data
        self._path = path

    def at(self, offsets: NDArray[Any], lengths: NDArray[Any]) -> list[bytes]:
        """The bytes at ``offsets``. Faults pages in without the GIL first, so that slicing finds them in memory."""
        starts, ends = self._bounds(offsets, lengths)
        self._touch(starts, ends)
        view = self._view
        return [view[start:end].tobytes() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def joined(self, offsets: NDArray[Any], lengths: NDArray[Any]) -> bytes:
        """The same, one behind the other: what lies so already is copied in one piece."""
        starts, ends = self._bounds(offsets, lengths)
        breaks = np.flatnonzero(starts[1:] != ends[:-1])
        starts, ends = starts[np.append(0, breaks + 1)[: len(starts)]], ends[np.append(breaks, -1)[: len(ends)]]
        self._touch(starts, ends)
        view = self._view
        return b"".join([view[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])

    def _bounds(self, offsets: NDArray[Any], lengths: NDArray[Any]) -> tuple[Int64Array, Int64Array]:
        starts = offsets.astype(np.int64)
        ends = starts + lengths.astype(np.int64)
        if len(starts) and (int(starts.min()) < 0 or int(ends.max()) > self._array.size):
            raise Corruption("rows.npy points beyond the end of this file", path=self._path, offset=self._array.size)
        return starts, ends

    def _touch(self, starts: Int64Array, ends: Int64Array) -> None:
        if not self._array.size or not len(starts):
            return
        self._array.take(starts, mode="clip")
        self._array.take(ends - 1, mode="clip")
        longer = ends - starts > PAGE_BYTES
        for start, end in zip(starts[longer].tolist(), ends[longer].tolist(), strict=True):
            self._array.take(np.arange(start, end, PAGE_BYTES))
