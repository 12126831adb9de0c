"""VectorService: points written, read and searched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import grpc

from holdfast.v1 import vector_pb2
from holdfast.v1.vector_pb2_grpc import VectorServiceServicer

from ..engine.prepare import check_finite
from ..model import Float32Array
from . import deletes, scrolls
from .batches import TicketedBatch, UpsertBatch
from .convert import chosen, wants_sync
from .convert_points import columns_of, hits_message, in_messages, matrix_of, query_of
from .requests import Callers, page_size
from .routes import Unparsed
from .searches import hits_of, hits_of_point, number_of_queries
from .upserts import UpsertStreams, upsert, width_of

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.tickets import Caller

EXPORT_ROWS = 1000
MAX_EXPORT_ROWS = 10_000
EXPORT_MESSAGE_BYTES = 1 << 20
_MERGE_OF_MODE: Mapping[int, bool] = {
    vector_pb2.UpdateRequest.PAYLOAD_MODE_UNSPECIFIED: False,
    vector_pb2.UpdateRequest.PAYLOAD_MODE_REPLACE: False,
    vector_pb2.UpdateRequest.PAYLOAD_MODE_MERGE: True,
}


class VectorService(VectorServiceServicer):
    """See the module. Handlers run in worker threads and block until the engine has answered."""

    def __init__(self, engine: Engine, callers: Callers, streams: UpsertStreams, max_reply_bytes: int) -> None:
        self._points = engine.points
        self._callers = callers
        self._streams = streams
        self._max_reply_bytes = max_reply_bytes

    def Upsert(
        self, request: vector_pb2.UpsertRequest | UpsertBatch, context: grpc.ServicerContext
    ) -> vector_pb2.UpsertResponse:
        batch = request if isinstance(request, UpsertBatch) else UpsertBatch(request, request.vectors)
        return upsert(self._points, self._callers, batch, context)

    def UpsertStream(
        self,
        request_iterator: Iterator[vector_pb2.UpsertStreamRequest | TicketedBatch | Unparsed],
        context: grpc.ServicerContext,
    ) -> Iterator[vector_pb2.UpsertStreamResponse]:
        return self._streams.serve(request_iterator, context)

    def Update(self, request: vector_pb2.UpdateRequest, context: grpc.ServicerContext) -> vector_pb2.UpdateResponse:
        ids = list(request.ids)
        given = bool(request.vectors or request.points)
        caller = self._callers.of(context, request.request_id, sync=wants_sync(request.durability))
        outcome = self._points.update(
            request.collection,
            ids,
            vectors=self._matrix_of(request, len(ids), caller) if given else None,
            payload_block=request.payloads,
            merge=chosen(_MERGE_OF_MODE, request.payload_mode, "payload_mode"),
            caller=caller,
            validate_only=request.validate_only,
        )
        versions = [] if outcome.versions is None else outcome.versions.tolist()
        return vector_pb2.UpdateResponse(
            sequence=outcome.sequence, count=len(ids), durable=outcome.durable, versions=versions
        )

    def _matrix_of(self, request: vector_pb2.UpdateRequest, count: int, caller: Caller) -> Float32Array:
        return matrix_of(request.vectors, request.points, count, lambda: width_of(self._points, request, caller))

    def Delete(self, request: vector_pb2.DeleteRequest, context: grpc.ServicerContext) -> vector_pb2.DeleteResponse:
        return deletes.delete(self._points, self._callers, request, context)

    def Get(self, request: vector_pb2.GetRequest, context: grpc.ServicerContext) -> vector_pb2.GetResponse:
        vectors, payloads = not request.omit_vector, not request.omit_payload
        scrolls.check_ids(request.ids)
        reading = self._points.reading(request.collection)
        if vectors:
            scrolls.check_reply(len(request.ids) * reading.dimensions * 4, self._max_reply_bytes)
        records = reading.get(list(request.ids), vectors=vectors)
        columns = columns_of(records, vectors=vectors, payloads=payloads)
        return vector_pb2.GetResponse(points=columns, sequence=reading.sequence)

    def Scroll(self, request: vector_pb2.ScrollRequest, context: grpc.ServicerContext) -> vector_pb2.ScrollResponse:
        return scrolls.scroll(self._points, request, self._max_reply_bytes)

    def Count(self, request: vector_pb2.CountRequest, context: grpc.ServicerContext) -> vector_pb2.CountResponse:
        reading = self._points.reading(request.collection)
        return vector_pb2.CountResponse(count=reading.count(request.filter or None), sequence=reading.sequence)

    def Search(self, request: vector_pb2.SearchRequest, context: grpc.ServicerContext) -> vector_pb2.SearchResponse:
        reading = self._points.reading(request.collection)
        if request.WhichOneof("query") == "query_id":
            hits = hits_of_point(reading, request)
        else:
            hits = hits_of(reading, request, query_of(request))[0]
        vectors, payloads = request.include_vector, not request.omit_payload
        return hits_message(hits, reading.sequence, vectors=vectors, payloads=payloads)

    def SearchBatch(
        self, request: vector_pb2.SearchBatchRequest, context: grpc.ServicerContext
    ) -> vector_pb2.SearchBatchResponse:
        reading = self._points.reading(request.collection)
        count = number_of_queries(request, reading.dimensions)
        queries = matrix_of(request.queries, request.points, count, lambda: reading.dimensions, field="queries")
        check_finite(queries, "queries[{row}][{column}]")
        found = hits_of(reading, request, queries)
        vectors, payloads = request.include_vector, not request.omit_payload
        results = [hits_message(hits, reading.sequence, vectors=vectors, payloads=payloads) for hits in found]
        return vector_pb2.SearchBatchResponse(results=results)

    def Export(
        self, request: vector_pb2.ExportRequest, context: grpc.ServicerContext
    ) -> Iterator[vector_pb2.ExportResponse]:
        rows = page_size(request.batch_size, default=EXPORT_ROWS, limit=MAX_EXPORT_ROWS, field="batch_size")
        vectors, payloads = not request.omit_vector, not request.omit_payload
        reading = self._points.reading(request.collection)
        batches = reading.export(request.filter or None)
        runs = in_messages(batches, rows=rows, size=EXPORT_MESSAGE_BYTES, vectors=vectors, payloads=payloads)
        total: int | None = reading.count()
        for run in itertools.chain([next(runs, [])], runs):
            columns = columns_of(run, vectors=vectors, payloads=payloads)
            yield vector_pb2.ExportResponse(points=columns, sequence=reading.sequence, total_count=total)
            total = None
