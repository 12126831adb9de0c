"""NumPy's own file format, version 1.0, written with aligned data and read without copying.

    npy    := "\\x93NUMPY" 1:u8 0:u8 header_length:u16 header data                                  (little-endian)
    header := "{'descr': " descr ", 'fortran_order': False, 'shape': " shape "}" space* LF
    descr  := scalar | "[" ("(" name ", " scalar ")"), ... "]"
    scalar := "'" ("<" | "|") ("b" | "i" | "u" | "f") size "'"

Spaces pad the header so that ``data`` starts at a multiple of ``align``. ``numpy.load`` reads these files, and files of
the same types written by ``numpy.save`` are read here. Objects (pickles) are neither written nor read.
"""

from __future__ import annotations

import functools
import math
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

NPY_ALIGN = 64
VECTORS_ALIGN = 4096
"""Vectors start on a page, so that a range of rows maps onto a range of pages."""

_MAGIC = b"\x93NUMPY\x01\x00"
_LENGTH = struct.Struct("<H")
_PREFIX = len(_MAGIC) + _LENGTH.size
_MAX_HEADER = 8192
_MAX_SIDES = 8
MAX_HEADER_BYTES = _PREFIX + _MAX_HEADER
"""No header is longer."""

_HEADER = re.compile(
    r"\{'descr': ('[^']*'|\[[^\]]*\]), 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\),? ?\} *\n"
)
_SCALAR = re.compile(r"[<|][biuf][1248]")
_FIELD = re.compile(r"\('(\w+)', '([^']*)'\)", re.ASCII)
_SIDE = re.compile(r"[0-9]{1,15}")


def npy_header(dtype: DTypeLike, shape: tuple[int, ...], *, align: int = NPY_ALIGN) -> bytes:
    """The bytes before the data of a C-ordered array; their number is a multiple of ``align``.

    Raises ValueError for what ``npy_view`` would not read: objects, other byte orders, nested types.
    """
    fields = {
        "descr": _descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": tuple(int(side) for side in shape),
    }
    text = repr(fields)
    _parse_header(text + "\n")
    length = len(text) + 1
    length += -(_PREFIX + length) % align
    if length > _MAX_HEADER:
        raise ValueError(f"npy header of {length} bytes, the limit is {_MAX_HEADER}")
    return _MAGIC + _LENGTH.pack(length) + text.encode("ascii").ljust(length - 1) + b"\n"


@functools.lru_cache(maxsize=64)
def _descr(dtype: np.dtype[Any]) -> object:
    return np.lib.format.dtype_to_descr(dtype)


def npy_view(buffer: bytes | bytearray | memoryview | NDArray[np.uint8]) -> NDArray[Any]:
    """The array in ``buffer``, which must hold one npy file and nothing more: read-only, not copied.

    Raises ValueError with a reason when it does not.
    """
    view = (buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)).cast("B")
    dtype, shape, start = npy_layout(bytes(view[:MAX_HEADER_BYTES]))
    expected = math.prod(shape) * dtype.itemsize
    if start + expected != len(view):
        raise ValueError(f"npy data of {len(view) - start} bytes, {dtype} of shape {shape} has {expected}")
    array: NDArray[Any] = np.ndarray(shape, dtype, view, offset=start)
    array.flags.writeable = False
    return array


def npy_layout(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """What an npy file says of itself, from its first ``MAX_HEADER_BYTES``: type, shape, and where its data begins.

    Raises ValueError with a reason where it is none that is written here.
    """
    if len(head) < _PREFIX or head[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not an npy file of version 1.0")
    (length,) = _LENGTH.unpack(head[len(_MAGIC) : _PREFIX])
    start = _PREFIX + length
    if length > _MAX_HEADER or start > len(head):
        raise ValueError(f"npy header of {length} bytes in a file of {len(head)}")
    return *_parse_header(head[_PREFIX:start].decode("latin-1")), start


@functools.lru_cache(maxsize=1024)  # a store's segments have the same few types, and often the same shapes
def _parse_header(text: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ValueError("npy header is not of the form that is written here")
    descr, fortran_order, shape = match.groups()
    if fortran_order != "False":
        raise ValueError("npy array is not in C order")
    return _parse_descr(descr), _parse_shape(shape)


def _parse_descr(descr: str) -> np.dtype[Any]:
    if descr.startswith("'"):
        return np.dtype(_scalar(descr[1:-1]))
    fields: list[tuple[str, str]] = _FIELD.findall(descr)
    names = {name for name, _ in fields}
    if not fields or len(names) != len(fields) or repr(fields) != descr:
        raise ValueError("npy descr is not a flat list of distinct fields")
    return np.dtype([(name, _scalar(kind)) for name, kind in fields])


def _scalar(kind: str) -> np.dtype[Any]:
    if not _SCALAR.fullmatch(kind):
        raise ValueError(f"npy type {kind!r} is not a little-endian number")
    try:
        return np.dtype(kind)
    except TypeError:
        raise ValueError(f"npy type {kind!r} does not exist") from None


def _parse_shape(text: str) -> tuple[int, ...]:
    sides = [side.strip() for side in text.removesuffix(",").split(",")] if text else []
    if len(sides) > _MAX_SIDES or not all(_SIDE.fullmatch(side) for side in sides):
        raise ValueError(f"npy shape is not a tuple of at most {_MAX_SIDES} sizes")
    return tuple(map(int, sides))
