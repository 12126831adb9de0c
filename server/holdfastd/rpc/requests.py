"""What all requests share: who asks, what may not be asked yet, and the paths and pages that they name."""

from __future__ import annotations

import base64
import binascii
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
import msgspec

from ..engine.tickets import Caller
from ..errors import InvalidArgument, PermissionDenied, Unimplemented
from ..format.urls import is_object_url, place_of

MAX_REQUEST_ID_BYTES = 128
DEFAULT_PAGE = 100
MAX_PAGE = 1000
T = TypeVar("T")


def is_local(context: grpc.ServicerContext) -> bool:
    """Whether the caller came through the Unix socket, and so shares the daemon's file system."""
    peer: str = context.peer()
    return peer.startswith("unix:")


@dataclass(frozen=True, slots=True)
class Callers:
    """Tells who asks. ``only``: the one kind of listener that there is, so that the peer need not be looked at."""

    only: str | None = None

    def of(self, context: grpc.ServicerContext, request_id: str, *, sync: bool = False) -> Caller:
        """The caller of a change. Raises InvalidArgument for an oversize request id."""
        if len(request_id) > MAX_REQUEST_ID_BYTES // 4 and len(request_id.encode()) > MAX_REQUEST_ID_BYTES:
            raise InvalidArgument(
                f"request_id has {len(request_id.encode())} bytes, the limit is {MAX_REQUEST_ID_BYTES}",
                field="request_id",
                hint="a UUID is a good request id",
            )
        actor = self.only or ("unix" if is_local(context) else "tcp")
        return Caller(actor, request_id, sync)


def refuse(field: str, asked: object) -> None:
    """Raise Unimplemented, naming the field, if it asks for anything: a known field is done or refused."""
    if asked:
        raise Unimplemented(
            f"this daemon does not support {field} yet",
            reason="FIELD_NOT_SUPPORTED",
            hint=f"leave out {field}",
            field=field,
        )


def unknown_value(field: str, number: int) -> InvalidArgument:
    """The error for an enum value that this version does not know."""
    return InvalidArgument(
        f"{field} has the value {number}, which this daemon does not know",
        field=field,
        reason="UNKNOWN_ENUM_VALUE",
        hint="the client may be newer than the daemon",
    )


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths as clients name them. ``allowed``: directories below which the paths of TCP clients must lie.

    What counts is where a path leads, not how it is written: ``real_path`` follows its links (as ``FileSystem`` has
    it). The engine is given the path without links below the allowed directory, so that a link which is changed
    meanwhile leads nowhere else. What remains: somebody who may write in an allowed directory on the daemon's machine
    can put a link in the place of a directory, or of a file in a directory that is named, before it is opened. Allow
    directories only in which such people may not write.
    """

    data_dir: str
    allowed: tuple[str, ...]
    real_path: Callable[[str], str]

    def resolve(
        self,
        path: str,
        working_directory: str,
        context: grpc.ServicerContext,
        *,
        field: str = "path",
        objects: bool = False,
    ) -> str | None:
        """The absolute, normalised path; None for an empty one. Raises InvalidArgument or PermissionDenied.

        ``objects``: the URL of an object store will do as well; that of a file is its path everywhere. Of a path sent
        over TCP, links are followed, which asks the file system.
        """
        local = is_local(context)
        if working_directory and not local:
            raise InvalidArgument(
                "working_directory is sent on the Unix socket alone: over TCP client and daemon may be two machines",
                field="working_directory",
                hint="send an absolute path of the daemon's machine",
            )
        if not path:
            return None
        if "\0" in path or "\0" in working_directory:
            raise InvalidArgument(f"{field} contains a NUL character", field=field)
        path = place_of(path, field=field)
        if is_object_url(path):
            if not objects:
                raise _not_on_a_disk(field)
            return path if local else self._inside(path, field)
        if not posixpath.isabs(path):
            path = posixpath.join(_base(path, working_directory, field), path)
        resolved = posixpath.normpath(path)
        return resolved if local else self._inside(resolved, field)

    def allowed_for(self, context: grpc.ServicerContext) -> Callable[[str], bool]:
        """Whether the caller may have to do with an absolute path that it has not named itself; asks the file system.

        The question may be asked after the call has ended.
        """
        if is_local(context):
            return lambda path: True
        roots = [self.real_path(root) for root in (self.data_dir, *self.allowed)]
        return lambda path: any(_below(self.real_path(path), root) is not None for root in roots)

    def _inside(self, path: str, field: str) -> str:
        """Where ``path`` leads, from the allowed directory that it leads into. Raises PermissionDenied for another."""
        real = self.real_path(path)
        for root in (self.data_dir, *self.allowed):
            below = _below(real, self.real_path(root))
            if below is not None:
                return posixpath.join(root, below) if below else root
        raise PermissionDenied(
            f"{path} is outside the directories that the daemon allows over TCP"
            + ("" if real == path else ": it leads elsewhere"),
            reason="PATH_NOT_ALLOWED",
            hint="name one of them, ask on the Unix socket, or add it to allowed_paths of the daemon",
            field=field,
            path=path,
        )


def _not_on_a_disk(field: str) -> InvalidArgument:
    return InvalidArgument(
        f"{field} lies in an object store, and only the snapshots that the daemon writes and reads itself may",
        field=field,
        reason="NOT_ON_A_DISK",
        hint="name a directory of the daemon's machine",
    )


def _below(path: str, root: str) -> str | None:
    """The rest of ``path`` below ``root``, "" for the root itself; None where it lies elsewhere. Both without links."""
    if path == root:
        return ""
    root = f"{root.rstrip('/')}/"
    return path[len(root) :] if path.startswith(root) else None


def _base(path: str, working_directory: str, field: str) -> str:
    if not posixpath.isabs(working_directory):
        raise InvalidArgument(
            f"{field} is {path!r}, a relative path, and no absolute working_directory says what against",
            field=field if not working_directory else "working_directory",
            reason="RELATIVE_PATH",
            hint="send an absolute path of the daemon's machine",
        )
    return working_directory


def page_size(asked: int, *, default: int = DEFAULT_PAGE, limit: int = MAX_PAGE, field: str = "page_size") -> int:
    """Entries per page: the default for 0, at most the limit. Raises InvalidArgument if it is negative."""
    if asked < 0:
        raise InvalidArgument(f"{field} is {asked}, it cannot be negative", field=field)
    return min(asked or default, limit)


def encode_token(*parts: object) -> str:
    """An opaque page token."""
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def decode_token(token: str, of: type[T]) -> T:
    """What a page token holds. Raises InvalidArgument for one that this daemon did not make for such a request."""
    try:
        raw = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=of)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise bad_token() from None


def bad_token() -> InvalidArgument:
    """The error for a page token that does not belong to its request."""
    return InvalidArgument(
        "page_token is not one that this request can go on from",
        field="page_token",
        reason="INVALID_PAGE_TOKEN",
        hint="send next_page_token of the page before, with an otherwise equal request",
    )


def page_by_key(
    entries: Sequence[T], key: Callable[[T], str], size: int, token: str, *, descending: bool = False
) -> tuple[Sequence[T], str]:
    """One page of entries sorted by a unique key, and the token of the next: whatever comes and goes meanwhile."""
    if token:
        last = decode_token(token, tuple[str])[0]
        entries = [entry for entry in entries if (key(entry) < last if descending else key(entry) > last)]
    page = entries[: page_size(size)]
    return page, encode_token(key(page[-1])) if len(page) < len(entries) else ""
