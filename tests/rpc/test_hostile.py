"""Whatever a client sends to whatever method: an answer that is its own fault, and a server that goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from holdfast.v1 import collection_pb2, operation_pb2, snapshot_pb2, storage_pb2, vector_pb2, wal_pb2
from holdfastd.rpc.server import Limits, RpcServer
from holdfastd.storage.clock import SystemClock
from tests.support.engines import Kit

METHODS = [
    (f"/{service.full_name}/{method.name}", method.client_streaming, method.server_streaming)
    for file in (collection_pb2, operation_pb2, snapshot_pb2, storage_pb2, vector_pb2, wal_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
EXTREMES: list[object] = [
    *(-1, 0, 1, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, (1 << 64) - 1, -(1 << 63), 1e308, float("nan"), True),
    *("", "../../etc/passwd", "/", "x" * 70_000, "\0", "latest", b"", b"\0" * 12),
]
OWN_FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    kit = Kit(segment_size=1 << 20)
    kit.create("books")
    kit.engine.start()
    server = RpcServer(kit.engine, clock=SystemClock(), limits=Limits())
    path: Path = tmp_path_factory.mktemp("hostile") / "s"
    server.listen_unix(str(path))
    server.start()
    with grpc.insecure_channel(f"unix:{path}") as channel:
        yield channel
    server.stop(0)
    kit.engine.stop()


def code_of(channel: grpc.Channel, method: tuple[str, bool, bool], raw: bytes) -> grpc.StatusCode:
    """The status of one call with these bytes as its only request; of an endless answer only the beginning counts."""
    name, sends, receives = method
    try:
        if not receives:
            channel.unary_unary(name)(raw, timeout=30)
            return grpc.StatusCode.OK
        make = channel.stream_stream(name) if sends else channel.unary_stream(name)
        answers = make(iter([raw]) if sends else raw, timeout=30)
        next(answers, None)
        answers.cancel()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return code
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method[0].rpartition("/")[2])
def test_no_request_is_the_daemons_fault(channel: grpc.Channel, method: tuple[str, bool, bool]) -> None:
    rng = random.Random(method[0])
    seeds = [b"", b"\x0a\x05books", b"\x0a\x01\xff", b"\x0a\x02\x00\x00", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 12]
    seeds += [b"\x0a\x05books" + rng.randbytes(rng.randrange(24)) for _ in range(12)]
    seeds += [rng.randbytes(rng.randrange(64)) for _ in range(12)]
    for raw in seeds:
        assert code_of(channel, method, raw) not in OWN_FAULTS, raw


def test_every_field_at_its_extremes_is_survived(channel: grpc.Channel) -> None:
    """Each scalar field of each request, set to values that no honest client sends."""
    for name, sends, receives in METHODS:
        if sends:
            continue
        request_class = _request_class(name)
        for field in request_class.DESCRIPTOR.fields:
            if field.name == "segment_size_bytes":
                continue  # 2 GiB are allowed, and too much for a disk in memory
            for value in EXTREMES:
                request = request_class()
                try:
                    setattr(request, field.name, value)
                except (TypeError, ValueError, AttributeError, OverflowError):
                    continue
                if "collection" in request_class.DESCRIPTOR.fields_by_name and field.name != "collection":
                    request.collection = "books"
                raw = request.SerializeToString()
                assert code_of(channel, (name, sends, receives), raw) not in OWN_FAULTS, (name, field.name, value)


def _request_class(name: str) -> type:
    for file in (collection_pb2, operation_pb2, snapshot_pb2, storage_pb2, vector_pb2, wal_pb2):
        found = getattr(file, f"{name.rpartition('/')[2]}Request", None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raise AssertionError(name)
