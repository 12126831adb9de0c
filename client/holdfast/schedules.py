"""Schedules of snapshots as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.documents import Document, duration, timestamp
from holdfast.enums import to_word

if TYPE_CHECKING:
    from holdfast.v1 import snapshot_pb2

_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def schedule_document(message: snapshot_pb2.Schedule) -> Document:
    """A schedule with its next and its last run. ``outcome``: of the last run that ended, None before there was one."""
    from holdfast.v1 import snapshot_pb2

    outcome = to_word(snapshot_pb2.Schedule.Outcome, message.outcome, "OUTCOME_") if message.outcome else None
    return Document(
        name=message.name,
        cron=message.cron,
        time_zone=message.time_zone,
        next_at=timestamp(message.next_time, whole_seconds=True),
        last_at=timestamp(message.start_time, whole_seconds=True),
        outcome=outcome,
        snapshot_id=message.snapshot_id or None,
        message=message.message or None,
        hint=message.hint or None,
        due_at=timestamp(message.due_time, whole_seconds=True),
        ended_at=timestamp(message.end_time, whole_seconds=True),
        operation_id=message.operation_id or None,
        collection=message.collection or None,
        path=message.path or None,
        incremental=message.incremental,
        compress=message.compress,
        keep=_rules_of(message.policy),
        pruned=message.pruned_count,
        freed_bytes=message.freed_bytes,
        verify_level=message.verify_level or None,
    )


def _rules_of(policy: snapshot_pb2.RetentionPolicy) -> Document:
    """The rules that there are, by name."""
    rules = Document((rule, count) for rule in _RULES if (count := getattr(policy, f"keep_{rule}")))
    if policy.HasField("keep_within"):
        rules["within"] = duration(policy.keep_within)
    return rules
