"""Whatever is wrong with one row of a batch is refused with the field, the row and a reason, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

import holdfast
from holdfast.v1 import collection_pb2, common_pb2, vector_pb2
from tests.rpc.calls import failing
from tests.rpc.wires import Wire

NAN, INF = float("nan"), float("inf")
LONG = "x" * 513
HUGE = b'{"a": "%b"}' % (b"x" * (1 << 20))
SCHEMA = '{"n": "integer", "author.name": "string"}'

IDS: dict[str, tuple[list[str], str, str]] = {
    "an empty id": (["a", "", "b"], "ids[1]", "INVALID_ID"),
    "a long id": (["a", "b", LONG], "ids[2]", "INVALID_ID"),
    "an id with a NUL": (["a", "b\0"], "ids[1]", "INVALID_ID"),
}
VECTORS: dict[str, tuple[list[list[float]], str, str]] = {
    "a nan": ([[0, 1], [0, NAN]], "[1][1]", "VECTOR_NOT_FINITE"),
    "an infinity": ([[0, 1], [0, 1], [-INF, 1]], "[2][0]", "VECTOR_NOT_FINITE"),
}
POINTS: dict[str, tuple[list[list[float]], str, str]] = {
    "a nan": ([[0, 1], [0, NAN]], "points[1].values[1]", "VECTOR_NOT_FINITE"),
    "the first too long": ([[0, 1, 2], [0, 1], [0, 1]], "points[0]", "DIMENSION_MISMATCH"),
    "one too short": ([[0, 1], [0]], "points[1]", "DIMENSION_MISMATCH"),
    "an empty one": ([[0, 1], [0, 1], []], "points[2]", "DIMENSION_MISMATCH"),
}
PAYLOADS: dict[str, tuple[list[bytes], str, str]] = {
    "no object": ([b"{}", b"7"], "payloads[1]", "INVALID_PAYLOAD"),
    "too large": ([b"{}", b"null", HUGE], "payloads[2]", "INVALID_PAYLOAD"),
    "no JSON": ([b'{"a": }', b"{}"], "payloads[0]", "INVALID_PAYLOAD"),
    "not UTF-8": ([b"{}", b'{"a": "\xff"}'], "payloads[1]", "INVALID_PAYLOAD"),
    "nested too deeply": ([b"{}", b'{"a": %b}' % (b"[" * 50_000 + b"]" * 50_000)], "payloads[1]", "INVALID_PAYLOAD"),
    "against the schema": ([b'{"n": 1}', b'{"n": "1"}'], "payloads[1].n", "SCHEMA_VIOLATION"),
    "against the schema, deep": ([b'{"author": {"name": 1}}'], "payloads[0].author.name", "SCHEMA_VIOLATION"),
}
WRITERS = ["Upsert", "UpsertStream", "Update"]


@pytest.fixture
def store(wire: Wire) -> Wire:
    """A collection with a schema beside the one without, with points that can be updated."""
    wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="typed", dimensions=2, schema=SCHEMA))
    for name in ("typed", "books"):
        wire.vectors.Upsert(vector_pb2.UpsertRequest(collection=name, ids=list("abc"), vectors=packed([[0, 1]] * 3)))
    return wire


def packed(rows: Sequence[Sequence[float]]) -> bytes:
    return np.array(rows, np.float32).tobytes()


def spelled(rows: Sequence[Sequence[float]]) -> list[common_pb2.Vector]:
    return [common_pb2.Vector(values=row) for row in rows]


def call(wire: Wire, method: str, **arguments: Any) -> status_pb2.Status:
    """The status with which a call, or the answer of a stream to its second batch, fails."""
    request = getattr(vector_pb2, f"{method.removesuffix('Stream')}Request")(**arguments)
    if method != "UpsertStream":
        return failing(lambda: getattr(wire.vectors, method)(request)).status
    good = vector_pb2.UpsertRequest(collection=request.collection, ids=["a"], vectors=packed([[0, 1]]))
    batches = (vector_pb2.UpsertStreamRequest(ticket=n, upsert=each) for n, each in enumerate((good, request, good)))
    return failed_of(wire.vectors.UpsertStream(batches))


def failed_of(answers: Iterable[vector_pb2.UpsertStreamResponse]) -> status_pb2.Status:
    first, second, third = answers
    assert (first.WhichOneof("outcome"), third.WhichOneof("outcome")) == ("result", "result")
    assert second.ticket == 1
    status = status_pb2.Status()
    status.CopyFrom(second.error)
    return status


def expect(status: status_pb2.Status, field: str, reason: str) -> None:
    """``field`` names the row in its first brackets."""
    info, violation = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(violation) for detail in status.details)
    assert (info.reason, info.metadata["field"]) == (reason, field)
    assert info.metadata["row"] == field.partition("[")[2].partition("]")[0]
    assert info.metadata["hint"]
    assert [each.field for each in violation.field_violations] == [field]
    assert status.message.startswith(field)


@pytest.mark.parametrize("method", [*WRITERS, "Delete", "Get"])
@pytest.mark.parametrize("kind", IDS)
def test_ids(store: Wire, method: str, kind: str) -> None:
    ids, field, reason = IDS[kind]
    vectors = {"vectors": packed([[0, 1]] * len(ids))} if method in WRITERS else {}
    expect(call(store, method, collection="books", ids=ids, **vectors), field, reason)


@pytest.mark.parametrize("method", [*WRITERS, "Delete", "Get"])
def test_ids_that_are_not_utf8(store: Wire, method: str) -> None:
    """No stub sends them: these are the bytes of another language's."""
    request = getattr(vector_pb2, f"{method.removesuffix('Stream')}Request")(collection="books", ids=["ok", "??"])
    if method in WRITERS:
        request.vectors = packed([[0, 1]] * 2)
    raw = request.SerializeToString().replace(b"??", b"\xff\xff")
    path = f"/holdfast.v1.VectorService/{method}"
    if method != "UpsertStream":
        send = store.channel.unary_unary(path, bytes, bytes)
        expect(failing(lambda: send(raw)).status, "ids[1]", "INVALID_UTF8")
        return
    request.ids[1] = "b"
    good = request.SerializeToString()
    frames = (b"\x08%c\x12%c%b" % (n, len(each), each) for n, each in enumerate((good, raw, good)))
    stream = store.channel.stream_stream(path, bytes, vector_pb2.UpsertStreamResponse.FromString)
    expect(failed_of(stream(frames)), "upsert.ids[1]", "INVALID_UTF8")


@pytest.mark.parametrize("method", WRITERS)
@pytest.mark.parametrize("kind", VECTORS)
def test_vectors(store: Wire, method: str, kind: str) -> None:
    rows, place, reason = VECTORS[kind]
    ids = list("abc")[: len(rows)]
    expect(call(store, method, collection="books", ids=ids, vectors=packed(rows)), f"vectors{place}", reason)


@pytest.mark.parametrize("method", WRITERS)
@pytest.mark.parametrize("kind", POINTS)
def test_points(store: Wire, method: str, kind: str) -> None:
    rows, field, reason = POINTS[kind]
    ids = list("abc")[: len(rows)]
    expect(call(store, method, collection="books", ids=ids, points=spelled(rows)), field, reason)


@pytest.mark.parametrize("method", WRITERS)
@pytest.mark.parametrize("kind", PAYLOADS)
def test_payloads(store: Wire, method: str, kind: str) -> None:
    payloads, field, reason = PAYLOADS[kind]
    ids = list("abc")[: len(payloads)]
    block = b"[%b]" % b",".join(payloads)
    vectors = packed([[0, 1]] * len(ids))
    expect(call(store, method, collection="typed", ids=ids, vectors=vectors, payloads=block), field, reason)


def test_rows_that_are_superseded_in_their_batch_are_counted(store: Wire) -> None:
    arguments: dict[str, Any] = {"ids": ["a", "a", "a", "b"], "vectors": packed([[0, 1]] * 3 + [[NAN, 1]])}
    expect(call(store, "Upsert", collection="books", **arguments), "vectors[3][0]", "VECTOR_NOT_FINITE")


def test_an_id_that_stands_twice_in_an_update(store: Wire) -> None:
    arguments: dict[str, Any] = {"ids": ["a", "b", "c", "b"], "vectors": packed([[0, 1]] * 4)}
    status = call(store, "Update", collection="books", **arguments)
    expect(status, "ids[3]", "DUPLICATE_ID")
    assert "ids[1]" in status.message


def test_payloads_that_are_merged(store: Wire) -> None:
    half = json.dumps({"a": "x" * (1 << 19)}).encode()
    for payload, patch, field, reason in (
        (half, half.replace(b'"a"', b'"b"'), "payloads[1]", "INVALID_PAYLOAD"),
        (b"{}", b'{"n": 1.5}', "payloads[1].n", "SCHEMA_VIOLATION"),
    ):
        ids, vectors = ["a", "b"], packed([[0, 1]] * 2)
        store.vectors.Upsert(
            vector_pb2.UpsertRequest(collection="typed", ids=ids, vectors=vectors, payloads=b"[null,%b]" % payload)
        )
        merge = vector_pb2.UpdateRequest.PAYLOAD_MODE_MERGE
        status = call(store, "Update", collection="typed", ids=ids, payloads=b"[null,%b]" % patch, payload_mode=merge)
        expect(status, field, reason)


@pytest.mark.parametrize("kind", VECTORS)
def test_queries(store: Wire, kind: str) -> None:
    rows, place, reason = VECTORS[kind]
    expect(call(store, "SearchBatch", collection="books", queries=packed(rows)), f"queries{place}", reason)


@pytest.mark.parametrize("kind", POINTS)
def test_queries_one_by_one(store: Wire, kind: str) -> None:
    rows, field, reason = POINTS[kind]
    expect(call(store, "SearchBatch", collection="books", points=spelled(rows)), field, reason)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"vector": packed([[0, NAN]])}, "vector[1]"),
        ({"point": common_pb2.Vector(values=[INF, 0])}, "point.values[0]"),
    ],
)
def test_the_only_query_has_no_row(store: Wire, query: dict[str, Any], field: str) -> None:
    request = vector_pb2.SearchRequest(collection="books", **query)
    failure = failing(lambda: store.vectors.Search(request))
    assert (failure.field, failure.info.reason) == (field, "VECTOR_NOT_FINITE")
    assert "row" not in failure.info.metadata


def test_nothing_of_a_refused_batch_is_written(store: Wire) -> None:
    sequence = store.kit.engine.sequence
    for kind in PAYLOADS:
        payloads = PAYLOADS[kind][0]
        ids = [f"new-{row}" for row in range(len(payloads))]
        block = b"[%b]" % b",".join(payloads)
        vectors = packed([[0, 1]] * len(ids))
        call(store, "Upsert", collection="typed", ids=ids, vectors=vectors, payloads=block)
    assert store.kit.engine.sequence == sequence
    assert store.vectors.Count(vector_pb2.CountRequest(collection="typed")).count == 3


def test_the_client_says_which_row(store: Wire) -> None:
    with holdfast.connect(store.address) as db:
        typed = db.collection("typed")
        with pytest.raises(holdfast.InvalidArgument) as caught:
            typed.upsert(["x", "y"], [[0, 1], [0, 1]], [None, {"n": "1"}])
        assert (caught.value.metadata["row"], caught.value.reason) == ("1", "SCHEMA_VIOLATION")
        with pytest.raises(holdfast.InvalidArgument) as caught:
            list(typed.upsert_stream([(["x"], [[0, 1]], None), (["y", "z"], [[0, 1], [0, NAN]], None)]))
        assert (caught.value.metadata["batch"], caught.value.metadata["row"]) == ("1", "1")


def test_the_writer_says_which_point(store: Wire) -> None:
    def write() -> None:
        with db.collection("typed").writer(batch_size=3) as writer:
            for n in range(9):
                writer.upsert(f"{n}", [0, 1], {"n": n if n != 7 else "7"})

    with holdfast.connect(store.address) as db, pytest.raises(holdfast.InvalidArgument) as caught:
        write()
    assert (caught.value.metadata["row"], caught.value.metadata["field"]) == ("7", "payloads[7].n")
    assert caught.value.message == 'payloads[7].n is "7", not an integer (64 bits)'
