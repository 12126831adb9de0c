"""StorageService, SnapshotService and WalService over a real socket and the real engine, its files in memory."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

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

Operation = operation_pb2.Operation
Point = common_pb2.HistoryPoint
REFUSED, WRONG = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT
OUTSIDE = grpc.StatusCode.OUT_OF_RANGE


class TestStorage:
    def test_status_at_a_glance(self, wire: Wire) -> None:
        status = wire.storage.GetStatus(storage_pb2.GetStatusRequest()).status
        assert status.state == storage_pb2.StorageStatus.STATE_SERVING
        assert (status.collection_count, status.vector_count, status.sequence) == (1, 2, 2)
        assert status.store_id == str(wire.kit.engine.store_id)
        assert status.wal.sync_mode == common_pb2.SYNC_MODE_FSYNC
        assert not status.HasField("last_snapshot")

    def test_a_change_that_changes_nothing_is_done(self, wire: Wire) -> None:
        shown = wire.storage.ConfigureMmap(storage_pb2.ConfigureMmapRequest()).status
        same = storage_pb2.ConfigureMmapRequest(
            enable=shown.mmap_enabled, advise_mode=shown.advise_mode, populate=shown.populate
        )
        assert wire.storage.ConfigureMmap(same).status.mmap_enabled

    def test_how_segments_are_read_is_changed_and_shown(self, wire: Wire) -> None:
        wire.kit.engine.checkpoint()
        shown = wire.storage.ConfigureMmap(storage_pb2.ConfigureMmapRequest()).status
        assert (shown.mmap_enabled, shown.advise_mode) == (True, storage_pb2.MMAP_ADVICE_RANDOM)
        assert shown.total_mapped_bytes == shown.resident_bytes == shown.collections[0].mapped_bytes > 0
        answer = wire.storage.ConfigureMmap(
            storage_pb2.ConfigureMmapRequest(advise_mode=storage_pb2.MMAP_ADVICE_SEQUENTIAL, populate=True)
        )
        assert answer.populated_bytes == answer.status.total_mapped_bytes == shown.total_mapped_bytes
        [collection] = answer.status.collections
        alone = wire.storage.ConfigureMmap(
            storage_pb2.ConfigureMmapRequest(enable=False, collection=collection.collection)
        )
        assert (alone.status.mmap_enabled, alone.status.total_mapped_bytes, alone.populated_bytes) == (False, 0, 0)
        status = wire.storage.GetStatus(storage_pb2.GetStatusRequest()).status.mmap
        assert (status.mmap_enabled, status.advise_mode, status.populate) == (True, 3, True)
        [collection] = status.collections
        assert (collection.own_settings, collection.mmap_enabled, collection.advise_mode) == (True, False, 3)
        assert (collection.mapped_bytes, collection.resident_bytes, collection.pinned_bytes) == (0, 0, 0)

    @pytest.mark.parametrize(
        ("change", "code", "reason"),
        [
            ({"enable": False, "populate": True}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
            ({"advise_mode": 9}, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENUM_VALUE"),
            ({"collection": "none"}, grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND"),
        ],
    )
    def test_what_cannot_be_changed_is_refused(
        self, wire: Wire, change: dict[str, object], code: grpc.StatusCode, reason: str
    ) -> None:
        request = storage_pb2.ConfigureMmapRequest(**change)  # type: ignore[arg-type]
        failure = failing(lambda: wire.storage.ConfigureMmap(request))
        assert (failure.code, failure.info.reason) == (code, reason)

    def test_there_are_no_hot_tiers_yet(self, wire: Wire) -> None:
        failure = failing(lambda: wire.storage.GetTiers(storage_pb2.GetTiersRequest()))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "TIERING_NOT_SUPPORTED")

    def test_no_alarms(self, wire: Wire) -> None:
        assert not wire.storage.ListAlarms(storage_pb2.ListAlarmsRequest()).alarms


class TestSnapshots:
    def create(self, wire: Wire, **more: object) -> Operation:
        request = snapshot_pb2.CreateSnapshotRequest(**more)  # type: ignore[arg-type]
        return wire.ended(wire.snapshots.CreateSnapshot(request))

    def test_from_creation_to_deletion(self, wire: Wire) -> None:
        created = self.create(wire, compress=True)
        assert (created.kind, created.state) == (Operation.KIND_CREATE_SNAPSHOT, Operation.STATE_SUCCEEDED)
        made = created.snapshot.snapshot
        assert (made.vector_count, made.compressed, made.sequence) == (2, True, 2)
        (listed,) = wire.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()).snapshots
        assert (listed.id, listed.path, listed.state) == (made.id, made.path, common_pb2.Snapshot.STATE_READY)
        assert listed.collections[0].digest
        got = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot="latest")).snapshot
        assert got == listed
        status = wire.storage.GetStatus(storage_pb2.GetStatusRequest()).status
        assert status.last_snapshot.id == made.id
        gone = wire.snapshots.DeleteSnapshot(snapshot_pb2.DeleteSnapshotRequest(snapshot=made.id))
        assert (gone.snapshot.id, gone.freed_bytes) == (made.id, made.size_bytes)
        failure = failing(lambda: wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=made.id)))
        assert failure.code is grpc.StatusCode.NOT_FOUND

    def test_a_deletion_sent_again_gets_the_first_answer(self, wire: Wire) -> None:
        made = self.create(wire).snapshot.snapshot
        request = snapshot_pb2.DeleteSnapshotRequest(snapshot=made.id, request_id="once")
        assert wire.snapshots.DeleteSnapshot(request) == wire.snapshots.DeleteSnapshot(request)
        other = snapshot_pb2.DeleteSnapshotRequest(snapshot=made.id, request_id="other")
        assert failing(lambda: wire.snapshots.DeleteSnapshot(other)).code is grpc.StatusCode.NOT_FOUND

    def test_a_restore_brings_the_points_back(self, wire: Wire) -> None:
        made = self.create(wire).snapshot.snapshot
        wire.vectors.Delete(vector_pb2.DeleteRequest(collection="books", all=True, confirm=True))
        request = snapshot_pb2.RestoreSnapshotRequest(snapshot=made.path, overwrite=True, verify=True)
        restored = wire.ended(wire.snapshots.RestoreSnapshot(request))
        assert restored.state == Operation.STATE_SUCCEEDED, restored
        assert (restored.restore.vectors_restored, list(restored.restore.collections_overwritten)) == (2, ["books"])
        assert wire.vectors.Count(vector_pb2.CountRequest(collection="books")).count == 2

    def test_a_moment_comes_back(self, wire: Wire) -> None:
        made = self.create(wire).snapshot.snapshot
        last = wire.vectors.Upsert(batch(["c"])).sequence
        wire.vectors.Delete(vector_pb2.DeleteRequest(collection="books", all=True, confirm=True))
        for target in ({"to": Point(sequence=last)}, {"before": Point(sequence=last + 1)}):
            request = snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", overwrite=True, **target)
            done = wire.ended(wire.snapshots.RestoreSnapshot(request)).restore
            assert (done.snapshot_id, done.operations_replayed, done.vectors_restored) == (made.id, 1, 3)
            assert done.restored_through_sequence == last
            assert wire.vectors.Count(vector_pb2.CountRequest(collection="books")).count == 3

    def test_a_plan_has_no_id_and_changes_nothing(self, wire: Wire) -> None:
        plan = wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest(validate_only=True))
        assert (plan.id, plan.state, plan.snapshot.snapshot.vector_count) == ("", Operation.STATE_SUCCEEDED, 2)
        assert not wire.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()).snapshots

    def test_plans_are_not_listed(self, wire: Wire) -> None:
        self.create(wire)
        wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest(validate_only=True, request_id="r"))
        restore = snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", overwrite=True, validate_only=True)
        wire.snapshots.RestoreSnapshot(restore)
        wire.wal.ReplayWal(wal_pb2.ReplayWalRequest(validate_only=True))
        (only,) = wire.operations.ListOperations(operation_pb2.ListOperationsRequest()).operations
        assert only.kind == Operation.KIND_CREATE_SNAPSHOT
        assert len(wire.kit.fs.listdir("/data/operations")) == 1
        carried_out = self.create(wire, request_id="r")
        assert carried_out.id, "a plan stood in the way of what it planned"

    def test_who_asked_and_that_all_is_done_is_shown(self, wire: Wire) -> None:
        self.create(wire)
        restore = snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", collection="copy", from_collection="books")
        wire.ended(wire.snapshots.RestoreSnapshot(restore))
        wire.vectors.Upsert(batch(["c"]))
        wire.ended(wire.wal.ReplayWal(wal_pb2.ReplayWalRequest()))
        wire.ended(wire.wal.VerifyWal(wal_pb2.VerifyWalRequest()))
        listed = wire.operations.ListOperations(operation_pb2.ListOperationsRequest()).operations
        assert len(listed) == 4
        for operation in listed:
            assert (operation.actor, operation.state) == ("unix", Operation.STATE_SUCCEEDED)
            progress = operation.progress
            assert progress.done_bytes == progress.total_bytes
            assert progress.done_vectors == progress.total_vectors
            assert not progress.cancellable

    def test_a_plan_that_cannot_be_done_fails_the_call(self, wire: Wire) -> None:
        self.create(wire)
        request = snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", validate_only=True)
        assert failing(lambda: wire.snapshots.RestoreSnapshot(request)).code is grpc.StatusCode.ALREADY_EXISTS

    def test_damage_is_found_and_is_no_failure(self, wire: Wire) -> None:
        made = self.create(wire).snapshot.snapshot
        wire.kit.fs.damage(made.path, made.size_bytes // 2, b"\xff" * 8)
        verified = wire.ended(wire.snapshots.VerifySnapshot(snapshot_pb2.VerifySnapshotRequest(snapshot=made.id)))
        assert (verified.state, verified.verify.valid) == (Operation.STATE_SUCCEEDED, False)
        assert verified.verify.problems[0].path.startswith(made.path)

    def test_paths_are_taken_against_the_clients_directory(self, wire: Wire) -> None:
        made = self.create(wire, path="backup", working_directory="/data/x").snapshot.snapshot
        assert made.path.startswith("/data/x/backup/snap-")
        failure = failing(lambda: wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest(path="backup")))
        assert failure.info.reason == "RELATIVE_PATH"

    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            (snapshot_pb2.CreateSnapshotRequest(incremental=True, base_id="x"), WRONG),
            (snapshot_pb2.CreateSnapshotRequest(incremental=True, base_id="./x.snap"), WRONG),
            (snapshot_pb2.CreateSnapshotRequest(base_id="x"), WRONG),
            (snapshot_pb2.CreateSnapshotRequest(collection="films"), grpc.StatusCode.NOT_FOUND),
            (snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", to=Point(sequence=9)), OUTSIDE),
            (snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", to=Point(mark="m")), grpc.StatusCode.NOT_FOUND),
            (snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", to=Point()), WRONG),
            (snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", base_path="x"), WRONG),
            (snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", wal_path="x"), WRONG),
            (snapshot_pb2.VerifySnapshotRequest(snapshot="latest", base_path="x"), WRONG),
            (snapshot_pb2.DeleteSnapshotRequest(snapshot="latest"), WRONG),
            (snapshot_pb2.PruneSnapshotsRequest(), WRONG),
            (snapshot_pb2.DiffSnapshotsRequest(), WRONG),
            (snapshot_pb2.DiffSnapshotsRequest(first="live"), WRONG),
            (snapshot_pb2.DiffSnapshotsRequest(first="latest", sample_size=-1), WRONG),
            (snapshot_pb2.DiffSnapshotsRequest(first="latest", base_path="x"), WRONG),
            (snapshot_pb2.DiffSnapshotsRequest(first="latest", collection="films"), grpc.StatusCode.NOT_FOUND),
        ],
    )  # fmt: skip
    def test_what_cannot_be_done_is_refused(self, wire: Wire, request_: object, code: grpc.StatusCode) -> None:
        method = type(request_).__name__.removesuffix("Request")
        self.create(wire)
        assert failing(lambda: getattr(wire.snapshots, method)(request_)).code is code


class TestCollections:
    def test_a_drop_sent_again_gets_the_first_answer(self, wire: Wire) -> None:
        request = collection_pb2.DeleteCollectionRequest(name="books", request_id="once")
        first = wire.collections.DeleteCollection(request)
        assert (first.deleted_count, first.sequence, first.durable) == (2, 3, True)
        wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="films", dimensions=2))
        again = wire.collections.DeleteCollection(request)
        assert (again.deleted_count, again.sequence, again.durable) == (2, 3, True)

    def test_a_drop_names_what_it_expects(self, wire: Wire) -> None:
        shown = wire.collections.GetCollection(collection_pb2.GetCollectionRequest(name="books")).collection
        wrong = collection_pb2.DeleteCollectionRequest(name="books", expected_id="c0111ec7-0000-4000-8000-000000000002")
        failure = failing(lambda: wire.collections.DeleteCollection(wrong))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "COLLECTION_REPLACED")
        right = collection_pb2.DeleteCollectionRequest(name="books", expected_id=shown.id)
        assert wire.collections.DeleteCollection(right).deleted_count == 2

    def test_a_hot_tier_without_effect_is_said(self, wire: Wire) -> None:
        request = collection_pb2.CreateCollectionRequest(
            name="films", dimensions=2, storage=common_pb2.STORAGE_KIND_HYBRID, hot_tier_size_bytes=1 << 30
        )
        made = wire.collections.CreateCollection(request)
        assert ["like one of the kind disk" in warning for warning in made.warnings] == [True]
        plain = wire.collections.CreateCollection(collection_pb2.CreateCollectionRequest(name="other", dimensions=2))
        assert not plain.warnings


class TestWal:
    def dump(self, wire: Wire, **more: object) -> list[wal_pb2.WalRecord]:
        request = wal_pb2.DumpWalRequest(**more)  # type: ignore[arg-type]
        return [record for answer in wire.wal.DumpWal(request) for record in answer.records]

    def test_records_are_described(self, wire: Wire) -> None:
        created, written = self.dump(wire)
        assert (created.kind, created.detail) == (wal_pb2.WalRecord.KIND_CREATE_COLLECTION, "books")
        assert (written.sequence, written.kind, written.count) == (2, wal_pb2.WalRecord.KIND_UPSERT, 2)
        assert (list(written.first_ids), written.collection) == (["a", "b"], "books")
        assert (written.actor, written.request_id) == ("unix", "first")
        assert written.offset > created.offset
        assert written.segment_path.startswith("/data/wal/")

    def test_a_range_is_inclusive_and_before_is_not(self, wire: Wire) -> None:
        assert [r.sequence for r in self.dump(wire, start=Point(sequence=2))] == [2]
        assert [r.sequence for r in self.dump(wire, to=Point(sequence=1))] == [1]
        assert [r.sequence for r in self.dump(wire, before=Point(sequence=2))] == [1]
        second = self.dump(wire)[1].time
        assert [r.sequence for r in self.dump(wire, start=Point(time=second))] == [2]
        assert [r.sequence for r in self.dump(wire, before=Point(time=second))] == [1]
        assert [r.sequence for r in self.dump(wire, limit=1)] == [1]
        assert [r.sequence for r in self.dump(wire, kinds=[wal_pb2.WalRecord.KIND_UPSERT])] == [2]
        assert [r.sequence for r in self.dump(wire, collection="books")] == [1, 2]

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"limit": -1}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"start": Point()}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"start": Point(mark="m")}, grpc.StatusCode.NOT_FOUND),
            ({"start": Point(time=Timestamp(seconds=-5))}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"collection": "films"}, grpc.StatusCode.NOT_FOUND),
            ({"collection": "no/name"}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"kinds": [99]}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"ids": ["a", ""]}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"actors": [""]}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"request_ids": [""]}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"ids": [str(number) for number in range(1001)]}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"stats": True, "limit": 1}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"start": Point(sequence=2), "to": Point(sequence=1)}, grpc.StatusCode.INVALID_ARGUMENT),
            ({"start": Point(sequence=3), "before": Point(sequence=2)}, grpc.StatusCode.INVALID_ARGUMENT),
            (
                {"start": Point(time=Timestamp(seconds=9)), "to": Point(time=Timestamp(seconds=8))},
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        ],
    )
    def test_ranges_that_make_no_sense(self, wire: Wire, change: dict[str, object], code: grpc.StatusCode) -> None:
        assert failing(lambda: self.dump(wire, **change)).code is code

    def test_a_range_that_ends_where_it_starts(self, wire: Wire) -> None:
        assert [r.sequence for r in self.dump(wire, start=Point(sequence=2), to=Point(sequence=2))] == [2]
        assert self.dump(wire, start=Point(sequence=2), before=Point(sequence=2)) == []

    def trim(self, wire: Wire) -> None:
        """Let everything so far, and two upserts more, be history, and the log begin with those two."""
        log = wire.kit.log
        assert log is not None
        wire.kit.engine._committer.between_groups(log.rotate)
        for id in ("c", "d"):
            wire.vectors.Upsert(batch([id]))
        wire.kit.clock.advance_us(48 * 3600 * 1_000_000)
        for _ in range(2):
            wire.kit.engine.checkpoint()

    def test_a_bound_in_history_that_was_trimmed_is_out_of_range(self, wire: Wire) -> None:
        begun = self.dump(wire)[0].time
        self.trim(wire)
        first = self.dump(wire)[0].sequence
        assert first > 2
        for end in ({"start": Point(sequence=2)}, {"to": Point(sequence=2)}, {"before": Point(sequence=first)}):
            failure = failing(lambda end=end: self.dump(wire, **end))  # type: ignore[misc]
            assert (failure.code, failure.info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "LOG_TRIMMED")
        assert failing(lambda: self.dump(wire, to=Point(time=begun))).code is grpc.StatusCode.OUT_OF_RANGE
        failure = failing(lambda: self.dump(wire, start=Point(time=begun)))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "LOG_TRIMMED")
        assert [r.sequence for r in self.dump(wire, to=Point(sequence=first))] == [first]

    def test_a_tail_from_a_time_goes_on_from_there_wherever_the_log_begins(self, wire: Wire) -> None:
        begun = self.dump(wire)[0].time
        self.trim(wire)
        oldest, newest = self.dump(wire)
        tail = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(time=newest.time)))
        assert [record.sequence for record in next(iter(tail)).records] == [newest.sequence]
        wire.vectors.Upsert(batch(["e"]))
        assert [record.sequence for record in next(iter(tail)).records] == [newest.sequence + 1]
        tail.cancel()
        assert oldest.sequence < newest.sequence
        failure = failing(lambda: next(iter(wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(time=begun))))))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "LOG_TRIMMED")

    def test_a_tail_shows_what_comes(self, wire: Wire) -> None:
        tail = wire.wal.TailWal(wal_pb2.TailWalRequest())
        first = next(iter(tail))
        assert (list(first.records), first.durable_sequence) == ([], 2)
        wire.vectors.Upsert(batch(["c"]))
        second = next(iter(tail))
        assert [record.sequence for record in second.records] == [3]
        tail.cancel()
        from_start = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(sequence=2)))
        assert [record.sequence for record in next(iter(from_start)).records] == [2, 3]
        from_start.cancel()

    def test_a_tail_from_a_sequence_that_nobody_can_have_seen_says_so_before_it_waits(self, wire: Wire) -> None:
        durable = next(iter(wire.wal.TailWal(wal_pb2.TailWalRequest()))).durable_sequence
        ahead = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(sequence=durable + 2)))
        (warning,) = next(iter(ahead)).warnings
        assert f"the log ends with sequence {durable}: nothing is shown before sequence {durable + 2}" in warning
        wire.vectors.Upsert(batch(["e"]))
        wire.vectors.Upsert(batch(["f"]))
        assert [record.sequence for record in next(iter(ahead)).records] == [durable + 2]
        ahead.cancel()
        going_on = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(sequence=durable + 3)))
        assert not next(iter(going_on)).warnings, "the sequence behind the last one that was seen"
        going_on.cancel()

    def test_settings_that_are_left_out_stay(self, wire: Wire) -> None:
        request = wal_pb2.EnableWalRequest(
            sync_mode=common_pb2.SYNC_MODE_PERIODIC, flush_interval=Duration(nanos=500_000_000)
        )
        status = wire.wal.EnableWal(request).status
        assert (status.sync_mode, status.flush_interval.nanos) == (common_pb2.SYNC_MODE_PERIODIC, 500_000_000)
        again = wire.wal.EnableWal(wal_pb2.EnableWalRequest(retention=Duration(seconds=60))).status
        assert (again.sync_mode, again.retention.seconds) == (common_pb2.SYNC_MODE_PERIODIC, 60)

    def test_the_cap_of_the_log_is_a_setting_like_the_others(self, wire: Wire) -> None:
        assert wire.wal.EnableWal(wal_pb2.EnableWalRequest(max_size_bytes=20 << 30)).status.max_size_bytes == 20 << 30
        assert wire.wal.GetWalStatus(wal_pb2.GetWalStatusRequest()).status.max_size_bytes == 20 << 30
        failure = failing(lambda: wire.wal.EnableWal(wal_pb2.EnableWalRequest(max_size_bytes=1)))
        assert (failure.code, failure.info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "max_size_bytes")

    def test_disabling_and_enabling_tell_what_is_lost(self, wire: Wire) -> None:
        trial = wire.wal.DisableWal(wal_pb2.DisableWalRequest(validate_only=True))
        assert trial.status.enabled
        assert trial.warnings
        disabled = wire.wal.DisableWal(wal_pb2.DisableWalRequest())
        assert (disabled.status.enabled, disabled.status.state) == (False, wal_pb2.WalStatus.STATE_DISABLED)
        assert not wire.vectors.Upsert(batch(["c"])).durable
        failure = failing(lambda: wire.vectors.Upsert(batch(["c"], durability=common_pb2.DURABILITY_SYNC)))
        assert failure.info.reason == "WAL_DISABLED"
        assert wire.wal.EnableWal(wal_pb2.EnableWalRequest()).warnings
        assert wire.vectors.Upsert(batch(["d"])).durable

    def test_the_window_begins_behind_a_gap(self, wire: Wire) -> None:
        status = wire.wal.GetWalStatus(wal_pb2.GetWalStatusRequest()).status
        assert (status.pitr_window.available, status.pitr_window.earliest_sequence) == (True, 1)
        assert status.pitr_window.reason == "the store was created then"
        assert not wire.wal.DisableWal(wal_pb2.DisableWalRequest()).status.pitr_window.available
        wire.vectors.Upsert(batch(["c"]))
        wire.wal.EnableWal(wal_pb2.EnableWalRequest())
        wire.vectors.Upsert(batch(["d"]))
        status = wire.wal.GetWalStatus(wal_pb2.GetWalStatusRequest()).status
        assert (status.first_sequence, status.pitr_window.available) == (1, False)
        assert status.pitr_window.reason.startswith("the log was disabled before sequence 4, and no whole snapshot is")
        made = wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest())).snapshot.snapshot
        wire.vectors.Upsert(batch(["e"]))
        window = wire.wal.GetWalStatus(wal_pb2.GetWalStatusRequest()).status.pitr_window
        assert (window.available, window.earliest_sequence, window.latest_sequence) == (True, 4, 5)
        assert window.reason.startswith(f"{made.id} is the oldest whole snapshot that the log leads on from")
        assert window.earliest_time == made.create_time
        wire.wal.DisableWal(wal_pb2.DisableWalRequest())
        assert not wire.wal.EnableWal(wal_pb2.EnableWalRequest()).warnings, "nothing was done meanwhile"

    def test_verifying_is_an_operation(self, wire: Wire) -> None:
        found = wire.ended(wire.wal.VerifyWal(wal_pb2.VerifyWalRequest()))
        assert (found.kind, found.verify.valid, found.verify.operation_count) == (Operation.KIND_VERIFY_WAL, True, 2)

    def test_a_directory_without_a_log_is_refused(self, wire: Wire) -> None:
        found = wire.ended(wire.wal.VerifyWal(wal_pb2.VerifyWalRequest(path="/data/collections")))
        assert found.state == Operation.STATE_FAILED
        assert "holds no log" in found.error.message
        failure = failing(lambda: self.dump(wire, path="/data/collections"))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOG_NOT_FOUND")

    def test_verifying_lists_every_problem(self, wire: Wire) -> None:
        wire.vectors.Upsert(batch(["c"]))
        for record in self.dump(wire)[1:]:
            wire.kit.fs.damage(record.segment_path, record.offset + 70, b"\xee")
        found = wire.ended(wire.wal.VerifyWal(wal_pb2.VerifyWalRequest(path="/data/wal")))
        assert (found.state, found.verify.valid) == (Operation.STATE_SUCCEEDED, False)
        assert len({problem.offset for problem in found.verify.problems}) == 2
        assert all(problem.hint and problem.path.startswith("/data/wal/") for problem in found.verify.problems)

    def test_a_mark_is_durable(self, wire: Wire) -> None:
        made = wire.wal.CreateMark(wal_pb2.CreateMarkRequest(name="before-import"))
        assert (made.mark.sequence, made.durable) == (3, True)

    def test_marks_are_listed_and_stand_for_their_sequence(self, wire: Wire) -> None:
        for name in ("early", "late"):
            wire.wal.CreateMark(wal_pb2.CreateMarkRequest(name=name))
            wire.vectors.Upsert(batch([name]))
        marks = wire.wal.GetWalStatus(wal_pb2.GetWalStatusRequest()).marks
        assert [(mark.name, mark.sequence) for mark in marks] == [("late", 5), ("early", 3)]
        assert [r.sequence for r in self.dump(wire, start=Point(mark="early"), to=Point(mark="late"))] == [3, 4, 5]
        assert [r.sequence for r in self.dump(wire, start=Point(mark="early"), before=Point(mark="late"))] == [3, 4]
        tail = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(mark="late")))
        assert [record.sequence for record in next(iter(tail)).records] == [5, 6]
        tail.cancel()
        failure = failing(lambda: self.dump(wire, to=Point(mark="lost")))
        assert (failure.code, failure.info.reason) == (grpc.StatusCode.NOT_FOUND, "MARK_NOT_FOUND")
        assert "lost" in failure.text
        taken = failing(lambda: wire.wal.CreateMark(wal_pb2.CreateMarkRequest(name="late")))
        assert taken.code is grpc.StatusCode.ALREADY_EXISTS

    def test_replay_ends_at_a_mark(self, wire: Wire) -> None:
        wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest()))
        wire.vectors.Upsert(batch(["c"]))
        wire.wal.CreateMark(wal_pb2.CreateMarkRequest(name="here"))
        wire.vectors.Upsert(batch(["d"]))
        restore = snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", collection="copy", from_collection="books")
        wire.ended(wire.snapshots.RestoreSnapshot(restore))
        done = wire.ended(wire.wal.ReplayWal(wal_pb2.ReplayWalRequest(to=Point(mark="here"))))
        assert done.replay.operations_replayed == 1, done
        assert wire.vectors.Count(vector_pb2.CountRequest(collection="copy")).count == 3

    def test_replay_rolls_a_restored_collection_forward(self, wire: Wire) -> None:
        wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest()))
        wire.vectors.Upsert(batch(["c"]))
        restore = snapshot_pb2.RestoreSnapshotRequest(snapshot="latest", collection="copy", from_collection="books")
        wire.ended(wire.snapshots.RestoreSnapshot(restore))
        plan = wire.wal.ReplayWal(wal_pb2.ReplayWalRequest(validate_only=True))
        assert (plan.id, plan.replay.operations_replayed) == ("", 1)
        assert wire.vectors.Count(vector_pb2.CountRequest(collection="copy")).count == 2
        done = wire.ended(wire.wal.ReplayWal(wal_pb2.ReplayWalRequest(collection="copy", verify=True)))
        assert list(done.replay.collections_affected) == ["copy"], done
        assert wire.vectors.Count(vector_pb2.CountRequest(collection="copy")).count == 3

    def test_replay_into_another_makes_it(self, wire: Wire) -> None:
        wire.vectors.Upsert(batch(["c"]))
        into = wal_pb2.ReplayWalRequest(collection="books", into="then", to=Point(sequence=2))
        done = wire.ended(wire.wal.ReplayWal(into)).replay
        assert (list(done.collections_affected), done.through_sequence, done.snapshot_id) == (["then"], 2, "")
        assert wire.vectors.Count(vector_pb2.CountRequest(collection="then")).count == 2


def test_a_repeated_request_is_done_once(wire: Wire) -> None:
    again = wire.vectors.Upsert(batch(["a", "b"], request_id="first"))
    assert again.sequence == 2
    found = wire.vectors.Get(vector_pb2.GetRequest(collection="books", ids=["a"])).points
    assert list(found.versions) == [1]


def test_a_stream_of_batches_commits_in_order(wire: Wire) -> None:
    requests = (vector_pb2.UpsertStreamRequest(ticket=n, upsert=batch([f"s{n}"])) for n in range(40))
    answers = list(wire.vectors.UpsertStream(requests))
    assert [answer.result.sequence for answer in answers] == list(range(3, 43))
    assert all(answer.result.durable for answer in answers)
