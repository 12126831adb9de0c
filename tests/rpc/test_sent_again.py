"""Requests with plain numbers that are sent again: told the first answer, whatever has become of their collection."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from holdfast.v1 import collection_pb2, common_pb2, vector_pb2
from tests.rpc.calls import failing
from tests.rpc.wires import Wire

POINTS = [common_pb2.Vector(values=[1, 2])]


def upsert(wire: Wire, points: list[common_pb2.Vector]) -> int:
    request = vector_pb2.UpsertRequest(collection="books", ids=["a"], points=points, request_id="r")
    return wire.vectors.Upsert(request).sequence


def stream(wire: Wire, points: list[common_pb2.Vector]) -> int:
    """Two batches, of which the first is the one; the second is answered whatever becomes of that."""
    request = vector_pb2.UpsertRequest(collection="books", ids=["a"], points=points, request_id="r")
    other = vector_pb2.UpsertRequest(collection="books", ids=["b"], points=points)
    messages = [vector_pb2.UpsertStreamRequest(ticket=n, upsert=each) for n, each in enumerate([request, other])]
    first, second = wire.vectors.UpsertStream(iter(messages))
    assert (first.ticket, second.ticket) == (0, 1)
    assert first.WhichOneof("outcome") == "result", first.error.message
    return first.result.sequence


def update(wire: Wire, points: list[common_pb2.Vector]) -> int:
    request = vector_pb2.UpdateRequest(collection="books", ids=["a"], points=points, request_id="r")
    return wire.vectors.Update(request).sequence


@pytest.mark.parametrize("replaced", [False, True], ids=["dropped", "replaced"])
@pytest.mark.parametrize("send", [upsert, stream, update])
def test_numbers_sent_again_are_told_the_first_answer(
    wire: Wire, send: Callable[[Wire, list[common_pb2.Vector]], int], replaced: bool
) -> None:
    first = send(wire, POINTS)
    wire.collections.DeleteCollection(collection_pb2.DeleteCollectionRequest(name="books"))
    if replaced:
        wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="books", dimensions=3))
    assert send(wire, POINTS) == first


def test_numbers_of_a_request_that_was_never_answered_meet_the_collection_as_it_is(wire: Wire) -> None:
    wire.collections.DeleteCollection(collection_pb2.DeleteCollectionRequest(name="books"))
    assert failing(lambda: upsert(wire, POINTS)).code is grpc.StatusCode.NOT_FOUND
    wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="books", dimensions=3))
    assert failing(lambda: upsert(wire, POINTS)).info.reason == "DIMENSION_MISMATCH"
