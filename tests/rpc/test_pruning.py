"""Pruning over a real socket: what is asked, what is answered, and what a client on TCP may touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from holdfast.v1 import snapshot_pb2
from holdfast.v1.snapshot_pb2_grpc import SnapshotServiceStub
from holdfastd.rpc.server import Limits, RpcServer
from holdfastd.storage.clock import SystemClock
from tests.rpc.calls import failing
from tests.rpc.wires import Wire, serving
from tests.support.snapshots import SnapshotKit

Request = snapshot_pb2.PruneSnapshotsRequest


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with serving(SnapshotKit(segment_size=1 << 20), str(tmp_path / "s")) as wire:
        yield wire


def create(wire: Wire, **more: Any) -> Any:
    wire.kit.clock.advance_us(1_000_000)
    return wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest(**more))).snapshot.snapshot


def test_each_decision_is_told_with_its_reasons(wire: Wire) -> None:
    old, new = create(wire), create(wire)
    request = Request(policy={"keep_last": 1, "keep_hourly": 1, "keep_within": {"nanos": 1000}}, validate_only=True)
    plan = wire.snapshots.PruneSnapshots(request)
    told = [(each.snapshot.id, each.keep, list(each.reasons)) for each in plan.decisions]
    assert told == [(new.id, True, ["last", "hourly", "within 1e-06s"]), (old.id, False, [])]
    assert (plan.kept_count, plan.deleted_count, plan.freed_bytes) == (1, 1, old.size_bytes)
    assert [old.id in warning for warning in plan.warnings] == [True]
    done = wire.snapshots.PruneSnapshots(Request(policy=request.policy, request_id="once"))
    assert done == plan
    assert wire.snapshots.PruneSnapshots(Request(policy=request.policy, request_id="once")) == done
    assert [each.id for each in wire.kit.engine.snapshots.list()] == [new.id]


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({}, "policy"),
        ({"keep_daily": -1}, "policy.keep_daily"),
        ({"keep_last": 1, "keep_yearly": -(2**31)}, "policy.keep_yearly"),
        ({"keep_within": {}}, "policy.keep_within"),
        ({"keep_within": {"seconds": -1}}, "policy.keep_within"),
        ({"keep_within": {"seconds": 1, "nanos": -5}}, "policy.keep_within"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wire: Wire, policy: dict[str, Any], field: str) -> None:
    failure = failing(lambda: wire.snapshots.PruneSnapshots(Request(policy=policy)))
    assert (failure.code, failure.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


def test_over_tcp_what_lies_outside_the_allowed_paths_is_left(wire: Wire) -> None:
    inside, allowed, outside = create(wire), create(wire, path="/allowed"), create(wire, path="/elsewhere")
    create(wire)
    server = RpcServer(wire.kit.engine, clock=SystemClock(), limits=Limits(), allowed_paths=("/allowed",))
    port = server.listen_tcp("127.0.0.1", 0)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            remote = SnapshotServiceStub(channel)
            request = Request(policy={"keep_last": 1}, path="/elsewhere")
            assert failing(lambda: remote.PruneSnapshots(request)).code is grpc.StatusCode.PERMISSION_DENIED
            done = remote.PruneSnapshots(Request(policy={"keep_last": 1}))
    finally:
        server.stop(0)
    reasons = {each.snapshot.id: list(each.reasons) for each in done.decisions}
    assert reasons[outside.id] == ["outside the allowed paths"]
    assert (reasons[inside.id], reasons[allowed.id]) == ([], [])
    assert not wire.kit.fs.exists(allowed.path)
    assert wire.kit.fs.exists(outside.path)
