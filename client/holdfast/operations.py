"""``db.operations`` and `Operation`: long work that outlives the call and the connection that started it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from holdfast.connection import Connection, new_request_id
from holdfast.documents import Document, Documents, timestamp
from holdfast.enums import from_word, to_word
from holdfast.errors import FailedPrecondition, HoldfastError, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    import grpc

    from holdfast.v1 import operation_pb2

_Request = TypeVar("_Request")
_POLL_SECONDS = 0.5
_FINAL = frozenset({"succeeded", "failed", "cancelled", "interrupted"})


class Progress(NamedTuple):
    """How far an operation is. Totals of 0 are not known; rate in bytes per second; eta None if it cannot be told."""

    operation_id: str
    kind: str
    state: str
    phase: str
    done_bytes: int
    total_bytes: int
    done_vectors: int
    total_vectors: int
    bytes_per_second: int
    eta: timedelta | None
    cancellable: bool

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1, by bytes or else by vectors; None if no total is known."""
        if self.total_bytes:
            return min(1.0, self.done_bytes / self.total_bytes)
        return min(1.0, self.done_vectors / self.total_vectors) if self.total_vectors else None


OnProgress: TypeAlias = Callable[[Progress], None]


class Operation:
    """A handle on a piece of long work, with what was last known of it; no call is made by reading it."""

    def __init__(self, connection: Connection, message: operation_pb2.Operation) -> None:
        self._connection = connection
        self._message = message

    def __repr__(self) -> str:
        return f"Operation({self.id!r}, {self.kind}, {self.state})"

    @property
    def id(self) -> str:
        """``op-…``; empty for a dry run, which starts nothing."""
        return self._message.id

    @property
    def kind(self) -> str:
        """Such as ``create_snapshot`` or ``compact``."""
        from holdfast.v1 import operation_pb2

        return to_word(operation_pb2.Operation.Kind, self._message.kind, "KIND_")

    @property
    def state(self) -> str:
        """pending, running, succeeded, failed, cancelled or interrupted."""
        from holdfast.v1 import operation_pb2

        return to_word(operation_pb2.Operation.State, self._message.state, "STATE_")

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in _FINAL

    @property
    def progress(self) -> Progress:
        """How far it was."""
        seen = self._message.progress
        eta = timedelta(seconds=seen.eta.seconds, microseconds=seen.eta.nanos // 1000) if seen.HasField("eta") else None
        return Progress(
            self.id, self.kind, self.state, seen.phase, seen.done_bytes, seen.total_bytes, seen.done_vectors,
            seen.total_vectors, seen.bytes_per_second, eta, seen.cancellable,
        )  # fmt: skip

    def refresh(self) -> Operation:
        """Ask the daemon how it stands."""
        from holdfast.v1 import operation_pb2

        request = operation_pb2.GetOperationRequest(id=self.id)
        self._message = self._connection.call(self._connection.operations.GetOperation, request).operation
        return self

    def watch(self) -> Iterator[Progress]:
        """Its progress at once and whenever it changes, until it has ended; leaving early does not stop the work.

        A daemon that goes away meanwhile is waited for within the usual patience, and asked again; one that has no
        stream to spare is asked twice a second instead.
        """
        from holdfast.v1 import operation_pb2

        while not self.done:
            request = operation_pb2.WatchOperationRequest(id=self.id)
            try:
                for response in self._connection.stream(
                    self._connection.operations.WatchOperation, request, patient=False
                ):
                    self._message = response.operation
                    yield self.progress
            except (Unavailable, ResourceExhausted):
                self._connection.pause(_POLL_SECONDS)
                yield self.refresh().progress  # retries, and raises if the daemon stays away

    def wait(self, on_progress: OnProgress | None = None) -> Document:
        """Block until it has ended; returns its result, or raises its error. ``on_progress`` is called as it goes."""
        for progress in self.watch():
            if on_progress is not None:
                on_progress(progress)
        return self.result()

    def cancel(self) -> Operation:
        """Ask it to stop; it ends as cancelled and leaves nothing behind. FailedPrecondition in its final phase."""
        from holdfast.v1 import operation_pb2

        request = operation_pb2.CancelOperationRequest(id=self.id, request_id=new_request_id())
        self._message = self._connection.call(self._connection.operations.CancelOperation, request).operation
        return self

    def error(self) -> HoldfastError | None:
        """Why it ended without success; None otherwise."""
        if not self._message.HasField("error"):
            return None
        from holdfast.status import error_of_status

        return error_of_status(self._message.error)

    def result(self) -> Document:
        """What came of it. Raises its error if it failed, FailedPrecondition while it runs."""
        error = self.error()
        if error is not None:
            raise error
        if not self.done:
            raise FailedPrecondition(
                f"operation {self.id} is still {self.state}",
                reason="NOT_DONE",
                hint=f"wait for it: holdfast operation watch {self.id}",
            )
        from holdfast.results import result_document

        return result_document(self._message)

    def document(self) -> Document:
        """Everything known of it, as ``operation list`` shows it."""
        message, progress, error = self._message, self.progress, self.error()
        return Document(
            id=self.id,
            kind=self.kind,
            state=self.state,
            phase=progress.phase,
            progress_percent=None if progress.fraction is None else round(100 * progress.fraction, 1),
            collections=list(message.collections),
            created_at=timestamp(message.create_time),
            ended_at=timestamp(message.end_time),
            actor=message.actor,
            cancellable=progress.cancellable,
            error=None if error is None else Document(reason=error.reason, message=error.message, hint=error.hint),
        )


class Operations:
    """Long work of a store, also what other clients started; ended operations are kept for 30 days."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, operation_id: str) -> Operation:
        """One operation. NotFound if there is none."""
        from holdfast.v1 import operation_pb2

        request = operation_pb2.GetOperationRequest(id=operation_id)
        return Operation(
            self._connection, self._connection.call(self._connection.operations.GetOperation, request).operation
        )

    def list(self, *, states: tuple[str, ...] = (), kinds: tuple[str, ...] = (), limit: int | None = None) -> Documents:
        """Operations, newest first; only those in one of the states and of one of the kinds, if any are given."""
        from holdfast.v1 import operation_pb2

        wanted_states = [from_word(operation_pb2.Operation.State, word, "STATE_", "state") for word in states]
        wanted_kinds = [from_word(operation_pb2.Operation.Kind, word, "KIND_", "kind of operation") for word in kinds]
        found: Documents = []
        token = ""
        while limit is None or len(found) < limit:
            request = operation_pb2.ListOperationsRequest(
                page_size=min(1000, limit - len(found)) if limit else 1000,
                page_token=token,
                states=wanted_states,
                kinds=wanted_kinds,
            )
            page = self._connection.call(self._connection.operations.ListOperations, request)
            found += [Operation(self._connection, message).document() for message in page.operations]
            token = page.next_page_token
            if not token:
                break
        return found

    def watch(self, operation_id: str, on_progress: OnProgress | None = None) -> Document:
        """Block until an operation has ended; returns its result, or raises its error."""
        return self.get(operation_id).wait(on_progress)

    def cancel(self, operation_id: str) -> Operation:
        """Ask an operation to stop."""
        return self.get(operation_id).cancel()


def run_operation(
    connection: Connection,
    method: grpc.UnaryUnaryMultiCallable[_Request, operation_pb2.Operation],
    request: _Request,
    *,
    wait: bool,
    on_progress: OnProgress | None,
) -> Document | Operation:
    """Start an operation by its RPC. With ``wait`` blocks and returns its result, else returns the operation itself.

    A dry run starts nothing: its result comes at once.
    """
    operation = Operation(connection, connection.call(method, request))
    return operation.wait(on_progress) if wait or not operation.id else operation
