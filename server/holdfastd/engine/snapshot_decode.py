"""Whether every row of an archive decodes and is valid: read window by window out of the members of a part.

What one row tells of itself is checked here: where its id and payload stand, that ids are UTF-8, payloads JSON objects
and vectors finite, that norm and hash are those of what is there. That no id stands twice, and what the links of a
chain add up to, takes all rows together: a restore tells that. Memory is bounded by a window; no loop over rows in
Python but where ids and payloads become objects to be hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..format.hashing import hash_ids, hash_rows
from ..format.norms import row_norms
from ..format.npy import MAX_HEADER_BYTES, npy_layout
from ..format.payloads import MAX_POINT_PAYLOAD_BYTES
from ..format.planes import planes_shape, rows_per_block, unshuffle
from ..format.segment import ROW_DTYPE, ROW_HAS_PAYLOAD, TOMBSTONE_DTYPE
from ..format.snapshot import IDS, NORMS, PAYLOADS, PLANES, ROWS, TOMBSTONE_IDS, TOMBSTONES, VECTORS
from ..model import BoolArray, Float32Array, Sequence64
from .snapshot_check import problem_with, problem_with_removed, split_texts

WINDOW_BYTES = 4 << 20
WINDOW_ROWS = 8192
PAYLOAD_BYTES = 8 << 20
"""Payloads of a window are taken in portions of about so much."""

Tell = Callable[[str, str], None]
"""Told of a member's file name and what is wrong in it."""

_BYTES = np.dtype("|u1")
_OBJECT = ord("{")
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _StopError(Exception):
    """The rest cannot be found: ``file`` and what is wrong."""

    def __init__(self, file: str, message: str) -> None:
        super().__init__(message)
        self.file = file


class Column:
    """A member of a part by the bytes of its content; ``read`` takes offset and count. Raises ValueError for no npy."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self.dtype, self.shape, self._start = npy_layout(read(0, min(size, MAX_HEADER_BYTES)))
        self.length = size - self._start

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Of its data; fewer at the end."""
        return self._read(self._start + offset, max(0, min(count, self.length - offset)))

    def array(self, dtype: np.dtype[Any], start: int, end: int) -> NDArray[Any]:
        """Its elements from ``start`` to ``end``, as ``dtype``."""
        return np.frombuffer(self.bytes_at(start * dtype.itemsize, (end - start) * dtype.itemsize), dtype)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the manifest says of a part. ``between``: the sequences behind which, and through which, it was written."""

    rows: int
    dimensions: int
    planes: bool
    between: tuple[Sequence64, Sequence64]


class _Bad:
    """Rows that are wrong in one way: the first, and how many."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.first = self.count = 0

    def note(self, start: int, good: BoolArray) -> None:
        wrong = np.flatnonzero(~good)
        if len(wrong):
            self.first = self.first if self.count else start + int(wrong[0])
            self.count += len(wrong)

    def __str__(self) -> str:
        more = f", and {self.count - 1} rows behind it" if self.count > 1 else ""
        return f"row {self.first} {self.what}{more}"


class PartDecoder:
    """One part: ``columns`` by file name. ``run`` tells of everything that is wrong; ``advance`` counts rows."""

    def __init__(self, columns: Mapping[str, Column], shape: Shape, tell: Tell, advance: Callable[[int], None]) -> None:
        self._columns = columns
        self._shape = shape
        self._tell = tell
        self._advance = advance
        self._id_end = self._payload_end = 0
        self._not_finite = _Bad("has a vector that is not finite")
        self._norm = _Bad("has a norm that its vector has not")
        self._hash = _Bad("does not match its hash")
        self._payload = _Bad("has a payload that is no JSON object")

    def run(self) -> None:
        """Decode every row. Raises OSError."""
        if not self._has_shapes():
            return
        try:
            for start, end in self._windows():
                self._window(start, end)
                self._advance(end - start)
            self._check_covered()
        except _StopError as stop:
            self._tell(stop.file, str(stop))
        vectors = PLANES if self._shape.planes else VECTORS
        files = {vectors: self._not_finite, NORMS: self._norm, ROWS: self._hash, PAYLOADS: self._payload}
        for file, bad in files.items():
            if bad.count:
                self._tell(file, str(bad))

    def _has_shapes(self) -> bool:
        """Whether each array is of the type and shape that the manifest promises."""
        rows, dimensions = self._shape.rows, self._shape.dimensions
        expected: dict[str, tuple[np.dtype[Any], tuple[int, ...] | None]] = {
            NORMS: (np.dtype("<f4"), (rows,)),
            ROWS: (ROW_DTYPE, (rows,)),
            IDS: (_BYTES, None),
            PAYLOADS: (_BYTES, None),
        }
        if self._shape.planes:
            expected[PLANES] = (_BYTES, planes_shape(rows, dimensions))
        else:
            expected[VECTORS] = (np.dtype("<f4"), (rows, dimensions))
        return has_shapes(self._columns, expected, self._tell)

    def _windows(self) -> Iterator[tuple[int, int]]:
        rows, dimensions = self._shape.rows, self._shape.dimensions
        if self._shape.planes:
            step = rows_per_block(rows, dimensions)
        else:
            step = max(1, min(WINDOW_ROWS, WINDOW_BYTES // (4 * dimensions)))
        for start in range(0, rows, step):
            yield start, min(start + step, rows)

    def _window(self, start: int, end: int) -> None:
        facts = self._columns[ROWS].array(ROW_DTYPE, start, end)
        problem = problem_with(facts, self._id_end, self._payload_end, self._shape.between)
        if problem is not None:
            raise _StopError(ROWS, f"row {start + problem[0]} {problem[1]}")
        large = facts["payload_length"] > MAX_POINT_PAYLOAD_BYTES
        if large.any():
            raise _StopError(ROWS, f"row {start + int(np.flatnonzero(large)[0])} has a payload of a forbidden length")
        ids = self._ids(facts, start)
        vectors = self._vectors(start, end)
        norms = row_norms(vectors)
        finite = np.isfinite(norms)
        self._not_finite.note(start, finite)
        stored = self._columns[NORMS].array(np.dtype("<f4"), start, end)
        self._norm.note(start, ~finite | np.isclose(norms, stored, rtol=1e-5, atol=0))
        for first, last in _portions(facts["payload_length"]):
            payloads = self._payloads(facts[first:last], start + first)
            hashes = hash_rows(ids[first:last], vectors[first:last], payloads)
            part = facts[first:last]
            good = (hashes[:, 0] == part["hash_high"]) & (hashes[:, 1] == part["hash_low"])
            self._hash.note(start + first, good)

    def _vectors(self, start: int, end: int) -> Float32Array:
        dimensions = self._shape.dimensions
        if not self._shape.planes:
            return (
                self._columns[VECTORS]
                .array(np.dtype("<f4"), start * dimensions, end * dimensions)
                .reshape(-1, dimensions)
            )
        _, _, floats = planes_shape(self._shape.rows, dimensions)
        block = self._columns[PLANES].array(_BYTES, start * dimensions * 4, start * dimensions * 4 + 4 * floats)
        return unshuffle(block.reshape(4, floats), dimensions)[: end - start]

    def _ids(self, facts: NDArray[Any], start: int) -> list[bytes]:
        length = int(facts["id_length"].sum(dtype=np.int64))
        data = self._columns[IDS].bytes_at(self._id_end, length)
        if len(data) < length:
            raise _StopError(ROWS, f"rows from {start} on point beyond the end of {IDS}")
        self._id_end += length
        try:
            return split_texts(np.frombuffer(data, np.uint8), facts["id_length"])
        except ValueError as error:
            raise _StopError(IDS, f"{error}, in rows from {start} on") from None

    def _payloads(self, facts: NDArray[Any], start: int) -> list[bytes | None]:
        lengths = facts["payload_length"].astype(np.int64)
        data = self._columns[PAYLOADS].bytes_at(self._payload_end, int(lengths.sum()))
        if len(data) < int(lengths.sum()):
            raise _StopError(ROWS, f"rows from {start} on point beyond the end of {PAYLOADS}")
        self._payload_end += len(data)
        ends = np.cumsum(lengths)
        present = (facts["flags"] & ROW_HAS_PAYLOAD) != 0
        payloads = [
            data[begin:end] if has else None
            for begin, end, has in zip((ends - lengths).tolist(), ends.tolist(), present.tolist(), strict=True)
        ]
        self._payload.note(start, _are_objects(payloads))
        return payloads

    def _check_covered(self) -> None:
        for file, end in ((IDS, self._id_end), (PAYLOADS, self._payload_end)):
            if end != self._columns[file].length:
                raise _StopError(
                    ROWS, f"does not cover all of {file}: {self._columns[file].length - end} bytes are over"
                )


def decode_removed(
    columns: Mapping[str, Column], count: int, between: tuple[Sequence64, Sequence64], tell: Tell
) -> None:
    """The same of the ids that an increment lists as gone. Raises OSError."""
    expected: dict[str, tuple[np.dtype[Any], tuple[int, ...] | None]] = {
        TOMBSTONES: (TOMBSTONE_DTYPE, (count,)),
        TOMBSTONE_IDS: (_BYTES, None),
    }
    if not has_shapes(columns, expected, tell):
        return
    id_end = 0
    for start in range(0, count, WINDOW_ROWS):
        facts = columns[TOMBSTONES].array(TOMBSTONE_DTYPE, start, min(start + WINDOW_ROWS, count))
        problem = problem_with_removed(facts, id_end, between)
        if problem is not None:
            tell(TOMBSTONES, f"entry {start + problem[0]} {problem[1]}")
            return
        length = int(facts["id_length"].sum(dtype=np.int64))
        data = columns[TOMBSTONE_IDS].bytes_at(id_end, length)
        if len(data) < length:
            tell(TOMBSTONES, f"entries from {start} on point beyond the end of {TOMBSTONE_IDS}")
            return
        try:
            texts = split_texts(np.frombuffer(data, np.uint8), facts["id_length"])
        except ValueError as error:
            tell(TOMBSTONE_IDS, f"{error}, in entries from {start} on")
            return
        wrong = np.flatnonzero(hash_ids(texts) != facts["id_hash"])
        if len(wrong):
            tell(TOMBSTONES, f"entry {start + int(wrong[0])} has a hash that is not the one of its id")
            return
        id_end += length
    if id_end != columns[TOMBSTONE_IDS].length:
        tell(TOMBSTONES, f"does not cover all of {TOMBSTONE_IDS}")


def has_shapes(
    columns: Mapping[str, Column], expected: Mapping[str, tuple[np.dtype[Any], tuple[int, ...] | None]], tell: Tell
) -> bool:
    """Whether the members are arrays of these types and shapes; None stands for any number of elements."""
    right = True
    for file, (dtype, shape) in expected.items():
        column = columns[file]
        fits = len(column.shape) == 1 if shape is None else column.shape == shape
        promised = int(np.prod(column.shape)) * column.dtype.itemsize
        if column.dtype != dtype or not fits or promised != column.length:
            wanted = f"{_named(dtype)} in one row" if shape is None else f"{_named(dtype)} {shape}"
            tell(file, f"holds {_named(column.dtype)} {column.shape} in {column.length} bytes, not {wanted}")
            right = False
    return right


def _named(dtype: np.dtype[Any]) -> str:
    return f"records of {dtype.itemsize} bytes" if dtype.names else str(dtype)


def _are_objects(payloads: Sequence[bytes | None]) -> BoolArray:
    """Which of them are JSON objects, or none at all; each by itself only where they are not right together."""
    there = [payload for payload in payloads if payload is not None]
    good = np.ones(len(payloads), np.bool_)
    if not there or _are_all(there):
        return good
    for row, payload in enumerate(payloads):
        good[row] = payload is None or _are_all([payload])
    return good


def _are_all(payloads: list[bytes]) -> bool:
    if not all(payload.startswith(b"{") for payload in payloads):
        return False
    block = b"[" + b",".join(payloads) + b"]"
    try:
        block.decode()
        return len(_decode_array(block)) == len(payloads)
    except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError):
        return False


def _portions(lengths: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose payloads are about ``PAYLOAD_BYTES`` together, at least one row each."""
    ends = np.cumsum(lengths, dtype=np.int64)
    start = 0
    while start < len(lengths):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + PAYLOAD_BYTES, side="right")))
        yield start, end
        start = end
