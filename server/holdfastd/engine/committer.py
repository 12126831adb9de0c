"""Group commit: how a change becomes a record, durable, visible and acknowledged, in that order.

One thread at a time commits. A caller who finds nobody committing does it itself (one thread, no hand-over: the lowest
latency); while it syncs, other callers queue up, and everything that has gathered becomes the next group, with one
write and one sync for all: throughput grows with load while latency stays one sync. A caller leads only until its own
change is done; what is left then goes to the committer thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

from ..errors import (
    Aborted,
    CommitUnknown,
    EngineFailed,
    FailedPrecondition,
    HoldfastError,
    ResourceExhausted,
    Unavailable,
)
from ..format.record import RecordKind
from ..model import SyncMode
from ..storage.clock import Clock
from ..storage.wal import Entry, Wal
from .apply import Applier
from .changes import Restore
from .disk_errors import lacks_space
from .foresight import foresee
from .requests import RequestTable, differ, reused
from .room import GROWS, Room
from .tickets import Caller, KeptIn, Outcome, Submission

MAX_GROUP_BYTES = 8 << 20
"""A group is synced as one: larger ones gain no throughput and only add latency."""
MAX_GROUP_CHANGES = 1024
MAX_QUEUED_BYTES = 128 << 20
"""Back-pressure: above this, writers wait, and give up with RESOURCE_EXHAUSTED after ``QUEUE_PATIENCE_SECONDS``."""
QUEUE_PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.2
"""How often somebody who waits without losing patience looks whether he still should."""


class Committer:
    """See the module. ``log`` is None while the log is disabled. ``on_fatal`` must not return."""

    def __init__(
        self,
        *,
        log: Wal | None,
        sync_mode: SyncMode,
        applier: Applier,
        requests: RequestTable,
        clock: Clock,
        on_fatal: Callable[[BaseException], NoReturn],
    ) -> None:
        self._applier = applier
        self._clock = clock
        self._on_fatal = on_fatal
        # Whoever commits at the moment: these change only between groups.
        self.logged_bytes = 0
        self.log = log
        self.sync_mode = sync_mode
        self.requests = requests
        # Changed by whoever commits, read by anybody.
        self.last_write_ns = 0
        """When a group was last written to the log, by the monotonic clock."""
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._queue: deque[Submission] = deque()
        self._queued_bytes = 0
        self._committing = False
        self._handed_over = False
        self._stopped = False
        self._held: list[str] = []
        self._hold_writes: Callable[[], str | None] = lambda: None
        self.failure: EngineFailed | None = None
        # Set once by the engine, before any write.
        self.on_applied: Callable[[], None] = lambda: None
        self.wait_for_sync: Callable[[Submission, Outcome], None] | None = None
        self.room: Room | None = None

    # For writers ----------------------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> Any:
        """Commit ``submission`` and return its Outcome (or its action's result). Blocks until acknowledged."""
        if self._enqueue(submission, lead=True):
            self._lead(submission)
        return submission.ticket.wait()

    def submit_nowait(self, submission: Submission) -> None:
        """Queue ``submission`` for the committer thread; the caller waits on its ticket. Blocks only for room."""
        self._enqueue(submission, lead=False)

    def foresee(self, submission: Submission) -> Outcome:
        """What committing ``submission`` would answer, as a plan: nothing is logged, applied or remembered.

        It waits for room and for its turn like any other, and raises what committing it would raise.
        """
        with self._lock:
            self._wait_for_room(submission)
            self._check_open(submission)
        outcome: Outcome = self.between_groups(lambda: self._foreseen(submission))
        return outcome

    def between_groups(self, action: Callable[[], Any]) -> Any:
        """Run ``action`` on the committing thread with nothing in flight; returns its result."""
        return self.submit(Submission(action=action, barrier=True))

    def hold_writes_while(self, full: Callable[[], str | None]) -> None:
        """Make what grows the store wait while ``full()`` gives a reason; what frees room goes on (RULES 26).

        It is called under the queue's lock: it must be quick and take no lock.
        """
        self._hold_writes = full

    @contextmanager
    def writes_held(self, reason: str) -> Iterator[None]:
        """Make new writes wait while the block runs; those under way are finished first.

        Actions go on, and so does the record of a restore: who sends it holds off the checkpoints that the block may
        be waiting for. Never enter it with checkpoints held off.
        """
        with self._lock:
            self._held.append(reason)
        try:
            self.between_groups(lambda: None)
            yield
        finally:
            with self._lock:
                self._held.remove(reason)
                self._room.notify_all()

    def release_writers(self) -> None:
        """Look again whether held writers may go on."""
        with self._lock:
            self._room.notify_all()

    def fail(self, error: EngineFailed) -> None:
        """Turn read-only for good: a sync failed elsewhere (RULES 27)."""
        with self._lock:
            self.failure = self.failure or error
            self._room.notify_all()

    def run(self) -> None:
        """The committer thread: commits what callers leave behind, until ``stop``."""
        while True:
            with self._lock:
                while not self._handed_over:
                    if self._stopped and not self._committing:
                        return
                    self._work.wait()
                self._committing, self._handed_over = True, False
            self._lead(None)

    def stop(self) -> None:
        """Refuse new changes and let the committer thread end once the queue is empty."""
        with self._lock:
            self._stopped = True
            self._work.notify_all()
            self._room.notify_all()

    def earlier(self, caller: Caller, *, validate_only: bool = False) -> Outcome | None:
        """The outcome of this very request, if it was carried out before. Any thread; blocks where it is to be synced.

        ``validate_only``: as a plan. Raises InvalidArgument where its request id was another request's,
        FailedPrecondition or EngineFailed where it cannot be as durable as is asked for.
        """
        if not caller.request_id:
            return None
        found = self.requests.find(caller.request_id, self._clock.now_us(), caller.request_digest)
        if found is None:
            return None
        if caller.sync and not found.durable:
            self._check_can_sync(True, found.kept_in is not KeptIn.NOTHING)
        if validate_only:
            return found.as_plan()
        return self._made_durable(found) if caller.sync and not found.durable else found

    def remembers(self, caller: Caller) -> bool:
        """Whether this very request was carried out before. Any thread; does not block. Raises as ``earlier``."""
        if not caller.request_id:
            return False
        return self.requests.find(caller.request_id, self._clock.now_us(), caller.request_digest) is not None

    def _made_durable(self, found: Outcome) -> Outcome:
        log = self.log
        try:
            # Without a log by now: closing it has synced it.
            if log is not None:
                log.sync()
        except EngineFailed as error:
            self.fail(error)
            raise
        return replace(found, durable=True)

    # The queue ------------------------------------------------------------------------------------------------------

    def _enqueue(self, submission: Submission, *, lead: bool) -> bool:
        """Queue it; True when the caller has to lead."""
        with self._lock:
            if _waits_for_room(submission):
                self._wait_for_room(submission)
            self._check_open(submission)
            self._queue.append(submission)
            self._queued_bytes += submission.size
            if self._committing or self._handed_over:
                return False
            if lead:
                self._committing = True
                return True
            self._handed_over = True
            self._work.notify()
            return False

    def _check_open(self, submission: Submission) -> None:
        if self._stopped:
            raise Unavailable("the daemon is stopping", reason="STOPPING", hint="connect again when it is back")
        if self.failure is not None and submission.action is None:
            raise self.failure

    def _wait_for_room(self, submission: Submission) -> None:
        deadline = self._clock.monotonic_ns() + int(QUEUE_PATIENCE_SECONDS * 1e9)
        while not self._stopped and self.failure is None:
            reason = self._why_wait(submission)
            if reason is None:
                return
            if submission.while_waiting is not None:
                submission.while_waiting()
                self._room.wait(LOOK_SECONDS)
            elif not self._room.wait((deadline - self._clock.monotonic_ns()) / 1e9):
                raise ResourceExhausted(
                    f"the store cannot keep up: {reason}",
                    reason="WRITE_QUEUE_FULL",
                    hint="retry after a pause, with fewer writers or smaller batches",
                    retry_after_ms=1000,
                )

    def _why_wait(self, submission: Submission) -> str | None:
        if self._held:
            return self._held[-1]
        reason = self._hold_writes() if isinstance(submission.change, GROWS) else None
        if reason is None and self._queue and self._queued_bytes + submission.size > MAX_QUEUED_BYTES:
            reason = f"{self._queued_bytes} bytes of writes are waiting for the log"
        return reason

    def _take_group(self) -> list[Submission]:
        """The next group, or [] when there is nothing left or the leader may go; called by the leader only."""
        group: list[Submission] = []
        size = 0
        with self._lock:
            while self._queue and len(group) < MAX_GROUP_CHANGES and size < MAX_GROUP_BYTES:
                if group and _apart(group[0], self._queue[0]):
                    break
                group.append(self._queue.popleft())
                size += group[-1].size
            # Room in the queue, and whatever room the group before has made.
            self._room.notify_all()
            if group:
                self._queued_bytes -= size
            else:
                self._committing = False
                if self._stopped:
                    self._work.notify_all()
        return group

    def _lead(self, own: Submission | None) -> None:
        """Commit groups until the queue is empty or, for a caller, its own change is done."""
        while group := self._take_group():
            try:
                self._commit(group)
            except BaseException as error:
                # Whatever it is, it happened between the log and memory: nobody can tell what state this is.
                self._on_fatal(error)
            if own is not None and own.ticket.done:
                self._hand_over()
                return

    def _hand_over(self) -> None:
        """Stop leading; what is queued by now is for the committer thread."""
        with self._lock:
            self._committing = False
            self._room.notify_all()
            self._handed_over = bool(self._queue)
            if self._handed_over or self._stopped:
                self._work.notify_all()

    # One group ------------------------------------------------------------------------------------------------------

    def _commit(self, group: list[Submission]) -> None:
        """Number, write, sync, apply, publish and acknowledge one group."""
        if group[0].action is not None:
            self._run_action(group[0])
            return
        admitted = self._admit(group)
        if admitted:
            self._commit_admitted(admitted)

    def _commit_admitted(self, admitted: list[Submission]) -> None:
        sequence = max(self._applier.sequence, admitted[0].after_sequence)
        wall_us = self._clock.now_us()
        time_us = max(self._applier.time_us, wall_us - 1)
        entries = [
            Entry(RecordKind.OPERATION, sequence + n, s.parts, s.size, s.payload_crc, time_us + n, wall_us)
            for n, s in enumerate(admitted, 1)
            if s.parts
        ]
        durable = self._write(entries, admitted)
        if durable is None:
            return
        outcomes = self._apply(admitted, sequence, time_us, durable)
        for submission, outcome in zip(admitted, outcomes, strict=True):
            self._acknowledge(submission, outcome)
        self.on_applied()

    def _admit(self, group: list[Submission]) -> list[Submission]:
        """Those of the group that are to be committed; the others are answered here."""
        now_us = self._clock.now_us()
        admitted: list[Submission] = []
        by_request: dict[str, Submission] = {}
        for submission in group:
            try:
                if submission.request_id:
                    earlier = self.requests.find(submission.request_id, now_us, submission.request_digest)
                    if earlier is not None:
                        if not earlier.durable:
                            self._check_can_sync(submission.sync, earlier.kept_in is not KeptIn.NOTHING)
                        self._acknowledge(submission, earlier)
                        continue
                    first = by_request.setdefault(submission.request_id, submission)
                    if first is not submission:
                        if differ(first.request_digest, submission.request_digest):
                            raise reused(submission.request_id, "which is being carried out")
                        # Both become one write: whether it can be made durable is not for the second to say.
                        self._check_can_sync(submission.sync, bool(first.parts))
                        first.followers.append(submission.ticket)
                        first.sync |= submission.sync
                        continue
                self._check(submission)
                admitted.append(submission)
            except HoldfastError as error:
                if by_request.get(submission.request_id) is submission:
                    del by_request[submission.request_id]
                submission.fail(error)
        return admitted

    def _check_can_sync(self, sync: bool, logged: bool) -> None:
        """Raise FailedPrecondition where it is to be synced and never will be. ``logged``: whether the log gets it."""
        if not sync or (self.log is not None and logged):
            return
        if self.log is None:
            raise FailedPrecondition(
                "the log is disabled, so no single write can be made durable",
                reason="WAL_DISABLED",
                hint="enable it with `holdfast storage wal enable`",
            )
        raise FailedPrecondition(
            "the collection lives in memory, so no write to it can be made durable",
            reason="COLLECTION_NOT_DURABLE",
            hint="leave the durability to the store, or create the collection with --storage disk",
        )

    def _check(self, submission: Submission) -> None:
        if submission.check is not None:
            # Let go at once: it may hold the submission itself, and with it the batch until the collector comes by.
            check, submission.check = submission.check, None
            check()
        # After the check, which may have found another collection for it.
        self._check_can_sync(submission.sync, bool(submission.parts))
        if self.room is not None and submission.parts:
            self.room.admit(submission.change)
        expects = submission.expects
        if expects is not None:
            assert submission.change is not None
            collection = self._applier.catalog.get(submission.change.collection_id)  # type: ignore[union-attr]
            now = None if collection is None else collection.sequences_of(expects.ids, expects.id_hashes)
            if now is None or not bool((now == expects.sequences).all()):
                raise Aborted("the points were written by somebody else meanwhile", reason="STALE_READ")

    def _foreseen(self, submission: Submission) -> Outcome:
        """As ``_admit`` and ``_apply``, with nothing done."""
        if submission.request_id:
            earlier = self.requests.find(submission.request_id, self._clock.now_us(), submission.request_digest)
            if earlier is not None:
                if not earlier.durable:
                    self._check_can_sync(submission.sync, earlier.kept_in is not KeptIn.NOTHING)
                return earlier.as_plan()
        self._check(submission)
        assert submission.change is not None
        foreseen = foresee(self._applier.catalog, submission.change)
        return Outcome(0, submission.rows_sent or foreseen.count, durable=False, names=foreseen.names)

    def _write(self, entries: list[Entry], admitted: list[Submission]) -> bool | None:
        """Write and, in fsync mode, sync. Returns whether the group is durable; None when it was refused."""
        if self.log is None or not entries:
            return False
        try:
            self.log.append(entries)
            self.last_write_ns = self._clock.monotonic_ns()
            self.logged_bytes += sum(submission.size for submission in admitted)
        except HoldfastError as error:
            if lacks_space(error) and self.room is not None:
                self._write_what_frees(admitted, error, self.room)
            else:
                self._refuse(admitted, error, in_flight=isinstance(error, EngineFailed))
            return None
        if self.sync_mode is not SyncMode.FSYNC:
            return False
        try:
            self.log.sync()
        except HoldfastError as error:
            self._refuse(admitted, error, in_flight=True)
            return None
        return True

    def _write_what_frees(self, admitted: list[Submission], error: HoldfastError, room: Room) -> None:
        """The disk is full: what frees space is written where the reserve gave way, the rest is refused."""
        again = room.make_way([submission.change for submission in admitted])
        self._refuse([each for each, possible in zip(admitted, again, strict=True) if not possible], error)
        if any(again):
            self._commit_admitted([each for each, possible in zip(admitted, again, strict=True) if possible])

    def _refuse(self, submissions: list[Submission], error: HoldfastError, *, in_flight: bool = False) -> None:
        """Answer a group that did not make it; ``in_flight``: its records may be on the disk anyway (RULES 10)."""
        if isinstance(error, EngineFailed):
            self.fail(error)
        answer = error
        if in_flight:
            answer = CommitUnknown(
                f"the log failed while this write was in flight ({error.message}); it may appear after a restart",
                hint="restart the daemon, then read the points or send the write again with the same request_id",
            )
        for submission in submissions:
            submission.fail(answer)

    def _apply(self, admitted: list[Submission], sequence: int, time_us: int, durable: bool) -> list[Outcome]:
        outcomes = []
        try:
            for n, submission in enumerate(admitted, 1):
                assert submission.change is not None
                done = self._applier.apply(submission.change, sequence + n, time_us + n, submission.origin_sequence)
                on_disk = durable and bool(submission.parts)
                count = submission.rows_sent or done.count
                outcome = Outcome(
                    sequence + n,
                    count,
                    on_disk,
                    done.versions,
                    time_us + n,
                    done.names,
                    submission.request_digest,
                    KeptIn.of(submission.change, logged=bool(submission.parts)),
                )
                if submission.request_id:
                    # No reply to an upsert tells versions; kept, they would be most of the table.
                    told = outcome.without_versions() if submission.rows_sent else outcome
                    self.requests.remember(submission.request_id, told)
                outcomes.append(outcome)
            self._applier.publish()
        except BaseException as error:
            self._on_fatal(error)
        return outcomes

    def _acknowledge(self, submission: Submission, outcome: Outcome) -> None:
        if submission.sync and not outcome.durable and self.wait_for_sync is not None:
            self.wait_for_sync(submission, outcome)
            return
        for ticket in (submission.ticket, *submission.followers):
            ticket.succeed(outcome)

    def _run_action(self, submission: Submission) -> None:
        assert submission.action is not None
        try:
            submission.ticket.succeed(submission.action())
        except BaseException as error:
            if isinstance(error, EngineFailed):
                self.fail(error)
            submission.ticket.fail(error)


def _waits_for_room(submission: Submission) -> bool:
    """Whether it may have to wait: not what others need to make room, nor who holds off the checkpoints that do."""
    return submission.action is None and not isinstance(submission.change, Restore)


def _apart(first: Submission, following: Submission) -> bool:
    """Whether a group that begins with ``first`` must end before ``following``.

    A client's write and a replay's share none: the replay's check must see that the collection has writes of its own.
    """
    replays = bool(first.origin_sequence), bool(following.origin_sequence)
    return first.barrier or following.barrier or replays[0] != replays[1]
