"""Searching: what a request asks, as the engine's arguments."""

from __future__ import annotations

from typing import TypeAlias

from holdfast.v1 import vector_pb2

from ..engine.reading import MAX_K, Reading
from ..errors import InvalidArgument
from ..model import Float32Array, Hit

DEFAULT_K = 10
SearchRequest: TypeAlias = vector_pb2.SearchRequest | vector_pb2.SearchBatchRequest


def hits_of(reading: Reading, request: SearchRequest, queries: Float32Array, *, extra: int = 0) -> list[list[Hit]]:
    """The hits of each query. Every search compares every point: ``exact`` holds and ``ef`` has nothing to widen."""
    return reading.search(
        queries,
        k=(request.k or DEFAULT_K) + extra,
        filter_text=request.filter or None,
        threshold=request.threshold if request.HasField("threshold") else None,
        vectors=request.include_vector,
    )


def hits_of_point(reading: Reading, request: vector_pb2.SearchRequest) -> list[Hit]:
    """The hits of an existing point's vector, without the point itself. Raises NotFound."""
    k = request.k or DEFAULT_K
    if k >= MAX_K:
        raise InvalidArgument(f"k is {k}; with query_id it can be 1 to {MAX_K - 1}", field="k")
    vector = reading.vector_of(request.query_id)
    hits = hits_of(reading, request, vector.reshape(1, -1), extra=1)[0]
    return [hit for hit in hits if hit.record.id != request.query_id][:k]


def number_of_queries(request: vector_pb2.SearchBatchRequest, dimensions: int) -> int:
    """How many queries a batch holds. Raises InvalidArgument for none, or a number of floats that is not even."""
    if request.points:
        return len(request.points)
    count, rest = divmod(len(request.queries), 4 * dimensions)
    if rest or not count:
        raise InvalidArgument(
            f"queries has {len(request.queries)} bytes; each query of {dimensions} dimensions has {4 * dimensions}",
            field="queries",
            reason="DIMENSION_MISMATCH",
            hint="send little-endian float32 values, query after query",
            expected=dimensions,
        )
    return count
