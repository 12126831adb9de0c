"""A daemon of a few dicts, in this process: the services of `holdfast.v1`, for tests of the client.

It keeps the API's promises that a client can see (order, tickets, counts, errors with details), and none about disks.
``FakeDaemon.fail_next`` makes the next call of a method fail; ``FakeDaemon.requests`` has every request by method.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from holdfast.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    common_pb2,
    operation_pb2,
    operation_pb2_grpc,
    snapshot_pb2,
    snapshot_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    vector_pb2,
    vector_pb2_grpc,
    wal_pb2,
    wal_pb2_grpc,
)

CHUNK_BYTES = 1 << 16
START_SECONDS = 1705746645  # 2024-01-20T10:30:45Z


@dataclass
class Point:
    """One stored point."""

    vector: bytes
    payload: Any
    version: int
    sequence: int


@dataclass
class FakeCollection:
    """One stored collection."""

    message: collection_pb2.Collection
    points: dict[str, Point] = field(default_factory=dict)


class Refusal(Exception):
    """What a handler raises to fail its call."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.code = code
        info = error_details_pb2.ErrorInfo(reason=reason, domain="holdfast", metadata=metadata)
        packed = any_pb2.Any()
        packed.Pack(info)
        self.status = status_pb2.Status(code=code.value[0], message=message, details=[packed])


class FakeDaemon:
    """The state, and the server around it. Use as a context manager; ``address`` is a Unix socket."""

    def __init__(self, socket: str) -> None:
        self.address = f"unix://{socket}"
        self.collections: dict[str, FakeCollection] = {}
        self.aliases: dict[str, str] = {}
        self.snapshots: dict[str, common_pb2.Snapshot] = {}
        self.operations: dict[str, list[operation_pb2.Operation]] = {}
        self.marks: list[common_pb2.Mark] = []
        self.records: list[wal_pb2.WalRecord] = []
        self.wal = wal_pb2.WalStatus(
            enabled=True, path="/data/wal", sync_mode=common_pb2.SYNC_MODE_FSYNC, segment_size_bytes=64 << 20,
            state=wal_pb2.WalStatus.STATE_ACTIVE, max_size_bytes=64 << 30, directories=["/data/wal"],
        )  # fmt: skip
        self.wal.retention.seconds = 86400
        self.wal.flush_interval.seconds = 5
        self.mmap = storage_pb2.MmapStatus(
            mmap_enabled=True, advise_mode=storage_pb2.MMAP_ADVICE_RANDOM,
            total_mapped_bytes=1 << 30, resident_bytes=1 << 29,
        )  # fmt: skip
        self.alarms: list[storage_pb2.Alarm] = []
        self.sequence = 0
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, dict[str, str | bytes]] = {}
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.chunk_sums: list[int] = []
        self.claimed_sha256 = ""
        self.step_seconds = 0.0
        self.cancelled = threading.Event()
        self._failures: dict[str, deque[Refusal]] = defaultdict(deque)
        self._lock = threading.RLock()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            interceptors=[_Recorder(self)],
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        collection_pb2_grpc.add_CollectionServiceServicer_to_server(CollectionServicer(self), self._server)
        vector_pb2_grpc.add_VectorServiceServicer_to_server(VectorServicer(self), self._server)
        snapshot_pb2_grpc.add_SnapshotServiceServicer_to_server(SnapshotServicer(self), self._server)
        wal_pb2_grpc.add_WalServiceServicer_to_server(WalServicer(self), self._server)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(StorageServicer(self), self._server)
        operation_pb2_grpc.add_OperationServiceServicer_to_server(OperationServicer(self), self._server)
        self._server.add_insecure_port(f"unix:{socket}")

    def __enter__(self) -> FakeDaemon:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancelled.set()
        self._server.stop(0).wait()

    def fail_next(
        self, method: str, code: grpc.StatusCode, message: str = "no", reason: str = "TEST", **metadata: str
    ) -> None:
        """Let the next call of ``method`` fail; several are failed in turn."""
        self._failures[method].append(Refusal(code, message, reason, **metadata))

    def due_failure(self, method: str) -> Refusal | None:
        """The failure that ``fail_next`` asked for, once."""
        return self._failures[method].popleft() if self._failures[method] else None

    def next_sequence(self) -> int:
        with self._lock:
            self.sequence += 1
            return self.sequence

    def find(self, name: str) -> FakeCollection:
        real = self.aliases.get(name, name)
        if real not in self.collections:
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, f"there is no collection {name!r}", "COLLECTION_NOT_FOUND",
                collection=name, hint="holdfast collection list",
            )  # fmt: skip
        return self.collections[real]

    def operate(self, kind: operation_pb2.Operation.Kind.ValueType, **result: Any) -> operation_pb2.Operation:
        """An operation that takes four steps when it is watched."""
        operation_id = f"op-{len(self.operations) + 1}"
        states = operation_pb2.Operation.State
        steps = []
        for step, phase in enumerate(("preparing", "writing", "writing", "finishing")):
            progress = operation_pb2.Progress(
                phase=phase, done_bytes=step * 100, total_bytes=400, done_vectors=step, total_vectors=4,
                bytes_per_second=1000, cancellable=step < 3,
            )  # fmt: skip
            steps.append(
                operation_pb2.Operation(
                    id=operation_id, kind=kind, state=states.STATE_RUNNING, progress=progress, actor="unix"
                )
            )
        final = operation_pb2.Operation(
            id=operation_id,
            kind=kind,
            state=states.STATE_SUCCEEDED,
            progress=steps[-1].progress,
            actor="unix",
            **result,
        )
        final.create_time.seconds = START_SECONDS
        final.end_time.seconds = START_SECONDS + 5
        self.operations[operation_id] = [*steps, final]
        return steps[0]

    def log(self, kind: wal_pb2.WalRecord.Kind.ValueType, sequence: int, collection: str, ids: list[str]) -> None:
        record = wal_pb2.WalRecord(
            sequence=sequence, kind=kind, collection=collection, actor="unix", count=len(ids), first_ids=ids[:5],
            size_bytes=128, segment_path="/data/wal/00000001-00000000000000000001.wal", offset=80 + 128 * sequence,
        )  # fmt: skip
        record.time.seconds = START_SECONDS + sequence
        self.records.append(record)


class _Recorder(grpc.ServerInterceptor):
    """Notes every call, fails those that are due, and turns a `Refusal` into a status with details."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon

    def intercept_service(self, continuation: Callable[..., Any], details: grpc.HandlerCallDetails) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        method = details.method.rpartition("/")[2]
        self._daemon.metadata[method] = dict(details.invocation_metadata or ())
        wrap = self._stream if handler.response_streaming else self._unary
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[(handler.request_streaming, handler.response_streaming)]
        inner = handler.unary_unary or handler.unary_stream or handler.stream_stream
        return make(
            wrap(method, inner, handler.request_streaming), handler.request_deserializer, handler.response_serializer
        )

    def _check(self, method: str, request: Any, streaming: bool) -> None:
        if not streaming:
            self._daemon.requests[method].append(request)
        failure = self._daemon.due_failure(method)
        if failure is not None:
            raise failure

    def _unary(self, method: str, inner: Callable[..., Any], streaming: bool) -> Callable[..., Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._check(method, request, streaming)
                return inner(request, context)
            except Refusal as refusal:
                _abort(context, refusal)

        return call

    def _stream(self, method: str, inner: Callable[..., Any], streaming: bool) -> Callable[..., Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                self._check(method, request, streaming)
                yield from inner(request, context)
            except Refusal as refusal:
                _abort(context, refusal)

        return call


def _abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    context.set_trailing_metadata((("grpc-status-details-bin", refusal.status.SerializeToString()),))
    context.abort(refusal.code, str(refusal))
    raise AssertionError("abort raises")


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
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
        self._daemon.aliases[request.alias] = request.collection
        return collection_pb2.SwitchAliasResponse(
            alias=request.alias, old_collection=old, new_collection=request.collection
        )

    def DeleteAlias(self, request: Any, context: Any) -> Any:
        if request.alias not in self._daemon.aliases:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no alias {request.alias!r}", "ALIAS_NOT_FOUND")
        gone = collection_pb2.Alias(alias=request.alias, collection=self._daemon.aliases.pop(request.alias))
        return collection_pb2.DeleteAliasResponse(alias=gone)

    def ListAliases(self, request: Any, context: Any) -> Any:
        entries = [
            collection_pb2.Alias(alias=alias, collection=collection)
            for alias, collection in sorted(self._daemon.aliases.items())
            if request.collection in ("", collection)
        ]
        return collection_pb2.ListAliasesResponse(aliases=entries, total_count=len(entries))


class VectorServicer(vector_pb2_grpc.VectorServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
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
        columns: dict[str, Any] = {
            "ids": ids,
            "versions": [p.version for p in points],
            "sequences": [p.sequence for p in points],
            "update_times_us": [START_SECONDS * 10**6 for p in points],
            "sequence": self._daemon.sequence,
        }
        if payloads:
            columns["payloads"] = json.dumps([p.payload for p in points]).encode()
        if vectors:
            data = b"".join(p.vector for p in points)
            columns["vectors"] = common_pb2.Matrix(data=data, dimensions=collection.message.dimensions)
        return columns

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
        del columns["sequences"], columns["update_times_us"]
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


class SnapshotServicer(snapshot_pb2_grpc.SnapshotServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon

    def CreateSnapshot(self, request: Any, context: Any) -> Any:
        names = [request.collection] if request.collection else sorted(self._daemon.collections)
        members = [
            common_pb2.SnapshotCollection(name=name, vector_count=len(self._daemon.find(name).points), digest="0" * 32)
            for name in names
        ]
        snapshot_id = f"snap-2024-01-20-1030{45 + len(self._daemon.snapshots):02d}"
        suffix = "gz" if request.compress else "snap"
        directory = request.path or "/data/snapshots"
        if not directory.startswith("/"):
            directory = f"{request.working_directory}/{directory.removeprefix('./')}"
        snapshot = common_pb2.Snapshot(
            id=snapshot_id, state=common_pb2.Snapshot.STATE_READY, collections=members,
            type=common_pb2.Snapshot.TYPE_INCREMENTAL if request.incremental else common_pb2.Snapshot.TYPE_FULL,
            vector_count=sum(member.vector_count for member in members), size_bytes=52428800,
            compressed=request.compress, path=f"{directory}/{snapshot_id}.{suffix}", sequence=self._daemon.sequence,
        )  # fmt: skip
        snapshot.create_time.seconds = START_SECONDS + len(self._daemon.snapshots)
        result = operation_pb2.SnapshotResult(snapshot=snapshot, duration_ms=5432)
        if request.validate_only:
            state = operation_pb2.Operation.STATE_SUCCEEDED
            return operation_pb2.Operation(state=state, snapshot=result)
        self._daemon.snapshots[snapshot_id] = snapshot
        return self._daemon.operate(operation_pb2.Operation.KIND_CREATE_SNAPSHOT, snapshot=result)

    def ListSnapshots(self, request: Any, context: Any) -> Any:
        found = [
            snapshot
            for snapshot in sorted(self._daemon.snapshots.values(), key=lambda s: s.id, reverse=True)
            if not request.collection or request.collection in [member.name for member in snapshot.collections]
        ]
        start = int(request.page_token or 0)
        page = found[start : start + 2]
        token = str(start + 2) if start + 2 < len(found) else ""
        return snapshot_pb2.ListSnapshotsResponse(snapshots=page, next_page_token=token, total_count=len(found))

    def _find(self, name: str) -> common_pb2.Snapshot:
        if name == "latest" and self._daemon.snapshots:
            return self._daemon.snapshots[max(self._daemon.snapshots)]
        for snapshot in self._daemon.snapshots.values():
            if name in (snapshot.id, snapshot.path):
                return snapshot
        raise Refusal(
            grpc.StatusCode.NOT_FOUND, f"there is no snapshot {name!r}", "SNAPSHOT_NOT_FOUND",
            snapshot=name, hint="holdfast storage snapshot list",
        )  # fmt: skip

    def GetSnapshot(self, request: Any, context: Any) -> Any:
        return snapshot_pb2.GetSnapshotResponse(snapshot=self._find(request.snapshot))

    def RestoreSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        names = [request.collection] if request.collection else [member.name for member in snapshot.collections]
        result = operation_pb2.RestoreResult(
            snapshot_id=snapshot.id, collections_restored=names, vectors_restored=snapshot.vector_count,
            duration_ms=3210, verified=request.verify, chain=[snapshot.id],
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, restore=result)
        return self._daemon.operate(operation_pb2.Operation.KIND_RESTORE_SNAPSHOT, restore=result)

    def VerifySnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        damaged = snapshot.state == common_pb2.Snapshot.STATE_DAMAGED
        problem = operation_pb2.VerifyResult.Problem(path=f"{snapshot.path}:ids.npy", offset=512, message="checksum")
        result = operation_pb2.VerifyResult(
            valid=not damaged, snapshot_id=snapshot.id, path=snapshot.path, chain=[snapshot.id], file_count=7,
            vector_count=snapshot.vector_count, size_bytes=snapshot.size_bytes, duration_ms=100,
            problems=[problem] if damaged else [],
        )  # fmt: skip
        return self._daemon.operate(operation_pb2.Operation.KIND_VERIFY_SNAPSHOT, verify=result)

    def DeleteSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        if not request.validate_only:
            del self._daemon.snapshots[snapshot.id]
        return snapshot_pb2.DeleteSnapshotResponse(snapshot=snapshot, freed_bytes=snapshot.size_bytes)

    def PruneSnapshots(self, request: Any, context: Any) -> Any:
        """Knows one rule: keep_last."""
        decisions = []
        newest_first = sorted(self._daemon.snapshots.values(), key=lambda s: s.id, reverse=True)
        for place, snapshot in enumerate(newest_first):
            keep = place < request.policy.keep_last
            reasons = ["last"] if keep else []
            decisions.append(
                snapshot_pb2.PruneSnapshotsResponse.Decision(snapshot=snapshot, keep=keep, reasons=reasons)
            )
            if not keep and not request.validate_only:
                del self._daemon.snapshots[snapshot.id]
        gone = [decision.snapshot.size_bytes for decision in decisions if not decision.keep]
        return snapshot_pb2.PruneSnapshotsResponse(
            decisions=decisions, kept_count=len(decisions) - len(gone), deleted_count=len(gone), freed_bytes=sum(gone)
        )

    def DiffSnapshots(self, request: Any, context: Any) -> Any:
        self._find(request.first)
        entry = snapshot_pb2.CollectionDiff(
            collection="products", change=snapshot_pb2.CollectionDiff.CHANGE_CHANGED, added_count=1, added_ids=["z"]
        )
        return snapshot_pb2.DiffSnapshotsResponse(collections=[entry], first_sequence=1, second_sequence=2)

    def DownloadSnapshot(self, request: Any, context: Any) -> Iterator[Any]:
        snapshot = self._find(request.snapshot)
        content = self._daemon.files[snapshot.id]
        for offset in range(request.read_offset, len(content), CHUNK_BYTES):
            data = content[offset : offset + CHUNK_BYTES]
            yield snapshot_pb2.DownloadSnapshotResponse(offset=offset, data=data, total_bytes=len(content))
            broken = self._daemon.due_failure("DownloadSnapshotMidway")
            if broken is not None:
                raise broken
        digest = hashlib.sha256(content).hexdigest()
        yield snapshot_pb2.DownloadSnapshotResponse(
            offset=len(content), total_bytes=len(content), file_sha256=self._daemon.claimed_sha256 or digest
        )

    def UploadSnapshot(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        header = next(request_iterator).header
        content = self._daemon.uploads.setdefault(header.filename, bytearray())
        yield snapshot_pb2.UploadSnapshotResponse(committed_bytes=len(content))
        while len(content) < header.total_bytes:
            chunk = next(request_iterator).chunk
            if chunk.offset != len(content):
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"byte {chunk.offset}", "BAD_OFFSET")
            content += chunk.data
            self._daemon.chunk_sums.append(chunk.crc32c)
            broken = self._daemon.due_failure("UploadSnapshotMidway")
            if broken is not None:
                raise broken
        if hashlib.sha256(content).hexdigest() != header.file_sha256:
            raise Refusal(grpc.StatusCode.DATA_LOSS, "wrong sum", "CHECKSUM_MISMATCH")
        directory = header.path or "/data/snapshots"
        snapshot = common_pb2.Snapshot(
            id=header.filename.partition(".")[0], path=f"{directory}/{header.filename}", size_bytes=len(content)
        )
        yield snapshot_pb2.UploadSnapshotResponse(committed_bytes=len(content), snapshot=snapshot)


class WalServicer(wal_pb2_grpc.WalServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon

    def EnableWal(self, request: Any, context: Any) -> Any:
        status = wal_pb2.WalStatus()
        status.CopyFrom(self._daemon.wal)
        status.enabled, status.state = True, wal_pb2.WalStatus.STATE_ACTIVE
        status.path = request.path if request.HasField("path") else status.path
        status.sync_mode = request.sync_mode or status.sync_mode
        if request.HasField("segment_size_bytes"):
            status.segment_size_bytes = request.segment_size_bytes
        if request.HasField("retention"):
            status.retention.CopyFrom(request.retention)
        if request.HasField("flush_interval"):
            status.flush_interval.CopyFrom(request.flush_interval)
        if not request.validate_only:
            self._daemon.wal = status
        return wal_pb2.EnableWalResponse(status=status)

    def DisableWal(self, request: Any, context: Any) -> Any:
        self._daemon.wal.enabled = False
        self._daemon.wal.state = wal_pb2.WalStatus.STATE_DISABLED
        warning = "from now on a write is durable only with the next checkpoint"
        return wal_pb2.DisableWalResponse(status=self._daemon.wal, warnings=[warning])

    def GetWalStatus(self, request: Any, context: Any) -> Any:
        return wal_pb2.GetWalStatusResponse(status=self._daemon.wal, marks=self._daemon.marks)

    def ReplayWal(self, request: Any, context: Any) -> Any:
        result = operation_pb2.ReplayResult(
            segments_replayed=5, operations_replayed=50000, collections_affected=["embeddings", "products"],
            duration_ms=8765, verified=request.verify,
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, replay=result)
        return self._daemon.operate(operation_pb2.Operation.KIND_REPLAY_WAL, replay=result)

    def VerifyWal(self, request: Any, context: Any) -> Any:
        result = operation_pb2.VerifyResult(
            valid=True, path=request.path or "/data/wal", file_count=1, operation_count=len(self._daemon.records)
        )
        return self._daemon.operate(operation_pb2.Operation.KIND_VERIFY_WAL, verify=result)

    def DumpWal(self, request: Any, context: Any) -> Iterator[Any]:
        records = self._daemon.records[: request.limit or None]
        for start in range(0, len(records), 2):
            yield wal_pb2.DumpWalResponse(records=records[start : start + 2])

    def TailWal(self, request: Any, context: Any) -> Iterator[Any]:
        yield wal_pb2.TailWalResponse(records=self._daemon.records, durable_sequence=self._daemon.sequence)

    def CreateMark(self, request: Any, context: Any) -> Any:
        mark = common_pb2.Mark(name=request.name, sequence=self._daemon.next_sequence())
        mark.time.seconds = START_SECONDS
        self._daemon.marks.append(mark)
        return wal_pb2.CreateMarkResponse(mark=mark, durable=True)


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon

    def GetStatus(self, request: Any, context: Any) -> Any:
        status = storage_pb2.StorageStatus(
            version="0.1.0", store_id="store", timeline=1, state=storage_pb2.StorageStatus.STATE_SERVING,
            data_dir="/data", sequence=self._daemon.sequence, durable_sequence=self._daemon.sequence,
            collection_count=len(self._daemon.collections), wal=self._daemon.wal, mmap=self._daemon.mmap,
            alarms=self._daemon.alarms,
        )  # fmt: skip
        return storage_pb2.GetStatusResponse(status=status)

    def ConfigureMmap(self, request: Any, context: Any) -> Any:
        if request.HasField("enable"):
            self._daemon.mmap.mmap_enabled = request.enable
        if request.HasField("populate"):
            self._daemon.mmap.populate = request.populate
        self._daemon.mmap.advise_mode = request.advise_mode or self._daemon.mmap.advise_mode
        return storage_pb2.ConfigureMmapResponse(status=self._daemon.mmap)

    def Compact(self, request: Any, context: Any) -> Any:
        names = [request.collection] if request.collection else sorted(self._daemon.collections)
        for name in names:
            self._daemon.find(name)
        result = operation_pb2.CompactResult(
            collections_compacted=names, before_size_bytes=157286400, after_size_bytes=125829120,
            freed_bytes=31457280, reduction_percent=20.0, duration_ms=12345,
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, compact=result)
        return self._daemon.operate(operation_pb2.Operation.KIND_COMPACT, compact=result)

    def ListAlarms(self, request: Any, context: Any) -> Any:
        return storage_pb2.ListAlarmsResponse(alarms=self._daemon.alarms)


class OperationServicer(operation_pb2_grpc.OperationServiceServicer):
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon

    def _steps(self, operation_id: str) -> list[operation_pb2.Operation]:
        if operation_id not in self._daemon.operations:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no operation {operation_id!r}", "OPERATION_NOT_FOUND")
        return self._daemon.operations[operation_id]

    def GetOperation(self, request: Any, context: Any) -> Any:
        return operation_pb2.GetOperationResponse(operation=self._steps(request.id)[0])

    def ListOperations(self, request: Any, context: Any) -> Any:
        found = [steps[0] for steps in reversed(self._daemon.operations.values())]
        found = [o for o in found if not request.states or o.state in request.states]
        return operation_pb2.ListOperationsResponse(operations=found, total_count=len(found))

    def WatchOperation(self, request: Any, context: Any) -> Iterator[Any]:
        steps = self._steps(request.id)
        while True:
            yield operation_pb2.WatchOperationResponse(operation=steps[0])
            if len(steps) == 1:
                return
            self.wait_step()
            broken = self._daemon.due_failure("WatchOperationMidway")
            if broken is not None:
                raise broken
            steps.pop(0)

    def wait_step(self) -> None:
        if self._daemon.step_seconds:
            time.sleep(self._daemon.step_seconds)

    def CancelOperation(self, request: Any, context: Any) -> Any:
        steps = self._steps(request.id)
        self._daemon.cancelled.set()
        final = operation_pb2.Operation()
        final.CopyFrom(steps[0])
        final.state = operation_pb2.Operation.STATE_CANCELLED
        final.error.CopyFrom(Refusal(grpc.StatusCode.CANCELLED, "cancelled by its owner", "CANCELLED").status)
        self._daemon.operations[request.id][1:] = [final]
        return operation_pb2.CancelOperationResponse(operation=steps[0])
