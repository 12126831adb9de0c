"""A daemon of a few dicts, in this process: the services of `holdfast.v1`, for tests of the client.

It keeps the API's promises that a client can see (order, tickets, counts, errors with details), and none about disks.
``FakeDaemon.fail_next`` makes the next call of a method fail; ``FakeDaemon.requests`` has every request by method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NoReturn

import grpc

from holdfast.v1 import (
    collection_pb2_grpc,
    operation_pb2_grpc,
    snapshot_pb2_grpc,
    storage_pb2_grpc,
    vector_pb2_grpc,
    wal_pb2_grpc,
)
from tests.support.fake_admin import OperationServicer, SnapshotServicer, StorageServicer, WalServicer
from tests.support.fake_points import CollectionServicer, VectorServicer
from tests.support.fake_state import CHUNK_BYTES, FakeState, Refusal

__all__ = ["CHUNK_BYTES", "FakeDaemon"]


class FakeDaemon(FakeState):
    """The state, and the server around it. Use as a context manager; ``address`` is a Unix socket."""

    def __init__(self, socket: str) -> None:
        super().__init__(socket)
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


class _Recorder(grpc.ServerInterceptor):
    """Notes every call, fails those that are due, and turns a `Refusal` into a status with details."""

    def __init__(self, daemon: FakeState) -> None:
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
