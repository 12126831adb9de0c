"""Schedules and what became of them, as messages."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.v1 import snapshot_pb2

from ..engine.schedule import CANCELLED, FAILED, SUCCEEDED
from ..engine.schedules import ScheduleStatus
from .convert import timestamp
from .convert_pruning import policy_message

_OUTCOMES: Mapping[str, snapshot_pb2.Schedule.Outcome.ValueType] = {
    "": snapshot_pb2.Schedule.OUTCOME_UNSPECIFIED,
    SUCCEEDED: snapshot_pb2.Schedule.OUTCOME_SUCCEEDED,
    FAILED: snapshot_pb2.Schedule.OUTCOME_FAILED,
    CANCELLED: snapshot_pb2.Schedule.OUTCOME_CANCELLED,
}


def schedule_message(status: ScheduleStatus) -> snapshot_pb2.Schedule:
    """A schedule with its next and its last run."""
    schedule, state = status.schedule, status.state
    request = schedule.request
    return snapshot_pb2.Schedule(
        name=schedule.name,
        cron=schedule.cron.line,
        time_zone=schedule.cron.time_zone,
        collection=request.collection or "",
        path=request.path or "",
        incremental=request.incremental,
        compress=request.compress,
        policy=None if schedule.policy is None else policy_message(schedule.policy),
        next_time=timestamp(status.next_us),
        due_time=timestamp(state.due_us),
        start_time=timestamp(state.begun_us),
        end_time=timestamp(state.ended_us),
        outcome=_OUTCOMES[state.outcome],
        operation_id=state.operation_id,
        snapshot_id=state.snapshot_id,
        message=state.message,
        hint=state.hint,
        pruned_count=state.pruned,
        freed_bytes=state.freed_bytes,
        verify_level=schedule.verify_level,
    )
