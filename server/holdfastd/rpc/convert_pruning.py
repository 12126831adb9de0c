"""Retention policies and what comes of them, as messages."""

from __future__ import annotations

from holdfast.v1 import snapshot_pb2

from ..engine.keeping import RetentionPolicy
from ..engine.snapshots import Pruned
from ..errors import InvalidArgument
from .convert import duration, microseconds_of
from .convert_snapshots import snapshot_message

_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def policy_of(message: snapshot_pb2.RetentionPolicy) -> RetentionPolicy:
    """The policy as the engine takes it. Raises InvalidArgument for a negative rule, and for a duration of nothing."""
    counts = {rule: getattr(message, f"keep_{rule}") for rule in _COUNTS}
    for rule, count in counts.items():
        if count < 0:
            raise InvalidArgument(
                f"keep_{rule} is {count}", field=f"policy.keep_{rule}", hint="leave out what is no rule"
            )
    within_us = 0
    if message.HasField("keep_within"):
        within_us = microseconds_of(message.keep_within, "policy.keep_within")
        if not within_us:
            raise InvalidArgument(
                "keep_within is 0, which keeps nothing", field="policy.keep_within", hint="leave out what is no rule"
            )
    return RetentionPolicy(**counts, within_us=within_us)


def policy_message(policy: RetentionPolicy) -> snapshot_pb2.RetentionPolicy:
    """The policy as it is told."""
    message = snapshot_pb2.RetentionPolicy(**{f"keep_{rule}": getattr(policy, rule) for rule in _COUNTS})
    if policy.within_us:
        message.keep_within.CopyFrom(duration(policy.within_us))
    return message


def pruned_message(pruned: Pruned) -> snapshot_pb2.PruneSnapshotsResponse:
    """What became, or would become, of each snapshot."""
    return snapshot_pb2.PruneSnapshotsResponse(
        decisions=[
            snapshot_pb2.PruneSnapshotsResponse.Decision(
                snapshot=snapshot_message(each.info), keep=bool(each.reasons), reasons=each.reasons
            )
            for each in pruned.decisions
        ],
        kept_count=pruned.kept_count,
        deleted_count=len(pruned.order),
        freed_bytes=pruned.freed_bytes,
        warnings=pruned.warnings,
    )
