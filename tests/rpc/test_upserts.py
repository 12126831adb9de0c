"""UpsertStream: one answer per batch, in order, whatever becomes of the others."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import grpc
import pytest

from holdfast.v1 import vector_pb2
from holdfast.v1.vector_pb2_grpc import VectorServiceStub
from holdfastd import errors
from holdfastd.rpc.admission import InFlight
from holdfastd.rpc.batches import TicketedBatch, UpsertBatch
from holdfastd.rpc.draining import Draining
from holdfastd.rpc.requests import Callers
from holdfastd.rpc.server import HEALTH_SLOTS
from holdfastd.rpc.upserts import MAX_IN_FLIGHT, UpsertStreams
from holdfastd.storage.clock import SystemClock
from tests.rpc.calls import batch
from tests.rpc.conftest import LIMITS
from tests.support.fake_engine import FakeEngine


def requests(count: int) -> Iterator[vector_pb2.UpsertStreamRequest]:
    for ticket in range(count):
        yield vector_pb2.UpsertStreamRequest(ticket=ticket, upsert=batch([f"{ticket}"]))


def test_answers_come_in_order(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    answers = list(vectors.UpsertStream(requests(50)))
    assert [answer.ticket for answer in answers] == list(range(50))
    assert [answer.result.sequence for answer in answers] == list(range(2, 52))
    assert engine.points.count("books") == 50


def test_a_bad_batch_does_not_end_the_stream(vectors: VectorServiceStub) -> None:
    bad = vector_pb2.UpsertStreamRequest(ticket=7, upsert=batch(["x"], vectors=b"12"))
    answers = list(vectors.UpsertStream(iter([*requests(1), bad, *requests(1)])))
    assert [answer.WhichOneof("outcome") for answer in answers] == ["result", "error", "result"]
    assert answers[1].ticket == 7
    assert answers[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_a_stream_gives_no_plans(vectors: VectorServiceStub) -> None:
    asked = vector_pb2.UpsertStreamRequest(ticket=7, upsert=batch(["x"], validate_only=True))
    (answer,) = vectors.UpsertStream(iter([asked]))
    assert (answer.ticket, answer.error.code) == (7, grpc.StatusCode.INVALID_ARGUMENT.value[0])


def test_a_batch_that_cannot_be_parsed_is_answered_with_its_ticket(channel: grpc.Channel) -> None:
    raw = vector_pb2.UpsertStreamRequest(ticket=9, upsert=batch(["good", "bad"])).SerializeToString()
    call = channel.stream_stream(
        "/holdfast.v1.VectorService/UpsertStream",
        response_deserializer=vector_pb2.UpsertStreamResponse.FromString,
    )
    (answer,) = call(iter([raw.replace(b"bad", b"\xff\xfe\xfd")]))
    assert answer.ticket == 9
    assert "upsert.ids[1]" in answer.error.message


def test_a_write_that_fails_later_is_answered_in_its_place(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    engine.points.failing = errors.CommitUnknown("the log failed")
    (answer,) = vectors.UpsertStream(requests(1))
    assert answer.error.code == grpc.StatusCode.UNKNOWN.value[0]


def test_no_more_than_a_few_are_in_flight(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    engine.points.held = True
    everything_sent = threading.Event()

    def sending() -> Iterator[vector_pb2.UpsertStreamRequest]:
        yield from requests(100)
        everything_sent.set()

    call = vectors.UpsertStream(sending())
    assert not everything_sent.wait(0.3) or len(engine.points.waiting) <= MAX_IN_FLIGHT + 1
    assert len(engine.points.waiting) <= MAX_IN_FLIGHT + 1
    engine.points.held = False
    engine.points.release()
    assert sum(1 for _ in call) == 100


def test_a_client_that_leaves_frees_its_slot(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    """More streams, one after the other, than there are slots: each must have given its own back."""
    for _ in range(12):
        blocked = threading.Event()
        call = vectors.UpsertStream(sending_until(blocked))
        assert next(iter(call)).ticket == 0
        call.cancel()
        blocked.set()
    wait_until_served(vectors)


def sending_until(event: threading.Event) -> Iterator[vector_pb2.UpsertStreamRequest]:
    yield from requests(1)
    event.wait(10)


def wait_until_served(vectors: VectorServiceStub) -> None:
    for _ in range(100):
        try:
            assert len(list(vectors.UpsertStream(requests(1)))) == 1
            return
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:  # type: ignore[attr-defined]
                raise
            threading.Event().wait(0.02)
    pytest.fail("the slots of streams that ended were never given back")


class _Block(bytearray):
    """The bytes of a batch, so that they can be watched."""


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("later", [False, True])
def test_a_refused_batch_is_let_go_with_its_answer(engine: FakeEngine, later: bool) -> None:
    """Refused at the door, or by the log: the error that is answered must not keep what it was about."""
    engine.points.failing = errors.CommitUnknown("the log failed") if later else None
    watched: list[weakref.ref[_Block]] = []

    def sending() -> Iterator[TicketedBatch]:
        for _ in range(3):
            block = _Block(batch(["a"]).vectors)
            watched.append(weakref.ref(block))
            head = vector_pb2.UpsertRequest(collection="books" if later else "films", ids=["a"])
            yield TicketedBatch(1, UpsertBatch(head, memoryview(block)))

    with ThreadPoolExecutor(1) as readers:
        streams = UpsertStreams(
            engine.engine.points, Callers("unix"), readers, Draining(), InFlight(SystemClock())
        )  # fmt: skip
        context = cast(grpc.ServicerContext, SimpleNamespace())
        answers = list(streams.serve(sending(), context))
    assert [answer.WhichOneof("outcome") for answer in answers] == ["error"] * 3
    assert [reference() for reference in watched] == [None] * 3


@pytest.mark.usefixtures("no_collector")
def test_a_connection_outlives_any_number_of_streams_that_are_cut(vectors: VectorServiceStub) -> None:
    """A stream that is kept by its own end keeps its place, and a connection has so many of them."""
    for _ in range(3 * (LIMITS.max_unary_calls + LIMITS.max_streams + HEALTH_SLOTS)):
        blocked = threading.Event()
        call = vectors.UpsertStream(sending_until(blocked))
        try:
            assert next(iter(call)).ticket == 0
        except grpc.RpcError as error:
            # The slot of the one before is given back in gRPC's own time.
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:  # type: ignore[attr-defined]
                raise
        call.cancel()
        blocked.set()
    wait_until_served(vectors)
