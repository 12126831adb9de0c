"""Which snapshots need an archive of the log, and which of them a pruned one stands on.

All that this store has made and the registry knows are rolled forward with it: also one that is missing or damaged
today, since its disk may be back tomorrow. But an archive stands on those alone that are whole: without one it is the
only backup itself, of everything, or of the collections that are in none.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from ..errors import FailedPrecondition, NotFound
from ..format.manifest import Manifest
from ..model import CollectionSpec, Sequence64, StorageKind
from ..storage.files import FileSystem, parent_of
from ..storage.names import check_snapshot_id
from ..storage.store_errors import StoreError
from .log_archive_pruning import Need
from .snapshot_beside import Beside
from .snapshot_catalog import SnapshotCatalog
from .snapshot_info import BASE_MISSING, DAMAGED, MISSING, READY, SnapshotInfo

NOTHING_TO_STAND_ON = "ARCHIVE_STANDS_ALONE"
_WORDS: Mapping[str, str] = {MISSING: "missing", DAMAGED: "damaged", BASE_MISSING: "incomplete"}
AWAY, LEFT_BEHIND = "not to be seen", "of a history that a recovery has left"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A snapshot that is to be rolled forward. ``flaw``: why nothing can stand on it, or ""."""

    info: SnapshotInfo
    flaw: str

    @property
    def need(self) -> Need:
        """What it needs of the log."""
        return Need(self.info.record.sequence, self.info.id)


@dataclass(frozen=True, slots=True)
class Footing:
    """One look at the snapshots. ``left``: those that are not to be rolled forward any more.

    ``warnings``: what could not be looked at.
    """

    wanted: tuple[Wanted, ...]
    left: tuple[SnapshotInfo, ...]
    warnings: tuple[str, ...]

    @property
    def whole(self) -> tuple[SnapshotInfo, ...]:
        """Those that an archive may stand on."""
        return tuple(each.info for each in self.wanted if not each.flaw)


class Footings:
    """See the module. Any thread; blocks: asks object stores. ``live``: the collections that there are."""

    def __init__(
        self,
        fs: FileSystem,
        catalog: SnapshotCatalog,
        manifest: Callable[[], Manifest],
        live: Callable[[], Iterable[CollectionSpec]],
    ) -> None:
        self._fs = fs
        self._catalog = catalog
        self._manifest = manifest
        self._live = live
        self.in_use = catalog.in_use

    def look(self, before: str | None) -> Footing:
        """Who is to be rolled forward: everybody, or the snapshot with the id ``before`` and those of later moments.

        Raises NotFound, InvalidArgument, FailedPrecondition where nothing can stand on that one, OSError.
        """
        if before is not None:
            check_snapshot_id(before)
        own, looking = self._own(), Beside(self._fs, self._catalog)
        there = looking.look(own)
        # What was found there and is new to the registry is known from now on.
        own = [there.get(info.path, info) for info in self._own()]
        flaws = {info.path: self._flaw(info, looking.away) for info in own}
        least = 0
        if before is not None:
            named = self._named(before, own)
            if flaws[named.path]:
                raise _cannot_stand_on(named, flaws[named.path])
            least = named.record.sequence
        wanted = tuple(Wanted(info, flaws[info.path]) for info in own if info.record.sequence >= least)
        left = tuple(info for info in own if info.record.sequence < least)
        return Footing(wanted, left, tuple(_told_of(*each) for each in looking.away.items()))

    def check(self, footing: Footing, begins_after: Sequence64) -> None:
        """Raise FailedPrecondition where an archive that begins behind a sequence is the only backup of anything.

        Those that it stands on are to be in use meanwhile: what was deleted before that counts no more.
        """
        led_on = [info for info in footing.whole if info.record.sequence >= begins_after]
        whole = [info for info in led_on if self._catalog.record_at(info.path) is not None]
        if not whole:
            raise _stands_alone("no whole snapshot that it leads on from is known")
        # One that does not reach back to the beginning leads to nothing without a snapshot, whatever goes of it.
        if begins_after or any(info.record.everything for info in whole):
            return
        covered = {member.collection_id for info in whole for member in info.record.members}
        logged = (spec for spec in self._live() if spec.storage is not StorageKind.MEMORY)
        names = sorted(spec.name for spec in logged if str(spec.id) not in covered)
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise _stands_alone(f"no whole snapshot holds {', '.join(names[:3])}{more}")

    def _own(self) -> list[SnapshotInfo]:
        """Those of this store that the registry knows, the newest first."""
        named = self._catalog.named_paths()
        return [info for info in self._catalog.listing().snapshots if not info.foreign and info.path in named]

    def _named(self, before: str, own: Iterable[SnapshotInfo]) -> SnapshotInfo:
        found = next((info for info in own if info.id == before), None)
        if found is None:
            raise NotFound(
                f"this store has no snapshot {before}",
                reason="SNAPSHOT_NOT_FOUND",
                hint="list them with `holdfast storage snapshot list`; those of another store need another archive",
                snapshot=before,
            )
        return found

    def _flaw(self, info: SnapshotInfo, away: Container[str]) -> str:
        if parent_of(info.path) in away:
            return AWAY
        if not self._manifest().reaches_back_to(info.record.timeline, info.record.sequence):
            return LEFT_BEHIND
        return "" if info.state == READY else _WORDS[info.state]


def _told_of(directory: str, error: StoreError) -> str:
    return (
        f"{directory} cannot be looked into: {error.strerror}; what leads on from the snapshots there is kept, and "
        f"nothing stands on them: {error.hint}"
    )


def _cannot_stand_on(info: SnapshotInfo, flaw: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{info.id} is {flaw}: an archive that leads on from there would lead to nothing",
        reason=NOTHING_TO_STAND_ON,
        hint="name one that is whole: holdfast storage snapshot list; or bring it back: " + (info.problem or info.path),
        snapshot=info.id,
    )


def _stands_alone(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the archive of the log is the only backup there is: {why}",
        reason=NOTHING_TO_STAND_ON,
        hint="make one of everything: holdfast storage snapshot create; or show the daemon where snapshots lie: "
        "holdfast storage snapshot list --path DIR|URL; then prune again",
    )
