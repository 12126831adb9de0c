"""Writing batches: one request, or a stream of them with several in flight.

On a stream, a reader thread parses, validates, hashes and encodes the next batches and hands them to the committer,
while the stream's own thread waits for the earlier ones to be acknowledged: hashing and syncing overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from holdfast.v1 import vector_pb2

from ..engine.points import Points
from ..engine.tickets import Caller, Outcome, Submission
from ..errors import InvalidArgument
from ..model import Float32Array
from . import wire
from .admission import InFlight
from .batches import TicketedBatch, UpsertBatch
from .convert import wants_sync
from .convert_points import matrix_of
from .draining import Draining
from .errors import as_holdfast_error, let_go_of_frames, status_of
from .handoff import Handoff
from .requests import Callers
from .routes import Unparsed

MAX_IN_FLIGHT = 8
"""Batches of one stream between the wire and the disk: enough to keep both busy with batches of 1,000 points."""

Pending: TypeAlias = "tuple[int, Submission | Exception]"
"""The client's ticket, and the change on its way or what was wrong with it."""
_METHOD = "holdfast.v1.VectorService.UpsertStream"


def upsert(
    points: Points, callers: Callers, batch: UpsertBatch, context: grpc.ServicerContext
) -> vector_pb2.UpsertResponse:
    """Write one batch. Blocks until it is acknowledged."""
    request = batch.request
    ids = list(request.ids)
    caller = callers.of(context, request.request_id, sync=wants_sync(request.durability))
    vectors = _matrix_of(points, batch, len(ids), caller)
    outcome = points.upsert(
        request.collection, ids, vectors, request.payloads, caller=caller, validate_only=request.validate_only
    )
    return _response(outcome)


@dataclass(frozen=True, slots=True)
class UpsertStreams:
    """Serves streams of batches. ``readers``: one thread per open stream comes from here."""

    points: Points
    callers: Callers
    readers: ThreadPoolExecutor
    draining: Draining
    writes: InFlight

    def serve(
        self,
        requests: Iterator[vector_pb2.UpsertStreamRequest | TicketedBatch | Unparsed],
        context: grpc.ServicerContext,
    ) -> Iterator[vector_pb2.UpsertStreamResponse]:
        """One answer per request, in their order. Blocks; ends when the client has sent everything or is gone."""
        handoff: Handoff[Pending] = Handoff(MAX_IN_FLIGHT, on_idle=self.draining.check)
        self.readers.submit(self._read, requests, context, handoff)
        try:
            for pending in handoff:
                token = self.writes.begin()
                try:
                    answer = _answer(*pending)
                finally:
                    self.writes.end(token)
                yield answer
        finally:
            handoff.close()

    def _read(
        self,
        requests: Iterator[vector_pb2.UpsertStreamRequest | TicketedBatch | Unparsed],
        context: grpc.ServicerContext,
        handoff: Handoff[Pending],
    ) -> None:
        try:
            for request in requests:
                if not handoff.put(self._begin(request, context)):
                    return
        except Exception as error:
            if not context.is_active():
                let_go_of_frames(error)
            handoff.fail(error)
        else:
            handoff.finish()

    def _begin(
        self, request: vector_pb2.UpsertStreamRequest | TicketedBatch | Unparsed, context: grpc.ServicerContext
    ) -> Pending:
        if isinstance(request, Unparsed):
            number = vector_pb2.UpsertStreamRequest.TICKET_FIELD_NUMBER
            return wire.first_varint(request.raw, number), request.error
        if not isinstance(request, TicketedBatch):
            request = TicketedBatch(request.ticket, UpsertBatch(request.upsert, request.upsert.vectors))
        ticket, batch = request.ticket, request.upsert.request
        try:
            if batch.validate_only:
                raise InvalidArgument(
                    "a stream writes what it is sent", field="validate_only", hint="ask for a plan with Upsert"
                )
            ids = list(batch.ids)
            caller = self.callers.of(context, batch.request_id, sync=wants_sync(batch.durability))
            vectors = _matrix_of(self.points, request.upsert, len(ids), caller)
            submission = self.points.prepare_upsert(batch.collection, ids, vectors, batch.payloads, caller=caller)
            self.points.commit_nowait(submission)
        except Exception as error:
            return ticket, error
        return ticket, submission


def _matrix_of(points: Points, batch: UpsertBatch, count: int, caller: Caller) -> Float32Array:
    return matrix_of(batch.vectors, batch.request.points, count, lambda: width_of(points, batch.request, caller))


def width_of(points: Points, request: vector_pb2.UpsertRequest | vector_pb2.UpdateRequest, caller: Caller) -> int:
    """The d that ``points`` of a request must have: the collection's, or, of a request that was answered before and is
    told that again, their own. Raises NotFound."""
    if points.answered(caller):
        return len(request.points[0].values)
    return points.dimensions(request.collection)


def _answer(ticket: int, pending: Submission | Exception) -> vector_pb2.UpsertStreamResponse:
    try:
        if isinstance(pending, Exception):
            raise pending
        outcome: Outcome = pending.ticket.wait()
    except Exception as error:
        status = status_of(as_holdfast_error(error, _METHOD))
        return vector_pb2.UpsertStreamResponse(ticket=ticket, error=status)
    return vector_pb2.UpsertStreamResponse(ticket=ticket, result=_response(outcome))


def _response(outcome: Outcome) -> vector_pb2.UpsertResponse:
    return vector_pb2.UpsertResponse(sequence=outcome.sequence, count=outcome.count, durable=outcome.durable)
