"""The fake daemon's collections and points."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import grpc

from holdfast.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    common_pb2,
    vector_pb2,
    vector_pb2_grpc,
    wal_pb2,
)
from tests.support.fake_state import START_SECONDS, FakeCollection, FakeState, Point, Refusal


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    def __init__(self, daemon: FakeState) -> None:
        self._daemon = daemon

    def CreateCollection(self, request: Any, context: Any) -> Any:
        if request.name in self._daemon.collections:
            raise Refusal(
                grpc.StatusCode.ALREADY_EXISTS, f"collection {request.name!r} exists", "COLLECTION_EXISTS",
                collection=request.name,
            )  # fmt: skip
        message = collection_pb2.Collection(
            name=request.name, id=f"uuid-{request.name}", dimensions=request.dimensions,
            metric=request.metric or common_pb2.METRIC_COSINE, storage=request.storage or common_pb2.STORAGE_KIND_DISK,
            quantization=request.quantization or common_pb2.QUANTIZATION_NONE,
            hot_tier_size_bytes=request.hot_tier_size_bytes, schema=request.schema,
        )  # fmt: skip
        message.create_time.seconds = message.update_time.seconds = START_SECONDS
        if request.validate_only:
            return collection_pb2.CreateCollectionResponse(collection=message)
        self._daemon.collections[request.name] = FakeCollection(message)
        sequence = self._daemon.next_sequence()
        self._daemon.log(wal_pb2.WalRecord.KIND_CREATE_COLLECTION, sequence, request.name, [])
        return collection_pb2.CreateCollectionResponse(collection=message, sequence=sequence, durable=True)

    def _described(self, name: str) -> collection_pb2.Collection:
        collection = self._daemon.find(name)
        message = collection_pb2.Collection()
        message.CopyFrom(collection.message)
        message.vector_count = len(collection.points)
        message.size_bytes = len(collection.points) * message.dimensions * 4
        message.aliases.extend(a for a, n in sorted(self._daemon.aliases.items()) if n == message.name)
        return message

    def GetCollection(self, request: Any, context: Any) -> Any:
        return collection_pb2.GetCollectionResponse(collection=self._described(request.name))

    def ListCollections(self, request: Any, context: Any) -> Any:
        names = sorted(self._daemon.collections)
        start = int(request.page_token or 0)
        size = min(request.page_size or 100, 2)  # small pages, so that clients must turn them
        page = names[start : start + size]
        return collection_pb2.ListCollectionsResponse(
            collections=[self._described(name) for name in page],
            next_page_token=str(start + size) if start + size < len(names) else "",
            total_count=len(names),
            stats=[self._stats(name) for name in page] if request.detailed else [],
        )

    def DeleteCollection(self, request: Any, context: Any) -> Any:
        if request.name in self._daemon.aliases:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"{request.name!r} is an alias", "IS_ALIAS")
        collection = self._daemon.find(request.name)
        response = collection_pb2.DeleteCollectionResponse(name=request.name, deleted_count=len(collection.points))
        if not request.validate_only:
            del self._daemon.collections[request.name]
            response.sequence, response.durable = self._daemon.next_sequence(), True
        return response

    def _stats(self, name: str) -> collection_pb2.CollectionStats:
        message = self._described(name)
        return collection_pb2.CollectionStats(
            name=message.name, dimensions=message.dimensions, metric=message.metric, vector_count=message.vector_count,
            size_bytes=message.size_bytes, digest="0" * 32, sequence=self._daemon.sequence, segment_count=1,
            garbage_percent=12.5,
            indexes=[collection_pb2.IndexStats(name="hnsw-1", type="hnsw", vector_count=1, size_bytes=10)],
            storage=collection_pb2.CollectionStorageStats(
                type=message.storage, quantization=message.quantization, compression_ratio=1.0, cold_bytes=100
            ),
            performance=collection_pb2.CollectionPerformanceStats(avg_insert_time_ms=1.5, avg_search_time_ms=0.5),
        )  # fmt: skip

    def GetCollectionStats(self, request: Any, context: Any) -> Any:
        return collection_pb2.GetCollectionStatsResponse(stats=self._stats(request.name))

    def CreateAlias(self, request: Any, context: Any) -> Any:
        self._daemon.find(request.collection)
        self._daemon.aliases[request.alias] = request.collection
        alias = collection_pb2.Alias(alias=request.alias, collection=request.collection)
        return collection_pb2.CreateAliasResponse(alias=alias, sequence=self._daemon.next_sequence(), durable=True)

    def SwitchAlias(self, request: Any, context: Any) -> Any:
        self._daemon.find(request.collection)
        if request.alias not in self._daemon.aliases:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no alias {request.alias!r}", "ALIAS_NOT_FOUND")
        old = self._daemon.aliases[request.alias]
        if not request.validate_only:
            self._daemon.aliases[request.alias] = request.collection
        return collection_pb2.SwitchAliasResponse(
            alias=request.alias, old_collection=old, new_collection=request.collection
        )

    def DeleteAlias(self, request: Any, context: Any) -> Any:
        if request.alias not in self._daemon.aliases:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no alias {request.alias!r}", "ALIAS_NOT_FOUND")
        gone = collection_pb2.Alias(alias=request.alias, collection=self._daemon.aliases[request.alias])
        if not request.validate_only:
            del self._daemon.aliases[request.alias]
        return collection_pb2.DeleteAliasResponse(alias=gone)

    def ListAliases(self, request: Any, context: Any) -> Any:
        entries = [
            collection_pb2.Alias(alias=alias, collection=collection)
            for alias, collection in sorted(self._daemon.aliases.items())
            if request.collection in ("", collection)
        ]
        return collection_pb2.ListAliasesResponse(aliases=entries, total_count=len(entries))


class VectorServicer(vector_pb2_grpc.VectorServiceServicer):
    def __init__(self, daemon: FakeState) -> None:
        self._daemon = daemon

    def _write(self, request: Any) -> vector_pb2.UpsertResponse:
        collection = self._daemon.find(request.collection)
        width = collection.message.dimensions * 4
        if len(request.vectors) != width * len(request.ids):
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT, f"{len(request.vectors)} bytes of vectors are not {len(request.ids)} "
                f"rows of {collection.message.dimensions} values", "DIMENSION_MISMATCH", field="vectors",
            )  # fmt: skip
        payloads = json.loads(request.payloads) if request.payloads else [None] * len(request.ids)
        if len(payloads) != len(request.ids) or any(not isinstance(p, dict | None) for p in payloads):
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad payloads", "BAD_PAYLOAD", field="payloads")
        sequence = self._daemon.next_sequence()
        for row, point_id in enumerate(request.ids):
            old = collection.points.get(point_id)
            vector = request.vectors[row * width : (row + 1) * width]
            collection.points[point_id] = Point(vector, payloads[row], old.version + 1 if old else 1, sequence)
        self._daemon.log(wal_pb2.WalRecord.KIND_UPSERT, sequence, request.collection, list(request.ids))
        return vector_pb2.UpsertResponse(sequence=sequence, count=len(request.ids), durable=True)

    def Upsert(self, request: Any, context: Any) -> Any:
        if request.validate_only:
            return vector_pb2.UpsertResponse(count=len(request.ids))
        return self._write(request)

    def UpsertStream(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        for request in request_iterator:
            self._daemon.requests["UpsertStream"].append(request)
            broken = self._daemon.due_failure("UpsertStreamMidway")
            if broken is not None:
                raise broken
            try:
                refusal = self._daemon.due_failure("UpsertStreamBatch")
                if refusal is not None:
                    raise refusal
                result = self._write(request.upsert)
                yield vector_pb2.UpsertStreamResponse(ticket=request.ticket, result=result)
            except Refusal as failure:
                yield vector_pb2.UpsertStreamResponse(ticket=request.ticket, error=failure.status)

    def Update(self, request: Any, context: Any) -> Any:
        collection = self._daemon.find(request.collection)
        width = collection.message.dimensions * 4
        payloads = json.loads(request.payloads) if request.payloads else [None] * len(request.ids)
        missing = [point_id for point_id in request.ids if point_id not in collection.points]
        if missing:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no id {missing[0]!r}", "ID_NOT_FOUND", id=missing[0])
        sequence = self._daemon.next_sequence()
        versions = []
        for row, point_id in enumerate(request.ids):
            point = collection.points[point_id]
            if request.vectors:
                point.vector = request.vectors[row * width : (row + 1) * width]
            if payloads[row] is not None:
                merge = request.payload_mode == vector_pb2.UpdateRequest.PAYLOAD_MODE_MERGE
                new: dict[str, Any] = json.loads(json.dumps(payloads[row]))
                merged = {**(point.payload or {}), **new} if merge else new
                point.payload = {key: value for key, value in merged.items() if not (merge and value is None)}
            point.version += 1
            versions.append(point.version)
        return vector_pb2.UpdateResponse(sequence=sequence, count=len(versions), durable=True, versions=versions)

    def _matching(self, collection: FakeCollection, expression: str) -> list[str]:
        """The one filter that this daemon knows: ``field = 'text'``."""
        if not expression:
            return sorted(collection.points)
        name, _, value = expression.partition(" = ")
        if not value:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"no filter: {expression}", "BAD_FILTER", position="1")
        wanted = json.loads(value.replace("'", '"'))
        return sorted(i for i, p in collection.points.items() if (p.payload or {}).get(name) == wanted)

    def Delete(self, request: Any, context: Any) -> Any:
        collection = self._daemon.find(request.collection)
        if request.all and not (request.confirm or request.validate_only):
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "not confirmed", "NOT_CONFIRMED")
        chosen = [i for i in request.ids if i in collection.points]
        if request.all or request.filter:
            chosen = self._matching(collection, request.filter)
        if request.HasField("expected_count") and request.expected_count != len(chosen):
            raise Refusal(grpc.StatusCode.ABORTED, f"{len(chosen)} points would go", "COUNT_CHANGED")
        if request.validate_only:
            return vector_pb2.DeleteResponse(count=len(chosen))
        for point_id in chosen:
            del collection.points[point_id]
        sequence = self._daemon.next_sequence()
        self._daemon.log(wal_pb2.WalRecord.KIND_DELETE, sequence, request.collection, chosen)
        return vector_pb2.DeleteResponse(sequence=sequence, count=len(chosen), durable=True)

    def _columns(self, collection: FakeCollection, ids: list[str], vectors: bool, payloads: bool) -> dict[str, Any]:
        points = [collection.points[i] for i in ids]
        data = b"".join(p.vector for p in points)
        columns = vector_pb2.PointColumns(
            ids=ids,
            vectors=common_pb2.Matrix(data=data, dimensions=collection.message.dimensions) if vectors else None,
            payloads=json.dumps([p.payload for p in points]).encode() if payloads else b"",
            versions=[p.version for p in points],
            sequences=[p.sequence for p in points],
            update_times_us=[START_SECONDS * 10**6 for p in points],
        )
        return {"points": columns, "sequence": self._daemon.sequence}

    def Get(self, request: Any, context: Any) -> Any:
        collection = self._daemon.find(request.collection)
        ids = [i for i in request.ids if i in collection.points]
        columns = self._columns(collection, ids, not request.omit_vector, not request.omit_payload)
        return vector_pb2.GetResponse(**columns)

    def Scroll(self, request: Any, context: Any) -> Any:
        collection = self._daemon.find(request.collection)
        ids = self._matching(collection, request.filter)
        if request.order == vector_pb2.SCROLL_ORDER_TIMESTAMP:
            ids.sort(key=lambda i: collection.points[i].sequence)
        start = int(request.page_token or 0) + request.offset
        page = ids[start : start + (request.page_size or 100)]
        more = start + len(page) < len(ids)
        return vector_pb2.ScrollResponse(
            next_page_token=str(start + len(page)) if more else "",
            total_count=len(ids) if request.include_total else None,
            **self._columns(collection, page, request.include_vector, not request.omit_payload),
        )

    def Count(self, request: Any, context: Any) -> Any:
        collection = self._daemon.find(request.collection)
        return vector_pb2.CountResponse(count=len(self._matching(collection, request.filter)))

    def _search(self, request: Any, query: bytes, leave_out: str = "") -> vector_pb2.SearchResponse:
        collection = self._daemon.find(request.collection)
        if len(query) != collection.message.dimensions * 4:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "wrong width", "DIMENSION_MISMATCH", field="vector")
        ids = [i for i in self._matching(collection, request.filter) if i != leave_out]
        scored = sorted((-_cosine(query, collection.points[i].vector), i) for i in ids)
        if request.HasField("threshold"):
            scored = [entry for entry in scored if -entry[0] >= request.threshold]
        scored = scored[: request.k or 10]
        columns = self._columns(collection, [i for _, i in scored], request.include_vector, not request.omit_payload)
        return vector_pb2.SearchResponse(scores=[-score for score, _ in scored], exact=True, **columns)

    def Search(self, request: Any, context: Any) -> Any:
        if request.WhichOneof("query") == "query_id":
            points = self._daemon.find(request.collection).points
            if request.query_id not in points:
                raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no id {request.query_id!r}", "ID_NOT_FOUND")
            return self._search(request, points[request.query_id].vector, request.query_id)
        return self._search(request, request.vector)

    def SearchBatch(self, request: Any, context: Any) -> Any:
        width = self._daemon.find(request.collection).message.dimensions * 4
        queries = [request.queries[i : i + width] for i in range(0, len(request.queries), width)]
        return vector_pb2.SearchBatchResponse(results=[self._search(request, query) for query in queries])

    def Export(self, request: Any, context: Any) -> Iterator[Any]:
        collection = self._daemon.find(request.collection)
        ids = self._matching(collection, request.filter)
        size = request.batch_size or 1000
        for start in range(0, max(len(ids), 1), size):
            columns = self._columns(
                collection, ids[start : start + size], not request.omit_vector, not request.omit_payload
            )
            yield vector_pb2.ExportResponse(total_count=len(ids) if start == 0 else None, **columns)


def _cosine(left: bytes, right: bytes) -> float:
    a, b = struct.unpack(f"<{len(left) // 4}f", left), struct.unpack(f"<{len(right) // 4}f", right)
    scale = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / scale if scale else 0.0
