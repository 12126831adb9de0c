"""Collections, aliases, snapshots, the log, storage and operations, through the library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

import holdfast
from holdfast.enums import from_word, to_word
from holdfast.keeping import Keep
from holdfast.operations import Operation, Progress
from holdfast.v1 import common_pb2, operation_pb2, snapshot_pb2, storage_pb2, wal_pb2
from tests.support.fake_server import FakeDaemon


def test_collections_are_created_described_listed_and_dropped(db: holdfast.Client) -> None:
    made = db.collections.create("hybrid", dimensions=4, metric="dot", storage="hybrid", hot_tier_size="10GB")
    assert made.name == "hybrid"
    described = db.collections.get("hybrid")
    assert (described.metric, described.storage, described.hot_tier_size_bytes) == ("dot", "hybrid", 10**10)
    assert db.collections.exists("hybrid")
    for name in ("b", "c", "d", "e"):
        db.collections.create(name, 2)
    assert [row.name for row in db.collections.list()] == ["b", "c", "d", "e", "hybrid"]
    assert db.collections.list(detailed=True)[0].stats.segments == 1
    assert db.collections.delete("hybrid", validate_only=True).status == "validated"
    assert db.collections.delete("hybrid").status == "deleted"
    assert not db.collections.exists("hybrid")


def test_a_schema_may_be_given_as_a_dict_or_as_json(db: holdfast.Client) -> None:
    db.collections.create("a", 2, schema={"price": "number"})
    db.collections.create("b", 2, schema='{"price":"number"}')
    db.collections.create("c", 2)
    assert [db.collections.get(name).schema for name in "abc"] == ['{"price": "number"}', '{"price":"number"}', None]
    assert db.collections.get("a").schema_problem is None


def test_a_word_that_is_none_names_those_that_are(db: holdfast.Client) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="'manhattan' is not a metric") as caught:
        db.collections.create("c", 2, metric="manhattan")
    assert caught.value.hint == "write one of: cosine, euclidean, dot"


def test_an_enumeration_value_from_the_future_is_shown_as_its_number() -> None:
    assert to_word(common_pb2.Metric, 77, "METRIC_") == "77"
    assert from_word(common_pb2.Metric, None, "METRIC_", "metric") == 0


def test_aliases_are_made_switched_listed_and_removed(db: holdfast.Client) -> None:
    for name in ("v1", "v2"):
        db.collections.create(name, 2)
    aliases = db.collections.aliases
    assert aliases.create("live", "v1") == {"alias": "live", "collection": "v1", "status": "created"}
    assert aliases.switch("live", "v2")["old_collection"] == "v1"
    assert aliases.list() == [{"alias": "live", "collection": "v2"}]
    assert aliases.list("v1") == []
    assert aliases.delete("live").status == "deleted"
    with pytest.raises(holdfast.NotFound):
        aliases.delete("live")


def test_a_snapshot_is_awaited_with_progress(db: holdfast.Client, products: holdfast.Collection) -> None:
    seen: list[Progress] = []
    made = db.snapshots.create("products", compress=True, on_progress=seen.append)
    assert made.snapshot_id == "snap-2024-01-20-103045"
    assert made.status == "completed"
    assert [progress.phase for progress in seen] == ["preparing", "writing", "writing", "finishing", "finishing"]
    assert seen[1].fraction == 0.25
    assert seen[-1].state == "succeeded"


def test_without_waiting_an_operation_comes_back(db: holdfast.Client, products: holdfast.Collection) -> None:
    operation = db.snapshots.create("products", wait=False)
    assert isinstance(operation, Operation)
    assert (operation.id, operation.kind, operation.state, operation.done) == (
        "op-1",
        "create_snapshot",
        "running",
        False,
    )
    with pytest.raises(holdfast.FailedPrecondition, match="still running"):
        operation.result()
    assert operation.wait().vectors == 3
    assert operation.done
    assert "op-1" in repr(operation)


def test_a_dry_run_returns_its_document_at_once(db: holdfast.Client, products: holdfast.Collection) -> None:
    assert db.snapshots.create("products", validate_only=True).status == "validated"
    assert db.snapshots.list() == []
    assert db.storage.compact(validate_only=True, wait=False)["status"] == "validated"


def test_watching_survives_a_daemon_that_goes_away_for_a_moment(
    daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection
) -> None:
    daemon.fail_next("WatchOperationMidway", grpc.StatusCode.UNAVAILABLE, "restarting")
    assert db.snapshots.create("products").status == "completed"


def test_without_a_stream_to_spare_an_operation_is_asked_after(
    daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr(db.connection, "pause", paused.append)
    daemon.fail_next("WatchOperation", grpc.StatusCode.RESOURCE_EXHAUSTED, "no stream slot")
    assert db.snapshots.create("products").status == "completed"
    assert paused == [0.5]


def test_a_failed_operation_raises_its_error(daemon: FakeDaemon, db: holdfast.Client) -> None:
    operation = db.storage.compact(wait=False)
    assert isinstance(operation, Operation)
    db.operations.cancel(operation.id)
    with pytest.raises(holdfast.Cancelled, match="cancelled by its owner"):
        operation.wait()
    assert operation.document().error.reason == "CANCELLED"


def test_operations_are_listed_newest_first(db: holdfast.Client) -> None:
    db.storage.compact()
    db.wal.verify()
    assert [(row.id, row.kind, row.state) for row in db.operations.list()] == [
        ("op-2", "verify_wal", "succeeded"),
        ("op-1", "compact", "succeeded"),
    ]
    assert db.operations.list(states=("running",)) == []
    assert db.operations.list(limit=1)[0].id == "op-2"
    assert db.operations.watch("op-1").status == "completed"
    with pytest.raises(holdfast.NotFound):
        db.operations.get("op-9")


def test_an_operation_without_totals_has_no_fraction() -> None:
    message = operation_pb2.Operation(id="op-1", progress=operation_pb2.Progress(phase="waiting"))
    assert Operation(None, message).progress.fraction is None  # type: ignore[arg-type]  # no call is made


def test_snapshots_are_listed_over_every_page(db: holdfast.Client, products: holdfast.Collection) -> None:
    for _ in range(5):
        db.snapshots.create("products")
    listed = db.snapshots.list()
    assert [row.id[-2:] for row in listed] == ["49", "48", "47", "46", "45"]
    assert db.snapshots.list(collection="other") == []
    assert db.snapshots.get("latest").id == listed[0].id
    assert db.snapshots.get(listed[1].path).members[0].name == "products"


def test_increments_are_made_shown_and_restored_by_the_library(
    daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection
) -> None:
    full = db.snapshots.create("products")
    made = db.snapshots.create("products", incremental=True)
    named = db.snapshots.create("products", incremental=True, base=full.path)
    assert (made.type, made.base_id, made.deleted) == ("incremental", full.snapshot_id, 2)
    assert [link.id for link in db.snapshots.get(made.snapshot_id).chain] == [full.snapshot_id, made.snapshot_id]
    db.snapshots.restore("latest", base_path="/usb", overwrite=True)
    db.snapshots.verify("latest", skip_chain=True, base_path="/usb")
    assert daemon.requests["CreateSnapshot"][2].base_id == full.path
    assert named.base_id == full.snapshot_id
    assert daemon.requests["RestoreSnapshot"][0].base_path == "/usb"
    verify = daemon.requests["VerifySnapshot"][0]
    assert (verify.base_path, verify.skip_chain) == ("/usb", True)


def test_a_base_is_consolidated_away_by_the_library(
    daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection
) -> None:
    full = db.snapshots.create("products")
    made = db.snapshots.create("products", incremental=True)
    plan = db.snapshots.consolidate(full.path, validate_only=True)
    assert (plan.status, [each.snapshot_id for each in plan.rewritten]) == ("validated", [made.snapshot_id])
    done = db.snapshots.consolidate(full.snapshot_id)
    assert (done.status, done.snapshot_id, done.path) == ("completed", full.snapshot_id, full.path)
    assert done.rewritten == plan.rewritten
    assert done.rewritten[0].chain == [full.snapshot_id, made.snapshot_id]
    assert [each.id for each in db.snapshots.list()] == [made.snapshot_id]
    assert db.operations.list(kinds=("consolidate_snapshot",))[0].state == "succeeded"
    assert [sent.validate_only for sent in daemon.requests["ConsolidateSnapshot"]] == [True, False]


def test_restore_sends_targets_as_they_are_meant(
    daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection
) -> None:
    db.snapshots.create("products")
    restored = db.snapshots.restore("latest", collection="copy", to="2026-01-20T11:00:00Z")
    assert restored.collections_restored == ["copy"]
    db.snapshots.restore("latest", before=17)
    db.snapshots.restore("latest", to="before-import")
    db.snapshots.restore("latest", to=datetime(2026, 1, 20, 11, tzinfo=UTC))
    requests: list[snapshot_pb2.RestoreSnapshotRequest] = daemon.requests["RestoreSnapshot"]
    assert requests[0].to.time.ToJsonString() == "2026-01-20T11:00:00Z" == requests[3].to.time.ToJsonString()
    assert (requests[1].before.sequence, requests[1].WhichOneof("target")) == (17, "before")
    assert requests[2].to.mark == "before-import"


@pytest.mark.parametrize("moment", ["2026-99-01", True, 1.5, b"x"])
def test_a_target_that_is_none_is_refused(db: holdfast.Client, moment: Any) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="to"):
        db.wal.replay(to=moment)


def test_verify_reports_damage_as_a_result(
    daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection
) -> None:
    made = db.snapshots.create("products")
    assert db.snapshots.verify("latest").valid
    daemon.snapshots[made.snapshot_id].state = common_pb2.Snapshot.STATE_DAMAGED
    verdict = db.snapshots.verify("latest")
    assert not verdict.valid
    assert verdict.problems[0].offset == 512


def test_delete_and_prune(daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection) -> None:
    for _ in range(3):
        db.snapshots.create("products")
    plan = db.snapshots.prune(Keep(last=1, within="7d"), validate_only=True)
    assert (plan.kept, plan.deleted, plan.snapshots[0].reasons) == (1, 2, ["last"])
    assert daemon.requests["PruneSnapshots"][0].policy.keep_within.seconds == 7 * 86400
    assert len(db.snapshots.list()) == 3
    db.snapshots.prune(Keep(last=1))
    assert db.snapshots.delete("latest").status == "deleted"
    assert db.snapshots.list() == []


def test_a_comparison_is_an_operation(daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection) -> None:
    made = db.snapshots.create("products")
    found = db.snapshots.diff("latest", collection="products", sample_size=3, base_path="/usb")
    assert (found.first, found.second, found.identical, found.status) == (made.snapshot_id, "live", False, "completed")
    entry = found.collections[0]
    assert (entry.change, entry.added, entry.added_ids, entry.unchanged) == ("changed", 1, ["z"], 1)
    assert (entry.largest_drift, entry.mean_drift, entry.notes) == (0.25, 0.25, ["another metric"])
    assert found.aliases == [{"alias": "shop", "first": None, "second": "products"}]
    assert found.uncovered == ["other"]
    seen = []
    started = db.snapshots.diff(made.path, "live", wait=False)
    assert isinstance(started, holdfast.Operation)
    assert started.wait(seen.append).second == "live"
    assert (seen[0].kind, db.operations.list(kinds=("diff_snapshots",))[0].state) == ("diff_snapshots", "succeeded")
    sent = daemon.requests["DiffSnapshots"]
    assert [(each.first, each.second, each.collection, each.sample_size, each.base_path) for each in sent] == [
        ("latest", "", "products", 3, "/usb"),
        (made.path, "live", "", 10, ""),
    ]
    assert len({each.request_id for each in sent}) == 2


def test_relative_paths_go_with_the_working_directory_only_where_needed(
    daemon: FakeDaemon,
    db: holdfast.Client,
    products: holdfast.Collection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert db.snapshots.create("products", path="./backups").path.startswith(f"{tmp_path}/backups/snap-")
    db.snapshots.create("products", path="/backups")
    db.snapshots.create("products")
    sent = [request.working_directory for request in daemon.requests["CreateSnapshot"]]
    assert sent == [str(tmp_path), "", ""]


def test_a_relative_path_is_refused_over_tcp() -> None:
    with holdfast.connect("127.0.0.1:1") as db, pytest.raises(holdfast.InvalidArgument, match="relative"):
        db.snapshots.create(path="backups")
    with holdfast.connect("127.0.0.1:1") as db, pytest.raises(holdfast.InvalidArgument, match="relative"):
        db.snapshots.restore("backups/x.snap")


def test_an_url_is_no_relative_path() -> None:
    with holdfast.connect("127.0.0.1:1") as db:
        assert db.snapshots._directory("s3://bucket/x.snap", "gs://bucket/daily", "file:///x") == ""
        with pytest.raises(holdfast.InvalidArgument, match="relative"):
            db.snapshots._directory("s3://bucket/x.snap", "daily")


def test_wal_settings_left_out_are_not_sent(daemon: FakeDaemon, db: holdfast.Client) -> None:
    db.wal.enable()
    request: wal_pb2.EnableWalRequest = daemon.requests["EnableWal"][0]
    assert not any(request.HasField(name) for name in ("path", "segment_size_bytes", "retention", "flush_interval"))
    assert request.sync_mode == common_pb2.SYNC_MODE_UNSPECIFIED


def test_wal_settings_are_read_with_their_units(daemon: FakeDaemon, db: holdfast.Client) -> None:
    status = db.wal.enable(
        sync_mode="periodic",
        segment_size="64MB",
        retention="48h",
        flush_interval=timedelta(seconds=2),
        max_size=1 << 40,
    )
    assert (status.sync_mode, status.segment_size_bytes, status.retention) == ("periodic", 67108864, "48h")
    assert status.flush_interval == "2s"
    with pytest.raises(holdfast.InvalidArgument, match="retention: 'x' is not a duration"):
        db.wal.enable(retention="x")
    with pytest.raises(holdfast.InvalidArgument, match="segment_size: 'x' is not a size"):
        db.wal.enable(segment_size="x")


def test_the_log_is_disabled_marked_shown_and_read(db: holdfast.Client, products: holdfast.Collection) -> None:
    assert db.wal.mark("here").name == "here"
    assert db.wal.status().marks[0].name == "here"
    records = list(db.wal.dump(limit=2))
    assert [(record.sequence, record.kind) for record in records] == [(1, "create_collection"), (2, "upsert")]
    assert [record.sequence for record in db.wal.dump(kinds=["upsert"], ids=["a"], actors=["unix"])] == [2]
    stats = db.wal.stats(start=1, kinds=["upsert"])
    assert (stats.operations, stats.size_bytes, stats.first_time) == (1, 2048, None)
    assert [(each.collection, each.kind) for each in stats.by_collection] == [("products", "upsert")]
    assert [each.actor for each in stats.by_actor] == ["unix"]
    assert next(db.wal.tail(start=1, kinds=["upsert"])).segment_path.endswith(".wal")
    disabled = db.wal.disable()
    assert not disabled.wal_enabled
    assert disabled.warnings
    with pytest.raises(holdfast.InvalidArgument, match="kind of record"):
        next(db.wal.tail(kinds=["nothing"]))


def test_replay_returns_what_it_did(daemon: FakeDaemon, db: holdfast.Client) -> None:
    result = db.wal.replay(to="-2h", into="copy", collection="products")
    assert (result.operations_replayed, result.operations_skipped) == (50000, 0)
    assert daemon.requests["ReplayWal"][0].into == "copy"
    assert result.snapshot_id == "snap-2024-01-20-103045"
    assert db.wal.replay(into="from-the-log-alone", collection="products").snapshot_id is None


def test_status_alarms_mmap_and_compact(daemon: FakeDaemon, db: holdfast.Client) -> None:
    alarm = storage_pb2.Alarm(code="DISK_LOW", message="5 % left", severity=storage_pb2.Alarm.SEVERITY_CRITICAL)
    daemon.alarms.append(alarm)
    assert db.storage.status().alarms == db.storage.alarms()
    assert db.storage.alarms()[0].severity == "critical"
    shown = db.storage.mmap()
    assert (shown.mmap_enabled, shown.advise_mode) == (True, "random")
    changed = db.storage.mmap(enable=False, advise="sequential", populate=True)
    assert (changed.mmap_enabled, changed.advise_mode, changed.populate) == (False, "sequential", True)
    request: storage_pb2.ConfigureMmapRequest = daemon.requests["ConfigureMmap"][0]
    assert not request.HasField("enable")
    assert (shown.populated_bytes, changed.populated_bytes) == (0, 1 << 30)
    db.storage.mmap(populate=False, collection="products")
    last: storage_pb2.ConfigureMmapRequest = daemon.requests["ConfigureMmap"][-1]
    assert (last.collection, last.HasField("enable"), last.HasField("populate")) == ("products", False, True)
    assert db.storage.compact(threshold=20).freed_bytes == 31457280
    assert daemon.requests["Compact"][0].threshold_percent == 20
