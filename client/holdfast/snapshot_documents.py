"""Snapshots as the documents that `db.snapshots` answers with and ``snapshot list`` and ``show`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.documents import Document, Documents, timestamp
from holdfast.enums import to_word

if TYPE_CHECKING:
    from holdfast.v1 import common_pb2


def snapshot_document(message: common_pb2.Snapshot) -> Document:
    """A snapshot as ``snapshot list`` shows it, then what else is known of it."""
    from holdfast.v1 import common_pb2

    return Document(
        id=message.id,
        type=to_word(common_pb2.Snapshot.Type, message.type, "TYPE_"),
        collections=[member.name for member in message.collections],
        vectors=message.vector_count,
        size_bytes=message.size_bytes,
        compressed=message.compressed,
        created_at=timestamp(message.create_time, whole_seconds=True),
        path=message.path,
        state=to_word(common_pb2.Snapshot.State, message.state, "STATE_"),
        base_id=message.base_id or None,
        sequence=message.sequence,
        base_sequence=message.base_sequence,
        timeline=message.timeline,
        store_id=message.store_id,
        uncompressed_bytes=message.uncompressed_bytes,
        duration_ms=message.duration_ms,
        sha256=message.sha256,
        dependents=list(message.dependent_ids),
        verified=_verified(message),
        verified_at=timestamp(message.verified.time) if message.HasField("verified") else None,
        damage=message.damage or None,
        daemon_version=message.daemon_version,
        pinned=message.pinned,
        description=message.description or None,
    )


def _verified(message: common_pb2.Snapshot) -> str:
    """How far it was verified with all that it builds on: ``L0`` to ``L4``, ``never`` or ``damaged``."""
    if message.damage:
        return "damaged"
    return f"L{message.verified.level}" if message.HasField("verified") else "never"


def receipt_document(message: common_pb2.VerifyReceipt) -> Document:
    """What one reading of a snapshot's file came to."""
    return Document(
        level=message.level,
        subset=message.subset or None,
        time=timestamp(message.time, whole_seconds=True),
        valid=message.valid,
        problem=message.problem or None,
        source=message.source,
        host=message.host,
        daemon_version=message.daemon_version,
        sha256=message.sha256,
    )


def link_document(message: common_pb2.Snapshot) -> Document:
    """One of a chain: it holds what happened after ``base_sequence``, through ``sequence``."""
    shown = snapshot_document(message)
    return Document(
        id=shown.id,
        type=shown.type,
        state=shown.state,
        base_sequence=shown.base_sequence,
        sequence=shown.sequence,
        time=shown.created_at,
        verified=shown.verified,
        size_bytes=shown.size_bytes,
        path=shown.path,
    )


def member_documents(message: common_pb2.Snapshot) -> Documents:
    """The collections in a snapshot."""
    from holdfast.v1 import common_pb2

    return [
        Document(
            name=member.name,
            vectors=member.vector_count,
            deleted=member.deleted_count,
            total_vectors=member.total_vector_count,
            dimensions=member.dimensions,
            metric=to_word(common_pb2.Metric, member.metric, "METRIC_"),
            storage=to_word(common_pb2.StorageKind, member.storage, "STORAGE_KIND_"),
            digest=member.digest,
            whole=member.whole,
            id=member.collection_id,
        )
        for member in message.collections
    ]
