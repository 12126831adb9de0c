"""Snapshots as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.v1 import common_pb2, snapshot_pb2

from ..engine.snapshot_info import MISSING, SnapshotInfo
from ..format.verify_receipt import Standing, VerifyReceipt
from ..model import Metric, StorageKind
from ..storage.registry import SnapshotMember
from .convert import METRIC_OF, STORAGE_KIND_OF, timestamp

_STATES: Mapping[str, common_pb2.Snapshot.State.ValueType] = {
    "creating": common_pb2.Snapshot.STATE_CREATING,
    "ready": common_pb2.Snapshot.STATE_READY,
    "missing": common_pb2.Snapshot.STATE_MISSING,
    "damaged": common_pb2.Snapshot.STATE_DAMAGED,
    "base_missing": common_pb2.Snapshot.STATE_BASE_MISSING,
}
_TYPES: Mapping[str, common_pb2.Snapshot.Type.ValueType] = {
    "full": common_pb2.Snapshot.TYPE_FULL,
    "incremental": common_pb2.Snapshot.TYPE_INCREMENTAL,
}


def snapshot_message(info: SnapshotInfo) -> common_pb2.Snapshot:
    """A snapshot with what the registry knows of its file."""
    record = info.record
    return common_pb2.Snapshot(
        id=record.id,
        state=_STATES[info.state],
        type=_TYPES.get(record.type, common_pb2.Snapshot.TYPE_UNSPECIFIED),
        collections=map(_member_message, record.members),
        vector_count=record.vectors,
        size_bytes=record.size_bytes,
        uncompressed_bytes=record.uncompressed_bytes,
        compressed=record.compressed,
        path=info.path,
        create_time=timestamp(record.created_us),
        sequence=record.sequence,
        timeline=record.timeline,
        store_id=record.store_id,
        base_id=record.base_id,
        base_sequence=record.base_sequence,
        duration_ms=record.duration_ms,
        sha256=record.sha256,
        dependent_ids=info.dependents,
        verify_time=timestamp(record.verified_us),
        daemon_version=record.daemon_version,
        damage=record.damage,
        verified=None if info.standing is None else _standing_message(info.standing),
        receipts=map(_receipt_message, record.receipts),
        description=record.description,
        pinned=record.pinned,
    )


def _standing_message(standing: Standing) -> common_pb2.VerifyStanding:
    return common_pb2.VerifyStanding(level=standing.level, time=timestamp(standing.time_us))


def _receipt_message(receipt: VerifyReceipt) -> common_pb2.VerifyReceipt:
    return common_pb2.VerifyReceipt(
        level=receipt.level,
        subset=receipt.subset,
        time=timestamp(receipt.time_us),
        valid=receipt.valid,
        problem=receipt.problem,
        sha256=receipt.sums_sha256,
        daemon_version=receipt.daemon_version,
        host=receipt.host,
        source=receipt.source,
    )


def described(info: SnapshotInfo, chain: Sequence[SnapshotInfo]) -> snapshot_pb2.GetSnapshotResponse:
    """A snapshot with the chain that it builds on, base first, which begins with a missing one where it is broken."""
    first = chain[0] if chain else info
    is_known = first.state != MISSING or not chain
    return snapshot_pb2.GetSnapshotResponse(
        snapshot=snapshot_message(info),
        chain=map(snapshot_message, chain),
        first_sequence=first.record.sequence if is_known else 0,
        last_sequence=info.record.sequence,
        first_time=timestamp(first.record.created_us if is_known else 0),
        last_time=timestamp(info.record.created_us),
        exclusive_bytes=info.exclusive_bytes,
        freeable_bytes=info.freeable_bytes,
    )


def _member_message(member: SnapshotMember) -> common_pb2.SnapshotCollection:
    return common_pb2.SnapshotCollection(
        name=member.name,
        collection_id=member.collection_id,
        dimensions=member.dimensions,
        metric=METRIC_OF[Metric(member.metric)],
        storage=STORAGE_KIND_OF[StorageKind(member.storage)],
        vector_count=member.vectors,
        deleted_count=member.deleted,
        digest=member.digest,
        whole=member.whole,
        total_vector_count=member.total_vectors,
    )
