"""Batches in flight over one ``UpsertStream``: sent from the caller's thread, taken in order by a reader thread.

Three threads touch a `Pipeline`: the caller (send, take, finish), gRPC's sender (it pulls from ``_outbox``) and
the reader (it takes responses). ``_changed`` guards everything below that line in ``__init__``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING

from holdfast.connection import Connection
from holdfast.errors import HoldfastError, Internal
from holdfast.records import WriteResult

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2


class Pipeline:
    """At most ``max_in_flight`` batches unacknowledged; `send` blocks while the window is full."""

    def __init__(self, connection: Connection, max_in_flight: int) -> None:
        self._connection = connection
        self._max_in_flight = max(1, max_in_flight)
        self._outbox: SimpleQueue[vector_pb2.UpsertStreamRequest | None] = SimpleQueue()
        self._sent = 0  # caller only
        self._half_closed = False  # caller only
        self._changed = threading.Condition()
        self._answered = 0
        self._untaken: deque[WriteResult | HoldfastError] = deque()
        self.failure: HoldfastError | None = None  # the first one; set once, read without the lock
        self._ended = False
        self._call = connection.vectors.UpsertStream(iter(self._outbox.get, None), metadata=connection.metadata)
        self._reader = threading.Thread(target=self._read, name="holdfast-acknowledgements", daemon=True)
        self._reader.start()

    def send(self, upsert: vector_pb2.UpsertRequest) -> None:
        """Queue one batch; blocks while the window is full. Raises nothing of its own: see ``failure``."""
        from holdfast.v1 import vector_pb2

        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._sent - self._answered < self._max_in_flight)
        self._outbox.put(vector_pb2.UpsertStreamRequest(ticket=self._sent, upsert=upsert))
        self._sent += 1

    def take(self, *, wait: bool) -> WriteResult | None:
        """The next result in order; None if there is none yet (``wait`` False) or none to come. Raises a failure."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._ended or bool(self._untaken))
            if not self._untaken:
                if self._ended and self.failure is not None:
                    raise self.failure
                return None
            outcome = self._untaken.popleft()
        if isinstance(outcome, HoldfastError):
            raise outcome
        return outcome

    @property
    def is_full(self) -> bool:
        """Whether a `send` would block."""
        with self._changed:
            return not self._ended and self._sent - self._answered >= self._max_in_flight

    def settle(self) -> None:
        """Block until everything sent is answered, or the stream has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._answered == self._sent)

    def finish(self) -> None:
        """Say that no more will come, and block until all is answered and the stream has ended."""
        if not self._half_closed:
            self._half_closed = True
            self._outbox.put(None)
        self._reader.join()

    def abort(self) -> None:
        """End the stream now; batches in flight may be written or not."""
        self._call.cancel()
        self.finish()

    def _read(self) -> None:
        import grpc

        failure: HoldfastError | None = None
        try:
            for response in self._call:
                self._answer(response)
        except grpc.RpcError as error:
            failure = self._connection.error(error)
        with self._changed:
            if failure is None and self._answered < self._sent:
                failure = Internal("the daemon ended the stream before it had answered every batch")
            self.failure = self.failure or failure
            self._ended = True
            self._changed.notify_all()

    def _answer(self, response: vector_pb2.UpsertStreamResponse) -> None:
        outcome = self._outcome(response)
        with self._changed:
            self._answered += 1
            self._untaken.append(outcome)
            if isinstance(outcome, HoldfastError) and self.failure is None:
                self.failure = outcome
            self._changed.notify_all()

    def _outcome(self, response: vector_pb2.UpsertStreamResponse) -> WriteResult | HoldfastError:
        if response.WhichOneof("outcome") == "error":
            from holdfast.status import error_of_status

            error = error_of_status(response.error)
            error.metadata["batch"] = str(response.ticket)
            return error
        return WriteResult(response.result.sequence, response.result.count, response.result.durable)


def stream_batches(
    connection: Connection, requests: Iterable[vector_pb2.UpsertRequest], max_in_flight: int
) -> Iterator[WriteResult]:
    """Send requests with a window of ``max_in_flight``; yield their results in order."""
    pipeline = Pipeline(connection, max_in_flight)
    try:
        for request in requests:
            pipeline.send(request)
            while (result := pipeline.take(wait=pipeline.is_full)) is not None:
                yield result
        pipeline.finish()
        while (result := pipeline.take(wait=True)) is not None:
            yield result
    finally:
        pipeline.abort()
