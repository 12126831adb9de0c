"""OperationService: long work, listed, watched and cancelled."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from holdfast.v1 import operation_pb2
from holdfast.v1.operation_pb2_grpc import OperationServiceServicer

from ..engine.operations import OperationRegistry
from .convert import microseconds_of
from .convert_operations import KINDS, STATE_OF, operation_message
from .draining import Draining
from .requests import Callers, page_by_key, unknown_value

DEFAULT_INTERVAL_SECONDS = 0.2
MIN_INTERVAL_SECONDS = 0.01
MAX_INTERVAL_SECONDS = 1.0
"""At least so often a watch looks whether its client is still there; unchanged operations are not sent again."""


class OperationService(OperationServiceServicer):
    """See the module."""

    def __init__(self, operations: OperationRegistry, callers: Callers, draining: Draining) -> None:
        self._operations = operations
        self._callers = callers
        self._draining = draining

    def GetOperation(
        self, request: operation_pb2.GetOperationRequest, context: grpc.ServicerContext
    ) -> operation_pb2.GetOperationResponse:
        return operation_pb2.GetOperationResponse(operation=operation_message(self._operations.get(request.id)))

    def ListOperations(
        self, request: operation_pb2.ListOperationsRequest, context: grpc.ServicerContext
    ) -> operation_pb2.ListOperationsResponse:
        for state in request.states:
            if state not in STATE_OF.values():
                raise unknown_value("states", state)
        for kind in request.kinds:
            if kind not in KINDS.values():
                raise unknown_value("kinds", kind)
        entries = [
            each
            for each in self._operations.list()
            if (not request.states or STATE_OF[each.state] in request.states)
            and (not request.kinds or KINDS.get(each.kind) in request.kinds)
        ]
        page, token = page_by_key(
            entries,
            lambda each: f"{each.created_us:020d}{each.id}",
            request.page_size,
            request.page_token,
            descending=True,
        )
        return operation_pb2.ListOperationsResponse(
            operations=map(operation_message, page), next_page_token=token, total_count=len(entries)
        )

    def WatchOperation(
        self, request: operation_pb2.WatchOperationRequest, context: grpc.ServicerContext
    ) -> Iterator[operation_pb2.WatchOperationResponse]:
        asked = microseconds_of(request.interval, "interval") / 1e6 if request.HasField("interval") else None
        interval = DEFAULT_INTERVAL_SECONDS if asked is None else max(asked, MIN_INTERVAL_SECONDS)
        seen = None
        yield operation_pb2.WatchOperationResponse(
            operation=operation_message(seen := self._operations.get(request.id))
        )
        if seen.state.final:
            return
        for now in self._operations.watch(request.id, interval_seconds=min(interval, MAX_INTERVAL_SECONDS)):
            if not self._draining.goes_on(context):
                return
            if now is not seen:
                yield operation_pb2.WatchOperationResponse(operation=operation_message(now))
            seen = now

    def CancelOperation(
        self, request: operation_pb2.CancelOperationRequest, context: grpc.ServicerContext
    ) -> operation_pb2.CancelOperationResponse:
        caller = self._callers.of(context, request.request_id)
        cancelled = self._operations.cancel(request.id, request_id=caller.request_id)
        return operation_pb2.CancelOperationResponse(operation=operation_message(cancelled))
