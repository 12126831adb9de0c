"""Points: writing, reading, searching, through the library."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

import holdfast
from holdfast import Hit, Record, WriteResult
from holdfast.v1 import common_pb2, vector_pb2
from tests.support.fake_server import FakeDaemon


def test_upsert_returns_sequence_count_and_durability(db: holdfast.Client) -> None:
    collection = db.collections.create("c", 3)
    result = collection.upsert(["a", "b"], np.zeros((2, 3), "f4"), [{"n": 1}, b'{"n":2}'])
    assert result == WriteResult(sequence=2, count=2, durable=True)


def test_get_keeps_the_order_asked_and_leaves_out_what_is_not_there(products: holdfast.Collection) -> None:
    records = products.get(["c", "missing", "a"])
    assert records == [
        Record("c", array("f", [1, 1]), {"n": 3, "kind": "x"}, 1),
        Record("a", array("f", [1, 0]), {"n": 1}, 1),
    ]
    assert isinstance(records[0].vector, array)


def test_get_of_one_id_and_of_none(products: holdfast.Collection) -> None:
    assert [record.id for record in products.get("b")] == ["b"]
    assert products.get([]) == []
    assert products.get(["a"], include_vector=False, include_payload=False) == [Record("a", None, None, 1)]


def test_update_replaces_merges_and_counts_versions(products: holdfast.Collection) -> None:
    assert products.update(["c"], payloads=[{"kind": None, "m": 1}], merge=True).versions == (2,)
    assert products.update(["c"], vectors=[[5.0, 5.0]]).versions == (3,)
    assert products.get("c") == [Record("c", array("f", [5, 5]), {"n": 3, "m": 1}, 3)]
    with pytest.raises(holdfast.NotFound):
        products.update(["nope"], payloads=[{}])


def test_delete_by_ids_filter_and_all(products: holdfast.Collection) -> None:
    assert products.delete(["a", "unknown"]).count == 1
    assert products.delete(filter="kind = 'x'", validate_only=True).count == 1
    assert products.delete(filter="kind = 'x'").count == 1
    assert products.count() == 1
    with pytest.raises(holdfast.Aborted):
        products.delete(all=True, expected_count=7)
    assert products.delete(all=True, expected_count=1).count == 1
    assert products.delete([]) == WriteResult(0, 0, True)


@pytest.mark.parametrize("arguments", [{}, {"ids": ["a"], "all": True}, {"filter": "a = 1", "all": True}])
def test_delete_wants_exactly_one_way(products: holdfast.Collection, arguments: dict[str, object]) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="exactly one"):
        products.delete(**arguments)  # type: ignore[arg-type]  # that is the point


def test_search_returns_hits_nearest_first(products: holdfast.Collection) -> None:
    hits = products.search(array("f", [1.0, 0.1]), k=2)
    assert [hit.id for hit in hits] == ["a", "c"]
    assert hits[0] == Hit("a", pytest.approx(0.995037), {"n": 1})  # type: ignore[arg-type]  # compares as a float
    assert products.search(query_id="a", k=1, include_vector=True)[0].vector == array("f", [1, 1])
    assert products.search([1, 0], threshold=0.9) == products.search([1, 0], k=1)


def test_search_batch_returns_a_list_per_query(products: holdfast.Collection) -> None:
    found = products.search_batch(np.array([[1, 0], [0, 1]], "f4"), k=1, exact=True, ef=50)
    assert [[hit.id for hit in hits] for hits in found] == [["a"], ["b"]]
    assert products.search_batch([]) == []


def test_search_sends_what_it_was_asked(daemon: FakeDaemon, products: holdfast.Collection) -> None:
    products.search([1.0, 0.0], k=7, filter="n = 1", threshold=0.5, exact=True, ef=99, include_payload=False)
    request = daemon.requests["Search"][-1]
    assert request == vector_pb2.SearchRequest(
        collection="products", vector=array("f", [1, 0]).tobytes(), k=7, filter="n = 1", threshold=0.5, exact=True,
        ef=99, omit_payload=True,
    )  # fmt: skip


@pytest.mark.parametrize("k", [0, -1])
def test_search_for_nothing_is_refused(products: holdfast.Collection, k: int) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="at least 1"):
        products.search([1.0, 0.0], k=k)


def test_search_wants_a_query_or_an_id(products: holdfast.Collection) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="exactly one"):
        products.search()
    with pytest.raises(holdfast.InvalidArgument, match="exactly one"):
        products.search([1.0, 0.0], query_id="a")


def test_scroll_goes_through_every_page(products: holdfast.Collection) -> None:
    assert [record.id for record in products.scroll(page_size=1)] == ["a", "b", "c"]
    assert [record.id for record in products.scroll(page_size=2, offset=1, limit=1)] == ["b"]
    assert [record.id for record in products.scroll("kind = 'x'", include_vector=True)] == ["c"]
    assert next(products.scroll(order="timestamp")).id == "a"
    with pytest.raises(holdfast.InvalidArgument, match="order"):
        next(products.scroll(order="size"))


def test_export_streams_every_record(products: holdfast.Collection) -> None:
    assert [(record.id, record.payload) for record in products.export()] == [
        ("a", {"n": 1}),
        ("b", None),
        ("c", {"n": 3, "kind": "x"}),
    ]


def test_sync_asks_for_the_disk(daemon: FakeDaemon, products: holdfast.Collection) -> None:
    products.upsert(["x"], [[1.0, 1.0]], sync=True, request_id="mine")
    request = daemon.requests["Upsert"][-1]
    assert (request.durability, request.request_id) == (common_pb2.DURABILITY_SYNC, "mine")


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ("abc", "one string"),
        (["a", 7], r"ids\[1\] is int"),
        (["a", "\ud800"], "UTF-8"),
        (["a"], "1 ids came with 2 vectors"),
    ],
)
def test_bad_ids_are_refused_before_anything_is_sent(
    daemon: FakeDaemon, products: holdfast.Collection, ids: object, words: str
) -> None:
    sent = len(daemon.requests["Upsert"])
    with pytest.raises(holdfast.InvalidArgument, match=words):
        products.upsert(ids, [[1.0, 2.0], [3.0, 4.0]])  # type: ignore[arg-type]  # that is the point
    assert len(daemon.requests["Upsert"]) == sent


def test_unknown_collections_are_not_found_with_a_hint(db: holdfast.Client) -> None:
    with pytest.raises(holdfast.NotFound) as caught:
        db.collection("nope").count()
    assert caught.value.reason == "COLLECTION_NOT_FOUND"
    assert caught.value.metadata["collection"] == "nope"
    assert caught.value.hint


def test_info_and_stats_read_as_attributes_and_as_keys(products: holdfast.Collection) -> None:
    stats = products.stats()
    assert stats.vectors == stats["vectors"] == 3
    assert stats.performance.qps == 0.0
    assert products.info().metric == "cosine"
    with pytest.raises(AttributeError, match="only: name"):
        _ = stats.nothing


def test_the_handle_says_what_it_is(daemon: FakeDaemon, products: holdfast.Collection) -> None:
    assert repr(products) == f"Collection('products' at {daemon.address})"


@pytest.mark.parametrize(
    ("ids", "vectors", "payloads", "row"),
    [
        (["a", "b", 3], [[1, 1], [1, 1], [1, 1]], None, "2"),
        (["a", "\ud800"], [[1, 1], [1, 1]], None, "1"),
        (["a", "b"], [[1, 1], [1, "x"]], None, "1"),
        (["a", "b"], [[1, 1], [1]], None, "1"),
        (["a", "b", "c"], [[1, 1], [1, 1], [1, 1e39]], None, "2"),
        (["a", "b"], [[1, 1], np.zeros(2)], None, "1"),
        (["a", "b"], [[1, 1], [1, 1]], [None, {"n": float("nan")}], "1"),
    ],
)
def test_what_cannot_be_sent_for_one_row_names_it(
    products: holdfast.Collection, ids: list[str], vectors: list[list[float]], payloads: list[object], row: str
) -> None:
    with pytest.raises(holdfast.InvalidArgument) as caught:
        products.upsert(ids, vectors, payloads)  # type: ignore[arg-type]  # that is the point
    assert caught.value.metadata["row"] == row
