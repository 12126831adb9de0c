"""From a failed gRPC call to a `HoldfastError`: ``google.rpc.Status`` in the trailing metadata, else code and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from holdfast.errors import CLASS_OF_STATUS, HoldfastError, PermissionDenied, Unavailable, Unknown

if TYPE_CHECKING:
    import grpc
    from google.rpc.status_pb2 import Status

_OWN_WORDS: Mapping[str, tuple[str, str, str]] = {
    "DEADLINE_EXCEEDED": (
        "DEADLINE_EXCEEDED",
        "the daemon did not answer in time",
        "a change may have been made all the same; allow more with --timeout SECONDS, or connect(timeout=)",
    ),
    "UNIMPLEMENTED": (
        "UNKNOWN_METHOD",
        "this daemon does not know this call",
        "it is older than this client: holdfast storage status -v shows its version",
    ),
}
"""What gRPC itself says where the daemon never got to answer: reason, message, hint."""
_TOO_LARGE = (
    "MESSAGE_TOO_LARGE",
    "the message is larger than the daemon accepts",
    "send smaller batches, or ask for less at once; the daemon's limit is --max-message-size",
)
_DETAILS_KEY = "grpc-status-details-bin"
_START_HINT = (
    "start it (systemctl start holdfastd, or holdfastd --data-dir DIR), "
    "or name another with --address, such as unix:DIR/holdfast.sock"
)
_NO_ENTRY = "permission denied"


def error_of(failure: grpc.RpcError, address: str, searched: Sequence[str] = ()) -> HoldfastError:
    """The error that a failed call stands for. ``address`` is named where the daemon could not be reached.

    searched: the places that were looked at to find it, which are named too.
    """
    code, text = _code_of(failure), _text_of(failure)
    details = _details_of(failure)
    if details is not None:
        return error_of_status(details, code)
    if code == "UNAVAILABLE":
        return _unreachable(address, _short(text), searched)
    reason, message, hint = _OWN_WORDS.get(code, (code, text or f"the call failed with {code}", None))
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in text:
        reason, message, hint = _TOO_LARGE
    return CLASS_OF_STATUS.get(code, Unknown)(message, reason=reason, hint=hint)


def _unreachable(address: str, why: str, searched: Sequence[str]) -> HoldfastError:
    hint, metadata = _START_HINT, {"address": address}
    if why == _NO_ENTRY:
        return PermissionDenied(
            f"this user may not open {address}: {why}",
            reason="SOCKET_DENIED",
            hint="run this as root or as a member of the socket's group, which ls -l shows",
            metadata=metadata,
        )
    path = address.removeprefix("unix://")
    if path != address and not _may_be_socket(path):
        why, hint = "that is no socket", "name the socket itself, such as unix:DIR/holdfast.sock"
    if searched:
        why += f"; no address was given, so it was looked for at {' and '.join(searched)}"
    return Unavailable(f"no daemon answers at {address}: {why}", reason="UNREACHABLE", hint=hint, metadata=metadata)


def _may_be_socket(path: str) -> bool:
    from pathlib import Path

    return Path(path).is_socket() or not Path(path).exists()


def error_of_status(status: Status, code: str | None = None) -> HoldfastError:
    """The error in a ``google.rpc.Status``, as a failed call carries it and as a failed operation stores it."""
    from google.rpc import error_details_pb2

    reason, hint, metadata = None, None, dict[str, str]()
    for packed in status.details:
        name = packed.type_url.rpartition("/")[2]
        if name == "google.rpc.ErrorInfo":
            info = error_details_pb2.ErrorInfo.FromString(packed.value)
            reason, metadata = info.reason, metadata | dict(info.metadata)
        elif name == "google.rpc.Help":
            links = error_details_pb2.Help.FromString(packed.value).links
            hint = next((link.description for link in links if link.description), hint)
        elif name == "google.rpc.LocalizedMessage":
            hint = error_details_pb2.LocalizedMessage.FromString(packed.value).message or hint
        elif name == "google.rpc.BadRequest":
            violations = error_details_pb2.BadRequest.FromString(packed.value).field_violations
            metadata.setdefault("field", next((violation.field for violation in violations), ""))
        elif name == "google.rpc.RetryInfo":
            delay = error_details_pb2.RetryInfo.FromString(packed.value).retry_delay
            metadata["retry_after_seconds"] = str(delay.seconds + delay.nanos / 1e9)
    hint = hint or metadata.pop("hint", None)
    cls = CLASS_OF_STATUS.get(code or _name_of(status.code), Unknown)
    return cls(status.message, reason=reason, hint=hint, metadata=metadata)


def _details_of(failure: grpc.RpcError) -> Status | None:
    trailing = getattr(failure, "trailing_metadata", lambda: None)() or ()
    block = next((value for key, value in trailing if key == _DETAILS_KEY), None)
    if block is None:
        return None
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return Status.FromString(block)
    except DecodeError:
        return None  # code and text of the call itself still tell what happened


def _code_of(failure: grpc.RpcError) -> str:
    code = getattr(failure, "code", lambda: None)()
    return code.name if code is not None else "UNKNOWN"


def _text_of(failure: grpc.RpcError) -> str:
    return getattr(failure, "details", lambda: None)() or ""


def _name_of(number: int) -> str:
    import grpc

    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")


def _short(text: str) -> str:
    """gRPC's own words about a connection without the parts that repeat the address."""
    for sign in ("No such file or directory", "Connection refused", "Permission denied", "Socket closed"):
        if sign.lower() in text.lower():
            return sign[0].lower() + sign[1:]
    return text.splitlines()[0] if text else "no connection"
