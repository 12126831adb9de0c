"""NumPy's own file format, version 1.0, written with aligned data and read without copying.

    npy := "\\x93NUMPY" 1:u8 0:u8 header_length:u16 header data                                     (little-endian)

``header`` is a Python dict literal with ``descr``, ``fortran_order`` (False) and ``shape``, padded with spaces and
closed by a newline so that ``data`` starts at a multiple of ``align``. ``numpy.load`` reads these files. Objects
(pickles) are neither written nor read.
"""

from __future__ import annotations

import ast
import math
import struct
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

NPY_ALIGN = 64
VECTORS_ALIGN = 4096
"""Vectors start on a page, so that a range of rows maps onto a range of pages."""

_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = struct.Struct("<H")
_PREFIX = len(_MAGIC) + _LENGTH.size
_MAX_HEADER = 8192
_KEYS = {"descr", "fortran_order", "shape"}


def npy_header(dtype: DTypeLike, shape: tuple[int, ...], *, align: int = NPY_ALIGN) -> bytes:
    """The bytes before the data of a C-ordered array; their number is a multiple of ``align``.

    Raises ValueError for objects, or for a header beyond what ``npy_view`` reads.
    """
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError("arrays of Python objects are not stored")
    descr = np.lib.format.dtype_to_descr(kind)
    fields = {"descr": descr, "fortran_order": False, "shape": tuple(int(side) for side in shape)}
    text = repr(fields).encode("ascii")
    length = len(text) + 1
    length += -(_PREFIX + length) % align
    if length > _MAX_HEADER:
        raise ValueError(f"an npy header of {length} bytes, the limit is {_MAX_HEADER}")
    return _MAGIC + _LENGTH.pack(length) + text.ljust(length - 1) + b"\n"


def npy_view(buffer: bytes | bytearray | memoryview | NDArray[np.uint8]) -> NDArray[Any]:
    """The array in ``buffer``, which must hold one npy file and nothing more: read-only, not copied.

    Raises ValueError with a reason when it does not.
    """
    view = (buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)).cast("B")
    if len(view) < _PREFIX or view[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not an npy file of version 1.0")
    (length,) = _LENGTH.unpack(view[len(_MAGIC) : _PREFIX])
    if length > _MAX_HEADER or _PREFIX + length > len(view):
        raise ValueError(f"npy header of {length} bytes in a file of {len(view)}")
    dtype, shape = _parse_header(bytes(view[_PREFIX : _PREFIX + length]))
    expected = math.prod(shape) * dtype.itemsize
    if _PREFIX + length + expected != len(view):
        raise ValueError(f"{len(view) - _PREFIX - length} bytes of data, {dtype} {shape} has {expected}")
    array: NDArray[Any] = np.ndarray(shape, dtype, view, offset=_PREFIX + length)
    array.flags.writeable = False
    return array


def _parse_header(raw: bytes) -> tuple[np.dtype[Any], tuple[int, ...]]:
    try:
        fields = ast.literal_eval(raw.decode("ascii"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("npy header is not a dict literal") from None
    if not isinstance(fields, dict) or fields.keys() != _KEYS:
        raise ValueError("npy header does not have exactly descr, fortran_order and shape")
    if fields["fortran_order"] is not False:
        raise ValueError("npy array is not in C order")
    return _parse_dtype(fields["descr"]), _parse_shape(fields["shape"])


def _parse_dtype(descr: object) -> np.dtype[Any]:
    if not isinstance(descr, str | list):
        raise ValueError(f"npy descr is a {type(descr).__name__}")
    try:
        dtype: np.dtype[Any] = np.dtype(cast(Any, descr))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError("npy descr is no dtype") from None
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"npy dtype {dtype} is not allowed")
    return dtype


def _parse_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or len(shape) > 32:
        raise ValueError("npy shape is not a tuple of at most 32 sides")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ValueError("npy shape is not made of sizes")
    return shape
