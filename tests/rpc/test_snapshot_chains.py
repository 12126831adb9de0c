"""Incremental snapshots over a real socket: made, shown with their chains, verified and restored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.v1 import common_pb2, operation_pb2, snapshot_pb2, storage_pb2, vector_pb2
from holdfastd.storage.registry import LeavingSnapshot
from tests.rpc.calls import batch, failing
from tests.rpc.wires import Operation, Wire, serving
from tests.support.snapshots import SnapshotKit


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with serving(SnapshotKit(segment_size=1 << 20), str(tmp_path / "s")) as wire:
        yield wire


def create(wire: Wire, **more: object) -> Operation:
    """A snapshot, once it is there."""
    request = snapshot_pb2.CreateSnapshotRequest(**more)  # type: ignore[arg-type]
    return wire.ended(wire.snapshots.CreateSnapshot(request))


def increment(wire: Wire, name: str, **more: object) -> common_pb2.Snapshot:
    """One more snapshot, a second later, behind one more point."""
    wire.vectors.Upsert(batch([name]))
    wire.kit.clock.advance_us(1_000_000)
    return create(wire, incremental=True, **more).snapshot.snapshot


def test_an_increment_says_what_it_builds_on_and_what_is_gone(wire: Wire) -> None:
    full = create(wire, path="/daily").snapshot.snapshot
    wire.vectors.Delete(vector_pb2.DeleteRequest(collection="books", ids=["a"]))
    wire.kit.clock.advance_us(1_000_000)
    asked = snapshot_pb2.CreateSnapshotRequest(incremental=True, validate_only=True)
    plan = wire.snapshots.CreateSnapshot(asked).snapshot
    assert (plan.snapshot.id, plan.snapshot.base_id, plan.deleted_count) == ("", full.id, 1)
    result = create(wire, incremental=True).snapshot
    made = result.snapshot
    assert (made.type, made.base_id, made.base_sequence) == (
        common_pb2.Snapshot.TYPE_INCREMENTAL,
        full.id,
        full.sequence,
    )
    assert (made.vector_count, result.deleted_count) == (0, 1)
    by_path = increment(wire, "c", base_id=full.path)
    assert by_path.base_id == full.id
    relative = increment(wire, "d", base_id=f"./{full.id}.snap", working_directory="/daily")
    assert relative.base_id == full.id


def test_the_result_of_a_snapshot_has_the_time_that_its_listing_has(wire: Wire) -> None:
    made = create(wire).snapshot.snapshot
    [listed] = wire.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()).snapshots
    assert made.HasField("create_time")
    assert made.create_time == listed.create_time
    plan = wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest(validate_only=True)).snapshot
    assert not plan.snapshot.HasField("create_time")


def test_a_snapshot_is_shown_with_its_chain(wire: Wire) -> None:
    full = create(wire, path="/daily").snapshot.snapshot
    middle = increment(wire, "c", path="/hourly")
    top = increment(wire, "d", path="/hourly")
    wire.ended(wire.snapshots.VerifySnapshot(snapshot_pb2.VerifySnapshotRequest(snapshot=middle.id)))
    shown = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=top.id))
    links = [(link.id, link.type, link.path, link.base_sequence, link.sequence) for link in shown.chain]
    assert links == [
        (full.id, common_pb2.Snapshot.TYPE_FULL, full.path, 0, full.sequence),
        (middle.id, common_pb2.Snapshot.TYPE_INCREMENTAL, middle.path, full.sequence, middle.sequence),
    ]
    assert [link.HasField("verify_time") for link in (*shown.chain, shown.snapshot)] == [True, True, False]
    assert (shown.first_sequence, shown.last_sequence) == (full.sequence, top.sequence)
    assert shown.first_time == shown.chain[0].create_time
    assert shown.last_time == shown.snapshot.create_time
    assert shown.snapshot.collections[0].digest != shown.chain[0].collections[0].digest
    assert (shown.exclusive_bytes, shown.freeable_bytes) == (top.size_bytes, top.size_bytes)
    below = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=middle.id))
    assert list(below.snapshot.dependent_ids) == [top.id]
    assert (below.exclusive_bytes, below.freeable_bytes) == (middle.size_bytes, 0)


def test_a_chain_that_is_broken_is_shown_as_far_as_it_goes(wire: Wire) -> None:
    full = create(wire, path="/daily").snapshot.snapshot
    top = increment(wire, "c", path="/hourly")
    good = wire.kit.fs.read(top.path, top.size_bytes // 2, 8)
    wire.kit.fs.damage(top.path, top.size_bytes // 2, b"\xff" * 8)
    wire.ended(wire.snapshots.VerifySnapshot(snapshot_pb2.VerifySnapshotRequest(snapshot=top.id)))
    wire.kit.fs.unlink(full.path)
    registry = wire.kit.engine.snapshots._catalog._registry
    assert registry is not None
    registry.end_leaving(LeavingSnapshot(full.id, full.path))
    damaged = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=top.id))
    assert (damaged.snapshot.state, damaged.snapshot.damage != "") == (common_pb2.Snapshot.STATE_DAMAGED, True)
    wire.kit.fs.damage(top.path, top.size_bytes // 2, good)
    wire.ended(wire.snapshots.VerifySnapshot(snapshot_pb2.VerifySnapshotRequest(snapshot=top.id, skip_chain=True)))
    shown = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=top.id))
    (link,) = shown.chain
    assert shown.snapshot.state == common_pb2.Snapshot.STATE_BASE_MISSING
    assert (link.id, link.state, link.type, link.sequence, link.path) == (
        full.id,
        common_pb2.Snapshot.STATE_MISSING,
        common_pb2.Snapshot.TYPE_UNSPECIFIED,
        full.sequence,
        full.path,
    )
    assert (shown.first_sequence, shown.HasField("first_time")) == (0, False)


def test_a_verification_of_a_chain_may_leave_it_out_or_look_elsewhere(wire: Wire) -> None:
    full = create(wire, path="/daily").snapshot.snapshot
    top = increment(wire, "c", path="/hourly")
    wire.kit.put(f"/mnt/{full.id}.snap", wire.kit.fs.read(full.path))
    wire.kit.fs.unlink(full.path)

    def verify(**options: object) -> operation_pb2.VerifyResult:
        request = snapshot_pb2.VerifySnapshotRequest(snapshot=top.id, **options)  # type: ignore[arg-type]
        return wire.ended(wire.snapshots.VerifySnapshot(request)).verify

    broken = verify()
    assert (broken.valid, full.id in broken.problems[0].message) == (False, True)
    alone = verify(skip_chain=True)
    assert (alone.valid, list(alone.chain)) == (True, [top.id])
    elsewhere = verify(base_path="mnt", working_directory="/")
    assert (elsewhere.valid, list(elsewhere.chain)) == (True, [full.id, top.id])
    restore = snapshot_pb2.RestoreSnapshotRequest(snapshot=top.id, collection="copy")
    assert failing(lambda: wire.snapshots.RestoreSnapshot(restore)).info.reason == "SNAPSHOT_LINK_MISSING"
    restore.base_path = "/mnt"
    assert list(wire.ended(wire.snapshots.RestoreSnapshot(restore)).restore.chain) == [full.id, top.id]


def test_a_base_is_deleted_once_what_builds_on_it_stands_alone(wire: Wire) -> None:
    full = create(wire, path="/daily").snapshot.snapshot
    middle = increment(wire, "c", path="/hourly", compress=True)
    top = increment(wire, "d", path="/hourly")
    refused = failing(lambda: wire.snapshots.DeleteSnapshot(snapshot_pb2.DeleteSnapshotRequest(snapshot=full.id)))
    assert (refused.info.reason, "--consolidate" in refused.info.metadata["hint"]) == ("SNAPSHOT_IS_BASE", True)
    plan = wire.snapshots.ConsolidateSnapshot(
        snapshot_pb2.ConsolidateSnapshotRequest(snapshot=full.id, validate_only=True)
    )
    assert (plan.id, plan.consolidate.rewritten[0].snapshot_id) == ("", middle.id)
    request = snapshot_pb2.ConsolidateSnapshotRequest(
        snapshot=f"./{full.id}.snap", working_directory="/daily", request_id="once"
    )
    ended = wire.ended(wire.snapshots.ConsolidateSnapshot(request))
    assert ended.kind == operation_pb2.Operation.KIND_CONSOLIDATE_SNAPSHOT
    result = ended.consolidate
    assert (result.snapshot_id, result.path, list(result.warnings)) == (full.id, full.path, [])
    (rewritten,) = result.rewritten
    assert (rewritten.snapshot_id, rewritten.path, list(rewritten.chain)) == (
        middle.id,
        middle.path,
        [full.id, middle.id],
    )
    assert rewritten.before_size_bytes == middle.size_bytes
    assert rewritten.size_bytes == result.written_bytes > 0
    assert result.freed_bytes == full.size_bytes + middle.size_bytes
    listed = wire.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()).snapshots
    assert [(each.id, each.type) for each in listed] == [
        (top.id, common_pb2.Snapshot.TYPE_INCREMENTAL),
        (middle.id, common_pb2.Snapshot.TYPE_FULL),
    ]
    assert listed[1].HasField("verify_time")
    again = wire.snapshots.ConsolidateSnapshot(request)
    assert again.id == ended.id, "the same request, sent again, is told of the same operation"


def test_what_another_store_made_is_not_the_last_snapshot(wire: Wire) -> None:
    other = SnapshotKit(seed=99)
    other.clock.advance_us(3_600_000_000)
    theirs = other.snapshot()
    wire.kit.put(f"/theirs/{theirs['snapshot_id']}.snap", other.fs.read(theirs["path"]))
    request = snapshot_pb2.ListSnapshotsRequest(path="/theirs")
    assert [each.id for each in wire.snapshots.ListSnapshots(request).snapshots] == [theirs["snapshot_id"]]
    assert not wire.storage.GetStatus(storage_pb2.GetStatusRequest()).status.HasField("last_snapshot")
