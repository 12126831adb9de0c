"""A real server on a Unix socket over the real engine, its files in memory, and every stub to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from holdfast.v1 import collection_pb2, operation_pb2
from holdfast.v1.collection_pb2_grpc import CollectionServiceStub
from holdfast.v1.operation_pb2_grpc import OperationServiceStub
from holdfast.v1.snapshot_pb2_grpc import SnapshotServiceStub
from holdfast.v1.storage_pb2_grpc import StorageServiceStub
from holdfast.v1.vector_pb2_grpc import VectorServiceStub
from holdfast.v1.wal_pb2_grpc import WalServiceStub
from holdfastd.rpc.server import Limits, RpcServer
from holdfastd.storage.clock import SystemClock
from tests.rpc.calls import batch
from tests.support.engines import Kit

Operation = operation_pb2.Operation


class Wire:
    """Every stub of one server, and the engine behind it."""

    def __init__(self, kit: Kit, address: str, channel: grpc.Channel) -> None:
        self.kit = kit
        self.address = address
        self.channel = channel
        self.collections = CollectionServiceStub(channel)
        self.vectors = VectorServiceStub(channel)
        self.snapshots = SnapshotServiceStub(channel)
        self.wal = WalServiceStub(channel)
        self.storage = StorageServiceStub(channel)
        self.operations = OperationServiceStub(channel)

    def ended(self, operation: Operation) -> Operation:
        """The operation once it has ended, as its watch shows it."""
        *_, last = self.operations.WatchOperation(operation_pb2.WatchOperationRequest(id=operation.id))
        return last.operation


@contextmanager
def serving(kit: Kit, socket: str) -> Iterator[Wire]:
    """The kit's engine behind a socket, with a collection `books` of two points; both are stopped at the end."""
    kit.engine.start()
    server = RpcServer(kit.engine, clock=SystemClock(), limits=Limits())
    server.listen_unix(socket)
    server.start()
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        wire = Wire(kit, f"unix://{socket}", channel)
        wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="books", dimensions=2))
        wire.vectors.Upsert(batch(["a", "b"], request_id="first"))
        yield wire
    server.stop(0)
    kit.engine.stop()
