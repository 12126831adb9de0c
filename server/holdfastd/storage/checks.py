"""Opening and checking files that never change once they are written: what is wrong with one is corruption."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.checksum import crc32c
from ..format.npy import npy_view
from ..format.segment import FileInfo
from .bulk import Pace
from .files import FileSystem, Mapping

READ_BYTES = 1 << 20
PAGE_BYTES = 4096
HEADER_BYTES = 2 * PAGE_BYTES
"""No npy header is longer."""
_HEADER_PAGES = np.arange(0, HEADER_BYTES, PAGE_BYTES)
_FIRST_PAGE = _HEADER_PAGES[:1]

DAMAGE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EIO,
        errno.ENXIO,
        errno.ENODATA,
        errno.EUCLEAN,
        errno.EBADMSG,
        errno.EILSEQ,
        errno.EREMOTEIO,
        errno.ESTALE,
    }
)
"""What the kernel says of a file that is gone, in the way, or no longer readable; EUCLEAN, EBADMSG and EILSEQ are what
file systems with checksums of their own answer. Others (no permission, no descriptors left) say nothing of the file."""


class DamageOf:
    """Turn an ``OSError`` that says that ``path`` is damaged or missing into ``Corruption``; others pass.

    A store opens some twenty files for each of its segments; a generator as a context would take half of that time.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno in DAMAGE:
            gone = error.errno == errno.ENOENT
            text = "the file is missing" if gone else f"cannot be read: {error.strerror}"
            raise Corruption(text, path=self._path) from error


def check_size(fs: FileSystem, path: str, expected: int) -> None:
    """Raises ``Corruption`` unless the file exists with exactly this size: mapping a shorter one would be deadly."""
    with DamageOf(path):
        size = fs.size(path)
    if size != expected:
        raise Corruption(f"has {size} bytes instead of {expected}", path=path, offset=min(size, expected))


def check_file(fs: FileSystem, path: str, expected: int) -> None:
    """``check_size``, and read the header: a block that cannot be read would kill the process once it is mapped."""
    check_size(fs, path, expected)
    with DamageOf(path):
        fs.read(path, 0, HEADER_BYTES)


def map_file(fs: FileSystem, path: str) -> Mapping:
    """Map a file whose size has been checked. Raises ``Corruption`` where the kernel calls it damaged."""
    with DamageOf(path):
        return fs.map(path)


def mapped_array(mapping: Mapping, path: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
    """The array in a mapped npy file, not copied; a ``shape`` of None is any number of elements in one dimension.

    Raises ``Corruption`` when it is another array.
    """
    # The header alone, not the megabytes that the kernel may read around it.
    mapping.advise("random")
    # Faulted in by a call that releases the GIL: parsing it touches the pages from Python.
    mapping.array.take(_HEADER_PAGES if mapping.size > PAGE_BYTES else _FIRST_PAGE[: mapping.size])
    try:
        array = npy_view(mapping.array)
    except ValueError as error:
        raise Corruption(str(error), path=path, offset=0) from None
    mapping.advise("normal")
    if array.dtype != dtype or (array.ndim != 1 if shape is None else array.shape != shape):
        raise Corruption(f"holds {array.dtype} {array.shape}, not {dtype} {shape}", path=path, offset=0)
    return array


def file_checksum(fs: FileSystem, path: str, pace: Pace) -> FileInfo:
    """Size and checksum of a file, by reads that fail on a bad block instead of killing the process. Blocks, paced."""
    offset, crc = 0, 0
    while True:
        pace(READ_BYTES)
        try:
            piece = fs.read(path, offset, READ_BYTES)
        except OSError as error:
            raise Corruption(f"cannot be read: {error.strerror}", path=path, offset=offset) from error
        crc = crc32c(piece, crc=crc)
        offset += len(piece)
        if len(piece) < READ_BYTES:
            return FileInfo(offset, crc)
