"""Streams of batches, and the writer on top of them."""

from __future__ import annotations

import threading
from array import array

import grpc
import numpy as np
import pytest

import holdfast
from holdfast.connection import Connection
from holdfast.pipeline import Pipeline
from tests.support.fake_server import FakeDaemon


@pytest.fixture
def points(db: holdfast.Client) -> holdfast.Collection:
    return db.collections.create("points", 2)


def test_results_come_in_order_one_per_batch(points: holdfast.Collection) -> None:
    batches = [([f"{n}"], [[1.0, float(n)]], None) for n in range(20)]
    results = list(points.upsert_stream(batches, max_in_flight=3))
    assert [result.sequence for result in results] == list(range(2, 22))
    assert points.count() == 20


def test_batches_are_pulled_only_a_window_ahead(points: holdfast.Collection) -> None:
    pulled = 0

    def batches() -> object:
        nonlocal pulled
        for n in range(50):
            pulled += 1
            yield [f"{n}"], [[1.0, 1.0]], None

    stream = points.upsert_stream(batches(), max_in_flight=2)  # type: ignore[arg-type]  # a generator of batches
    next(stream)
    assert pulled <= 3
    stream.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_refused_batch_raises_with_its_number(daemon: FakeDaemon, points: holdfast.Collection) -> None:
    batches = [(["a"], [[1.0, 1.0]], None), (["b"], [[1.0]], None), (["c"], [[1.0, 1.0]], None)]
    stream = points.upsert_stream(batches)
    assert next(stream).count == 1
    with pytest.raises(holdfast.InvalidArgument) as caught:
        list(stream)
    assert caught.value.metadata["batch"] == "1"
    assert caught.value.reason == "DIMENSION_MISMATCH"


def test_a_broken_stream_is_taken_up_again_without_writing_twice(
    daemon: FakeDaemon, points: holdfast.Collection
) -> None:
    for _ in range(2):
        daemon.fail_next("UpsertStreamMidway", grpc.StatusCode.UNAVAILABLE, "restarting")
    results = list(points.upsert_stream([([f"{n}"], [[1.0, 1.0]], None) for n in range(10)], max_in_flight=4))
    assert [result.count for result in results] == [1] * 10
    seen = [request.upsert.request_id for request in daemon.requests["UpsertStream"]]
    assert len(seen) > len(set(seen)) == 10


def test_a_stream_that_fails_otherwise_is_not_taken_up(daemon: FakeDaemon, points: holdfast.Collection) -> None:
    daemon.fail_next("UpsertStream", grpc.StatusCode.RESOURCE_EXHAUSTED, "no slot")
    with pytest.raises(holdfast.ResourceExhausted, match="no slot"):
        list(points.upsert_stream([(["a"], [[1.0, 1.0]], None)]))


def test_an_error_in_the_batches_themselves_comes_through(points: holdfast.Collection) -> None:
    def batches() -> object:
        yield ["a"], [[1.0, 1.0]], None
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        list(points.upsert_stream(batches()))  # type: ignore[arg-type]  # a generator of batches


def test_no_batches_are_no_results(points: holdfast.Collection) -> None:
    assert list(points.upsert_stream([])) == []


def test_the_writer_sends_full_batches_and_the_rest(daemon: FakeDaemon, points: holdfast.Collection) -> None:
    with points.writer(batch_size=3) as writer:
        for n in range(7):
            writer.upsert(f"{n}", [1.0, float(n)], {"n": n})
    assert [len(request.upsert.ids) for request in daemon.requests["UpsertStream"]] == [3, 3, 1]
    assert writer.acknowledged == 7
    assert writer.last_result is not None
    assert writer.last_result.count == 1
    assert points.get("6")[0].payload == {"n": 6}


def test_the_writer_takes_every_form_of_vector_and_payload(points: holdfast.Collection) -> None:
    with points.writer() as writer:
        writer.upsert("list", [1.0, 2.0])
        writer.upsert("array", array("f", [1.0, 2.0]), b'{"a": 1}')
        writer.upsert("numpy", np.array([1.0, 2.0], "f4"), None)
        writer.upsert("row", np.array([[1.0, 2.0]], "f4"), {"b": 2})
    records = {record.id: record for record in points.get(["list", "array", "numpy", "row"])}
    assert {record.vector.tobytes() for record in records.values() if record.vector} == {array("f", [1, 2]).tobytes()}
    assert [records[name].payload for name in ("list", "array", "numpy", "row")] == [None, {"a": 1}, None, {"b": 2}]


def test_what_is_changed_after_the_call_was_copied_before(points: holdfast.Collection) -> None:
    vector, payload = array("f", [1.0, 2.0]), {"n": 1}
    with points.writer() as writer:
        writer.upsert("a", vector, payload)
        vector[0], payload["n"] = 9.0, 9
        writer.upsert("b", vector, payload)
    assert points.get("a")[0].vector == array("f", [1, 2])
    assert points.get("a")[0].payload == {"n": 1}


def test_flush_returns_when_everything_is_acknowledged(points: holdfast.Collection) -> None:
    with points.writer(batch_size=100) as writer:
        assert writer.flush() is None
        writer.upsert("a", [1.0, 2.0])
        result = writer.flush()
        assert result is not None
        assert points.count() == 1
        assert writer.acknowledged == 1
        assert writer.flush() == result


def test_a_refused_batch_surfaces_at_the_next_call_and_again_at_the_end(
    daemon: FakeDaemon, points: holdfast.Collection
) -> None:
    daemon.fail_next("UpsertStreamBatch", grpc.StatusCode.INVALID_ARGUMENT, "bad row", "BAD_PAYLOAD")
    writer = points.writer(batch_size=1)
    writer.upsert("a", [1.0, 1.0])
    with pytest.raises(holdfast.InvalidArgument, match="bad row"):
        writer.flush()
    with pytest.raises(holdfast.InvalidArgument, match="bad row"):
        writer.upsert("z", [1.0, 1.0])
    with pytest.raises(holdfast.InvalidArgument, match="bad row"):
        writer.close()


@pytest.mark.parametrize("row", [0, 1])
def test_a_refused_row_is_numbered_as_the_caller_counts(
    daemon: FakeDaemon, points: holdfast.Collection, row: int
) -> None:
    writer = points.writer(batch_size=2)
    for n in range(6):
        writer.upsert(f"{n}", [1.0, 1.0])
    writer.flush()
    field = f"payloads[{row}].price"
    daemon.fail_next(
        "UpsertStreamBatch", grpc.StatusCode.INVALID_ARGUMENT, f"{field} is [1], not a number", "SCHEMA_VIOLATION",
        field=field, row=str(row),
    )  # fmt: skip
    for n in range(6, 8):
        writer.upsert(f"{n}", [1.0, 1.0])
    for call in (writer.flush, lambda: writer.upsert("z", [1.0, 1.0]), writer.close):
        with pytest.raises(holdfast.InvalidArgument) as caught:
            call()
        assert caught.value.metadata["row"] == str(6 + row)
        assert caught.value.metadata["field"] == f"payloads[{6 + row}].price"
        assert caught.value.message == f"payloads[{6 + row}].price is [1], not a number"
        assert caught.value.metadata["batch"] == "3"


def test_a_refused_last_batch_surfaces_at_the_end_of_the_with(daemon: FakeDaemon, points: holdfast.Collection) -> None:
    daemon.fail_next("UpsertStreamBatch", grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    with pytest.raises(holdfast.ResourceExhausted, match="full"), points.writer() as writer:
        writer.upsert("a", [1.0, 1.0])


def test_an_exception_in_the_body_drops_what_was_not_sent(points: holdfast.Collection) -> None:
    def fail_midway() -> None:
        with points.writer(batch_size=100) as writer:
            writer.upsert("a", [1.0, 1.0])
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    assert points.count() == 0


def test_a_closed_writer_says_so(points: holdfast.Collection) -> None:
    with points.writer() as writer:
        pass
    writer.close()
    with pytest.raises(holdfast.FailedPrecondition, match="closed"):
        writer.upsert("a", [1.0, 1.0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a", [1.0, 2.0, 3.0]), "3 values, those before it 2"),
        ((7, [1.0, 2.0]), "the id is int"),
        (("a", np.zeros(2)), "float64"),
        (("a", [1.0, 2.0], {"x": float("inf")}), "JSON"),
        (("a", "12"), "str"),
    ],
)
def test_a_bad_point_is_refused_at_once_and_the_writer_goes_on(
    points: holdfast.Collection, arguments: tuple[object, ...], words: str
) -> None:
    with points.writer() as writer:
        writer.upsert("before", [1.0, 1.0], {"n": 1})
        writer.flush()
        writer.upsert("second", [1.0, 1.0])
        with pytest.raises(holdfast.InvalidArgument, match=words) as caught:
            writer.upsert(*arguments)  # type: ignore[arg-type]  # that is the point
        assert caught.value.metadata["row"] == "2"
        writer.upsert("after", [1.0, 1.0])
    assert [record.id for record in points.get(["before", "after"])] == ["before", "after"]


def test_wide_vectors_make_smaller_batches(db: holdfast.Client, daemon: FakeDaemon) -> None:
    wide = db.collections.create("wide", 65536)
    vector = array("f", bytes(65536 * 4))
    with wide.writer(batch_size=1000) as writer:
        for n in range(40):
            writer.upsert(f"{n}", vector)
    assert [len(request.upsert.ids) for request in daemon.requests["UpsertStream"]] == [32, 8]


def test_a_batch_of_large_payloads_has_fewer_points(points: holdfast.Collection, daemon: FakeDaemon) -> None:
    with points.writer(batch_size=1000) as writer:
        for number in range(20):
            writer.upsert(f"p{number}", [1.0, 0.0], b'{"text":"%s"}' % (b"x" * (1 << 20)) if number % 2 else None)
    assert [len(request.upsert.ids) for request in daemon.requests["UpsertStream"]] == [16, 4]
    assert points.count() == 20


def test_a_batch_size_of_nothing_is_refused(points: holdfast.Collection) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="batch_size"):
        points.writer(batch_size=0)


def test_threads_end_with_the_pipeline(db: holdfast.Client, points: holdfast.Collection) -> None:
    connection: Connection = db.connection
    pipeline = Pipeline(connection, 2)
    assert any(thread.name == "holdfast-acknowledgements" for thread in threading.enumerate())
    pipeline.abort()
    pipeline.finish()
    assert not any(thread.name == "holdfast-acknowledgements" for thread in threading.enumerate())
