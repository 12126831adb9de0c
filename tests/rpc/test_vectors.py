"""VectorService over a real socket."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest

from holdfast.v1 import common_pb2, vector_pb2
from holdfast.v1.vector_pb2_grpc import VectorServiceStub
from holdfastd import errors
from tests.rpc.calls import batch, failing
from tests.support.fake_engine import FakeEngine


def test_points_come_back_as_they_went_in(vectors: VectorServiceStub) -> None:
    written = vectors.Upsert(batch(["a", "b"], payloads=b'[{"x": 1},null]'))
    assert (written.sequence, written.count, written.durable) == (2, 2, True)
    found = vectors.Get(vector_pb2.GetRequest(collection="books", ids=["b", "none", "a"])).points
    assert list(found.ids) == ["b", "a"]
    assert np.frombuffer(found.vectors.data, "<f4").tolist() == [1, 1, 0, 1]
    assert found.vectors.dimensions == 2
    assert found.payloads == b'[null,{"x": 1}]'
    assert list(found.versions) == [1, 1]
    assert list(found.sequences) == [2, 2]


def test_plain_numbers_do_as_well(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    points = [common_pb2.Vector(values=[1.5, -2]), common_pb2.Vector(values=[3, 4])]
    vectors.Upsert(vector_pb2.UpsertRequest(collection="books", ids=["a", "b"], points=points))
    stored = engine.points.get("books", ["a", "b"])
    assert [record.vector.tolist() for record in stored if record.vector is not None] == [[1.5, -2], [3, 4]]


def test_vectors_and_payloads_can_be_left_out(vectors: VectorServiceStub) -> None:
    vectors.Upsert(batch(["a"]))
    found = vectors.Get(
        vector_pb2.GetRequest(collection="books", ids=["a"], omit_vector=True, omit_payload=True)
    ).points
    assert not found.HasField("vectors")
    assert found.payloads == b""


def test_the_caller_is_passed_on(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    vectors.Upsert(batch(["a"], request_id="r-1", durability=common_pb2.DURABILITY_SYNC))
    (caller,) = engine.points.callers
    assert (caller.actor, caller.request_id, caller.sync) == ("unix", "r-1", True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"vectors": b"123"}, "vectors"),
        ({"vectors": np.zeros(3, "<f4").tobytes()}, "vectors"),
        ({"vectors": np.array([1, 2, np.nan, 4], "<f4").tobytes()}, "vectors[1][0]"),
        ({"points": [common_pb2.Vector(values=[1, 2])]}, "points"),
        ({"vectors": b"", "points": [common_pb2.Vector(values=[1, 2]), common_pb2.Vector(values=[1])]}, "points[1]"),
        ({"ids": ["a", ""]}, "ids[1]"),
        ({"ids": []}, "ids"),
        ({"payloads": b"[1,2]"}, "payloads[0]"),
        ({"request_id": "é" * 65}, "request_id"),
        ({"durability": 9}, "durability"),
    ],
)
def test_what_is_wrong_is_named(vectors: VectorServiceStub, change: dict[str, object], field: str) -> None:
    failure = failing(lambda: vectors.Upsert(batch(**{"ids": ["a", "b"], **change})))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.field == field


def test_an_id_that_is_no_text_is_named_by_its_row(channel: grpc.Channel) -> None:
    raw = batch(["good", "bad"]).SerializeToString().replace(b"bad", b"\xff\xfe\xfd")
    call = channel.unary_unary("/holdfast.v1.VectorService/Upsert")
    failure = failing(lambda: call(raw))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.field == "ids[1]"


def test_an_unknown_collection_is_named(vectors: VectorServiceStub) -> None:
    failure = failing(lambda: vectors.Upsert(batch(["a"], collection="films")))
    assert failure.code is grpc.StatusCode.NOT_FOUND
    assert failure.info.reason == "COLLECTION_NOT_FOUND"


def test_a_fault_of_the_daemon_shows_no_traceback(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    engine.points.failing = ZeroDivisionError("secret detail")
    failure = failing(lambda: vectors.Upsert(batch(["a"])))
    assert failure.code is grpc.StatusCode.INTERNAL
    assert "secret detail" not in str(failure.status) + failure.text


def test_update_keeps_what_is_not_given(vectors: VectorServiceStub) -> None:
    vectors.Upsert(batch(["a", "b"]))
    request = vector_pb2.UpdateRequest(collection="books", ids=["b"], payloads=b'[{"y":2}]')
    changed = vectors.Update(request)
    assert list(changed.versions) == [2]
    found = vectors.Get(vector_pb2.GetRequest(collection="books", ids=["b"])).points
    assert np.frombuffer(found.vectors.data, "<f4").tolist() == [1, 1]
    assert json.loads(found.payloads) == [{"y": 2}]


class TestDelete:
    def test_by_id(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        gone = vectors.Delete(vector_pb2.DeleteRequest(collection="books", ids=["a", "none"]))
        assert (gone.count, gone.sequence, gone.durable) == (1, 3, True)

    def test_nothing_to_delete_has_no_sequence(self, vectors: VectorServiceStub) -> None:
        gone = vectors.Delete(vector_pb2.DeleteRequest(collection="books", ids=["none"]))
        assert (gone.count, gone.sequence) == (0, 0)

    def test_exactly_one_of_three(self, vectors: VectorServiceStub) -> None:
        for request in (
            vector_pb2.DeleteRequest(collection="books"),
            vector_pb2.DeleteRequest(collection="books", ids=["a"], filter="x = 1"),
            vector_pb2.DeleteRequest(collection="books", filter="x = 1", all=True, confirm=True),
        ):
            assert failing(lambda request=request: vectors.Delete(request)).code is grpc.StatusCode.INVALID_ARGUMENT

    def test_all_needs_to_be_confirmed(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        failure = failing(lambda: vectors.Delete(vector_pb2.DeleteRequest(collection="books", all=True)))
        assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
        assert vectors.Delete(vector_pb2.DeleteRequest(collection="books", all=True, confirm=True)).count == 2

    def test_a_trial_deletes_nothing(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        trial = vectors.Delete(vector_pb2.DeleteRequest(collection="books", ids=["a", "a", "none"], validate_only=True))
        assert (trial.count, trial.sequence) == (1, 0)
        assert vectors.Count(vector_pb2.CountRequest(collection="books")).count == 2

    def test_an_unexpected_count_aborts(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        request = vector_pb2.DeleteRequest(collection="books", all=True, expected_count=3, validate_only=True)
        failure = failing(lambda: vectors.Delete(request))
        assert failure.code is grpc.StatusCode.ABORTED
        assert failure.info.metadata["count"] == "2"


class TestScroll:
    @pytest.mark.parametrize("order", [vector_pb2.SCROLL_ORDER_ID, vector_pb2.SCROLL_ORDER_TIMESTAMP])
    def test_every_point_once(self, vectors: VectorServiceStub, order: int) -> None:
        ids = [f"{n:02d}" for n in range(25)]
        vectors.Upsert(batch(ids))
        seen: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            request = vector_pb2.ScrollRequest(collection="books", page_size=10, page_token=token, order=order)  # type: ignore[arg-type]
            page = vectors.Scroll(request)
            seen += page.points.ids
            token, pages = page.next_page_token, pages + 1
        assert (seen, pages) == (ids, 3)

    def test_a_foreign_token_is_refused(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        token = vectors.Scroll(vector_pb2.ScrollRequest(collection="books", page_size=1)).next_page_token
        for request in (
            vector_pb2.ScrollRequest(collection="books", page_token=token, filter="x = 1"),
            vector_pb2.ScrollRequest(collection="books", page_token="garbage!"),
            vector_pb2.ScrollRequest(collection="books", page_token="W10"),
        ):
            failure = failing(lambda request=request: vectors.Scroll(request))
            assert (failure.code, failure.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")

    def test_totals_are_given_when_asked_for(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        page = vectors.Scroll(vector_pb2.ScrollRequest(collection="books", page_size=1, include_total=True))
        assert page.total_count == 2
        assert not vectors.Scroll(vector_pb2.ScrollRequest(collection="books")).HasField("total_count")

    def test_negative_numbers_are_refused(self, vectors: VectorServiceStub) -> None:
        for request in (
            vector_pb2.ScrollRequest(collection="books", page_size=-1),
            vector_pb2.ScrollRequest(collection="books", offset=-1),
        ):
            assert failing(lambda request=request: vectors.Scroll(request)).code is grpc.StatusCode.INVALID_ARGUMENT


class TestSearch:
    def test_by_bytes_numbers_and_id(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b", "c"]))
        query = np.array([1, 0], "<f4").tobytes()
        by_bytes = vectors.Search(vector_pb2.SearchRequest(collection="books", vector=query, k=2, include_vector=True))
        assert list(by_bytes.points.ids) == ["c", "b"]
        assert list(by_bytes.scores) == [2, 1]
        assert by_bytes.points.vectors.dimensions == 2
        point = common_pb2.Vector(values=[1, 0])
        assert vectors.Search(vector_pb2.SearchRequest(collection="books", point=point, k=1)).points.ids == ["c"]
        by_id = vectors.Search(vector_pb2.SearchRequest(collection="books", query_id="c", k=2))
        assert list(by_id.points.ids) == ["b", "a"]

    def test_a_search_without_a_query_is_refused(self, vectors: VectorServiceStub) -> None:
        failure = failing(lambda: vectors.Search(vector_pb2.SearchRequest(collection="books")))
        assert failure.field == "query"

    def test_a_threshold_of_zero_is_a_threshold(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        query = np.array([1, -1], "<f4").tobytes()
        request = vector_pb2.SearchRequest(collection="books", vector=query, threshold=0.0)
        assert list(vectors.Search(request).points.ids) == ["b"]

    def test_a_batch_answers_each_query(self, vectors: VectorServiceStub) -> None:
        vectors.Upsert(batch(["a", "b"]))
        queries = np.array([[1, 0], [-1, 0]], "<f4").tobytes()
        answers = vectors.SearchBatch(vector_pb2.SearchBatchRequest(collection="books", queries=queries, k=1))
        assert [list(each.points.ids) for each in answers.results] == [["b"], ["a"]]


class TestExport:
    def test_everything_comes_in_batches(self, vectors: VectorServiceStub) -> None:
        ids = [f"{n:02d}" for n in range(25)]
        vectors.Upsert(batch(ids))
        messages = list(vectors.Export(vector_pb2.ExportRequest(collection="books", batch_size=10)))
        assert [len(message.points.ids) for message in messages] == [10, 10, 5]
        assert [id for message in messages for id in message.points.ids] == ids
        assert messages[0].total_count == 25
        assert not messages[1].HasField("total_count")

    def test_messages_stay_below_a_mebibyte(self, vectors: VectorServiceStub) -> None:
        payload = b'{"text":"' + b"x" * 100_000 + b'"}'
        vectors.Upsert(batch([f"{n:02d}" for n in range(25)], payloads=b"[" + b",".join([payload] * 25) + b"]"))
        sizes = [
            len(message.SerializeToString()) for message in vectors.Export(vector_pb2.ExportRequest(collection="books"))
        ]
        assert len(sizes) == 3
        assert max(sizes) <= 1 << 20

    def test_an_empty_collection_is_one_message(self, vectors: VectorServiceStub) -> None:
        (message,) = vectors.Export(vector_pb2.ExportRequest(collection="books"))
        assert (list(message.points.ids), message.total_count, message.points.payloads) == ([], 0, b"[]")


def test_a_reply_that_is_too_large_is_refused(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    engine.points.add_collection("wide", 1000)
    failure = failing(lambda: vectors.Get(vector_pb2.GetRequest(collection="wide", ids=["a"] * 1000)))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.info.reason == "REPLY_TOO_LARGE"


def test_a_failed_store_says_so(vectors: VectorServiceStub, engine: FakeEngine) -> None:
    engine.points.failing = errors.EngineFailed("a sync failed")
    failure = failing(lambda: vectors.Upsert(batch(["a"])))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ENGINE_FAILED")
