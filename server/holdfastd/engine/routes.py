"""Routes to a moment of the past: which snapshot to begin with, and along which log.

Every snapshot at or before the moment leads to the same state, if the log goes on from it without a gap: the newest is
the shortest way. Where the log reaches back to the beginning of the store, none is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import FailedPrecondition, HoldfastError, OutOfRange
from ..model import Sequence64
from ..storage.clock import Clock
from ..storage.store_errors import StoreError
from .history import OUT_OF_WINDOW, Ending, History, Moment, iso_time
from .replay_log import ReplayLogs
from .snapshot_catalog import LATEST, SnapshotCatalog
from .snapshot_info import BASE_MISSING, READY, SnapshotInfo


@dataclass(frozen=True, slots=True)
class Route:
    """From what ``base`` holds (None: from nothing) behind sequence ``start`` through sequence ``to``.

    ``warnings``: snapshots that would have been nearer and are not whole, and a log that ends before the snapshot.
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
        name: str | None = None,
        before: Sequence64 | None = None,
        away: dict[str, str] | None = None,
    ) -> Route:
        """The shortest route. ``snapshot``: the one to begin with; ``latest``: the best; None: it may take none at all.

        ``path``: another log than the store's own; ``name``: of the collection that is wanted, None: of everything that
        can be had; ``before``: begin with what was before this sequence. ``away``: by path, why snapshots cannot be
        read, to which one in a store that does not answer is added. Raises OutOfRange with the window where none leads
        there, FailedPrecondition for another store's snapshot, NotFound, Corruption.
        """
        history = self._logs.history(path)
        named = None if snapshot is None or snapshot == LATEST else self._catalog.get(snapshot)
        if named is not None:
            _check_own(named, history)
        moment = self._located(history, ending, name)
        if named is not None:
            return self._from(named, history, ending, moment)
        bases = _fitting(self._bases(history), name, before)
        passed: list[str] = []
        away = {} if away is None else away
        for base in bases:
            end: Sequence64 | None = 0
            try:
                end = end if base.path in away else self._reached(base, history, ending, moment)
            except StoreError as error:
                away[base.path] = not_read(error)
            why = away.get(base.path) or _why_not_now(base)
            if end is not None and why:
                passed.append(f"{base.id} would have been nearer, and was passed over: {why}")
            if end is None or why:
                continue
            return Route(history, base, base.record.sequence, end, (*passed, *_ends_early(base, history)))
        # Along another log than the store's own `latest` may find nothing, where that log alone has everything.
        needs_none = snapshot is None or (history.source.elsewhere and not bases)
        if needs_none and moment is not None and _begins_with_the_store(history, moment):
            return Route(history, None, 0, moment.sequence, tuple(passed))
        raise self._out_of_window(ending, moment, history, bases, name=name)

    def _located(self, history: History, ending: Ending, name: str | None) -> Moment | None:
        """As ``History.locate``; one that has not happened yet is told the window."""
        try:
            return history.locate(ending, self._clock.now_us())
        except OutOfRange as error:
            window, facts = _window(_fitting(self._bases(history), name, None), history)
            metadata: dict[str, object] = {**error.metadata, **facts}
            raise OutOfRange(f"{error.message}. {window}", reason=error.reason, hint=error.hint, **metadata) from None

    def _from(self, base: SnapshotInfo, history: History, ending: Ending, moment: Moment | None) -> Route:
        end = self._reached(base, history, ending, moment)
        if end is not None:
            return Route(history, base, base.record.sequence, end, _ends_early(base, history))
        bases = self._bases(history)
        raise self._out_of_window(ending, moment, history, bases, begin=base)

    def _reached(
        self, base: SnapshotInfo, history: History, ending: Ending, moment: Moment | None
    ) -> Sequence64 | None:
        """The sequence to end with when beginning at ``base``, or None where it does not lead there."""
        held, timeline = base.record.sequence, base.record.timeline
        if moment is not None and held <= moment.sequence and not moment.uncertain:
            leads = held == moment.sequence or history.stretch(timeline, held).last >= moment.sequence
            return moment.sequence if leads and not history.left_behind(timeline, held) else None
        # Of the numbers behind the last one that is logged by then, a snapshot may have held one at that very time, and
        # one that was made while the log could not be archived holds more than its archive.
        first = history.begins_after if moment is None else moment.sequence
        if first is None or held < first or ending.sequence is not None:
            return None
        if ending.time_us is not None and not self._was_made_by(base, ending.time_us):
            return None
        return None if history.left_behind(timeline, held) else held

    def _was_made_by(self, base: SnapshotInfo, time_us: int) -> bool:
        """Whether a snapshot holds nothing that was done after a time."""
        if base.record.created_us > time_us:
            return False
        return base.state != READY or self._catalog.open(base).manifest.time_us <= time_us

    def _bases(self, history: History) -> list[SnapshotInfo]:
        """The snapshots of the log's store, newest moment first."""
        store = str(history.source.store_id)
        found = [info for info in self._catalog.listing().snapshots if info.record.store_id == store]
        return sorted(found, key=lambda info: info.record.sequence, reverse=True)

    def lost_with(self, going: Iterable[SnapshotInfo]) -> tuple[str, ...]:
        """What can no longer be reached once these snapshots are deleted, in sentences, for each scope of theirs.

        Blocks: reads what the log holds. Raises Corruption.
        """
        deleted = {info.path: None if info.record.everything else info.collections[0] for info in going}
        if not deleted:
            return ()
        history = self._logs.history(None)
        bases, told = self._bases(history), []
        for name in sorted(set(deleted.values()), key=str):
            telling = [base for base in bases if base.record.everything or name in base.collections]
            before = _first_of(telling, history)
            after = _first_of([base for base in telling if base.path not in deleted], history)
            if before is not None and before.path in deleted:
                told.append(
                    f"point-in-time recovery of {name or 'everything'} no longer reaches back to {_at(before)}: "
                    + ("there is no window left" if after is None else f"the window begins at {_at(after)} then")
                )
        return tuple(told)

    # Refused --------------------------------------------------------------------------------------------------------

    def _out_of_window(
        self,
        ending: Ending,
        moment: Moment | None,
        history: History,
        bases: list[SnapshotInfo],
        begin: SnapshotInfo | None = None,
        name: str | None = None,
    ) -> HoldfastError:
        """The error for a moment that nothing leads to: what can be reached instead, and why it begins there."""
        what, why = _named(ending, moment), "no snapshot leads there"
        hint = _nearest(bases, history, moment) or (
            "choose a moment in the window; snapshots made more often, and a longer --retention, make it longer"
        )
        gap = None if moment is None else history.gap_at(moment.sequence)
        if begin is not None:
            why = f"{begin.id} does not lead there: {_why_not(begin, history, moment)}"
            hint = "`latest` in its place takes the snapshot that does, if there is one"
        elif not bases and history.source.elsewhere:
            hint = snapshots_wanted(history)
        elif gap is not None:
            why = f"what was done by then is in no log, for {gap}"
            hint = f"the last moment before that is --to {gap.last}"
        elif moment is not None and _begins_with_the_store(history, moment):
            hint = (
                "the log reaches back to the beginning, and leads there without a snapshot: "
                f"holdfast storage wal replay --collection {name or 'NAME'} --into NEW_NAME --to {moment.sequence}"
            )
        window, facts = _window(bases, history)
        return OutOfRange(f"{what} cannot be reached: {why}. {window}", reason=OUT_OF_WINDOW, hint=hint, **facts)


def not_read(error: StoreError) -> str:
    """Why a snapshot in an object store is no way to a moment now."""
    return f"{error.filename}: {error.strerror}"


def _why_not_now(base: SnapshotInfo) -> str:
    """What is wrong with a snapshot, "" for nothing."""
    if base.state == READY:
        return ""
    return base.problem if base.state == BASE_MISSING else f"it is {base.state}"


def snapshots_wanted(history: History) -> str:
    """What helps where no snapshot of the store that wrote a log is known."""
    return (
        f"show the daemon where the snapshots of store {history.source.store_id} lie, then ask again: "
        "holdfast storage snapshot list --path DIR|URL"
    )


def _fitting(bases: list[SnapshotInfo], name: str | None, before: Sequence64 | None) -> list[SnapshotInfo]:
    """Those that tell of what is wanted; where that is everything, those of a part only if there are no others."""
    whole = name is None and any(base.record.everything for base in bases)

    def tells(base: SnapshotInfo) -> bool:
        return base.record.everything or (name in base.collections if name is not None else not whole)

    return [base for base in bases if tells(base) and (before is None or base.record.sequence < before)]


def _ends_early(base: SnapshotInfo, history: History) -> tuple[str, ...]:
    """A warning where the log has nothing of what came to be behind the snapshot, nor of what led there."""
    if base.record.sequence <= history.end:
        return ()
    where = ", ".join(history.source.directories)
    return (
        f"the log in {where} ends with sequence {history.end}, before {base.id} was made: what was done behind "
        f"sequence {base.record.sequence} is not in it",
    )


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


def _nearest(bases: list[SnapshotInfo], history: History, moment: Moment | None) -> str:
    """What to do where the log does not lead to a moment, but a snapshot from before it is whole; "" without one."""
    for base in bases:
        before = moment is not None and base.record.sequence <= moment.sequence
        if before and base.state == READY and not history.left_behind(*_held(base)):
            at = f"{iso_time(base.record.created_us)}, sequence {base.record.sequence}"
            return f"the nearest snapshot from before it is {base.id} ({at}): restore that one without --to"
    return ""


def _begins_with_the_store(history: History, moment: Moment) -> bool:
    """Whether the log alone leads there."""
    to = moment.sequence
    return history.begins_after == 0 and history.stretch(max(1, history.timeline_at(to)), 0).last >= to


def _why_not(base: SnapshotInfo, history: History, moment: Moment | None) -> str:
    if moment is not None and base.record.sequence > moment.sequence:
        return f"it was made later, at sequence {base.record.sequence}"
    return history.stretch(base.record.timeline, base.record.sequence).why or "the log begins later"


def _window(bases: list[SnapshotInfo], history: History) -> tuple[str, dict[str, int | str]]:
    """The newest moments that can be reached, without a hole, as a sentence and as facts."""
    first = _first_of(bases, history)
    if first is None:
        return "There is no whole snapshot of it to begin with", {}
    last = history.stretch(*_held(first))
    facts: dict[str, int | str] = {
        "earliest_sequence": first.record.sequence,
        "earliest_time": iso_time(first.record.created_us),
        "latest_sequence": last.last,
        "snapshot": first.id,
    }
    if not last.why:
        facts["latest_time"] = iso_time(history.end_us)
    end = f"ends with sequence {last.last}" + (f", since {last.why}" if last.why else "")
    return f"The window begins at {_at(first)}, since {_why_not_earlier(first, bases, history)}, and {end}", facts


def _first_of(bases: list[SnapshotInfo], history: History) -> SnapshotInfo | None:
    """The snapshot with which the window begins: the oldest whole one that leads as far as the newest does."""
    whole = [base for base in bases if base.state == READY and not history.left_behind(*_held(base))]
    if not whole:
        return None
    last = history.stretch(*_held(whole[0])).last
    return next(base for base in reversed(whole) if history.stretch(*_held(base)).last == last)


def _at(base: SnapshotInfo) -> str:
    return f"{iso_time(base.record.created_us)} ({base.id}, sequence {base.record.sequence})"


def _why_not_earlier(first: SnapshotInfo, bases: list[SnapshotInfo], history: History) -> str:
    older = next((base for base in bases if base.record.sequence < first.record.sequence), None)
    if older is None:
        pruned = f", and the archive was pruned up to sequence {history.begins_after}" if history.source.pruned else ""
        return f"it is the oldest whole snapshot of it{pruned}"
    return f"{older.id} before it is {older.state}" if older.state != READY else history.stretch(*_held(older)).why


def _held(base: SnapshotInfo) -> tuple[int, Sequence64]:
    """The place in history that a snapshot holds."""
    return base.record.timeline, base.record.sequence
