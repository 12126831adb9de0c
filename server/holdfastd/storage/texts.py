"""Texts that stand back to back in a sealed file: ids, payloads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..model import Int64Array
from .column import Column


class Texts:
    """See the module. ``column``: the bytes. Any thread; may read the disk."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def at(self, offsets: NDArray[Any], lengths: NDArray[Any]) -> list[bytes]:
        """The bytes at ``offsets``."""
        return self._column.texts(*self._bounds(offsets, lengths))

    def joined(self, offsets: NDArray[Any], lengths: NDArray[Any]) -> bytes:
        """The same, one behind the other: what lies so already is copied in one piece."""
        starts, stops = self._bounds(offsets, lengths)
        breaks = np.flatnonzero(starts[1:] != stops[:-1])
        starts, stops = starts[np.append(0, breaks + 1)[: len(starts)]], stops[np.append(breaks, -1)[: len(stops)]]
        return b"".join(self._column.texts(starts, stops))

    def _bounds(self, offsets: NDArray[Any], lengths: NDArray[Any]) -> tuple[Int64Array, Int64Array]:
        starts = offsets.astype(np.int64)
        stops = starts + lengths.astype(np.int64)
        size = len(self._column)
        if len(starts) and (int(starts.min()) < 0 or int(stops.max()) > size):
            raise Corruption("rows.npy points beyond the end of this file", path=self._column.path, offset=size)
        return starts, stops
