"""The server as a whole: slots, limits, health, reflection, listeners."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from holdfast.v1 import vector_pb2
from holdfast.v1.vector_pb2_grpc import VectorServiceStub
from holdfastd.errors import EngineFailed, FailedPrecondition, InvalidArgument, Unavailable
from holdfastd.rpc.admission import Admission, Slots, WorkerPool
from holdfastd.rpc.server import HEALTH_SLOTS, Limits, RpcServer, is_loopback
from holdfastd.storage.clock import SystemClock
from tests.rpc.calls import batch, failing
from tests.rpc.conftest import LIMITS
from tests.support.clock import ManualClock
from tests.support.fake_engine import FakeEngine


def test_stalled_streams_leave_short_calls_alone(vectors: VectorServiceStub) -> None:
    done = threading.Event()

    def endless() -> Iterator[vector_pb2.UpsertStreamRequest]:
        yield vector_pb2.UpsertStreamRequest(upsert=batch(["a"]))
        done.wait(10)

    open_streams = [vectors.UpsertStream(endless()) for _ in range(LIMITS.max_streams)]
    for stream in open_streams:
        next(iter(stream))
    failure = failing(lambda: next(iter(vectors.UpsertStream(endless()))))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.info.reason == "TOO_MANY_CALLS"
    assert vectors.Count(vector_pb2.CountRequest(collection="books")).count == 1
    done.set()
    for stream in open_streams:
        stream.cancel()


def test_a_message_beyond_the_limit_is_refused(vectors: VectorServiceStub) -> None:
    failure = failing(lambda: vectors.Upsert(batch(["a"], payloads=b" " * (LIMITS.max_message_bytes + 1))))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    failure = failing(lambda: channel.unary_unary("/holdfast.v1.VectorService/Levitate")(b""))
    assert failure.code is grpc.StatusCode.UNIMPLEMENTED


def test_health_follows_the_engine(channel: grpc.Channel, engine: FakeEngine) -> None:
    health = health_pb2_grpc.HealthStub(channel)

    def check(service: str) -> int:
        return int(health.Check(health_pb2.HealthCheckRequest(service=service)).status)

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert check("") == check("holdfast.v1.VectorService") == serving
    engine.failure = EngineFailed("a sync failed")
    assert check("") == check("holdfast.v1.VectorService") == not_serving
    assert check("holdfast.v1.StorageService") == serving
    assert failing(lambda: check("nonsense")).code is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(requests)
    names = {service.name for service in answer.list_services_response.service}
    assert {"holdfast.v1.VectorService", "grpc.health.v1.Health"} <= names


def test_a_socket_is_gone_after_the_stop(engine: FakeEngine, tmp_path: Path) -> None:
    server = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS)
    before = os.umask(0o117)
    try:
        server.listen_unix(str(tmp_path / "t"))
    finally:
        os.umask(before)
    server.start()
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o660
    server.stop(0)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("path", ["relative/s", "/" + "x" * 107])
def test_paths_that_cannot_be_sockets(engine: FakeEngine, path: str) -> None:
    server = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS)
    with pytest.raises(InvalidArgument, match="cannot be a socket"):
        server.listen_unix(path)
    server.stop(0)


def test_tcp_stays_on_this_machine(engine: FakeEngine) -> None:
    server = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS)
    with pytest.raises(FailedPrecondition, match="does not encrypt TCP"):
        server.listen_tcp("0.0.0.0", 0)
    port = server.listen_tcp("127.0.0.1", 0)
    other = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS)
    with pytest.raises(Unavailable, match=str(port)):
        other.listen_tcp("127.0.0.1", port)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert VectorServiceStub(channel).Upsert(batch(["a"])).count == 1
    assert engine.points.callers[-1].actor == "tcp"
    server.stop(0)
    other.stop(0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_what_loopback_is(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_slot_comes_back_when_its_task_ends_however() -> None:
    slots = Slots("things", 1)
    pool = WorkerPool(1)

    def fail() -> None:
        raise ZeroDivisionError

    for _ in range(3):
        assert slots.take()
        assert not slots.take()
        pool.claim(slots)
        with pytest.raises(ZeroDivisionError):
            pool.submit(fail).result(10)
        assert slots.in_use == 0
    pool.shutdown()
    assert slots.take()
    pool.claim(slots)
    with pytest.raises(RuntimeError):
        pool.submit(fail)
    assert slots.in_use == 0


def test_every_slot_has_a_worker() -> None:
    admission = Admission(Slots("a", 2), Slots("b", 3), Slots("c", 4))
    assert admission.workers > 2 + 3 + 4


def test_the_defaults_are_those_of_the_design() -> None:
    limits = Limits()
    assert limits.max_unary_calls >= 64
    assert limits.max_streams >= 320
    assert limits.max_message_bytes == 64 << 20


def test_idle_streams_and_watches_do_not_hold_up_the_stop(engine: FakeEngine, tmp_path: Path) -> None:
    server = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS)
    server.listen_unix(str(tmp_path / "u"))
    server.start()
    done = threading.Event()

    def endless() -> Iterator[vector_pb2.UpsertStreamRequest]:
        yield vector_pb2.UpsertStreamRequest(upsert=batch(["a"]))
        done.wait(60)

    with grpc.insecure_channel(f"unix:{tmp_path / 'u'}") as channel:
        upserts = VectorServiceStub(channel).UpsertStream(endless())
        next(iter(upserts))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING
        stopping = threading.Thread(target=server.stop, args=(60,))
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive()
        assert failing(lambda: next(iter(upserts))).info.reason == "STOPPING"
        done.set()


def test_a_running_call_is_finished_before_the_stop(engine: FakeEngine, tmp_path: Path) -> None:
    server = RpcServer(engine.engine, clock=SystemClock(), limits=LIMITS)
    server.listen_unix(str(tmp_path / "u"))
    server.start()
    entered, leave = threading.Event(), threading.Event()
    count = engine.points.count

    def slow(collection: str, filter_text: str | None = None) -> int:
        entered.set()
        leave.wait(10)
        return count(collection)

    engine.points.count = slow  # type: ignore[method-assign]
    with grpc.insecure_channel(f"unix:{tmp_path / 'u'}") as channel:
        answer = VectorServiceStub(channel).Count.future(vector_pb2.CountRequest(collection="books"))
        assert entered.wait(10)
        stopping = threading.Thread(target=server.stop, args=(60,))
        stopping.start()
        leave.set()
        assert answer.result(10).count == 0
        stopping.join(10)
        assert not stopping.is_alive()


def test_a_reply_beyond_the_limit_is_refused_with_a_hint(vectors: VectorServiceStub) -> None:
    payload = b'{"text":"' + b"x" * 900_000 + b'"}'
    for name in "abcde":
        vectors.Upsert(batch([name], payloads=b"[" + payload + b"]"))
    failure = failing(lambda: vectors.Get(vector_pb2.GetRequest(collection="books", ids=list("abcde"))))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REPLY_TOO_LARGE")
    page = vectors.Scroll(vector_pb2.ScrollRequest(collection="books"))
    assert len(page.points.ids) == 3
    rest = vectors.Scroll(vector_pb2.ScrollRequest(collection="books", page_token=page.next_page_token))
    assert list(page.points.ids) + list(rest.points.ids) == list("abcde")


def test_a_write_that_does_not_end_is_noticed(engine: FakeEngine, tmp_path: Path) -> None:
    clock = ManualClock()
    server = RpcServer(engine.engine, clock=clock, limits=LIMITS)
    server.listen_unix(str(tmp_path / "u"))
    server.start()
    engine.points.held = True
    with grpc.insecure_channel(f"unix:{tmp_path / 'u'}") as channel:
        requests = iter([vector_pb2.UpsertStreamRequest(upsert=batch(["a"]))])
        answers = VectorServiceStub(channel).UpsertStream(requests)
        while not server.writes.oldest_seconds():
            threading.Event().wait(0.005)
        clock.advance_us(20_000_000)
        assert server.writes.oldest_seconds() > 20
        engine.points.held = False
        engine.points.release()
        assert len(list(answers)) == 1
        assert server.writes.oldest_seconds() == 0
    server.stop(0)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", ["unary", "stream", "unforeseen"])
def test_a_connection_outlives_any_number_of_failures(
    vectors: VectorServiceStub, engine: FakeEngine, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A call that is kept by its own error keeps its stream, and a connection has so many of them."""
    caplog.set_level(logging.CRITICAL + 1, "holdfastd.rpc.errors")  # what is captured would keep the frames
    if kind == "unforeseen":
        engine.points.failing = ValueError("nobody foresaw this")
    many = LIMITS.max_unary_calls + LIMITS.max_streams + HEALTH_SLOTS + 10
    for _ in range(many):
        if kind == "unary":
            failure = failing(lambda: vectors.Count(vector_pb2.CountRequest(collection="films")))
            assert failure.code is grpc.StatusCode.NOT_FOUND
        elif kind == "stream":
            failure = failing(lambda: list(vectors.Export(vector_pb2.ExportRequest(collection="films"))))
            assert failure.code is grpc.StatusCode.NOT_FOUND
        else:
            assert failing(lambda: vectors.Upsert(batch(["a"]))).code is grpc.StatusCode.INTERNAL
