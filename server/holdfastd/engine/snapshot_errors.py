"""What several ways to a snapshot's file are refused with."""

from __future__ import annotations

from ..errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from ..storage.registry import PendingSnapshot


def file_in_use(what: str) -> FailedPrecondition:
    """The error for a file that somebody works with. ``what``: which, and for what."""
    return FailedPrecondition(
        what, reason="SNAPSHOT_IN_USE", hint="wait for it with `holdfast operation list`, or cancel it"
    )


def file_missing(path: str) -> NotFound:
    """The error for a file that is not where it should be."""
    return NotFound(
        f"there is no snapshot file {path}",
        reason="SNAPSHOT_NOT_FOUND",
        hint="list the snapshots with `holdfast storage snapshot list`; name a file that was moved by its path",
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


def overtaken(pending: PendingSnapshot) -> Aborted:
    """The error for a snapshot whose name another store took first, in a place that they share."""
    return Aborted(
        f"another store has just made {pending.path}, or is making it: two stores write there in the same second",
        reason="SNAPSHOT_NAME_TAKEN",
        hint="run the command again, or give each store a prefix of its own with --path",
        path=pending.path,
    )
