"""How the daemon's errors reach a client: one table from class to status code, and one shape of details.

A failed call carries a ``google.rpc.Status`` with an ``ErrorInfo`` (reason, domain ``holdfast``, metadata with the hint
under ``hint``) and, where they apply, ``BadRequest``, ``ResourceInfo`` and ``RetryInfo``. What is no HoldfastError is a
fault of the daemon: it is logged with its traceback, and the client learns nothing but that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from .. import errors

DOMAIN = "holdfast"
DETAILS_KEY = "grpc-status-details-bin"
MAX_TEXT = 1024
"""Characters of a message, a hint or a metadata value that are sent: all trailers together must stay below 8 KiB."""
MAX_METADATA = 3072
"""Characters of metadata in all."""

CODE_OF: Mapping[type[errors.HoldfastError], grpc.StatusCode] = {
    errors.HoldfastError: grpc.StatusCode.INTERNAL,
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedFormat: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DataDirectoryLocked: grpc.StatusCode.UNAVAILABLE,
    # Retrying either of these by itself does not help: the outcome is open, or a restart is needed first.
    errors.CommitUnknown: grpc.StatusCode.UNKNOWN,
    errors.EngineFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Corruption: grpc.StatusCode.DATA_LOSS,
}

RETRY_SECONDS: Mapping[grpc.StatusCode, float] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: 1.0,
    grpc.StatusCode.UNAVAILABLE: 0.5,
}

_RESOURCE_SUFFIXES = ("_NOT_FOUND", "_ALREADY_EXISTS", "_EXISTS")
_log = logging.getLogger(__name__)


def code_of(error: errors.HoldfastError) -> grpc.StatusCode:
    """The status code of an error: that of its class, or of the nearest ancestor in the table."""
    return next(CODE_OF[ancestor] for ancestor in type(error).__mro__ if ancestor in CODE_OF)


def let_go_of_frames(error: BaseException | None) -> None:
    """Take the tracebacks from an error and from those that led to it, once nobody will look at them any more.

    A traceback holds the handler's frames, which hold the error: until the collector of cycles comes by they would keep
    the request and the call, of which a connection has only so many.
    """
    met: set[int] = set()  # an error may come from itself
    while error is not None and id(error) not in met:
        met.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def as_holdfast_error(error: Exception, method: str) -> errors.HoldfastError:
    """The error itself, or, for what nobody foresaw, an INTERNAL one, after a log line with the traceback."""
    if isinstance(error, errors.HoldfastError):
        let_go_of_frames(error)
        return error
    _log.error("%s failed unexpectedly", method, exc_info=error)
    let_go_of_frames(error)
    return errors.HoldfastError(
        "the daemon failed to handle this request; its log says why",
        hint="look into the daemon's log, such as `journalctl -u holdfastd`",
        error=type(error).__name__,
    )


def status_of(error: errors.HoldfastError) -> status_pb2.Status:
    """The error as a ``google.rpc.Status``, as calls, operations and the answers of streams carry it."""
    code = code_of(error)
    return make_status(code, error.reason, error.message, error.hint, error.metadata)


def make_status(
    code: grpc.StatusCode, reason: str, message: str, hint: str | None, metadata: Mapping[str, str]
) -> status_pb2.Status:
    """A status with all details that its code and metadata ask for."""
    shown = _bounded({**({"hint": hint} if hint else {}), **metadata})
    status = status_pb2.Status(code=number_of(code), message=_clipped(message))
    _add(status, error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=shown))
    if code is grpc.StatusCode.INVALID_ARGUMENT and metadata.get("field"):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clipped(metadata["field"]), description=_clipped(message, 256)
        )
        _add(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS):
        _add_resource(status, reason, metadata)
    if code in RETRY_SECONDS:
        delay = duration_pb2.Duration(nanos=int(RETRY_SECONDS[code] * 1e9) % 10**9, seconds=int(RETRY_SECONDS[code]))
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def abort(context: grpc.ServicerContext, error: errors.HoldfastError) -> NoReturn:
    """End the call with this error. Raises, as ``context.abort`` does."""
    status = status_of(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(code_of(error), status.message)


def number_of(code: grpc.StatusCode) -> int:
    """The number that a code has on the wire."""
    number: int = code.value[0]
    return number


def _add_resource(status: status_pb2.Status, reason: str, metadata: Mapping[str, str]) -> None:
    for suffix in _RESOURCE_SUFFIXES:
        if reason.endswith(suffix):
            kind = reason.removesuffix(suffix).lower()
            name = metadata.get(kind) or metadata.get("name", "")
            info = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=_clipped(name, 256))
            _add(status, info)
            return


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    """As much of the metadata as fits, in its order: the hint first."""
    shown: dict[str, str] = {}
    left = MAX_METADATA
    for key, value in metadata.items():
        text = _clipped(value)
        left -= len(key) + len(text)
        if left < 0:
            break
        shown[key] = text
    return shown


def _clipped(text: str, limit: int = MAX_TEXT) -> str:
    """Text that protobuf accepts (no lone surrogates) and that is not too long."""
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"
