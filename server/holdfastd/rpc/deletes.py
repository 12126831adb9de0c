"""Deleting: exactly one of ids, filter and all, with its guards."""

from __future__ import annotations

import grpc

from holdfast.v1 import vector_pb2

from ..engine.points import Points
from ..engine.tickets import Caller, Outcome
from ..errors import FailedPrecondition, InvalidArgument
from .convert import wants_sync
from .requests import Callers


def delete(
    points: Points, callers: Callers, request: vector_pb2.DeleteRequest, context: grpc.ServicerContext
) -> vector_pb2.DeleteResponse:
    """Delete what the request names, or say how much that would be. Blocks until acknowledged."""
    _check(request)
    caller = callers.of(context, request.request_id, sync=wants_sync(request.durability))
    outcome = _delete(points, request, caller)
    sequence = outcome.sequence if outcome.count else 0
    return vector_pb2.DeleteResponse(sequence=sequence, count=outcome.count, durable=outcome.durable)


def _check(request: vector_pb2.DeleteRequest) -> None:
    given = [
        name for name, is_there in (("ids", request.ids), ("filter", request.filter), ("all", request.all)) if is_there
    ]
    if len(given) != 1:
        raise InvalidArgument(
            f"{' and '.join(given) or 'none of ids, filter and all'} {'are' if given else 'is'} given",
            field=given[-1] if given else "ids",
            hint="send exactly one of ids, filter and all",
        )
    if request.all and not request.confirm and not request.validate_only:
        raise FailedPrecondition(
            f"deleting every point of {request.collection!r} needs to be confirmed",
            reason="CONFIRMATION_REQUIRED",
            hint="send confirm, or look first with validate_only",
        )


def _delete(points: Points, request: vector_pb2.DeleteRequest, caller: Caller) -> Outcome:
    expected = request.expected_count if request.HasField("expected_count") else None
    name, trial = request.collection, request.validate_only
    if request.ids:
        ids = list(request.ids)
        return points.delete_ids(name, ids, caller=caller, expected_count=expected, validate_only=trial)
    if request.filter:
        return points.delete_where(name, request.filter, caller=caller, expected_count=expected, validate_only=trial)
    return points.truncate(name, caller=caller, expected_count=expected, validate_only=trial)
