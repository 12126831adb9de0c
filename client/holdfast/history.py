"""Points of the store's history as callers give them: a sequence, a time, a mark, or text that reads as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from holdfast.checks import whole_number
from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.duration_pb2 import Duration

    from holdfast.times import Target
    from holdfast.v1 import common_pb2

Moment: TypeAlias = "int | str | datetime | Target"
"""A sequence, a time (naive ones are local), or text: ``"2026-01-20T11:00:00Z"``, ``"-2h"``, ``"17"``, a mark."""


def target_of(moment: Moment, name: str) -> Target:
    """The target that a caller means; InvalidArgument, naming the argument, for what is none."""
    from datetime import datetime

    from holdfast.times import Target, parse_target

    if isinstance(moment, Target):
        return moment
    if isinstance(moment, bool) or not isinstance(moment, int | str | datetime):
        raise InvalidArgument(
            f"{name} is {type(moment).__name__}, not a sequence, a time or a mark", reason="BAD_TARGET"
        )
    if isinstance(moment, datetime):
        return Target(time=moment.astimezone())
    if isinstance(moment, int):
        return Target(sequence=whole_number(moment, name))
    try:
        return parse_target(moment, now=datetime.now())
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}", reason="BAD_TARGET") from None


def history_point(moment: Moment | None, name: str) -> common_pb2.HistoryPoint | None:
    """The point as a message; None stays None."""
    from holdfast.v1 import common_pb2

    if moment is None:
        return None
    target = target_of(moment, name)
    if target.time is not None:
        point = common_pb2.HistoryPoint()
        point.time.FromDatetime(target.time)
        return point
    if target.mark is not None:
        return common_pb2.HistoryPoint(mark=target.mark)
    return common_pb2.HistoryPoint(sequence=target.sequence or 0)


def duration_message(text: object, name: str) -> Duration | None:
    """A duration as a message, from ``"24h"``, a timedelta or seconds; None stays None."""
    from datetime import timedelta

    from google.protobuf.duration_pb2 import Duration

    from holdfast.units import parse_duration

    if text is None:
        return None
    message = Duration()
    try:
        if isinstance(text, timedelta):
            message.FromTimedelta(text)
        elif isinstance(text, int | float) and not isinstance(text, bool):
            message.FromTimedelta(timedelta(seconds=text))
        else:
            message.FromTimedelta(parse_duration(str(text)))
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}", reason="BAD_DURATION") from None
    return message
