"""Pins and descriptions over a real socket."""

from __future__ import annotations

import grpc
import pytest

from holdfast.v1 import snapshot_pb2
from tests.rpc.calls import failing
from tests.rpc.wires import Wire

Update = snapshot_pb2.UpdateSnapshotRequest


def test_a_snapshot_is_pinned_described_listed_and_protected(wire: Wire) -> None:
    request = snapshot_pb2.CreateSnapshotRequest(pinned=True, description="first")
    made = wire.ended(wire.snapshots.CreateSnapshot(request)).snapshot.snapshot
    [listed] = wire.snapshots.ListSnapshots(snapshot_pb2.ListSnapshotsRequest()).snapshots
    assert (listed.pinned, listed.description) == (True, "first")
    delete = snapshot_pb2.DeleteSnapshotRequest(snapshot=made.id)
    refused = failing(lambda: wire.snapshots.DeleteSnapshot(delete))
    assert (refused.code, refused.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SNAPSHOT_PINNED")
    unpinned = wire.snapshots.UpdateSnapshot(Update(snapshot=made.id, pinned=False, request_id="u")).snapshot
    assert (unpinned.pinned, unpinned.description) == (False, "first")
    again = wire.snapshots.UpdateSnapshot(Update(snapshot=made.id, pinned=False, request_id="u")).snapshot
    assert again == unpinned
    removed = wire.snapshots.UpdateSnapshot(Update(snapshot=made.path, description="")).snapshot
    assert removed.description == ""
    wire.snapshots.DeleteSnapshot(delete)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Update(snapshot="latest", pinned=True), grpc.StatusCode.INVALID_ARGUMENT),
        (Update(snapshot="snap-2001-01-01-000000", pinned=True), grpc.StatusCode.NOT_FOUND),
        (Update(snapshot="./x.snap", pinned=True), grpc.StatusCode.INVALID_ARGUMENT),
        (Update(snapshot="snap-2023-11-14-221320"), grpc.StatusCode.INVALID_ARGUMENT),
        (Update(snapshot="snap-2023-11-14-221320", description="a\nb"), grpc.StatusCode.INVALID_ARGUMENT),
        (Update(), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_be_said_is_refused(wire: Wire, request_: Update, code: grpc.StatusCode) -> None:
    wire.ended(wire.snapshots.CreateSnapshot(snapshot_pb2.CreateSnapshotRequest()))
    assert failing(lambda: wire.snapshots.UpdateSnapshot(request_)).code is code
