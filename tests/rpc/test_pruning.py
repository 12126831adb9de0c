"""Pruning over a real socket: what is asked, what is answered, and what a client on TCP may touch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def over_tcp(wire: Wire) -> Iterator[SnapshotServiceStub]:
    """A client on TCP, which may name paths below /allowed."""
    server = RpcServer(wire.kit.engine, clock=SystemClock(), limits=Limits(), allowed_paths=("/allowed",))
    port = server.listen_tcp("127.0.0.1", 0)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield SnapshotServiceStub(channel)
    finally:
        server.stop(0)


def test_over_tcp_what_lies_outside_the_allowed_paths_is_left(wire: Wire) -> None:
    inside, allowed, outside = create(wire), create(wire, path="/allowed"), create(wire, path="/elsewhere")
    create(wire)
    with over_tcp(wire) as remote:
        request = Request(policy={"keep_last": 1}, path="/elsewhere")
        assert failing(lambda: remote.PruneSnapshots(request)).code is grpc.StatusCode.PERMISSION_DENIED
        done = remote.PruneSnapshots(Request(policy={"keep_last": 1}))
    reasons = {each.snapshot.id: list(each.reasons) for each in done.decisions}
    assert reasons[outside.id] == ["outside the allowed paths"]
    assert (reasons[inside.id], reasons[allowed.id]) == ([], [])
    assert not wire.kit.fs.exists(allowed.path)
    assert wire.kit.fs.exists(outside.path)


def test_over_tcp_no_id_leads_a_deletion_out_of_the_allowed_paths(wire: Wire) -> None:
    inside, outside = create(wire, path="/allowed"), create(wire, path="/elsewhere")
    base = create(wire, path="/allowed")
    increment = create(wire, path="/elsewhere", incremental=True)
    delete, consolidate = snapshot_pb2.DeleteSnapshotRequest, snapshot_pb2.ConsolidateSnapshotRequest
    with over_tcp(wire) as remote:
        for only_told in (True, False):
            failures = (
                failing(lambda told=only_told: remote.DeleteSnapshot(delete(snapshot=outside.id, validate_only=told))),
                failing(
                    lambda told=only_told: remote.ConsolidateSnapshot(consolidate(snapshot=base.id, validate_only=told))
                ),
            )
            for failure, path in zip(failures, (outside.path, increment.path), strict=True):
                assert (failure.code, failure.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PATH_NOT_ALLOWED")
                assert failure.info.metadata["path"] == path
        remote.DeleteSnapshot(delete(snapshot=inside.id, request_id="once"))
        assert remote.DeleteSnapshot(delete(snapshot=inside.id, request_id="once")).snapshot.id == inside.id
    assert wire.kit.fs.exists(outside.path)
    assert not wire.kit.fs.exists(inside.path)
    wire.snapshots.DeleteSnapshot(delete(snapshot=outside.id))
    assert not wire.kit.fs.exists(outside.path)
