"""What an operator has promised of backups, held against what there is: alarms, which go when the promise is kept.

    SNAPSHOT_OVERDUE      something was written since the newest moment that can be restored, and that is older than
                          --recovery-point-objective: a snapshot, or where the archive of the log leads on from one
    SNAPSHOT_UNVERIFIED   no snapshot of late was read whole, with every checksum, for as long as --verify-within says
    SNAPSHOT_DAMAGED      a snapshot was found damaged; with or without a promise

Nothing is read for them but the names, sizes and times of the files that the registry knows. A snapshot, or a
verification, that is dated in the future was made by a clock that was wrong: it tells nothing of how old it is, and
keeps no promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from ..format.verify_receipt import CHECKSUMS
from ..model import StorageKind
from ..storage.clock import Clock
from ..storage.registry import SnapshotMember
from .alarms import Alarms
from .collection import Collection
from .log_archive_status import ArchiveReach
from .settings import EngineConfig
from .snapshot_info import DAMAGED, READY, SnapshotInfo

OVERDUE, UNVERIFIED, DAMAGE = "SNAPSHOT_OVERDUE", "SNAPSHOT_UNVERIFIED", "SNAPSHOT_DAMAGED"
_NAMED = 3
"""As many snapshots or collections as an alarm names."""


class Objectives:
    """See the module. ``known``: the snapshots in the registry, newest first; ``live``: the collections;
    ``unverified_since``: of snapshots that are gone, as the registry has it. ``archive``: where the archive of the log
    leads, None for nowhere.

    Any thread; ``look`` blocks for the file system's names.
    """

    def __init__(
        self,
        config: EngineConfig,
        clock: Clock,
        alarms: Alarms,
        known: Callable[[], list[SnapshotInfo]],
        unverified_since: Callable[[], int],
        live: Callable[[], Iterable[Collection]],
        archive: Callable[[], ArchiveReach | None],
    ) -> None:
        self._objective_us = config.recovery_point_objective_us
        self._verify_within_us = config.verify_within_us
        self._clock = clock
        self._alarms = alarms
        self._known = known
        self._unverified_since = unverified_since
        self._live = live
        self._archive = archive

    def look(self) -> None:
        """Bring the alarms up to date."""
        now_us = self._clock.now_us()
        own = [info for info in self._known() if not info.foreign]
        ready = [info for info in own if info.state == READY]
        self._tell_of_damage([info for info in own if info.state == DAMAGED])
        if self._objective_us:
            self._tell_of_age(ready, now_us)
        if self._verify_within_us:
            self._tell_of_verification(own, ready, now_us)

    def _tell_of_damage(self, damaged: list[SnapshotInfo]) -> None:
        if not damaged:
            self._alarms.clear(DAMAGE)
            return
        first = damaged[0]
        self._alarms.raise_(
            DAMAGE,
            f"{_names([info.id for info in damaged])} cannot be restored: {first.problem}",
            hint=f"holdfast storage snapshot verify {first.id} says what can be restored instead; make a new one: "
            "holdfast storage snapshot create; this goes when the file is right again and verified, or the snapshot "
            "is deleted",
            severity="critical",
        )

    def _tell_of_age(self, ready: list[SnapshotInfo], now_us: int) -> None:
        unsaved: dict[Collection, list[SnapshotInfo]] = {}
        for collection in sorted(self._live(), key=lambda each: each.spec.name):
            holding = [info for info in ready if _member_of(info, collection) is not None]
            saved = any(_holds_all(info, collection) for info in holding)
            if collection.spec.storage is not StorageKind.MEMORY and not saved:
                unsaved[collection] = holding
        archive, late = self._archive() if unsaved else None, dict[str, str]()
        for collection, holding in unsaved.items():
            if archive is not None and archive.behind_us <= self._objective_us and _leads_on(archive, holding):
                continue
            spec = collection.spec
            newest = next((info for info in holding if info.record.created_us <= now_us), None)
            age_us = now_us - (spec.created_us if newest is None else newest.record.created_us)
            if abs(age_us) > self._objective_us:
                late[spec.name] = _last_saved(holding, newest, age_us)
        if not late:
            self._alarms.clear(OVERDUE)
            return
        name = next(iter(late))
        self._alarms.raise_(
            OVERDUE,
            f"what was written to {_names(list(late))} is in no snapshot that can be restored, though it should be "
            f"within {_span(self._objective_us)} (--recovery-point-objective): {name} {late[name]}",
            hint="holdfast storage snapshot create --incremental, without --incremental where there is no base; then "
            "look why the last one from cron or from a schedule failed: holdfast storage snapshot schedules",
        )

    def _tell_of_verification(self, own: list[SnapshotInfo], ready: list[SnapshotInfo], now_us: int) -> None:
        judged = [info for info in ready if info.record.created_us <= now_us] or ready
        # What was saved long before the newest says nothing of backups as they are made now.
        recent = [
            info
            for info in judged
            if judged[0].record.created_us - info.record.created_us <= self._verify_within_us
            and info.standing is not None
            and info.standing.level >= CHECKSUMS
            and info.standing.time_us <= now_us
        ]
        last = max(recent, key=_verified_us, default=None)
        since_us = self._unverified_since()
        if not own or since_us > now_us:
            since_us = 0
        oldest_us = min((info.record.created_us for info in judged or own), default=now_us)
        verified_us = 0 if last is None else _verified_us(last)
        age_us = now_us - (max(verified_us, since_us) or oldest_us)
        if 0 <= age_us <= self._verify_within_us:
            self._alarms.clear(UNVERIFIED)
            return
        what = f"the last snapshot that was verified is {last.id}, {_ago(age_us)}" if last is not None else ""
        if since_us > verified_us:
            what = f"no snapshot, of those that are gone either, was verified for {_span(age_us)}"
        self._alarms.raise_(
            UNVERIFIED,
            f"{what or _never(judged, own, age_us)}; it should be done within {_span(self._verify_within_us)} "
            "(--verify-within)",
            hint="holdfast storage snapshot verify latest; then look why the one from cron failed"
            if judged
            else "holdfast storage snapshot list says what is wrong with them; make a new one: "
            "holdfast storage snapshot create",
        )


def _member_of(info: SnapshotInfo, collection: Collection) -> SnapshotMember | None:
    id = str(collection.spec.id)
    return next((member for member in info.record.members if member.collection_id == id), None)


def _holds_all(info: SnapshotInfo, collection: Collection) -> bool:
    """Whether the collection is, point by point, what the snapshot holds of it."""
    member, view = _member_of(info, collection), collection.view
    return member is not None and (member.total_vectors, member.digest) == (view.count, view.digest.hex())


def _leads_on(archive: ArchiveReach, holding: list[SnapshotInfo]) -> bool:
    """Whether the archive leads to its end from one of these, or without any."""
    return not archive.begins_after or any(archive.leads_from(info.record) for info in holding)


def _verified_us(info: SnapshotInfo) -> int:
    return 0 if info.standing is None else info.standing.time_us


def _last_saved(holding: list[SnapshotInfo], newest: SnapshotInfo | None, age_us: int) -> str:
    """When a collection was last saved. ``newest``: of those ``holding`` it the newest that is not from the future."""
    what = "is in no snapshot, and was made" if newest is None else f"was last saved with {newest.id},"
    ahead = f" ({holding[0].id} is dated in the future, and does not count)" if holding and holding[0] != newest else ""
    return f"{what} {_ago(age_us)}{ahead}"


def _never(judged: list[SnapshotInfo], own: list[SnapshotInfo], age_us: int) -> str:
    """What is to be said where none was verified; ``judged``: those that could be."""
    what = "no snapshot of late was ever verified" if judged else "no snapshot can be restored as it is"
    return f"{what}, and the oldest of {len(judged or own)} was made {_ago(age_us)}"


def _ago(age_us: int) -> str:
    return f"{_span(age_us)} ago" if age_us >= 0 else "in the future, by a clock that was wrong"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _span(microseconds: int) -> str:
    """A time span for people: ``45s``, ``90m``, ``36h``, ``9d``."""
    seconds = int(timedelta(microseconds=microseconds).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
