"""Verifications over a real socket: asked for by level and subset, told in full, kept as receipts, and missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from holdfast.v1 import common_pb2, operation_pb2, snapshot_pb2, storage_pb2
from tests.rpc.calls import failing
from tests.rpc.wires import Wire, serving
from tests.support.snapshots import SnapshotKit

DAY_US = 24 * 3600 * 1_000_000


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with serving(SnapshotKit(segment_size=1 << 20), str(tmp_path / "s")) as wire:
        yield wire


def create(wire: Wire) -> common_pb2.Snapshot:
    """A snapshot, a second after the one before."""
    wire.kit.clock.advance_us(1_000_000)
    return wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest())).snapshot.snapshot


def verify(wire: Wire, snapshot: str = "latest", **options: object) -> operation_pb2.VerifyResult:
    request = snapshot_pb2.VerifySnapshotRequest(snapshot=snapshot, **options)  # type: ignore[arg-type]
    return wire.ended(wire.snapshots.VerifySnapshot(request)).verify


def listed(wire: Wire) -> common_pb2.Snapshot:
    return wire.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()).snapshots[0]


def test_each_level_is_told_and_kept_as_a_receipt(wire: Wire) -> None:
    made = create(wire)
    assert not listed(wire).HasField("verified")
    assert verify(wire).level == 2, "the default"
    for level in range(5):
        result = verify(wire, level=level)
        assert (result.valid, result.level, result.reached_level, result.problem_count) == (True, level, level, 0)
        assert [(check.collection, check.equal) for check in result.digests] == (
            [(member.name, True) for member in made.collections] if level == 4 else []
        )
        assert (result.bytes_read > 0, result.receipt_kept) == (True, True)
    found = listed(wire)
    assert (found.verified.level, found.verified.time.seconds > 0) == (4, True)
    (receipt,) = found.receipts
    assert (receipt.level, receipt.valid, receipt.source, receipt.sha256) == (4, True, "verify", made.sha256)
    assert (receipt.daemon_version, receipt.host) == (found.daemon_version, "testhost")
    shown = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=made.id)).snapshot
    assert shown.receipts == found.receipts


def test_a_subset_says_what_it_was_and_can_be_chosen_again(wire: Wire) -> None:
    create(wire)
    assert (verify(wire, subset="1/7").subset, verify(wire, subset="7/7").subset_seed) == ("1/7", 0)
    first = verify(wire, subset="10%")
    again = verify(wire, subset="10%", subset_seed=first.subset_seed)
    assert first.subset_seed == again.subset_seed > 0
    assert first.bytes_read == again.bytes_read


WRONG: list[tuple[dict[str, object], str]] = [
    ({"level": 5}, "level"),
    ({"level": -1}, "level"),
    ({"subset": "8/7"}, "subset"),
    ({"subset": "10%", "level": 4}, "subset"),
    ({"level": 4, "skip_chain": True}, "skip_chain"),
]


@pytest.mark.parametrize(("options", "field"), WRONG)
def test_what_there_is_none_of_is_refused(wire: Wire, options: dict[str, object], field: str) -> None:
    create(wire)
    failure = failing(lambda: verify(wire, **options))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.info.metadata["field"] == field


def test_every_damage_is_told_with_its_level_and_what_to_do(wire: Wire) -> None:
    made = create(wire)
    other = create(wire)
    data = wire.kit.fs.read(made.path)
    wire.kit.fs.damage(made.path, data.index(b"README.txt") + 600, b"\xff")
    wire.kit.put(made.path, wire.kit.fs.read(made.path) + b"x")
    result = verify(wire, made.id)
    assert (result.valid, result.reached_level, result.problem_count) == (False, 0, 2)
    assert sorted(problem.level for problem in result.problems) == [1, 2]
    assert all(other.id in problem.hint for problem in result.problems)
    damaged = wire.snapshots.GetSnapshot(snapshot_pb2.GetSnapshotRequest(snapshot=made.id)).snapshot
    assert damaged.state == common_pb2.Snapshot.STATE_DAMAGED
    assert (damaged.receipts[-1].valid, damaged.receipts[-1].problem) == (False, damaged.damage)


def test_a_restore_of_what_was_found_damaged_verifies_it_first_and_says_so(wire: Wire) -> None:
    made = create(wire)
    data = wire.kit.fs.read(made.path)
    wire.kit.fs.damage(made.path, made.size_bytes // 2, b"\xff" * 4)
    assert not verify(wire, made.id).valid
    request = snapshot_pb2.RestoreSnapshotRequest(snapshot=made.id, from_collection="books", collection="copy")
    ended = wire.ended(wire.snapshots.RestoreSnapshot(request))
    assert ended.error.code == grpc.StatusCode.DATA_LOSS.value[0]
    assert b"a good copy of the file may be put in its place" in ended.error.SerializeToString()
    wire.kit.put(made.path, data)
    restored = wire.ended(wire.snapshots.RestoreSnapshot(request)).restore
    assert restored.verified
    assert f"{made.id} was found damaged before" in restored.warnings[0]
    assert listed(wire).state == common_pb2.Snapshot.STATE_READY


def status(wire: Wire) -> storage_pb2.StorageStatus:
    return wire.storage.GetStatus(storage_pb2.GetStatusRequest()).status


def test_status_turns_amber_and_red_and_green_again(wire: Wire) -> None:
    made = create(wire)
    Health = storage_pb2.StorageStatus
    assert (status(wire).health, list(status(wire).alarms)) == (Health.HEALTH_GREEN, [])
    wire.kit.engine._objectives._verify_within_us = 7 * DAY_US
    wire.kit.clock.advance_us(8 * DAY_US)
    amber = status(wire)
    assert (amber.health, [alarm.code for alarm in amber.alarms]) == (Health.HEALTH_AMBER, ["SNAPSHOT_UNVERIFIED"])
    assert "holdfast storage snapshot verify latest" in amber.alarms[0].hint
    verify(wire)
    assert status(wire).health == Health.HEALTH_GREEN
    wire.kit.fs.damage(made.path, made.size_bytes // 2, b"\xff" * 4)
    verify(wire)
    red = status(wire)
    assert (red.health, red.alarms[0].code) == (Health.HEALTH_RED, "SNAPSHOT_DAMAGED")
    assert wire.storage.ListAlarms(storage_pb2.ListAlarmsRequest()).alarms[0] == red.alarms[0]
