"""Points between messages and arrays: one block of bytes for vectors, one JSON array for payloads, columns else."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from holdfast.v1 import common_pb2, vector_pb2

from ..errors import InvalidArgument
from ..model import Float32Array, Hit, Record

FLOAT32 = np.dtype("<f4")
_ROW_OVERHEAD = 64
"""Bytes of a row beyond id, vector and payload, at most: keys, version, sequence and time."""


def matrix_of(
    data: bytes | memoryview,
    points: Sequence[common_pb2.Vector],
    count: int,
    *,
    field: str = "vectors",
    other: str = "points",
) -> Float32Array:
    """The vectors of a batch, (count, d) float32 over the message's own bytes.

    Where the numbers do not come out even, they are returned flat, and the engine, which knows d, refuses them. Raises
    InvalidArgument for broken floats, rows of different widths, and for both or neither of the two fields.
    """
    if points:
        if data:
            raise InvalidArgument(
                f"{field} and {other} are both given", field=other, hint=f"send either {field} or {other}"
            )
        return _matrix_of_points(points, other)
    if len(data) % 4:
        raise InvalidArgument(
            f"{field} has {len(data)} bytes, which is no number of float32 values",
            field=field,
            reason="DIMENSION_MISMATCH",
            hint="send little-endian float32 values, 4 bytes each, row after row",
        )
    flat = np.frombuffer(data, FLOAT32)
    return flat.reshape(count, -1) if count and len(flat) and len(flat) % count == 0 else flat


def _matrix_of_points(points: Sequence[common_pb2.Vector], field: str) -> Float32Array:
    width = len(points[0].values)
    for row, point in enumerate(points):
        if len(point.values) != width or not width:
            raise InvalidArgument(
                f"{field}[{row}] has {len(point.values)} values, {field}[0] has {width}",
                field=f"{field}[{row}]",
                reason="DIMENSION_MISMATCH",
                hint="give every vector as many values as the collection has dimensions",
            )
    values = itertools.chain.from_iterable(point.values for point in points)
    return np.fromiter(values, FLOAT32, len(points) * width).reshape(len(points), width)


def query_of(request: vector_pb2.SearchRequest) -> Float32Array:
    """The one query of a search as (1, d) float32. Raises InvalidArgument if there is none."""
    which = request.WhichOneof("query")
    if which == "point":
        return matrix_of(b"", [request.point], 1, other="point")
    if which == "vector" and request.vector:
        return matrix_of(request.vector, (), 1, field="vector")
    raise InvalidArgument("no query is given", field="query", hint="send vector, point or query_id")


def columns_of(records: Sequence[Record], *, vectors: bool, payloads: bool) -> vector_pb2.PointColumns:
    """Records as the columns of a reply."""
    return vector_pb2.PointColumns(
        ids=[record.id for record in records],
        vectors=_matrix_message(records) if vectors else None,
        payloads=_payload_array(records) if payloads else b"",
        versions=[record.version for record in records],
        sequences=[record.sequence for record in records],
        update_times_us=[record.time_us for record in records],
    )


def _payload_array(records: Sequence[Record]) -> bytes:
    return b"[%b]" % b",".join([record.payload or b"null" for record in records])


def _matrix_message(records: Sequence[Record]) -> common_pb2.Matrix:
    rows = [record.vector for record in records if record.vector is not None]
    data = b"".join(rows)  # type: ignore[arg-type]  # arrays are buffers, which the stubs do not say
    return common_pb2.Matrix(data=data, dimensions=len(rows[0]) if rows else 0)


def hits_message(hits: Sequence[Hit], sequence: int, *, vectors: bool, payloads: bool) -> vector_pb2.SearchResponse:
    """The answer to one query."""
    return vector_pb2.SearchResponse(
        points=columns_of([hit.record for hit in hits], vectors=vectors, payloads=payloads),
        scores=[hit.score for hit in hits],
        sequence=sequence,
        exact=True,
    )


def row_size(record: Record, *, vectors: bool, payloads: bool) -> int:
    """About how many bytes a record takes in a reply; never less than it does."""
    size = _ROW_OVERHEAD + 4 * len(record.id)
    if vectors and record.vector is not None:
        size += record.vector.nbytes
    if payloads and record.payload is not None:
        size += len(record.payload)
    return size


def in_messages(
    batches: Iterable[Sequence[Record]], *, rows: int, size: int, vectors: bool, payloads: bool
) -> Iterator[list[Record]]:
    """Records in runs of at most ``rows``, and of at most ``size`` bytes unless one alone is larger."""
    run: list[Record] = []
    filled = 0
    for record in itertools.chain.from_iterable(batches):
        more = row_size(record, vectors=vectors, payloads=payloads)
        if run and (len(run) == rows or filled + more > size):
            yield run
            run, filled = [], 0
        run.append(record)
        filled += more
    if run:
        yield run
