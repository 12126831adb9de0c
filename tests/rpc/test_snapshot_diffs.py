"""Comparisons over a real socket: an operation whose result says what differs, and the dry run of a restore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.v1 import collection_pb2, common_pb2, operation_pb2, snapshot_pb2, vector_pb2
from tests.rpc.calls import batch, failing
from tests.rpc.wires import Wire, serving
from tests.support.snapshots import SnapshotKit


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with serving(SnapshotKit(segment_size=1 << 20), str(tmp_path / "s")) as wire:
        yield wire


def create(wire: Wire) -> common_pb2.Snapshot:
    """A snapshot, a second after the one before."""
    wire.kit.clock.advance_us(1_000_000)
    return wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest())).snapshot.snapshot


def diff(wire: Wire, **asked: object) -> operation_pb2.DiffResult:
    """The result of a comparison, once it is there."""
    request = snapshot_pb2.DiffSnapshotsRequest(**asked)  # type: ignore[arg-type]
    ended = wire.ended(wire.snapshots.DiffSnapshots(request))
    assert (ended.kind, ended.state) == (
        operation_pb2.Operation.KIND_DIFF_SNAPSHOTS,
        operation_pb2.Operation.STATE_SUCCEEDED,
    )
    return ended.diff


def test_what_differs_is_said_of_each_collection(wire: Wire) -> None:
    full = create(wire)
    wire.vectors.Upsert(batch(["c", "a"]))
    wire.vectors.Delete(vector_pb2.DeleteRequest(collection="books", ids=["b"]))
    wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="films", dimensions=2))
    wire.collections.CreateAlias(collection_pb2.CreateAliasRequest(alias="shop", collection="books"))
    found = diff(wire, first=full.id)
    books, films = found.collections
    assert (found.first, found.second, found.identical) == (full.id, "live", False)
    assert (found.first_sequence, found.second_sequence) == (full.sequence, wire.kit.engine.sequence)
    assert (books.change, films.change) == (
        operation_pb2.CollectionDiff.CHANGE_CHANGED,
        operation_pb2.CollectionDiff.CHANGE_ADDED,
    )
    assert (books.added_count, books.removed_count, books.changed_count, books.unchanged_count) == (1, 1, 1, 0)
    assert (books.first_count, books.second_count, books.vector_changed_count) == (2, 2, 1)
    assert [list(ids) for ids in (books.added_ids, books.removed_ids, books.vector_changed_ids)] == [
        ["c"],
        ["b"],
        ["a"],
    ]
    assert (books.HasField("largest_drift"), films.HasField("largest_drift")) == (True, False)
    assert 0 < books.mean_drift == books.largest_drift < 2
    assert [(each.alias, each.first_collection, each.second_collection) for each in found.aliases] == [
        ("shop", "", "books")
    ]
    assert found.first_time.seconds > 0
    backwards = diff(wire, first="live", second=f"./{full.id}.snap", working_directory="/data/snapshots")
    assert list(backwards.collections[0].removed_ids) == ["c"]
    assert backwards.collections[1].change == operation_pb2.CollectionDiff.CHANGE_REMOVED
    newer = create(wire)
    assert diff(wire, first="latest").identical
    assert diff(wire, first=full.id, second=newer.id, collection="books", sample_size=1).collections[0] == books


def test_what_is_wrong_with_the_request_fails_the_call(wire: Wire) -> None:
    create(wire)
    for asked, field in (
        ({"first": "x"}, "INVALID_NAME"),
        ({"first": "snap-2001-01-01-000000"}, "SNAPSHOT_NOT_FOUND"),
        ({"first": "latest", "second": "./x.snap"}, "RELATIVE_PATH"),
        ({"first": "latest", "collection": "none"}, "COLLECTION_NOT_FOUND"),
        ({"first": "live"}, "INVALID_ARGUMENT"),
    ):
        request = snapshot_pb2.DiffSnapshotsRequest(**asked)
        assert failing(lambda request=request: wire.snapshots.DiffSnapshots(request)).info.reason == field
    assert [each.kind for each in wire.kit.engine.operations.list()] == ["snapshot"]


def test_a_dry_run_tells_what_would_change(wire: Wire) -> None:
    full = create(wire)
    wire.vectors.Upsert(batch(["c"]))
    request = snapshot_pb2.RestoreSnapshotRequest(snapshot=full.id, overwrite=True, validate_only=True)
    [change] = wire.snapshots.RestoreSnapshot(request).restore.changes
    assert (change.collection, change.removed_count, list(change.removed_ids)) == ("books", 1, ["c"])
    request.validate_only = False
    assert not wire.ended(wire.snapshots.RestoreSnapshot(request)).restore.changes
