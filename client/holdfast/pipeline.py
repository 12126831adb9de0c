"""Batches in flight over one ``UpsertStream``: sent from the caller's thread, taken in order by a reader thread.

Three threads touch a `Pipeline`: the caller (send, take, finish), gRPC's sender (it pulls from an outbox) and the
reader (it takes responses). A stream that breaks is opened again and the unanswered batches are sent again: each has
its ``request_id``, so none is written twice. That is tried as long as any call is retried, then the error is raised.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from holdfast.connection import Connection
from holdfast.encoded import EncodedUpsert
from holdfast.errors import FailedPrecondition, HoldfastError, Internal, Unavailable
from holdfast.records import WriteResult

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2

_REOPEN_SECONDS = 0.1


class _Call(Protocol):
    """What is needed of a running stream."""

    def __iter__(self) -> Iterator[vector_pb2.UpsertStreamResponse]: ...

    def cancel(self) -> bool: ...


class Pipeline:
    """At most ``max_in_flight`` batches unacknowledged; `send` blocks while the window is full."""

    def __init__(self, connection: Connection, max_in_flight: int) -> None:
        self._connection = connection
        self._max_in_flight = max(1, max_in_flight)
        self._sent = 0  # caller only
        self.failure: HoldfastError | None = None  # the first one; set once under the lock, read without it

        self._changed = threading.Condition()  # guards what follows
        self._unanswered: deque[bytes] = deque()
        self._untaken: deque[WriteResult | HoldfastError] = deque()
        self._closing = False
        self._aborted = False
        self._ended = False
        self._broken: HoldfastError | None = None  # why it ended, unless as it should
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = self._open()

        self._reader = threading.Thread(target=self._read, name="holdfast-acknowledgements", daemon=True)
        self._reader.start()

    def send(self, upsert: EncodedUpsert) -> None:
        """Queue one batch; blocks while the window is full. Raises nothing of its own: see ``failure``."""
        request = upsert.streamed(self._sent)
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._unanswered) < self._max_in_flight)
            self._unanswered.append(request)
            self._outbox.put(request)
        self._sent += 1

    def take(self, *, wait: bool) -> WriteResult | None:
        """The next result in order; None if there is none yet (``wait`` False) or none to come.

        Raises what was wrong with the batch, or what ended the stream.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._ended or bool(self._untaken))
            if not self._untaken:
                if self._broken is not None:
                    raise self._broken
                return None
            outcome = self._untaken.popleft()
        if isinstance(outcome, HoldfastError):
            raise outcome
        return outcome

    @property
    def is_full(self) -> bool:
        """Whether a `send` would block."""
        with self._changed:
            return not self._ended and len(self._unanswered) >= self._max_in_flight

    def settle(self) -> None:
        """Block until everything sent is answered, or the stream has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._unanswered)

    def finish(self) -> None:
        """Say that no more will come, and block until all is answered and the stream has ended."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._outbox.put(None)
        self._reader.join()

    def abort(self) -> None:
        """End the stream now; batches in flight may be written or not."""
        with self._changed:
            self._aborted = True
            self._call.cancel()
            self._changed.notify_all()
        self.finish()

    def _open(self) -> _Call:
        self._connection.check_open()
        requests = iter(self._outbox.get, None)
        return self._connection.upsert_stream(requests, metadata=self._connection.metadata)

    def _read(self) -> None:
        """The reader thread: take answers until the stream ends, opening it again while that helps."""
        started = self._connection.now()
        while True:
            answered, failure = self._drain()
            if answered:
                started = self._connection.now()
            if not isinstance(failure, Unavailable) or not self._reopen(started):
                break
        with self._changed:
            if failure is None and self._unanswered:
                failure = Internal("the daemon ended the stream before it had answered every batch")
            self._broken = failure
            self.failure = self.failure or failure
            self._ended = True
            self._changed.notify_all()

    def _drain(self) -> tuple[int, HoldfastError | None]:
        """Take answers until the call ends: how many there were, and why it failed if it did."""
        import grpc

        answered = 0
        try:
            for response in self._call:
                answered += 1
                self._answer(response)
        except grpc.RpcError as error:
            return answered, self._connection.error(error)
        return answered, None

    def _reopen(self, started: float) -> bool:
        """After a pause open the stream again and send what is unanswered; False once patience is at its end."""
        with self._changed:
            self._outbox.put(None)
            self._changed.wait_for(lambda: self._aborted, timeout=_REOPEN_SECONDS)
            if self._aborted or self._connection.now() - started > self._connection.patience():
                return False
            self._outbox = SimpleQueue()
            for request in self._unanswered:
                self._outbox.put(request)
            if self._closing:
                self._outbox.put(None)
            try:
                self._call = self._open()
            except FailedPrecondition:
                return False  # the client was closed meanwhile
            return True

    def _answer(self, response: vector_pb2.UpsertStreamResponse) -> None:
        outcome = self._outcome(response)
        with self._changed:
            self._unanswered.popleft()
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
    connection: Connection, requests: Iterable[EncodedUpsert], max_in_flight: int
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
