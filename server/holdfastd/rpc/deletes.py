"""Deleting: exactly one of ids, filter and all, with its guards."""

from __future__ import annotations

import grpc

from holdfast.v1 import vector_pb2

from ..engine.points import Points
from ..engine.tickets import Caller, Outcome
from ..errors import Aborted, FailedPrecondition, InvalidArgument
from .convert import wants_sync
from .requests import Callers, refuse


def delete(
    points: Points, callers: Callers, request: vector_pb2.DeleteRequest, context: grpc.ServicerContext
) -> vector_pb2.DeleteResponse:
    """Delete what the request names, or say how much that would be. Blocks until acknowledged."""
    _check(request)
    caller = callers.of(context, request.request_id, sync=wants_sync(request.durability))
    if request.validate_only:
        return vector_pb2.DeleteResponse(count=_check_expected(_would_go(points, request), request))
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
    if request.ids and not request.validate_only:
        refuse("expected_count together with ids", request.HasField("expected_count"))


def _delete(points: Points, request: vector_pb2.DeleteRequest, caller: Caller) -> Outcome:
    expected = request.expected_count if request.HasField("expected_count") else None
    if request.ids:
        return points.delete_ids(request.collection, list(request.ids), caller=caller)
    if request.filter:
        return points.delete_where(request.collection, request.filter, caller=caller, expected_count=expected)
    return points.truncate(request.collection, caller=caller, expected_count=expected)


def _would_go(points: Points, request: vector_pb2.DeleteRequest) -> int:
    if request.ids:
        return len(points.get(request.collection, list(dict.fromkeys(request.ids)), vectors=False))
    return points.count(request.collection, request.filter or None)


def _check_expected(count: int, request: vector_pb2.DeleteRequest) -> int:
    if request.HasField("expected_count") and count != request.expected_count:
        raise Aborted(
            f"{count} points would be deleted, {request.expected_count} were expected",
            reason="COUNT_MISMATCH",
            hint="count again, and repeat the request if the new number is right",
            count=count,
        )
    return count
