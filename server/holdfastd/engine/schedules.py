"""Running the schedules of the daemon's settings: a thread for each, so that no two runs of one overlap and none waits
for another.

    due      when the cron line says so. What came due while the daemon was down, or while the run before it took its
             time, is made up for once, however often it was. A run that the end of the daemon has cut short is made
             again, twice at most: it may have been what ended it
    run      the snapshot, as an operation of the actor ``schedule:NAME``; a full one where an incremental one finds no
             base. Then, if that succeeded and it is asked for, its verification: of its file alone, since every link of
             its chain was read back when it was made, and by a restore of the whole chain. Then, if that found nothing,
             the pruning, of its directory and scope. Where several schedules share them, what the rules of any keep is
             kept: none deletes what another is there for. Then that of the archive of the log, where the settings want
             it, of what no snapshot that is left is rolled forward with
    told     what became of it is kept, shown by ``snapshot schedules``, and while it is a failure an alarm
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import HoldfastError
from ..format.verify_receipt import RESTORE
from ..storage.clock import Clock
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from .alarms import Alarms
from .keeping import RetentionPolicy
from .operations import Operation, OperationRegistry, OperationState
from .schedule import CANCELLED, FAILED, SUCCEEDED, Schedule, ScheduleState, load_states, store_states
from .snapshot_base import NO_BASE
from .snapshot_prune import scope_of
from .snapshots import PruneRequest, Snapshots, VerifyRequest
from .tickets import Caller

FAILING = "SCHEDULE_FAILED"
NOT_KEPT = "SCHEDULES_NOT_KEPT"
MAX_ATTEMPTS = 2
JUMP_US = 3_600_000_000
"""A clock that is behind the last run by more than this was set back: from then on what it says is believed."""
LONGEST_WAIT_SECONDS = 60.0
"""So often the wall clock is looked at, which may jump."""
_LOG = "see the daemon's log"

_log = logging.getLogger("holdfastd")


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule, when it comes due next (0: never), and what became of it."""

    schedule: Schedule
    next_us: int
    state: ScheduleState


class Schedules:
    """See the module. ``load`` comes first; the rest is for any thread, and ``run`` for that of its schedule."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        *,
        fs: FileSystem,
        layout: Layout,
        clock: Clock,
        alarms: Alarms,
        snapshots: Snapshots,
        operations: OperationRegistry,
        prune_archive: Callable[[Caller], Operation | None] = lambda caller: None,
    ) -> None:
        self.all = tuple(schedules)
        self._fs = fs
        self._layout = layout
        self._path = layout.schedules
        self._clock = clock
        self._alarms = alarms
        self._snapshots = snapshots
        self._operations = operations
        self._prune_archive = prune_archive
        self._stopping = threading.Event()
        # Changed under _lock, which is held while they are written; read by anybody.
        self._lock = threading.Lock()
        self._states: dict[str, ScheduleState] = {}

    def load(self) -> str | None:
        """Read what is kept; returns why it cannot be used, or None. Blocks; call once, at start."""
        known, problem = load_states(self._fs, self._path)
        now_us = self._clock.now_us()
        with self._lock:
            for schedule in self.all:
                line = f"{schedule.cron.line} {schedule.cron.time_zone}"
                state = known.get(schedule.name)
                if state is None or state.line != line:
                    state = ScheduleState(schedule.name, line, now_us)
                elif state.is_running and state.attempts >= MAX_ATTEMPTS:
                    said = "the daemon ended twice while it was being made"
                    state = replace(state, ended_us=now_us, outcome=FAILED, message=said, hint=_LOG)
                self._states[schedule.name] = state
            if self._states or known:
                self._store()
        self._tell()
        return problem

    def status(self) -> list[ScheduleStatus]:
        """Every schedule, in the order of the settings."""
        return [ScheduleStatus(each, self._next(each), self._states[each.name]) for each in self.all]

    def stop(self) -> None:
        """Begin no more runs. Those under way end with their operations."""
        self._stopping.set()

    def run(self, schedule: Schedule) -> None:
        """The thread of one schedule."""
        while not self._stopping.is_set():
            self.run_if_due(schedule)
            next_us = self._next(schedule)
            seconds = (next_us - self._clock.now_us()) / 1e6 if next_us else LONGEST_WAIT_SECONDS
            self._stopping.wait(min(max(seconds, 0.0), LONGEST_WAIT_SECONDS))

    def run_if_due(self, schedule: Schedule) -> bool:
        """Make a snapshot if it is time for one, and wait for its end; returns whether it was."""
        now_us, state = self._clock.now_us(), self._states[schedule.name]
        if state.since_us > now_us + JUMP_US:
            state = replace(state, since_us=now_us)
            self._keep(state)
        due_us = self._next(schedule)
        if not state.is_running and (not due_us or due_us > now_us):
            return False
        attempts = state.attempts + 1 if state.is_running else 1
        state = replace(state, since_us=now_us, due_us=due_us, begun_us=now_us, ended_us=0, attempts=attempts)
        self._keep(state)
        ended = self._ended(schedule, state)
        if ended.outcome != SUCCEEDED and self._stopping.is_set():
            # As it is kept, the next start makes it again.
            return True
        self._keep(replace(ended, ended_us=self._clock.now_us()))
        _log_of(ended)
        return True

    # When -----------------------------------------------------------------------------------------------------------

    def _next(self, schedule: Schedule) -> int:
        """When it comes due next, which may be past; 0 for never."""
        state = self._states[schedule.name]
        return state.due_us if state.is_running else schedule.cron.next_after(state.since_us) or 0

    # What -----------------------------------------------------------------------------------------------------------

    def _ended(self, schedule: Schedule, state: ScheduleState) -> ScheduleState:
        """Make the snapshot and prune; what became of it."""
        state = replace(state, operation_id="", snapshot_id="", message="", hint="", pruned=0, freed_bytes=0)
        try:
            operation = self._made(schedule)
            state = _told(state, operation)
            made = operation.result
            if state.outcome == SUCCEEDED and schedule.verify_level and made is not None:
                state = self._verified(schedule, made, state)
            if state.outcome == SUCCEEDED and schedule.policy is not None and made is not None:
                state = self._pruned(self._policy_beside(schedule, schedule.policy), made, state)
                state = self._archive_pruned(state)
        except Exception as error:  # whatever it is: a thread that dies here would stop all backups without a word
            state = _failed(state, error)
        return state

    def _made(self, schedule: Schedule) -> Operation:
        """The operation that makes the snapshot, once it has ended."""
        caller = Caller(actor=f"schedule:{schedule.name}")
        request = schedule.request
        try:
            operation = self._snapshots.start_create(request, caller=caller)
            ended = self._operations.wait(operation.id)
            lacks_base = ended.error is not None and ended.error.reason == NO_BASE
        except HoldfastError as error:
            if error.reason != NO_BASE:
                raise
            lacks_base = True
        if not lacks_base or not request.incremental:
            return ended
        full = replace(request, incremental=False)
        return self._operations.wait(self._snapshots.start_create(full, caller=caller).id)

    def _verified(self, schedule: Schedule, made: Mapping[str, Any], state: ScheduleState) -> ScheduleState:
        """Read back what was made. Where that is damaged nothing is pruned: what was to go may be all there is."""
        level = schedule.verify_level
        request = VerifyRequest(str(made["path"]), level, skip_chain=level < RESTORE)
        what = f"{state.snapshot_id} was made, but not verified, and nothing was pruned"
        try:
            operation = self._snapshots.start_verify(request, caller=Caller(actor=f"schedule:{state.name}"))
            ended = self._operations.wait(operation.id)
        except HoldfastError as error:
            error.message = f"{what}: {error.message}"
            raise
        result = ended.result
        if ended.state is not OperationState.SUCCEEDED or result is None:
            told = _told(replace(state, message=""), ended)
            return replace(told, message=f"{what}: {told.message}")
        if result["valid"]:
            return replace(state, message="; ".join(filter(None, (state.message, *result["warnings"]))))
        first = result["problems"][0]
        what = f"{state.snapshot_id} was made, but is damaged, and nothing was pruned"
        return replace(state, outcome=FAILED, message=f"{what}: {first['message']}", hint=first["hint"])

    def _policy_beside(self, schedule: Schedule, policy: RetentionPolicy) -> RetentionPolicy:
        """Its policy, with those of the schedules that put the same into the same directory."""
        for other in self.all:
            if other.policy is not None and self._place(other) == self._place(schedule):
                policy = policy.with_all_of(other.policy)
        return policy

    def _place(self, schedule: Schedule) -> tuple[str, str | None]:
        """The directory and the collection of a schedule; an alias is the collection that it stands for now."""
        path, name = schedule.request.path, schedule.request.collection
        directory = self._layout.snapshots if path is None else self._layout.resolve(path)
        return directory, None if name is None else self._snapshots.name_of(name)

    def _pruned(self, policy: RetentionPolicy, made: Mapping[str, Any], state: ScheduleState) -> ScheduleState:
        """Prune what lies beside the snapshot that was made and is of the same scope."""
        info = self._snapshots.get(str(made["path"]))
        request = PruneRequest(policy, parent_of(info.path), scope_of(info))
        try:
            pruned = self._snapshots.prune(request, caller=Caller(actor=f"schedule:{state.name}"))
        except HoldfastError as error:
            error.message = f"{state.snapshot_id} was made, but pruning failed: {error.message}"
            raise
        message = "; ".join(filter(None, (state.message, *pruned.warnings)))
        return replace(state, message=message, pruned=len(pruned.order), freed_bytes=pruned.freed_bytes)

    def _archive_pruned(self, state: ScheduleState) -> ScheduleState:
        """Prune the archive of the log, if it is to be."""
        begun = self._prune_archive(Caller(actor=f"schedule:{state.name}"))
        if begun is None:
            return state
        ended = self._operations.wait(begun.id)
        if ended.state is OperationState.SUCCEEDED:
            return replace(state, message="; ".join(filter(None, (state.message, *(ended.result or {})["warnings"]))))
        told = _told(state, ended)
        return replace(
            told,
            operation_id=state.operation_id,
            message=f"{state.snapshot_id} was made, but the archive was not pruned: {told.message}",
        )

    # Told -----------------------------------------------------------------------------------------------------------

    def _keep(self, state: ScheduleState) -> None:
        with self._lock:
            self._states[state.name] = state
            self._store()
        self._tell()

    def _store(self) -> None:
        try:
            store_states(self._fs, self._path, self._states)
        except OSError as error:
            self._alarms.raise_(
                NOT_KEPT,
                f"what became of the schedules cannot be kept in {self._path}: {error.strerror or error}; a run may be "
                "repeated, or missed, after a restart",
                hint="make room on the disk of the data directory; it is kept again with the next run",
            )
        else:
            self._alarms.clear(NOT_KEPT)

    def _tell(self) -> None:
        """Raise or clear the alarm about schedules that fail."""
        failing = [each for each in self.status() if each.state.outcome == FAILED]
        if not failing:
            self._alarms.clear(FAILING)
            return
        said = "; ".join(f"{each.state.name}: {each.state.message}" for each in failing)
        hints = dict.fromkeys(each.state.hint or "see `holdfast storage snapshot schedules -v`" for each in failing)
        self._alarms.raise_(
            FAILING,
            f"snapshots by schedule are not made as they should: {said}",
            hint=f"{'; '.join(hints)}; the next run is tried by itself, and clears this when it succeeds; at once: "
            "holdfast storage snapshot create",
        )


def _log_of(state: ScheduleState) -> None:
    """A line for the journal, which is there when the store is not."""
    more = {"schedule": state.name, "snapshot": state.snapshot_id or None, "operation": state.operation_id or None}
    if state.outcome == SUCCEEDED:
        _log.info("a snapshot was made by schedule", extra={**more, "pruned": state.pruned})
    else:
        said = {"reason": state.message, "hint": state.hint or None}
        _log.warning("a run of a schedule was not completed", extra={**more, "outcome": state.outcome, **said})


def _told(state: ScheduleState, operation: Operation) -> ScheduleState:
    """What became of a run by its operation."""
    state = replace(state, operation_id=operation.id)
    if operation.state is OperationState.SUCCEEDED:
        result = operation.result or {}
        return replace(
            state,
            outcome=SUCCEEDED,
            snapshot_id=str(result.get("snapshot_id", "")),
            message="; ".join(result.get("warnings", ())),
        )
    if operation.state is OperationState.CANCELLED:
        return replace(state, outcome=CANCELLED, message=f"{operation.id} was cancelled")
    error = operation.error
    if error is None:
        return replace(state, outcome=FAILED, message=f"{operation.id} is {operation.state}")
    return replace(state, outcome=FAILED, message=error.message, hint=error.hint or "")


def _failed(state: ScheduleState, error: Exception) -> ScheduleState:
    if isinstance(error, HoldfastError):
        return replace(state, outcome=FAILED, message=error.message, hint=error.hint or "")
    return replace(state, outcome=FAILED, message=f"{type(error).__name__}: {error}", hint=_LOG)
