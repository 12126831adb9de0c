"""Every way in which a call fails, drawn once: one class per gRPC status.

    HoldfastError
    ├── InvalidArgument     the request is wrong, whatever the store holds (also raised here, before anything is sent)
    ├── NotFound            no such collection, snapshot, operation, alias, mark
    ├── AlreadyExists       the name is taken
    ├── FailedPrecondition  right request, wrong state of the store
    ├── OutOfRange          a time, sequence or position outside what exists
    ├── Aborted             lost a race; the same request may succeed when sent again
    ├── ResourceExhausted   a limit, a full queue or a full disk
    ├── Unauthenticated     no token, or a wrong one
    ├── PermissionDenied    the caller or the path is not allowed
    ├── Cancelled           the call or the operation was cancelled
    ├── DeadlineExceeded    no answer in time: a write may or may not have happened
    ├── Unavailable         the daemon is not reachable, starting or stopping
    ├── Unimplemented       this daemon does not have the call
    ├── Corruption          bytes that were once durable are damaged (DATA_LOSS)
    ├── Internal            a fault of the daemon
    └── Unknown             anything else

This module imports neither grpc nor protobuf: `holdfast.status` builds these from a failed call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class HoldfastError(Exception):
    """The root of everything that this package raises on purpose.

    message: one sentence; hint: what to do next, or None; reason: a stable UPPER_SNAKE word for programs; metadata: the
    dynamic parts of the message as strings; status: the name of the gRPC status, such as ``NOT_FOUND``.
    """

    status: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        hint: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason or self.status
        self.metadata: dict[str, str] = dict(metadata or {})

    @property
    def grpc_status(self) -> str:
        """The same as ``status``: the name of the gRPC status code."""
        return self.status


class InvalidArgument(HoldfastError):
    """The request is wrong in itself."""

    status = "INVALID_ARGUMENT"


class NotFound(HoldfastError):
    """A named thing does not exist."""

    status = "NOT_FOUND"


class AlreadyExists(HoldfastError):
    """A name is taken."""

    status = "ALREADY_EXISTS"


class FailedPrecondition(HoldfastError):
    """The store is not in the state that the request needs."""

    status = "FAILED_PRECONDITION"


class OutOfRange(HoldfastError):
    """A time, sequence or position lies outside what exists."""

    status = "OUT_OF_RANGE"


class Aborted(HoldfastError):
    """A concurrent change won; the same request may succeed when sent again."""

    status = "ABORTED"


class ResourceExhausted(HoldfastError):
    """A limit, a full queue or a full disk."""

    status = "RESOURCE_EXHAUSTED"


class Unauthenticated(HoldfastError):
    """The daemon wants a token, and got none or a wrong one."""

    status = "UNAUTHENTICATED"


class PermissionDenied(HoldfastError):
    """The caller's role or the path does not allow this."""

    status = "PERMISSION_DENIED"


class Cancelled(HoldfastError):
    """The call or the operation was cancelled."""

    status = "CANCELLED"


class DeadlineExceeded(HoldfastError):
    """No answer in time. A write may or may not have happened; repeating it with the same ``request_id`` is safe."""

    status = "DEADLINE_EXCEEDED"


class Unavailable(HoldfastError):
    """The daemon cannot be reached, or is starting or stopping."""

    status = "UNAVAILABLE"


class Unimplemented(HoldfastError):
    """The daemon does not have this call: it is older than this client, or the feature is not built."""

    status = "UNIMPLEMENTED"


class Corruption(HoldfastError):
    """Bytes that were once durable are damaged; ``metadata`` has ``path`` and, where known, ``offset``."""

    status = "DATA_LOSS"


class Internal(HoldfastError):
    """A fault of the daemon, with its own words."""

    status = "INTERNAL"


class Unknown(HoldfastError):
    """A failure that fits nowhere else."""

    status = "UNKNOWN"


CLASS_OF_STATUS: Mapping[str, type[HoldfastError]] = {
    cls.status: cls
    for cls in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        OutOfRange,
        Aborted,
        ResourceExhausted,
        Unauthenticated,
        PermissionDenied,
        Cancelled,
        DeadlineExceeded,
        Unavailable,
        Unimplemented,
        Corruption,
        Internal,
        Unknown,
    )
}
