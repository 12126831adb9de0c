"""Routes to a moment of the past: which snapshot to begin with, and along which log.

Every snapshot at or before the moment leads to the same state, if the log goes on from it without a gap: the newest is
the shortest way. Where the log reaches back to the beginning of the store, none is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import FailedPrecondition, HoldfastError, OutOfRange
from ..model import Sequence64
from ..storage.clock import Clock
from .history import NOT_YET, Ending, History, Moment
from .replay_log import ReplayLogs
from .snapshot_catalog import LATEST, SnapshotCatalog
from .snapshot_info import READY, SnapshotInfo


@dataclass(frozen=True, slots=True)
class Route:
    """From what ``base`` holds (None: from nothing) behind sequence ``start`` through sequence ``to``.

    ``warnings``: snapshots that would have been nearer and are not whole.
    """

    history: History
    base: SnapshotInfo | None
    start: Sequence64
    to: Sequence64
    warnings: tuple[str, ...] = ()


class RouteFinder:
    """See the module. Any thread; blocks while it reads files."""

    def __init__(self, catalog: SnapshotCatalog, logs: ReplayLogs, clock: Clock) -> None:
        self._catalog = catalog
        self._logs = logs
        self._clock = clock

    def find(
        self,
        ending: Ending,
        *,
        snapshot: str | None = LATEST,
        path: str | None = None,
        holds: Callable[[SnapshotInfo], bool] = lambda info: True,
    ) -> Route:
        """The shortest route. ``snapshot``: the one to begin with; ``latest``: the best; None: it may take none at all.

        ``path``: another log than the store's own; ``holds``: whether a snapshot has what is wanted. Raises OutOfRange
        with the window where none leads there, FailedPrecondition for another store's snapshot, NotFound, Corruption.
        """
        history = self._logs.history(path)
        named = None if snapshot is None or snapshot == LATEST else self._catalog.get(snapshot)
        if named is not None:
            _check_own(named, history)
        moment = history.locate(ending, self._clock.now_us())
        if named is not None:
            return self._from(named, history, ending, moment)
        bases = self._bases(history, holds)
        passed: list[str] = []
        for base in bases:
            end = self._reached(base, history, ending, moment)
            if end is None:
                continue
            if base.state != READY:
                passed.append(f"{base.id} would have been nearer, and was passed over: it is {base.state}")
                continue
            return Route(history, base, base.record.sequence, end, tuple(passed))
        if snapshot is None and moment is not None and _begins_with_the_store(history, moment):
            return Route(history, None, 0, moment.sequence, tuple(passed))
        raise self._out_of_window(ending, moment, history, bases)

    def _from(self, base: SnapshotInfo, history: History, ending: Ending, moment: Moment | None) -> Route:
        end = self._reached(base, history, ending, moment)
        if end is not None:
            return Route(history, base, base.record.sequence, end)
        bases = self._bases(history, lambda info: True)
        raise self._out_of_window(ending, moment, history, bases, begin=base)

    def _reached(
        self, base: SnapshotInfo, history: History, ending: Ending, moment: Moment | None
    ) -> Sequence64 | None:
        """The sequence to end with when beginning at ``base``, or None where it does not lead there."""
        held, timeline = base.record.sequence, base.record.timeline
        if moment is not None and held <= moment.sequence and not moment.uncertain:
            leads = held == moment.sequence or history.stretch(timeline, held).last >= moment.sequence
            return moment.sequence if leads and not history.left_behind(timeline, held) else None
        # Of the numbers behind the last one that is logged by then, a snapshot may have held one at that very time.
        first = history.begins_after if moment is None else moment.sequence
        if first is None or held < first or ending.time_us is None or base.record.created_us > ending.time_us:
            return None
        if base.state == READY and self._catalog.open(base).manifest.time_us > ending.time_us:
            return None
        return None if history.left_behind(timeline, held) else held

    def _bases(self, history: History, holds: Callable[[SnapshotInfo], bool]) -> list[SnapshotInfo]:
        """The snapshots of the log's store that hold what is wanted, newest moment first."""
        store = str(history.source.store_id)
        found = [info for info in self._catalog.listing().snapshots if info.record.store_id == store and holds(info)]
        return sorted(found, key=lambda info: info.record.sequence, reverse=True)

    # Refused --------------------------------------------------------------------------------------------------------

    def _out_of_window(
        self,
        ending: Ending,
        moment: Moment | None,
        history: History,
        bases: list[SnapshotInfo],
        begin: SnapshotInfo | None = None,
    ) -> HoldfastError:
        """The error for a moment that nothing leads to: what can be reached instead, and why it begins there."""
        what, why = _named(ending, moment), "no snapshot leads there"
        hint = "choose a moment in the window; snapshots made more often, and a longer --retention, make it longer"
        gap = None if moment is None else history.gap_at(moment.sequence)
        if begin is not None:
            why = f"{begin.id} does not lead there: {_why_not(begin, history, moment)}"
            hint = "`latest` in its place takes the snapshot that does, if there is one"
        elif gap is not None:
            why = f"what was done by then is in no log, for {gap}"
            hint = f"the last moment before that is --to {gap.last}"
        elif moment is not None and _begins_with_the_store(history, moment):
            hint = (
                "the log reaches back to the beginning, and leads there without a snapshot: "
                f"holdfast storage wal replay --collection NAME --into NEW_NAME --to {moment.sequence}"
            )
        window, facts = _window(bases, history)
        return OutOfRange(f"{what} cannot be reached: {why}. {window}", reason=NOT_YET, hint=hint, **facts)


def _check_own(base: SnapshotInfo, history: History) -> None:
    if base.record.store_id != str(history.source.store_id):
        raise FailedPrecondition(
            f"{base.id} is of store {base.record.store_id}, and the log here is of store "
            f"{history.source.store_id}: its history is not in it",
            reason="FOREIGN_ORIGIN",
            hint="restore it without --to; then roll it forward along its own store's log: "
            "holdfast storage wal replay --path DIR --to WHEN",
        )


def _named(ending: Ending, moment: Moment | None) -> str:
    if moment is None or ending.sequence is not None or moment.uncertain:
        return str(ending)
    return f"{ending} (sequence {moment.sequence})"


def _begins_with_the_store(history: History, moment: Moment) -> bool:
    """Whether the log alone leads there."""
    to = moment.sequence
    return history.begins_after == 0 and history.stretch(history.timeline_at(to), 0).last >= to


def _why_not(base: SnapshotInfo, history: History, moment: Moment | None) -> str:
    if moment is not None and base.record.sequence > moment.sequence:
        return f"it was made later, at sequence {base.record.sequence}"
    return history.stretch(base.record.timeline, base.record.sequence).why or "the log begins later"


def _window(bases: list[SnapshotInfo], history: History) -> tuple[str, dict[str, int | str]]:
    """Which moments lead to now without a gap, as a sentence and as facts."""
    facts: dict[str, int | str] = {"latest_sequence": history.end}
    reaching = [base for base in bases if base.state == READY and _leads_to_now(base, history)]
    if not reaching:
        nearest = next((base for base in bases if base.state == READY), None)
        if nearest is None:
            return "There is no whole snapshot of it to begin with", facts
        why = history.stretch(nearest.record.timeline, nearest.record.sequence).why
        return f"Only the very moments of its snapshots can be reached, the newest being {nearest.id}: {why}", facts
    first = reaching[-1]
    facts |= {"earliest_sequence": first.record.sequence, "snapshot": first.id}
    older = next((base for base in bases if base.record.sequence < first.record.sequence), None)
    why = "it is the oldest whole snapshot of it"
    if older is not None:
        stretch = history.stretch(older.record.timeline, older.record.sequence)
        why = f"{older.id} before it is {older.state}" if older.state != READY else stretch.why
    begin = f"{_moment(first.record.created_us)} ({first.id}, sequence {first.record.sequence})"
    return f"The window begins at {begin}, since {why}, and ends with sequence {history.end}", facts


def _leads_to_now(base: SnapshotInfo, history: History) -> bool:
    return not history.stretch(base.record.timeline, base.record.sequence).why


def _moment(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
