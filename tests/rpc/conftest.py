"""A real server on a Unix socket over the fake engine, and a channel to it; and one over the real engine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from holdfast.v1.collection_pb2_grpc import CollectionServiceStub
from holdfast.v1.operation_pb2_grpc import OperationServiceStub
from holdfast.v1.vector_pb2_grpc import VectorServiceStub
from holdfastd.rpc.server import Limits, RpcServer
from holdfastd.storage.clock import SystemClock
from tests.rpc.wires import Wire, serving
from tests.support.engines import Kit
from tests.support.fake_engine import FakeEngine

LIMITS = Limits(max_message_bytes=4 << 20, max_unary_calls=4, max_streams=3)


@pytest.fixture
def engine() -> FakeEngine:
    """An engine with one collection `books` of two dimensions."""
    made = FakeEngine()
    made.points.add_collection("books", 2)
    return made


@pytest.fixture
def address(engine: FakeEngine, tmp_path: Path) -> Iterator[str]:
    """Where the server is reached."""
    server = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS, only="unix")
    server.listen_unix(str(tmp_path / "s"))
    server.start()
    yield f"unix:{tmp_path / 's'}"
    engine.points.held = False
    engine.points.release()
    server.stop(0.2)


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as opened:
        yield opened


@pytest.fixture
def vectors(channel: grpc.Channel) -> VectorServiceStub:
    return VectorServiceStub(channel)


@pytest.fixture
def collections(channel: grpc.Channel) -> CollectionServiceStub:
    return CollectionServiceStub(channel)


@pytest.fixture
def operations(channel: grpc.Channel) -> OperationServiceStub:
    return OperationServiceStub(channel)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    """The real engine, its files in memory, behind a socket; it has a collection `books` with the points a and b."""
    with serving(Kit(segment_size=1 << 20), str(tmp_path / "s")) as wire:
        yield wire


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is let go only by the collector of cycles is not let go."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
