"""One connection to a daemon: the stubs, deadlines, retries, and the translation of every failure to `HoldfastError`.

Safe to use from several threads. Retries: only UNAVAILABLE, only for calls that do nothing twice (reads, and writes
with a ``request_id``), and for at most five seconds; then the error is raised.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from holdfast.address import Address
from holdfast.channel import TlsOption, call_metadata, open_channel
from holdfast.checks import text
from holdfast.errors import FailedPrecondition, HoldfastError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from holdfast.v1 import vector_pb2
    from holdfast.v1.collection_pb2_grpc import CollectionServiceStub
    from holdfast.v1.operation_pb2_grpc import OperationServiceStub
    from holdfast.v1.snapshot_pb2_grpc import SnapshotServiceStub
    from holdfast.v1.storage_pb2_grpc import StorageServiceStub
    from holdfast.v1.vector_pb2_grpc import VectorServiceStub
    from holdfast.v1.wal_pb2_grpc import WalServiceStub

DEFAULT_TIMEOUT = 60.0
PATIENCE_SECONDS = 5.0
_NO_SOCKET_PATIENCE_SECONDS = 0.3
_FIRST_DELAY_SECONDS = 0.05
_MAX_DELAY_SECONDS = 0.5

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Stub = TypeVar("_Stub")


class Sleeper(Protocol):
    """What the retries need of a clock."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


class Connection:
    """The channel and its stubs. Nothing is sent before the first call; ``close`` ends calls that still run."""

    def __init__(
        self,
        address: Address,
        *,
        token: str | None = None,
        tls: TlsOption = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        clock: Sleeper = time,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.metadata = call_metadata(address, token, tls)
        self.channel: grpc.Channel = open_channel(address, tls)
        self._clock = clock
        self._reached = False  # set by any thread, never cleared
        self._lock = threading.Lock()  # guards what follows: making a stub on a closed channel crashes grpcio
        self._closed = False

    def close(self) -> None:
        """Close the channel. Harmless twice; calls from then on raise FailedPrecondition."""
        with self._lock:
            self._closed = True
            self.channel.close()

    def check_open(self) -> None:
        """Raise FailedPrecondition once the connection is closed."""
        if self._closed:
            raise FailedPrecondition(
                "the client is closed", reason="CLOSED", hint="make calls inside `with holdfast.connect(…)`"
            )

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        *,
        idempotent: bool = True,
        timeout: float | None = None,
    ) -> _Response:
        """One request, one response; blocks. ``idempotent`` False forbids the retries."""
        import grpc

        self.check_open()
        retries = Retries(self)
        while True:
            try:
                response = method(request, timeout=timeout or self.timeout, metadata=self.metadata)
            except grpc.RpcError as failure:
                error = self.error(failure)
            else:
                self._reached = True
                return response
            if not idempotent or not retries.wait_after(error):
                raise error

    def stream(
        self,
        method: grpc.UnaryStreamMultiCallable[_Request, _Response],
        request: _Request,
        *,
        patient: bool = True,
    ) -> Iterator[_Response]:
        """The responses to one request as they come; without a deadline. Closing the iterator ends the call.

        Until the first response it is retried as a call is; ``patient`` False leaves that to the caller.
        """
        import grpc

        self.check_open()
        retries = Retries(self)
        begun = False
        while True:
            responses = method(request, metadata=self.metadata)
            try:
                for response in responses:
                    self._reached = begun = True
                    yield response
            except grpc.RpcError as failure:
                error = self.error(failure)
            else:
                return
            finally:
                responses.cancel()
            if begun or not patient or not retries.wait_after(error):
                raise error

    def warm_up(self) -> None:
        """Connect now, so that the next call is not measured with it; a daemon that is away shows in that call."""
        import grpc

        self.check_open()
        with suppress(grpc.FutureTimeoutError):
            grpc.channel_ready_future(self.channel).result(timeout=_NO_SOCKET_PATIENCE_SECONDS)

    def pause(self, seconds: float) -> None:
        """Block for a while."""
        self._clock.sleep(seconds)

    def now(self) -> float:
        """Seconds of a clock that only goes forward."""
        return self._clock.monotonic()

    def error(self, failure: grpc.RpcError) -> HoldfastError:
        """The error that a failed call stands for."""
        from holdfast.status import error_of

        return error_of(failure, str(self.address), self.address.searched)

    def patience(self) -> float:
        """How long UNAVAILABLE is retried: briefly where there is no socket, never was one, and nobody makes one."""
        from pathlib import Path

        if self._reached or self.address.path is None:
            return PATIENCE_SECONDS
        socket = Path(self.address.path)
        promising = socket.exists() or _is_starting(socket.parent)
        return PATIENCE_SECONDS if promising else _NO_SOCKET_PATIENCE_SECONDS

    def _stub(self, make: Callable[[grpc.Channel], _Stub]) -> _Stub:
        with self._lock:
            self.check_open()
            return make(self.channel)

    @cached_property
    def collections(self) -> CollectionServiceStub:
        from holdfast.v1.collection_pb2_grpc import CollectionServiceStub

        return self._stub(CollectionServiceStub)

    @cached_property
    def vectors(self) -> VectorServiceStub:
        from holdfast.v1.vector_pb2_grpc import VectorServiceStub

        return self._stub(VectorServiceStub)

    @cached_property
    def upsert(self) -> grpc.UnaryUnaryMultiCallable[bytes, vector_pb2.UpsertResponse]:
        """VectorService.Upsert for a request that is encoded already."""
        from holdfast.v1.vector_pb2 import UpsertResponse

        with self._lock:
            self.check_open()
            return self.channel.unary_unary(
                "/holdfast.v1.VectorService/Upsert", response_deserializer=UpsertResponse.FromString
            )

    @cached_property
    def upsert_stream(self) -> grpc.StreamStreamMultiCallable[bytes, vector_pb2.UpsertStreamResponse]:
        """VectorService.UpsertStream for requests that are encoded already."""
        from holdfast.v1.vector_pb2 import UpsertStreamResponse

        with self._lock:
            self.check_open()
            return self.channel.stream_stream(
                "/holdfast.v1.VectorService/UpsertStream", response_deserializer=UpsertStreamResponse.FromString
            )

    @cached_property
    def snapshots(self) -> SnapshotServiceStub:
        from holdfast.v1.snapshot_pb2_grpc import SnapshotServiceStub

        return self._stub(SnapshotServiceStub)

    @cached_property
    def wal(self) -> WalServiceStub:
        from holdfast.v1.wal_pb2_grpc import WalServiceStub

        return self._stub(WalServiceStub)

    @cached_property
    def storage(self) -> StorageServiceStub:
        from holdfast.v1.storage_pb2_grpc import StorageServiceStub

        return self._stub(StorageServiceStub)

    @cached_property
    def operations(self) -> OperationServiceStub:
        from holdfast.v1.operation_pb2_grpc import OperationServiceStub

        return self._stub(OperationServiceStub)


class Retries:
    """How often one call is tried again: after UNAVAILABLE, with pauses that grow, while there is patience."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._started = connection.now()
        self._delay = _FIRST_DELAY_SECONDS

    def wait_after(self, error: HoldfastError) -> bool:
        """Pause before the next try; False where there is to be none."""
        waited = self._connection.now() - self._started
        if not isinstance(error, Unavailable) or waited + self._delay > self._connection.patience():
            return False
        self._connection.pause(self._delay)
        self._delay = min(self._delay * 2, _MAX_DELAY_SECONDS)
        return True


def _is_starting(data_directory: Path) -> bool:
    """Whether a daemon has locked the directory: it recovers, and its socket comes when it is done."""
    try:
        os.kill(int((data_directory / "LOCK").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def request_id_of(given: str | None) -> str:
    """The caller's own request id, or a fresh one."""
    return text(given, "request_id") if given else new_request_id()


def new_request_id() -> str:
    """A fresh random id: a retry that carries it does nothing twice."""
    return os.urandom(16).hex()
