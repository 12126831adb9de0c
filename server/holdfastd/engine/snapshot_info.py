"""A snapshot as it is listed, the order of snapshots, and which of them is the newest."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from ..errors import Corruption, FailedPrecondition, HoldfastError, NotFound
from ..format.verify_receipt import Standing
from ..storage.names import SNAPSHOT_ID
from ..storage.registry import SnapshotRecord, snapshot_file_id

READY, MISSING, DAMAGED, BASE_MISSING = "ready", "missing", "damaged", "base_missing"


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot as it is listed. ``path`` is absolute; ``state``: ready, missing, damaged or base_missing.

    ``dependents``: ids of the increments that build directly on it. ``problem``: what is wrong with one that is not
    ready, else "". ``foreign``: another store made it. ``standing``: how far, and when, all files of its chain were
    verified, the least of them; None where one never was, or is damaged.
    """

    record: SnapshotRecord
    path: str
    state: str
    dependents: tuple[str, ...] = ()
    problem: str = ""
    foreign: bool = False
    standing: Standing | None = None

    @property
    def id(self) -> str:
        """``snap-YYYY-MM-DD-HHMMSS`` with an optional suffix."""
        return self.record.id

    @property
    def collections(self) -> tuple[str, ...]:
        """The names of the collections in it, sorted."""
        return tuple(member.name for member in self.record.members)

    @property
    def exclusive_bytes(self) -> int:
        """What its file alone takes; 0 where that is gone."""
        return 0 if self.state == MISSING else self.record.size_bytes

    @property
    def freeable_bytes(self) -> int:
        """What its deletion would free now: nothing while others need it."""
        return 0 if self.dependents else self.exclusive_bytes


@dataclass(frozen=True, slots=True)
class SnapshotListing:
    """Snapshots, newest first.

    ``unreadable``: files that are named like snapshots and cannot be read as one, by path, with the reason;
    ``warnings``: these reasons and what else is to be said.
    """

    snapshots: list[SnapshotInfo]
    warnings: list[str]
    unreadable: dict[str, str]


def age_key(info: SnapshotInfo) -> str:
    """Unique; sorts by time, then by the number that tells snapshots of one second apart."""
    return f"{info.record.created_us:020d} {_number_in(info.id):06d} {info.path}"


def newest(listing: SnapshotListing, *, links_elsewhere: bool = False) -> SnapshotInfo:
    """The newest snapshot that this store has made: of the latest moment of its history, whatever clocks said.

    Raises NotFound, Corruption or FailedPrecondition where that one is missing, damaged, unreadable, or lacks a link.
    An older one never stands in for it unasked: whoever restores it would lose what lies between, and not know. Nor
    does another store's, only because it was found somewhere. The one that is named instead was made of as much, if
    there is any. ``links_elsewhere``: the caller says where links lie, so that one may be where nothing here knows of.
    """
    own = sorted((info for info in listing.snapshots if not info.foreign), key=_moment_key, reverse=True)
    first = own[0] if own else None
    whole = [info for info in own if info.state == READY]
    ready = next((info for info in whole if first is None or _holds_as_much(info, first)), whole[0] if whole else None)
    # What cannot be read tells its age by its name alone, to the second; ids sort like times.
    unread = max(listing.unreadable, key=lambda path: _id_key(_id_in(path)), default=None)
    if unread is not None and (first is None or _id_key(_id_in(unread)) > _id_key(first.id)):
        raise _unusable(_id_in(unread), unread, DAMAGED, listing.unreadable[unread], ready, f"move {unread} away")
    if first is None:
        raise _none_yet(listing.snapshots)
    if first.state == READY or (first.state == BASE_MISSING and links_elsewhere):
        return first
    forget = f"`holdfast storage snapshot delete {first.id}`"
    along = f"{along_the_log(first)}; " if ready is not None and _holds_as_much(ready, first) else ""
    raise _unusable(first.id, first.path, first.state, first.problem, ready, forget, along)


def _none_yet(foreign: list[SnapshotInfo]) -> NotFound:
    """The error for a store that has made none. ``foreign``: those of others that are known, newest first."""
    reason = "SNAPSHOT_NOT_FOUND"
    if not foreign:
        return NotFound(
            "there is no snapshot yet",
            reason=reason,
            hint="create one with `holdfast storage snapshot create`; those of a store that is lost are found with "
            "`holdfast storage snapshot list --path DIR|URL`",
        )
    first = next((info for info in foreign if info.state == READY), foreign[0])
    return NotFound(
        f"this store has made no snapshot yet, and {len(foreign)} of another store "
        f"{'are' if len(foreign) > 1 else 'is'} never meant by `latest`",
        reason=reason,
        hint=f"name it: the newest {'whole one ' if first.state == READY else ''}of another store is {first.id}: "
        f"`holdfast storage snapshot restore {first.id}`",
        snapshot=first.id,
    )


def _moment_key(info: SnapshotInfo) -> tuple[int, int]:
    """Sorts by the place in history: a clock that was set back makes no older snapshot the newest (RULES 12)."""
    return info.record.timeline, info.record.sequence


def along_the_log(info: SnapshotInfo) -> str:
    """How its moment is had without it: an older snapshot, found by itself, and the log from there."""
    of = "" if info.record.everything else f" --from-collection {info.collections[0]}"
    command = f"`holdfast storage snapshot restore latest --to {info.record.sequence}{of}`"
    return f"its moment comes back along the log, where that leads there: {command}"


def _unusable(
    id: str, path: str, state: str, problem: str, older: SnapshotInfo | None, give_up: str, along: str = ""
) -> HoldfastError:
    """The error for a newest snapshot that is not what it should be. ``give_up``: what makes another the newest.

    ``along``: how its moment is had without it, or "".
    """
    problem = problem.removeprefix(path).lstrip(":/ ")
    what = f"the newest snapshot, {id}, is {'incomplete' if state == BASE_MISSING else state}: {problem}"
    then = "no older one is whole: create one with `holdfast storage snapshot create`"
    if older is not None:
        of = "" if older.record.everything else f" holds {', '.join(older.collections)} alone"
        then = f"the newest whole one before it{of}: `holdfast storage snapshot restore {older.id}`"
    before = None if older is None else older.id
    hint = f"{along}{then}; to give {id} up: {give_up}"
    if state == BASE_MISSING:
        hint = (
            "bring a whole one back to its place or, where it was moved to another directory, show the daemon that: "
            f"`holdfast storage snapshot list --path DIR|URL`; {hint}"
        )
        return FailedPrecondition(what, reason="SNAPSHOT_LINK_MISSING", hint=hint, path=path, snapshot=id, older=before)
    if state == MISSING:
        hint = f"mount its disk, or bring its file back; {hint}"
        return NotFound(what, reason="SNAPSHOT_MISSING", hint=hint, path=path, snapshot=id, older=before)
    return Corruption(what, path=path, reason="SNAPSHOT_DAMAGED", hint=hint, snapshot=id, older=before)


def _holds_as_much(older: SnapshotInfo, newer: SnapshotInfo) -> bool:
    """Whether one was made of everything that the other was made of."""
    wanted = {member.collection_id for member in newer.record.members}
    held = {member.collection_id for member in older.record.members}
    return older.record.everything or (not newer.record.everything and held >= wanted)


def _id_in(path: str) -> str:
    id = snapshot_file_id(posixpath.basename(path))
    assert id is not None, "only files with the name of a snapshot are looked into"
    return id


def _id_key(id: str) -> tuple[str, int]:
    """Sorts ids by their second, then by their number."""
    return id[: len("snap-YYYY-MM-DD-HHMMSS")], _number_in(id)


def _number_in(id: str) -> int:
    match = SNAPSHOT_ID.fullmatch(id)
    return int(match[1][1:]) if match is not None and match[1] else 1
