"""Which snapshots a prune is to keep, and what it says of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from holdfast.documents import Document, timestamp
from holdfast.enums import to_word
from holdfast.history import duration_message

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.v1 import snapshot_pb2


class Keep(NamedTuple):
    """Which snapshots to keep: one stays if any rule keeps it. Numbers count hours, days, … that have a snapshot."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: str | timedelta | None = None


def policy_message(keep: Keep) -> snapshot_pb2.RetentionPolicy:
    """The policy as it is sent."""
    from holdfast.v1 import snapshot_pb2

    return snapshot_pb2.RetentionPolicy(
        keep_last=keep.last,
        keep_hourly=keep.hourly,
        keep_daily=keep.daily,
        keep_weekly=keep.weekly,
        keep_monthly=keep.monthly,
        keep_yearly=keep.yearly,
        keep_within=duration_message(keep.within, "within"),
    )


def pruned_document(response: snapshot_pb2.PruneSnapshotsResponse, *, validate_only: bool) -> Document:
    """What became, or would become, of each snapshot, the newest first."""
    from holdfast.v1 import common_pb2

    return Document(
        snapshots=[
            Document(
                id=decision.snapshot.id,
                type=to_word(common_pb2.Snapshot.Type, decision.snapshot.type, "TYPE_"),
                collections=[member.name for member in decision.snapshot.collections],
                created_at=timestamp(decision.snapshot.create_time, whole_seconds=True),
                size_bytes=decision.snapshot.size_bytes,
                path=decision.snapshot.path,
                keep=decision.keep,
                reasons=list(decision.reasons),
            )
            for decision in response.decisions
        ],
        kept=response.kept_count,
        deleted=response.deleted_count,
        freed_bytes=response.freed_bytes,
        status="validated" if validate_only else "completed",
        warnings=list(response.warnings),
    )
