"""CollectionService over a real socket."""

from __future__ import annotations

import grpc
import pytest

from holdfast.v1 import collection_pb2, common_pb2
from holdfast.v1.collection_pb2_grpc import CollectionServiceStub
from tests.rpc.calls import failing
from tests.support.fake_engine import FakeEngine


def test_a_collection_is_made_as_asked(collections: CollectionServiceStub) -> None:
    made = collections.CreateCollection(
        collection_pb2.CreateCollectionRequest(
            name="films",
            dimensions=3,
            metric=common_pb2.METRIC_DOT,
            storage=common_pb2.STORAGE_KIND_HYBRID,
            schema="{}",
        )
    )
    assert (made.sequence, made.durable) == (2, True)
    found = collections.GetCollection(collection_pb2.GetCollectionRequest(name="films")).collection
    assert found == made.collection
    assert (found.dimensions, found.metric, found.storage) == (3, common_pb2.METRIC_DOT, common_pb2.STORAGE_KIND_HYBRID)
    assert found.quantization == common_pb2.QUANTIZATION_NONE


def test_what_is_not_chosen_is_the_default(collections: CollectionServiceStub) -> None:
    request = collection_pb2.CreateCollectionRequest(name="films", dimensions=3)
    made = collections.CreateCollection(request).collection
    assert (made.metric, made.storage) == (common_pb2.METRIC_COSINE, common_pb2.STORAGE_KIND_DISK)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"metric": 9}, grpc.StatusCode.INVALID_ARGUMENT, "metric"),
        ({"storage": 9}, grpc.StatusCode.INVALID_ARGUMENT, "storage"),
        ({"hot_tier_size_bytes": 1 << 20}, grpc.StatusCode.INVALID_ARGUMENT, "hot_tier_size_bytes"),
        ({"hot_tier_size_bytes": -1, "storage": 3}, grpc.StatusCode.INVALID_ARGUMENT, "hot_tier_size_bytes"),
        ({"quantization": common_pb2.QUANTIZATION_SCALAR}, grpc.StatusCode.UNIMPLEMENTED, "quantization"),
    ],
)
def test_what_cannot_be_done_is_refused(
    collections: CollectionServiceStub, engine: FakeEngine, change: dict[str, object], code: grpc.StatusCode, field: str
) -> None:
    request = collection_pb2.CreateCollectionRequest(**{"name": "films", "dimensions": 3, **change})  # type: ignore[arg-type]
    failure = failing(lambda: collections.CreateCollection(request))
    assert (failure.code, failure.info.metadata["field"]) == (code, field)
    assert "films" not in engine.points.collections


def test_a_taken_name_names_the_thing(collections: CollectionServiceStub) -> None:
    request = collection_pb2.CreateCollectionRequest(name="books", dimensions=3)
    failure = failing(lambda: collections.CreateCollection(request))
    assert failure.code is grpc.StatusCode.ALREADY_EXISTS
    assert failure.info.metadata["collection"] == "books"


def test_pages_go_on_where_the_last_one_ended(collections: CollectionServiceStub, engine: FakeEngine) -> None:
    for name in "edcba":
        engine.points.add_collection(name, 2)
    first = collections.ListCollections(collection_pb2.ListCollectionsRequest(page_size=2))
    assert ([each.name for each in first.collections], first.total_count) == (["a", "b"], 6)
    del engine.points.collections["b"]
    engine.points.add_collection("aa", 2)
    rest = collections.ListCollections(
        collection_pb2.ListCollectionsRequest(page_token=first.next_page_token, detailed=True)
    )
    assert [each.name for each in rest.collections] == ["books", "c", "d", "e"]
    assert [each.name for each in rest.stats] == ["books", "c", "d", "e"]
    assert rest.next_page_token == ""


@pytest.mark.parametrize("token", ["!", "W10", "WzFd", "e30", "W251bGxd"])
def test_a_token_of_something_else_is_refused(collections: CollectionServiceStub, token: str) -> None:
    request = collection_pb2.ListCollectionsRequest(page_token=token)
    failure = failing(lambda: collections.ListCollections(request))
    assert (failure.code, failure.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")


def test_a_trial_drops_nothing(collections: CollectionServiceStub, engine: FakeEngine) -> None:
    request = collection_pb2.DeleteCollectionRequest(name="books", validate_only=True)
    trial = collections.DeleteCollection(request)
    assert (trial.sequence, trial.durable) == (0, False)
    assert "books" in engine.points.collections
    request.validate_only = False
    assert collections.DeleteCollection(request).sequence == 2
    assert "books" not in engine.points.collections


def test_aliases(collections: CollectionServiceStub, engine: FakeEngine) -> None:
    engine.points.add_collection("films", 2)
    collections.CreateAlias(collection_pb2.CreateAliasRequest(alias="live", collection="books"))
    switched = collections.SwitchAlias(collection_pb2.SwitchAliasRequest(alias="live", collection="films"))
    assert (switched.old_collection, switched.new_collection) == ("books", "films")
    listed = collections.ListAliases(collection_pb2.ListAliasesRequest())
    assert [(each.alias, each.collection) for each in listed.aliases] == [("live", "films")]
    assert not collections.ListAliases(collection_pb2.ListAliasesRequest(collection="books")).aliases
    gone = collections.DeleteAlias(collection_pb2.DeleteAliasRequest(alias="live"))
    assert gone.alias.collection == "films"
    failure = failing(lambda: collections.DeleteAlias(collection_pb2.DeleteAliasRequest(alias="live")))
    assert failure.code is grpc.StatusCode.NOT_FOUND
