"""Points between messages and arrays: one block of bytes for vectors, one JSON array for payloads, columns else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from holdfast.v1 import common_pb2, vector_pb2

from ..engine.prepare import check_finite
from ..errors import InvalidArgument
from ..model import Float32Array, Hit, Record

FLOAT32 = np.dtype("<f4")
_ROW_OVERHEAD = 64
"""Bytes of a row beyond id, vector and payload, at most: keys, version, sequence and time."""


def matrix_of(
    data: bytes | memoryview,
    points: Sequence[common_pb2.Vector],
    count: int,
    dimensions: Callable[[], int],
    *,
    field: str = "vectors",
) -> Float32Array:
    """The vectors of a batch, (count, d) float32 over the message's own bytes, or those of ``points`` one by one.

    Where the numbers do not come out even, they are returned flat, and the engine refuses them. ``dimensions`` is asked
    for the d of ``points``. Raises what it raises, and InvalidArgument for broken floats, for points of another width,
    and where both are given.
    """
    if points:
        if data:
            raise InvalidArgument(f"{field} and points are both given", field="points", hint="send one of them")
        return _matrix_of_points(points, dimensions())
    return _matrix_of_bytes(data, count, field)


def _matrix_of_bytes(data: bytes | memoryview, count: int, field: str) -> Float32Array:
    if len(data) % 4:
        raise InvalidArgument(
            f"{field} has {len(data)} bytes, which is no number of float32 values",
            field=field,
            reason="DIMENSION_MISMATCH",
            hint="send little-endian float32 values, 4 bytes each, row after row",
        )
    flat = np.frombuffer(data, FLOAT32)
    return flat.reshape(count, -1) if count and len(flat) and len(flat) % count == 0 else flat


def _matrix_of_points(points: Sequence[common_pb2.Vector], width: int) -> Float32Array:
    for row, point in enumerate(points):
        if len(point.values) != width:
            raise InvalidArgument(
                f"points[{row}] has {len(point.values)} values, the collection has {width} dimensions",
                field=f"points[{row}]",
                reason="DIMENSION_MISMATCH",
                hint="give every vector as many values as the collection has dimensions",
                expected=width,
                row=row,
            )
    values = itertools.chain.from_iterable(point.values for point in points)
    matrix = np.fromiter(values, FLOAT32, len(points) * width).reshape(len(points), width)
    check_finite(matrix, "points[{row}].values[{column}]")
    return matrix


def query_of(request: vector_pb2.SearchRequest) -> Float32Array:
    """The one query of a search as (1, d) float32. Raises InvalidArgument if there is none, or if it is not finite."""
    which = request.WhichOneof("query")
    if which == "point" and request.point.values:
        query = np.fromiter(request.point.values, FLOAT32, len(request.point.values)).reshape(1, -1)
        check_finite(query, "point.values[{column}]")
    elif which == "vector" and request.vector:
        query = _matrix_of_bytes(request.vector, 1, "vector")
        check_finite(query, "vector[{column}]")
    else:
        raise InvalidArgument("no query is given", field="query", hint="send vector, point or query_id")
    return query


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
