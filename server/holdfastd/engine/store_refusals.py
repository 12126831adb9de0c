"""What an object store answered, as an error of the engine: each kind of trouble has one class, and so one status."""

from __future__ import annotations

from ..errors import (
    Aborted,
    FailedPrecondition,
    HoldfastError,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unimplemented,
)
from ..storage.store_errors import StoreError, StoreProblem

_CLASS_OF: dict[StoreProblem, tuple[type[HoldfastError], str]] = {
    StoreProblem.NOT_INSTALLED: (FailedPrecondition, "STORE_NOT_INSTALLED"),
    StoreProblem.NO_CREDENTIALS: (FailedPrecondition, "STORE_NO_CREDENTIALS"),
    StoreProblem.ACCESS_DENIED: (PermissionDenied, "STORE_ACCESS_DENIED"),
    StoreProblem.WRONG_CLOCK: (FailedPrecondition, "STORE_WRONG_CLOCK"),
    StoreProblem.NO_BUCKET: (NotFound, "BUCKET_NOT_FOUND"),
    StoreProblem.MISCONFIGURED: (FailedPrecondition, "STORE_MISCONFIGURED"),
    StoreProblem.UNREACHABLE: (Unavailable, "STORE_UNREACHABLE"),
    StoreProblem.BUSY: (Unavailable, "STORE_BUSY"),
    StoreProblem.CHANGED: (Aborted, "OBJECT_CHANGED"),
    StoreProblem.ODD_NAME: (FailedPrecondition, "STORE_ODD_NAME"),
    StoreProblem.UNSUPPORTED: (Unimplemented, "STORE_UNSUPPORTED"),
    StoreProblem.OTHER: (FailedPrecondition, "STORE_ERROR"),
}


def store_refusal(error: StoreError, what: str) -> HoldfastError:
    """The error for a store that did not do its part; ``what`` could not be done."""
    kind, reason = _CLASS_OF[error.problem]
    message = f"{what}: {error.filename}: {error.strerror}"
    return kind(message, reason=reason, hint=error.hint, path=error.filename, bucket=_bucket(error.filename))


def _bucket(url: str) -> str:
    return "/".join(url.split("/")[:3])
