"""Pruning: deleting the snapshots that a retention policy does not keep (keeping), each after all that builds on it.

What cannot be judged stays, whatever the policy says: what is missing (its disk may not be there today), damaged, lacks
a link, or lies in an object store that is away; what another store made; copies that the registry does not name; and
what is in use. Such a one is deleted by name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import HoldfastError, InvalidArgument, NotFound
from ..storage.files import FileSystem, parent_of
from ..storage.store_errors import StoreError
from .keeping import FUTURE, Candidate, RetentionPolicy, deletion_order, reasons_to_keep
from .snapshot_beside import Beside
from .snapshot_catalog import SnapshotCatalog
from .snapshot_info import BASE_MISSING, DAMAGED, MISSING, READY, SnapshotInfo
from .snapshot_lineage import is_base_of
from .snapshot_marks import PINNED

EVERYTHING = "*"
"""The scope of a snapshot of everything; no collection has this name."""
FOREIGN, COPY, IN_USE, NOT_ALLOWED = "of another store", "a copy", "in use", "outside the allowed paths"
AWAY = "not to be seen"
"""It lies in an object store that cannot be asked now."""
_LEFT: Mapping[str, str] = {"SNAPSHOT_IN_USE": IN_USE, "SNAPSHOT_PINNED": PINNED}
_WORDS: Mapping[str, str] = {MISSING: "missing", DAMAGED: "damaged", BASE_MISSING: "incomplete"}
_BY_NAME = "delete it by name if nobody needs it: holdfast storage snapshot delete"


def anywhere(path: str) -> bool:
    """What a caller on this machine may delete: whatever there is."""
    return True


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """What to prune. ``path``: only in this directory; ``collection``: only snapshots of that scope (``scope_of``).

    ``allowed``: whether the caller may delete a file at this absolute path.
    """

    policy: RetentionPolicy
    path: str | None = None
    collection: str | None = None
    allowed: Callable[[str], bool] = anywhere


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of one snapshot. ``reasons``: why it stays; empty where it goes."""

    info: SnapshotInfo
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became, or would become, of each snapshot looked at, the newest first. ``order``: paths, as they go."""

    decisions: tuple[Decision, ...]
    order: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def going(self) -> list[SnapshotInfo]:
        """Those that go, in the order of their deletion."""
        by_path = {each.info.path: each.info for each in self.decisions}
        return [by_path[path] for path in self.order]

    @property
    def kept_count(self) -> int:
        """How many stay."""
        return len(self.decisions) - len(self.order)

    @property
    def freed_bytes(self) -> int:
        """What those that go take."""
        return sum(info.exclusive_bytes for info in self.going)

    def keeping(self, info: SnapshotInfo, reason: str, warning: str) -> Pruned:
        """The same, with one that stays after all."""
        decisions = (replace(d, reasons=(reason,)) if d.info.path == info.path else d for d in self.decisions)
        order = tuple(path for path in self.order if path != info.path)
        return Pruned(tuple(decisions), order, (*self.warnings, warning))


def check_policy(policy: RetentionPolicy) -> None:
    """Raise InvalidArgument for a policy that would keep nothing, or counts below zero."""
    if min(policy.last, policy.hourly, policy.daily, policy.weekly, policy.monthly, policy.yearly) < 0:
        raise InvalidArgument("a rule of the policy is negative", field="policy", hint="leave out what is no rule")
    if policy.is_empty:
        raise InvalidArgument(
            "the policy has no rule, and so would keep nothing",
            field="policy",
            reason="EMPTY_POLICY",
            hint="give at least one rule, such as --keep-daily 7; delete single snapshots by name",
        )


class Pruning:
    """One look at what is to be pruned. Any thread; blocks.

    ``cost``: what of point-in-time recovery is lost with these snapshots, in sentences.
    """

    def __init__(
        self,
        fs: FileSystem,
        catalog: SnapshotCatalog,
        request: PruneRequest,
        cost: Callable[[Iterable[SnapshotInfo]], tuple[str, ...]],
    ) -> None:
        self._fs = fs
        self._catalog = catalog
        self._request = request
        self._cost = cost
        self._away: Container[str] = ()

    def look(self, now_us: int) -> Pruned:
        """What would become of each snapshot. Raises NotFound for a directory that is not there; OSError.

        An object store that cannot be asked is an error only where it was asked for.
        """
        looking = Beside(self._fs, self._catalog, insist=self._request.path is not None)
        listing = self._catalog.listing(self._request.path)
        infos = [info for info in listing.snapshots if self._is_asked_for(info)]
        paths = self._catalog.named_paths()
        # What the registry does not name there may build on one of them, too.
        beside = looking.look(info for info in infos if info.path in paths)
        self._away = looking.away
        # What lies in an object store is believed to be there until somebody looks: now it was looked at.
        infos = [beside.get(info.path, info) for info in infos]
        named = [info for info in infos if info.path in paths]
        strays = [info for path, info in beside.items() if path not in paths]
        candidates = [self._candidate(info, strays) for info in named]
        reasons = reasons_to_keep(candidates, self._request.policy, now_us)
        path_of = {info.id: info.path for info in named}
        why = {path_of[id]: found for id, found in reasons.items()}
        decisions = tuple(Decision(info, why.get(info.path, (COPY,))) for info in infos)
        order = deletion_order(candidates, (id for id, found in reasons.items() if not found))
        pruned = Pruned(decisions, tuple(path_of[id] for id in order))
        away = [_told_of(directory, error) for directory, error in looking.away.items()]
        return replace(pruned, warnings=(*listing.warnings, *away, *_told(decisions), *self._cost(pruned.going)))

    def _is_asked_for(self, info: SnapshotInfo) -> bool:
        return self._request.collection is None or scope_of(info) == self._request.collection

    def _candidate(self, info: SnapshotInfo, strays: Iterable[SnapshotInfo]) -> Candidate:
        above = {stray.id for stray in strays if is_base_of(info.record, stray.record)}
        return Candidate(
            info.id,
            info.record.created_us,
            scope_of(info),
            needed_by=tuple(sorted(above.union(info.dependents))),
            whole=info.state == READY and not info.foreign and parent_of(info.path) not in self._away,
            held=tuple(self._held(info)),
            moment=(info.record.timeline, info.record.sequence),
        )

    def _held(self, info: SnapshotInfo) -> Iterable[str]:
        """Why it stays in any case."""
        if info.record.pinned:
            yield PINNED
        if parent_of(info.path) in self._away:
            yield AWAY
        if info.foreign:
            yield FOREIGN
        if info.state in _WORDS:
            yield _WORDS[info.state]
        if self._catalog.is_in_use(info.path, own=0):
            yield IN_USE
        if not self._request.allowed(info.path):
            yield NOT_ALLOWED


def carry_out(pruned: Pruned, delete: Callable[[SnapshotInfo], None]) -> Pruned:
    """Delete what goes, in order; returns what came of it. Raises HoldfastError, saying how far it has come.

    ``delete`` deletes one; it is no error for it to be gone. What has come into use meanwhile, or has become a base, is
    left, and so is what it builds on.
    """
    done = 0
    for info in pruned.going:
        try:
            delete(info)
        except HoldfastError as error:
            left = _why_left(error)
            if left is None:
                error.message = f"{done} of {len(pruned.order)} snapshots were deleted, then: {error.message}"
                raise
            pruned = pruned.keeping(info, left, f"{info.id} was left: {error.message}")
        else:
            done += 1
    return pruned


def _why_left(error: HoldfastError) -> str | None:
    """The reason for which a snapshot stays that was to go; None where it is none, but a failure."""
    if error.reason in _LEFT:
        return _LEFT[error.reason]
    return f"base of {error.metadata['dependents']}" if error.reason == "SNAPSHOT_IS_BASE" else None


def scope_of(info: SnapshotInfo) -> str:
    """What a snapshot is counted with: everything, or the name of its one collection."""
    return EVERYTHING if info.record.everything else ",".join(info.collections)


def check_collection(name: str, pruned: Pruned, known: Iterable[str]) -> None:
    """Raise NotFound for the name of a collection that neither a snapshot nor the store has: a typing error."""
    if not pruned.decisions and name not in known:
        raise NotFound(
            f"there is no snapshot of {name} alone, and no such collection",
            reason="COLLECTION_NOT_FOUND",
            hint="snapshots of everything are pruned without --collection; list them with `holdfast storage snapshot "
            "list`",
            collection=name,
        )


def _told_of(directory: str, error: StoreError) -> str:
    return (
        f"{directory} cannot be looked into: {error.strerror}; what lies there was left, and counts for no rule: "
        f"{error.hint}"
    )


def _told(decisions: Iterable[Decision]) -> Iterable[str]:
    """What somebody should look at: what is not as it should be, and what goes as soon as nobody reads it."""
    for each in decisions:
        odd = [reason for reason in each.reasons if reason in _WORDS.values()]
        if odd:
            yield f"{each.info.id} is {' and '.join(odd)}, and was left; {_BY_NAME} {each.info.id}"
        elif FUTURE in each.reasons:
            why = "is dated in the future, by a clock that was wrong"
            yield f"{each.info.id} {why}, and was left; {_BY_NAME} {each.info.id}"
        elif each.reasons == (IN_USE,):
            yield f"{each.info.id} is in use, and was left; the next prune takes it"
