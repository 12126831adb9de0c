"""Why a snapshot cannot be had, changed or deleted, and what to do then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import AlreadyExists, FailedPrecondition, NotFound, PermissionDenied


def file_in_use(what: str) -> FailedPrecondition:
    """The error for a file that somebody works with. ``what``: which, and for what."""
    return FailedPrecondition(
        what, reason="SNAPSHOT_IN_USE", hint="wait for it with `holdfast operation list`, or cancel it"
    )


def is_base(snapshot_id: str, dependents: Sequence[str]) -> FailedPrecondition:
    """The error for the deletion of a snapshot that increments build on."""
    return FailedPrecondition(
        f"{snapshot_id} is the base of {', '.join(dependents)}",
        reason="SNAPSHOT_IS_BASE",
        hint="delete those first, or let them stand alone from now on: "
        f"holdfast storage snapshot delete {snapshot_id} --consolidate",
        dependents=",".join(dependents),
    )


def no_id_stands_for(path: str, snapshot_id: str) -> FailedPrecondition:
    """The error for a file of which the registry keeps nothing."""
    return FailedPrecondition(
        f"{path} is a copy, or of another store: {snapshot_id} does not stand for it",
        reason="SNAPSHOT_NOT_KNOWN",
        hint="name the snapshot by its id: holdfast storage snapshot list",
        path=path,
    )


def file_missing(path: str) -> NotFound:
    """The error for a file that is not where it should be."""
    return NotFound(
        f"there is no snapshot file {path}",
        reason="SNAPSHOT_NOT_FOUND",
        hint="list the snapshots with `holdfast storage snapshot list`; name a file that was moved by its path",
        path=path,
    )


def check_allowed(allowed: Callable[[str], bool], path: str) -> None:
    """Raise PermissionDenied for a file that a caller may not change, though it is found by its id."""
    if not allowed(path):
        raise PermissionDenied(
            f"{path} is outside the directories that the daemon allows over TCP",
            reason="PATH_NOT_ALLOWED",
            hint="ask on the Unix socket, or add its directory to allowed_paths of the daemon",
            path=path,
        )


def id_is_taken(snapshot_id: str, path: str, why: str = "") -> AlreadyExists:
    """The error for a file from elsewhere whose id or place another snapshot has."""
    return AlreadyExists(
        why or f"there is another {snapshot_id} already, or one is being written",
        reason="SNAPSHOT_EXISTS",
        hint="see it with `holdfast storage snapshot list`; upload into another directory with --path, or delete that "
        "snapshot first",
        path=path,
        snapshot=snapshot_id,
    )
