"""Vectors on their way out: anything that holds float32 becomes little-endian, row-major bytes, without NumPy.

Accepted: a buffer of float32 (NumPy, ``array.array('f')``, memoryview, an Arrow array of float or of fixed-size lists
of float), any object with ``__array__`` (torch, jax, pandas) whose result is such a buffer, or sequences of numbers. A
buffer of another type is refused, naming the conversion: a silent narrowing would store other numbers than were given.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

from holdfast.errors import InvalidArgument

Vector: TypeAlias = Any
"""One vector: a one-dimensional buffer of float32 or a sequence of numbers."""
Vectors: TypeAlias = Any
"""An (n, d) buffer of float32, or a sequence of n vectors."""

FLOAT_BYTES = 4
_LITTLE = sys.byteorder == "little"
_FLOAT32 = frozenset({"f", "<f", "=f", "@f"} if _LITTLE else {"<f"})
_TYPE_NAMES = {
    "d": "float64", "e": "float16", "b": "int8", "B": "uint8", "h": "int16", "H": "uint16", "i": "int32", "I": "uint32",
    "l": "int64", "L": "uint64", "q": "int64", "Q": "uint64", "?": "bool", "f": "big-endian float32", "c": "char",
    "g": "longdouble", "Zf": "complex64", "Zd": "complex128",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Matrix:
    """n vectors of d dimensions each as one block of n x d little-endian float32.

    ``data``: bytes, or a view of the caller's own array, which must be used before the caller can change it.
    """

    data: bytes | memoryview[Any]
    count: int
    dimensions: int


def encode_matrix(vectors: Vectors, *, count: int | None = None) -> Matrix:
    """Encode n vectors; InvalidArgument for another element type, ragged rows, or not ``count`` of them.

    A one-dimensional buffer is one vector; it stands for a matrix only where ``count`` is 1.
    """
    view = _view_of(vectors)
    matrix = _from_rows(vectors) if view is None else _from_view(view)
    if count is not None and matrix.count != count:
        raise InvalidArgument(
            f"{count} ids came with {matrix.count} vectors",
            reason="COUNT_MISMATCH",
            hint="pass one row per id: an (n, d) float32 buffer or a list of n vectors",
            metadata={"ids": str(count), "vectors": str(matrix.count)},
        )
    return matrix


def encode_vector(vector: Vector, name: str = "vector") -> bytes:
    """Encode one vector of one dimension; InvalidArgument, naming ``name``, for anything else."""
    view = _view_of(vector)
    if view is None:
        return _pack_numbers(vector, name)
    if view.ndim == 2 and view.shape is not None and view.shape[0] == 1:
        return _float32_bytes(view, name)
    if view.ndim != 1:
        raise InvalidArgument(f"{name} has {view.ndim} dimensions, not one", reason="BAD_VECTOR_SHAPE")
    return _float32_bytes(view, name)


def decode_vector(data: bytes | memoryview) -> array[float]:
    """The floats of a block that the daemon sent, as ``array.array('f')``."""
    values = array("f")
    values.frombytes(data)
    if not _LITTLE:
        values.byteswap()
    return values


def decode_matrix(data: bytes, count: int) -> list[array[float]]:
    """Cut a block of ``count`` equally long vectors into arrays; an empty block gives empty arrays."""
    width = len(data) // count if count else 0
    view = memoryview(data)
    return [decode_vector(view[start : start + width]) for start in range(0, width * count, width)] if width else []


def _view_of(value: object) -> memoryview[Any] | None:
    """A memoryview of whatever exposes one, None for plain sequences."""
    if isinstance(value, list | tuple):
        return None
    if isinstance(value, str | bytes | bytearray):
        raise InvalidArgument(
            f"vectors came as {type(value).__name__}, which has no element type",
            reason="BAD_VECTOR_TYPE",
            hint="wrap raw bytes: memoryview(data).cast('f', (n, d)), or numpy.frombuffer(data, 'f4').reshape(n, d)",
        )
    try:
        return memoryview(value)  # type: ignore[arg-type]  # asking is the test
    except TypeError:
        pass
    except ValueError as error:  # an array of what no buffer can hold, such as dates
        raise InvalidArgument(f"vectors are no numbers: {error}", reason="BAD_VECTOR_TYPE") from None
    if hasattr(value, "buffers") and hasattr(value, "type"):
        from holdfast.arrow import arrow_view

        return arrow_view(value)
    to_array = getattr(value, "__array__", None)
    return memoryview(to_array()) if to_array is not None else None


def _from_view(view: memoryview[Any]) -> Matrix:
    shape = view.shape or ()
    if view.ndim not in (1, 2):
        raise InvalidArgument(
            f"vectors have {view.ndim} dimensions", reason="BAD_VECTOR_SHAPE", hint="pass an (n, d) float32 buffer"
        )
    count, dimensions = (1, shape[0]) if view.ndim == 1 else (shape[0], shape[1])
    if view.format == "f" and view.c_contiguous and view.nbytes and _LITTLE:
        return Matrix(view.cast("B"), count, dimensions)
    return Matrix(_float32_bytes(view, "vectors"), count, dimensions)


def _from_rows(rows: Sequence[Vector]) -> Matrix:
    rows = _sequence(rows, "vectors")
    if not rows:
        return Matrix(b"", 0, 0)
    if isinstance(rows[0], int | float):
        return _matrix_of_one(rows)
    packed = [_encode_row(row, index) for index, row in enumerate(rows)]
    width = len(packed[0])
    for index, row in enumerate(packed):
        if len(row) != width:
            raise InvalidArgument(
                f"vectors[{index}] has {len(row) // FLOAT_BYTES} values, vectors[0] has {width // FLOAT_BYTES}",
                reason="RAGGED_VECTORS",
                hint="every vector of a batch needs the same number of values",
                metadata={"row": str(index)},
            )
    return Matrix(b"".join(packed), len(packed), width // FLOAT_BYTES)


def _encode_row(vector: Vector, row: int) -> bytes:
    try:
        return encode_vector(vector, f"vectors[{row}]")
    except InvalidArgument as error:
        error.metadata["row"] = str(row)
        raise


def _matrix_of_one(numbers: Sequence[float]) -> Matrix:
    data = _pack_numbers(numbers, "vectors")
    return Matrix(data, 1, len(data) // FLOAT_BYTES)


def _float32_bytes(view: memoryview[Any], name: str) -> bytes:
    if view.format not in _FLOAT32:
        raise _wrong_type(view.format, name)
    return view.tobytes()


def _wrong_type(format_code: str, name: str) -> InvalidArgument:
    kind = _TYPE_NAMES.get(format_code.lstrip("<>=@!"), f"of buffer format {format_code!r}")
    return InvalidArgument(
        f"{name} came as {kind}, and Holdfast stores float32 exactly as given",
        reason="BAD_VECTOR_TYPE",
        hint="convert it yourself, so that the rounding is yours: numpy: v.astype('<f4'); array: array('f', v)",
        metadata={"type": kind},
    )


def _sequence(value: Sequence[Vector], name: str) -> Sequence[Vector]:
    if isinstance(value, list | tuple):
        return value
    try:
        if not isinstance(value, Mapping | Set):  # of which the order, or the values, would be lost
            return list(value)
    except TypeError:
        pass
    raise InvalidArgument(
        f"{name} came as {type(value).__name__}",
        reason="BAD_VECTOR_TYPE",
        hint="pass a float32 buffer (NumPy, array.array, Arrow) or lists of numbers",
    )


def _pack_numbers(numbers: Sequence[float], name: str) -> bytes:
    numbers = _sequence(numbers, name)
    try:
        return struct.pack(f"<{len(numbers)}f", *numbers)
    except (struct.error, OverflowError):
        raise _wrong_number(numbers, name) from None


def _wrong_number(numbers: Sequence[float], name: str) -> InvalidArgument:
    """The error for the first of ``numbers`` that is no float32."""
    place = next(place for place, number in enumerate(numbers) if not fits_float32(number))
    wrong = numbers[place]
    if hasattr(wrong, "__float__"):
        return InvalidArgument(f"{name}[{place}] is beyond float32's range", reason="NOT_FINITE")
    return InvalidArgument(f"{name}[{place}] is {type(wrong).__name__}, not a number", reason="BAD_VECTOR_TYPE")


def fits_float32(number: object) -> bool:
    """Whether ``number`` is one, within float32's range."""
    try:
        struct.pack("<f", number)
    except (struct.error, OverflowError):
        return False
    return True
