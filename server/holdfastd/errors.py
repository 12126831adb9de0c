"""Every way in which the daemon says no, drawn once.

    HoldfastError
    ├── InvalidArgument        the request is wrong, whatever the store holds
    ├── NotFound               no such collection, snapshot, operation, alias, mark
    ├── AlreadyExists          the name is taken
    ├── FailedPrecondition     right request, wrong state of the store
    │   └── UnsupportedFormat  written by a newer version: not corruption
    ├── OutOfRange             a time, sequence or page outside what exists
    ├── Aborted                lost a race; the same request may succeed
    ├── ResourceExhausted      a limit or a full disk; refused before anything was logged
    ├── PermissionDenied       a path or a role forbids it
    ├── Cancelled              the operation was cancelled by its owner
    ├── Unimplemented          named in the API, not built yet
    ├── Unavailable            starting or stopping; retry
    │   └── DataDirectoryLocked   another process holds the data directory
    ├── CommitUnknown          in flight when the log failed: may appear after a restart
    ├── EngineFailed           the log or the manifest could not be synced; read-only until a restart
    └── Corruption             bytes that were once durable are damaged, with path and offset

An error says what happened (``message``), what to do next (``hint``) and, for programs, a stable ``reason`` and its
``metadata``. ``rpc/errors`` maps each class to one gRPC status; the client maps that status to one exit code.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """The root: ``message`` is one sentence without a trailing full stop, ``hint`` the next thing to do or None.

    ``reason`` is UPPER_SNAKE and stable; keyword arguments become ``metadata``, the dynamic parts of the message as
    strings.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, hint: str | None = None, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if reason is not None:
            self.reason = reason
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items() if value is not None}


class InvalidArgument(HoldfastError):
    """The request is wrong in itself; ``field`` names the offending field, such as ``vectors[17]``."""

    reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        reason: str | None = None,
        hint: str | None = None,
        **metadata: object,
    ) -> None:
        super().__init__(message, reason=reason, hint=hint, field=field, **metadata)
        self.field = field


class NotFound(HoldfastError):
    """A named thing does not exist."""

    reason = "NOT_FOUND"


class AlreadyExists(HoldfastError):
    """A name is taken."""

    reason = "ALREADY_EXISTS"


class FailedPrecondition(HoldfastError):
    """The store is not in the state that the request needs."""

    reason = "FAILED_PRECONDITION"


class UnsupportedFormat(FailedPrecondition):
    """A file was written in a format version that this daemon does not know."""

    reason = "UNSUPPORTED_FORMAT"


class OutOfRange(HoldfastError):
    """A time, sequence or position lies outside what exists."""

    reason = "OUT_OF_RANGE"


class Aborted(HoldfastError):
    """A concurrent change won; the same request may succeed when sent again."""

    reason = "ABORTED"


class ResourceExhausted(HoldfastError):
    """A limit, a full queue or a full disk. Nothing of the request was logged."""

    reason = "RESOURCE_EXHAUSTED"


class PermissionDenied(HoldfastError):
    """The caller or the path is not allowed."""

    reason = "PERMISSION_DENIED"


class Cancelled(HoldfastError):
    """A long operation was cancelled before its final phase; it left nothing behind."""

    reason = "CANCELLED"


class Unimplemented(HoldfastError):
    """The API names it, this version does not do it."""

    reason = "UNIMPLEMENTED"


class Unavailable(HoldfastError):
    """The daemon is starting or stopping; retry."""

    reason = "UNAVAILABLE"


class DataDirectoryLocked(Unavailable):
    """Another process holds the lock on the data directory."""

    reason = "DATA_DIRECTORY_LOCKED"


class CommitUnknown(HoldfastError):
    """The operation was in flight when the log failed: after a restart it may be there or not."""

    reason = "COMMIT_UNKNOWN"


class EngineFailed(HoldfastError):
    """A sync of the log or of the manifest failed: the store is read-only until the daemon is restarted."""

    reason = "ENGINE_FAILED"


class Corruption(HoldfastError):
    """Bytes that were once durable are damaged; ``path`` and ``offset`` say where, ``problem`` what is wrong there."""

    reason = "CORRUPTION"

    def __init__(
        self,
        message: str,
        *,
        path: str,
        offset: int | None = None,
        reason: str | None = None,
        hint: str | None = None,
        **metadata: object,
    ) -> None:
        where = path if offset is None else f"{path} at offset {offset}"
        super().__init__(f"{where}: {message}", reason=reason, hint=hint, path=path, offset=offset, **metadata)
        self.path = path
        self.offset = offset
        self.problem = message
