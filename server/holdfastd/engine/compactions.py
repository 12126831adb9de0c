"""Compacting by command and in the background: what is looked at, in which order, and what became of it.

One compaction runs at a time. The smallest pieces of work come first: what they free may be what a larger one needs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import Corruption, HoldfastError, InvalidArgument, ResourceExhausted
from ..model import Sequence64
from ..storage.bulk import Pace
from ..storage.clock import Clock
from ..storage.disk_usage import disk_usage
from .collection import Collection
from .compaction import Compaction, CompactionGround, Rewritten
from .compaction_plan import Policy, Weighed, groups, weigh
from .disk_errors import disk_errors_of
from .meter import Meter
from .operations import Operation, OperationRegistry, Work
from .quarantine import require_whole
from .room import Room
from .space import check_space
from .tickets import Caller

INDEX_BYTES = 24
"""About what a row takes in the id index."""
POLL_SECONDS = 0.5
LEAST_BYTES = 1 << 20
"""In the background less than that is not worth writing a segment anew."""


@dataclass(frozen=True, slots=True)
class CompactRequest:
    """What to compact: a collection or alias, or all; from how many percent of dead rows on, or everything."""

    collection: str | None = None
    threshold_percent: float = 20.0
    aggressive: bool = False
    validate_only: bool = False

    def check(self) -> None:
        """Raise InvalidArgument for what no compaction can be asked."""
        if not 0 <= self.threshold_percent <= 100:
            raise InvalidArgument(
                f"a threshold of {self.threshold_percent:g} %: it is the share of dead rows, 0 to 100",
                field="threshold_percent",
            )


@dataclass(frozen=True, slots=True)
class _Task:
    """A group of segments of one collection. ``last``: no other group of the collection comes behind it."""

    collection: Collection
    group: tuple[Weighed, ...]
    last: bool

    @property
    def staying_bytes(self) -> int:
        """About what the new segment will take."""
        return sum(each.staying_bytes for each in self.group)

    @property
    def needed_bytes(self) -> int:
        """About the room it takes until the old ones are gone."""
        return self.staying_bytes + INDEX_BYTES * sum(each.staying_rows for each in self.group)

    @property
    def work_bytes(self) -> int:
        """About what is read to prove the old segments, and written."""
        proof = sum(each.segment.size_bytes - each.segment.vectors.nbytes for each in self.group)
        return proof + self.staying_bytes


@dataclass(slots=True)
class _Tally:
    """What has been done so far."""

    names: list[str] = field(default_factory=list)
    dropped: int = 0
    before: int = 0
    after: int = 0
    refused: list[HoldfastError] = field(default_factory=list)

    def add(self, name: str, done: Rewritten) -> None:
        if name not in self.names:
            self.names.append(name)
        self.dropped += done.rows_dropped
        self.before += done.before_bytes
        self.after += done.after_bytes


class Compactions:
    """See the module. Thread-safe."""

    def __init__(
        self,
        ground: CompactionGround,
        clock: Clock,
        operations: OperationRegistry,
        pace: Pace,
        room: Room,
        reserve_bytes: int,
    ) -> None:
        self._ground = ground
        self._clock = clock
        self._operations = operations
        self._pace = pace
        self._room = room
        self._reserve_bytes = reserve_bytes
        # Held while one runs.
        self._running = threading.Lock()

    # By command -----------------------------------------------------------------------------------------------------

    def start(self, request: CompactRequest, *, caller: Caller) -> Operation:
        """Begin compacting. Raises NotFound, InvalidArgument, or Corruption for a collection in quarantine."""
        request.check()
        if request.collection is not None:
            collection = self._ground.applier.catalog.resolve(request.collection)
            require_whole(collection.spec, collection.quarantined, "it cannot be compacted")
        caller = caller.asking("compact", request.collection, str(request.threshold_percent), request.aggressive)
        return self._operations.start(
            "compact",
            lambda work: self._run(request, work),
            request={
                "collection": request.collection or "",
                "threshold_percent": request.threshold_percent,
                "aggressive": request.aggressive,
            },
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
            planned=request.validate_only,
        )

    def _run(self, request: CompactRequest, work: Work) -> dict[str, Any]:
        started_ns = self._clock.monotonic_ns()
        policy = Policy(request.threshold_percent, request.aggressive)
        with self._turn(work):
            if not request.validate_only:
                self._reach_checkpoint(work)
            collections, warnings = self._wanted(request.collection)
            before = sum(self._size(each) for each in collections)
            # The real one makes a checkpoint first: of the segments that there are, all that is dead by now would go.
            through = self._ground.applier.sequence if request.validate_only else None
            tasks = self._tasks(collections, policy, through)
            tally = _Tally()
            if request.validate_only:
                _foresee(tally, tasks)
            else:
                self._carry_out(tasks, policy, tally, work)
        _tell_of_refusals(tally)
        freed = tally.before - tally.after
        return {
            "collections_compacted": sorted(tally.names),
            "before_size_bytes": before,
            "after_size_bytes": before - freed,
            "freed_bytes": freed,
            "reduction_percent": 100.0 * freed / before if before else 0.0,
            "rows_dropped": tally.dropped,
            "duration_ms": (self._clock.monotonic_ns() - started_ns) // 1_000_000,
            "status": "planned" if request.validate_only else "completed",
            "warnings": warnings,
        }

    @contextmanager
    def _turn(self, work: Work) -> Iterator[None]:
        while not self._running.acquire(timeout=POLL_SECONDS):
            work.report(phase="waiting for another compaction")
        try:
            yield
        finally:
            self._running.release()

    def _reach_checkpoint(self, work: Work) -> None:
        """Only what died before a checkpoint can go: make one, so that this is all that is dead by now."""
        work.report(phase="checkpoint")
        if self._ground.applier.sequence > self._ground.keeper.current.checkpoint_sequence:
            self._ground.checkpointer.run()

    def _wanted(self, name: str | None) -> tuple[list[Collection], list[str]]:
        """The collections that are asked for and have segments, and what is to be said of the others."""
        catalog = self._ground.applier.catalog
        found = list(catalog.collections.values()) if name is None else [catalog.resolve(name)]
        warnings = []
        for each in found:
            if each.quarantined:
                warnings.append(
                    f"{each.spec.name} was left out: a segment of it is quarantined (holdfast storage alarms)"
                )
            elif not each.reached_by_checkpoints and name is not None:
                warnings.append(f"{each.spec.name} lives in memory: it has no segments on the disk")
        return [each for each in found if each.reached_by_checkpoints], warnings

    def _carry_out(self, tasks: list[_Task], policy: Policy, tally: _Tally, work: Work) -> None:
        meter = Meter(work)
        meter.begin("compacting", sum(each.work_bytes for each in tasks))

        def pace(count: int) -> None:
            meter.advance(count, 0)
            self._pace(count)

        for task in tasks:
            work.check_cancelled()
            try:
                done = self._carry_out_one(task, policy, pace)
            except (Corruption, ResourceExhausted) as error:
                # The others do not suffer for it.
                tally.refused.append(error)
                continue
            if done is not None:
                tally.add(task.collection.spec.name, done)

    # In the background ------------------------------------------------------------------------------------------------

    def tidy(self, check: Callable[[], None]) -> None:
        """Write anew what has become worth it, one group after the other, at the pace of backups. Blocks.

        ``check``: called often; what it raises ends this, with nothing half done. Raises what was refused, at the end.
        """
        policy, tally = Policy(least_bytes=LEAST_BYTES), _Tally()

        def pace(count: int) -> None:
            check()
            self._pace(count)

        with self._running:
            collections, _ = self._wanted(None)
            for task in self._tasks(collections, policy):
                check()
                try:
                    self._carry_out_one(task, policy, pace)
                except (Corruption, ResourceExhausted) as error:
                    tally.refused.append(error)
        _tell_of_refusals(tally)

    # Both -------------------------------------------------------------------------------------------------------------

    def _tasks(self, collections: list[Collection], policy: Policy, through: Sequence64 | None = None) -> list[_Task]:
        """What there is to be done, the smallest first; but what makes an index anew comes last of its collection.

        What died after a collection's checkpoint stays, or with ``through`` what died after that.
        """
        tasks = []
        for each in collections:
            entry = self._ground.entry_of(each)
            if entry is None:
                continue
            published = entry.checkpoint_sequence if through is None else through
            weighed = [weigh(segment, published, entry.high_water) for segment in each.segments]
            found = sorted(groups(weighed, policy), key=lambda group: sum(one.staying_bytes for one in group))
            tasks += [_Task(each, group, group is found[-1]) for group in found]
        return sorted(tasks, key=lambda task: task.staying_bytes)

    def _carry_out_one(self, task: _Task, policy: Policy, pace: Pace) -> Rewritten | None:
        ground = self._ground
        with disk_errors_of(f"compacting {task.collection.spec.name}"):
            if task.staying_bytes:
                check_space(
                    ground.fs,
                    ground.layout.collections,
                    task.needed_bytes,
                    self._kept_free(task),
                    "a compaction needs room for what stays of a segment until the old one is gone: free space there",
                )
            segments = [each.segment for each in task.group]
            anew = policy.aggressive and task.last
            try:
                return Compaction(ground, task.collection, segments, pace, index_anew=anew).run()
            except Corruption as error:
                error.message = f"compacting {task.collection.spec.name} failed: {error.message}"
                raise

    def _kept_free(self, task: _Task) -> int:
        """What a task leaves alone. On a full disk the reserve is given back, for what frees more than it takes."""
        return 0 if self._room.full and any(each.dead for each in task.group) else self._reserve_bytes

    def _size(self, collection: Collection) -> int:
        return disk_usage(self._ground.fs, self._ground.layout.collection_dir(collection.spec.id))


def _foresee(tally: _Tally, tasks: list[_Task]) -> None:
    for task in tasks:
        before = sum(each.segment.size_bytes for each in task.group)
        dropped = sum(each.dead for each in task.group)
        tally.add(task.collection.spec.name, Rewritten(dropped, before, task.staying_bytes))


def _tell_of_refusals(tally: _Tally) -> None:
    """Raise the first of what was refused; it says what was done all the same."""
    if tally.refused:
        first = tally.refused[0]
        if tally.names:
            done = f"{', '.join(sorted(tally.names))} compacted, {tally.before - tally.after} bytes freed"
            first.message = f"not everything could be compacted ({done}): {first.message}"
        raise first
