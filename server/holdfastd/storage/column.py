"""One array of a sealed file, read as it is indexed. Two ways of reading stand behind one face:

    MappedColumn   through a memory map: what the page cache holds is not copied, the rest is read in before it is used
    ReadColumn     through reads into fresh memory: nothing is mapped

Files never change, so both give the same values, and whoever holds a column may go on with it while another takes its
place.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..model import Advice, Int64Array
from .files import ByteArray

PIECE_BYTES = 4 << 20
"""What is read at once where it has to come from the disk."""

Advance = Callable[[int], object]
"""Told how many bytes were done; what it raises ends the work."""


class Residence(NamedTuple):
    """Where bytes of files are: mapped, of these in the page cache now, and pinned there."""

    mapped: int = 0
    resident: int = 0
    pinned: int = 0

    def plus(self, other: Residence) -> Residence:
        """Both together."""
        return Residence(*map(sum, zip(self, other, strict=True)))


class Column(ABC):
    """See the module. Any thread; may read the disk, and lets other threads run meanwhile.

    ``shape``: (n, …); an item is what stands behind one index of the first axis. ``size_bytes``: of the file.
    Reading raises ``Corruption`` with path and offset where the disk cannot give a block.
    """

    def __init__(self, path: str, size_bytes: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.dtype = dtype
        self.shape = shape
        self.item_bytes = dtype.itemsize * math.prod(shape[1:])
        self.nbytes = self.item_bytes * shape[0]
        self.start = size_bytes - self.nbytes
        """Where the array begins in the file."""

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, key: slice) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: Int64Array) -> NDArray[Any]: ...
    def __getitem__(self, key: slice | Int64Array) -> NDArray[Any]:
        """Items as of an array: a slice, read-only and all in memory by now, or a copy of some, by their numbers."""
        if not isinstance(key, slice):
            return self.take(key)
        start, stop, step = key.indices(len(self))
        if step != 1:
            return self.take(np.arange(start, stop, step, dtype=np.int64))
        return self.span(start, max(start, stop))

    @abstractmethod
    def span(self, start: int, stop: int) -> NDArray[Any]:
        """The items from ``start`` to ``stop``; read-only."""

    @abstractmethod
    def piece(self, start: int, stop: int) -> NDArray[Any]:
        """The items from ``start`` on, at least one: as many before ``stop`` as can be had at once. Read-only.

        A scan that asks for one piece after the other holds little, and finds the next one on its way from the disk.
        """

    @abstractmethod
    def take(self, items: Int64Array) -> NDArray[Any]:
        """(len(items), …): a copy of these items, in any order."""

    @abstractmethod
    def searchsorted(self, values: NDArray[Any], side: Literal["left", "right"] = "left") -> Int64Array:
        """As of an array with one ascending axis."""

    @abstractmethod
    def texts(self, starts: Int64Array, stops: Int64Array) -> list[bytes]:
        """Of a column of bytes: those from each start to its stop."""

    @abstractmethod
    def raw(self, offset: int, length: int) -> ByteArray:
        """Bytes of the file as it stands, its header included. Read-only."""

    @abstractmethod
    def advise(self, advice: Advice) -> None:
        """Tell the kernel how far to read ahead of what is asked for."""

    @abstractmethod
    def populate(self, advance: Advance) -> None:
        """Read a map in, page tables included; nothing where there is no map."""

    @abstractmethod
    def residence(self) -> Residence:
        """Where its bytes are now."""


def unreadable(path: str, offset: int, error: OSError) -> Corruption:
    """What is said of a block that the disk does not give."""
    return Corruption(
        f"a block cannot be read from the disk: {error.strerror}",
        path=path,
        offset=offset,
        hint="look at the disk (dmesg, smartctl), and restart the daemon: it sets the segment aside",
    )
