"""``validate_only``: every method that promises it says what it would do, does none of it, and fails as it would."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from holdfast.v1 import (
    collection_pb2,
    common_pb2,
    operation_pb2,
    snapshot_pb2,
    storage_pb2,
    vector_pb2,
    wal_pb2,
)
from tests.rpc.calls import batch, failing
from tests.rpc.wires import Wire

SERVICES = {
    "collections": collection_pb2.DESCRIPTOR.services_by_name["CollectionService"],
    "vectors": vector_pb2.DESCRIPTOR.services_by_name["VectorService"],
    "snapshots": snapshot_pb2.DESCRIPTOR.services_by_name["SnapshotService"],
    "wal": wal_pb2.DESCRIPTOR.services_by_name["WalService"],
    "storage": storage_pb2.DESCRIPTOR.services_by_name["StorageService"],
    "operations": operation_pb2.DESCRIPTOR.services_by_name["OperationService"],
}
NEEDS_AN_ARCHIVE = {"PruneArchive"}
"""Tried in test_archive.py, in a store that has one."""

SNAPSHOT = "snap-2023-11-14-221320"
"""The one that is there."""
RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("CreateCollection", {"name": "new", "dimensions": 3, "metric": 3, "schema": "{}"}),
    ("CreateCollection", {"name": "new", "dimensions": 3, "storage": common_pb2.STORAGE_KIND_HYBRID}),
    ("DeleteCollection", {"name": "books"}),
    ("SwitchAlias", {"alias": "live", "collection": "films"}),
    ("SwitchAlias", {"alias": "live", "collection": "books"}),
    ("DeleteAlias", {"alias": "live"}),
    ("Upsert", {"collection": "books", "ids": ["a", "new"], "vectors": bytes(16)}),
    ("Upsert", {"collection": "live", "ids": ["a", "a"], "vectors": bytes(16), "payloads": b"[{}, null]"}),
    ("Upsert", {"collection": "cache", "ids": ["m"], "vectors": bytes(8)}),
    ("Update", {"collection": "books", "ids": ["a"], "vectors": bytes(8)}),
    ("Update", {"collection": "live", "ids": ["a", "b"], "payloads": b'[{"n": 3}, null]', "payload_mode": 2}),
    ("Delete", {"collection": "books", "ids": ["a", "a", "none"]}),
    ("Delete", {"collection": "live", "ids": ["a", "none"], "expected_count": 1}),
    ("Delete", {"collection": "books", "ids": ["none"]}),
    ("Delete", {"collection": "books", "filter": "n = 1"}),
    ("Delete", {"collection": "books", "filter": "n = 7"}),
    ("Delete", {"collection": "books", "all": True, "confirm": True, "expected_count": 2}),
    ("Delete", {"collection": "cache", "all": True, "confirm": True}),
    ("EnableWal", {"sync_mode": common_pb2.SYNC_MODE_ASYNC, "segment_size_bytes": 2 << 20}),
    ("EnableWal", {"path": "/elsewhere/log"}),
    ("DisableWal", {}),
    ("CreateSnapshot", {}),
    ("RestoreSnapshot", {"snapshot": "latest", "overwrite": True}),
    ("DeleteSnapshot", {"snapshot": SNAPSHOT}),
    ("ConsolidateSnapshot", {"snapshot": SNAPSHOT}),
    ("PruneSnapshots", {"policy": {"keep_last": 1, "keep_within": {"seconds": 86400}}}),
    ("ReplayWal", {}),
    ("ConfigureMmap", {}),
    ("Compact", {}),
    ("Compact", {"collection": "live", "aggressive": True, "threshold_percent": 0}),
]
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("CreateCollection", {"name": "books", "dimensions": 2}, "COLLECTION_EXISTS"),
    ("CreateCollection", {"name": "live", "dimensions": 2}, "ALIAS_EXISTS"),
    ("CreateCollection", {"name": "a/b", "dimensions": 2}, "INVALID_NAME"),
    ("CreateCollection", {"name": "new", "dimensions": 0}, "INVALID_ARGUMENT"),
    ("CreateCollection", {"name": "new", "dimensions": 2, "request_id": "first"}, "REQUEST_ID_REUSED"),
    ("CreateCollection", {"name": "new", "dimensions": 2, "schema": '{"a": "float"}'}, "INVALID_SCHEMA"),
    ("DeleteCollection", {"name": "none"}, "COLLECTION_NOT_FOUND"),
    ("DeleteCollection", {"name": "live"}, "INVALID_ARGUMENT"),
    ("DeleteCollection", {"name": "books", "expected_id": "x"}, "COLLECTION_REPLACED"),
    ("SwitchAlias", {"alias": "none", "collection": "films"}, "ALIAS_NOT_FOUND"),
    ("SwitchAlias", {"alias": "live", "collection": "none"}, "COLLECTION_NOT_FOUND"),
    ("SwitchAlias", {"alias": "live", "collection": "live"}, "INVALID_ARGUMENT"),
    ("SwitchAlias", {"alias": "live", "collection": "films", "request_id": "first"}, "REQUEST_ID_REUSED"),
    ("DeleteAlias", {"alias": "books"}, "ALIAS_NOT_FOUND"),
    ("DeleteAlias", {"alias": "live", "request_id": "x" * 200}, "INVALID_ARGUMENT"),
    ("Upsert", {"collection": "none", "ids": ["a"], "vectors": bytes(8)}, "COLLECTION_NOT_FOUND"),
    ("Upsert", {"collection": "books", "ids": ["a"], "vectors": bytes(12)}, "DIMENSION_MISMATCH"),
    ("Upsert", {"collection": "books", "ids": [""], "vectors": bytes(8)}, "INVALID_ID"),
    ("Upsert", {"collection": "books", "ids": ["a"], "vectors": bytes(8), "request_id": "first"}, "REQUEST_ID_REUSED"),
    (
        "Upsert",
        {"collection": "cache", "ids": ["m"], "vectors": bytes(8), "durability": common_pb2.DURABILITY_SYNC},
        "COLLECTION_NOT_DURABLE",
    ),
    ("Update", {"collection": "books", "ids": ["a", "none"], "vectors": bytes(16)}, "POINT_NOT_FOUND"),
    ("Update", {"collection": "books", "ids": ["a"]}, "INVALID_ARGUMENT"),
    ("Delete", {"collection": "none", "ids": ["a"]}, "COLLECTION_NOT_FOUND"),
    ("Delete", {"collection": "books", "ids": ["a", ""]}, "INVALID_ID"),
    ("Delete", {"collection": "books", "ids": ["a", "b"], "expected_count": 1}, "COUNT_MISMATCH"),
    ("Delete", {"collection": "books", "filter": "n ="}, "INVALID_ARGUMENT"),
    ("Delete", {"collection": "books", "filter": "n = 1", "expected_count": 2}, "COUNT_MISMATCH"),
    ("Delete", {"collection": "books", "all": True, "confirm": True, "expected_count": 1}, "COUNT_MISMATCH"),
    ("Delete", {"collection": "books", "ids": ["a"], "request_id": "first"}, "REQUEST_ID_REUSED"),
    (
        "Delete",
        {"collection": "cache", "ids": ["m"], "durability": common_pb2.DURABILITY_SYNC},
        "COLLECTION_NOT_DURABLE",
    ),
    ("EnableWal", {"max_size_bytes": 1}, "INVALID_ARGUMENT"),
    ("EnableWal", {"segment_size_bytes": 1 << 30, "max_size_bytes": 1 << 30}, "INVALID_ARGUMENT"),
    ("EnableWal", {"path": "/data/snapshots/x"}, "INVALID_ARGUMENT"),
    ("EnableWal", {"path": "log"}, "RELATIVE_PATH"),
    ("EnableWal", {"path": "/other/log"}, "WAL_DIRECTORY_IN_USE"),
    ("EnableWal", {"path": "/data/MANIFEST.json/log"}, "WAL_WRITE_REFUSED"),
    ("EnableWal", {"path": "/taken"}, "WAL_DIRECTORY_LOCKED"),
    ("RestoreSnapshot", {"snapshot": "latest"}, "COLLECTION_EXISTS"),
    ("DeleteSnapshot", {"snapshot": "snap-2001-01-01-000000"}, "SNAPSHOT_NOT_FOUND"),
    ("ConsolidateSnapshot", {"snapshot": "snap-2001-01-01-000000"}, "SNAPSHOT_NOT_FOUND"),
    ("ConsolidateSnapshot", {"snapshot": "latest"}, "INVALID_ARGUMENT"),
    ("Compact", {"collection": "none"}, "COLLECTION_NOT_FOUND"),
    ("Compact", {"threshold_percent": 101}, "INVALID_ARGUMENT"),
    ("PruneSnapshots", {}, "EMPTY_POLICY"),
    ("PruneSnapshots", {"policy": {"keep_last": -1}}, "INVALID_ARGUMENT"),
    ("PruneSnapshots", {"policy": {"keep_last": 1}, "path": "/nowhere"}, "DIRECTORY_NOT_FOUND"),
    ("PruneSnapshots", {"policy": {"keep_last": 1}, "path": "here"}, "RELATIVE_PATH"),
    ("PruneSnapshots", {"policy": {"keep_last": 1}, "collection": "none"}, "COLLECTION_NOT_FOUND"),
]


def methods() -> Iterator[tuple[str, Any]]:
    """The stub's name and the descriptor of each method whose request can be a trial."""
    for stub, service in SERVICES.items():
        for method in service.methods:
            if "validate_only" in method.input_type.fields_by_name:
                yield stub, method


METHODS = {method.name: (stub, method) for stub, method in methods()}


def call(wire: Wire, name: str, arguments: dict[str, Any], *, trial: bool) -> Message:
    stub, method = METHODS[name]
    request = GetMessageClass(method.input_type)(**arguments, validate_only=trial)
    reply: Message = getattr(getattr(wire, stub), name)(request)
    return reply


def content(wire: Wire) -> dict[str, bytes]:
    """Every file of the machine."""
    fs = wire.kit.fs

    def below(path: str) -> Iterator[str]:
        for name in fs.listdir(path):
            inner = posixpath.join(path, name)
            yield from below(inner) if fs.is_dir(inner) else [inner]

    return {path: fs.read(path) for path in below("/")}


@pytest.fixture
def store(wire: Wire) -> Wire:
    """Something of everything that can be destroyed or replaced."""
    for name, kind in (("films", common_pb2.STORAGE_KIND_DISK), ("cache", common_pb2.STORAGE_KIND_MEMORY)):
        request = collection_pb2.CreateCollectionRequest(name=name, dimensions=2, storage=kind)
        wire.collections.CreateCollection(request)
    wire.collections.CreateAlias(collection_pb2.CreateAliasRequest(alias="live", collection="books"))
    wire.vectors.Upsert(batch(["a", "b"], payloads=b'[{"n": 1}, {"n": 2}]'))
    wire.vectors.Upsert(batch(["m"], collection="cache"))
    wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest(collection="books")))
    fs = wire.kit.fs
    for directory in ("/other", "/other/log", "/taken"):
        fs.mkdir(directory)
    fs.create("/other/log/00000001-00000000000000000001.wal").close()
    fs.create("/taken/LOCK").close()
    fs.lock("/taken/LOCK")
    return wire


def test_every_method_that_promises_a_trial_is_tried() -> None:
    assert METHODS.keys() - NEEDS_AN_ARCHIVE == {name for name, _ in RIGHT}


@pytest.mark.parametrize(("name", "arguments"), RIGHT)
def test_a_trial_says_what_would_be_done_and_changes_nothing(store: Wire, name: str, arguments: dict[str, Any]) -> None:
    engine = store.kit.engine
    before, sequence = content(store), engine.sequence
    plan = call(store, name, {**arguments}, trial=True)
    assert content(store) == before
    assert (engine.sequence, len(engine.operations.list())) == (sequence, 1)
    assert not getattr(plan, "sequence", 0)
    assert not getattr(plan, "durable", False)


@pytest.mark.parametrize(
    ("name", "arguments"), [case for case in RIGHT if case[0] not in ("DisableWal", "ConfigureMmap")]
)
def test_the_real_thing_then_answers_as_the_trial_did(store: Wire, name: str, arguments: dict[str, Any]) -> None:
    plan = call(store, name, arguments, trial=True)
    done = call(store, name, arguments, trial=False)
    if isinstance(done, operation_pb2.Operation):
        ended = store.ended(done)
        assert ended.state == operation_pb2.Operation.STATE_SUCCEEDED
        assert ended.WhichOneof("result") == plan.WhichOneof("result")  # type: ignore[attr-defined]
        return
    # The versions are those of points that are written.
    for field in ("sequence", "durable", "versions"):
        for message in (plan, done):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
    if isinstance(done, collection_pb2.CreateCollectionResponse):
        for field in ("id", "create_time", "update_time"):
            done.collection.ClearField(field)
    if isinstance(done, wal_pb2.EnableWalResponse):
        compared = ("enabled", "state", "path", "sync_mode", "segment_size_bytes", "retention", "max_size_bytes")
        assert all(getattr(done.status, each) == getattr(plan.status, each) for each in compared)  # type: ignore[attr-defined]
        return
    assert plan == done


@pytest.mark.parametrize(("name", "arguments", "reason"), WRONG)
def test_a_trial_fails_as_the_real_thing_does(store: Wire, name: str, arguments: dict[str, Any], reason: str) -> None:
    before = content(store)
    trial = failing(lambda: call(store, name, arguments, trial=True))
    assert content(store) == before
    real = failing(lambda: call(store, name, arguments, trial=False))
    assert trial.info.reason == reason
    assert trial.status == real.status


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CreateCollection", {"name": "new", "dimensions": 3}),
        ("DeleteCollection", {"name": "books"}),
        ("SwitchAlias", {"alias": "live", "collection": "films"}),
        ("DeleteAlias", {"alias": "live"}),
        ("Upsert", {"collection": "books", "ids": ["a"], "vectors": bytes(8)}),
        ("Delete", {"collection": "books", "ids": ["a"]}),
        ("Delete", {"collection": "books", "filter": "n = 1"}),
        ("Delete", {"collection": "books", "all": True, "confirm": True}),
    ],
)
def test_a_trial_uses_up_no_request_id(store: Wire, name: str, arguments: dict[str, Any]) -> None:
    arguments = {**arguments, "request_id": "mine"}
    plan = call(store, name, arguments, trial=True)
    done: Any = call(store, name, arguments, trial=False)
    assert done.sequence == store.kit.engine.sequence
    # What was done already is no more to be done: its trial is told as its repetition is, without a sequence.
    again: Any = call(store, name, arguments, trial=True)
    assert (again.sequence, again.durable) == (0, False)
    assert again == plan


def test_a_trial_knows_that_the_store_takes_no_writes(store: Wire) -> None:
    store.kit.fs.fail_on("sync", "/data/wal/*")
    failing(lambda: store.vectors.Upsert(batch(["c"])))
    for name, arguments in (
        ("DeleteAlias", {"alias": "live"}),
        ("Upsert", {"collection": "books", "ids": ["a"], "vectors": bytes(8)}),
        ("Delete", {"collection": "books", "ids": ["a"]}),
        ("EnableWal", {"retention": {"seconds": 60}}),
        ("DisableWal", {}),
    ):
        trial = failing(lambda name=name, arguments=arguments: call(store, name, arguments, trial=True))
        real = failing(lambda name=name, arguments=arguments: call(store, name, arguments, trial=False))
        assert (trial.status, trial.info.reason) == (real.status, "LOG_SYNC_FAILED")


def test_the_trial_of_switching_the_log_on_shows_it_on(wire: Wire) -> None:
    wire.wal.DisableWal(wal_pb2.DisableWalRequest())
    plan = wire.wal.EnableWal(wal_pb2.EnableWalRequest(validate_only=True))
    assert (plan.status.enabled, plan.status.state) == (True, wal_pb2.WalStatus.STATE_ACTIVE)
    assert plan.warnings
    assert not wire.wal.GetWalStatus(wal_pb2.GetWalStatusRequest()).status.enabled
