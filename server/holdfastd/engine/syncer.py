"""The fsync thread: everything about the log's durability that no writer waits for in line.

It syncs at the flush interval in periodic mode, for single writes that ask for more than the mode, and once after the
last write before a silence, with a marker record that lets the log know how far it is durable (RULES 7). It also makes
the next WAL segment ahead of time, so that rotation costs the hot path nothing, and has zeros written ahead of a log
of small writes, so that their syncs cost one write each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ..errors import CommitUnknown, EngineFailed, HoldfastError, ResourceExhausted
from ..model import SyncMode
from ..storage.clock import Clock
from ..storage.wal import Wal
from .committer import Committer
from .room import Room
from .tickets import KeptIn, Outcome, Submission

IDLE_SECONDS = 1.0
"""How long the log must be silent before it gets a marker."""
ZEROS_AHEAD_BYTES = 16 << 20
"""Zeros ahead of the log's end. A log that grows by half of that within a look is written in large groups, whose syncs
gain nothing from them."""


class Syncer:
    """See the module. ``run`` is the thread; the rest may be called from any thread and does not block."""

    def __init__(self, committer: Committer, clock: Clock, on_failure: Callable[[EngineFailed], None]) -> None:
        self._committer = committer
        self._clock = clock
        self._on_failure = on_failure
        # Changed between two groups by whoever changes the log's settings.
        self.flush_interval_seconds = 5.0
        # Set once by the engine.
        self.room: Room | None = None
        self.on_no_room: Callable[[], None] = lambda: None
        # Guarded by _wake.
        self._wake = threading.Condition()
        self._waiting: list[tuple[Submission, Outcome]] = []
        self._stopped = False
        # The syncer thread's own.
        self._last_sync_ns = clock.monotonic_ns()
        self._seen_sequence = 0
        self._seen_ns = self._last_sync_ns
        self._marked_sequence = 0
        self._seen_bytes = 0

    def wait_for_sync(self, submission: Submission, outcome: Outcome) -> None:
        """Sync soon, then answer ``submission`` with ``outcome``, durable if it is kept anywhere but in memory."""
        with self._wake:
            self._waiting.append((submission, outcome))
            self._wake.notify()

    def sync_every(self, seconds: float) -> None:
        """From now on periodic mode leaves nothing unsynced for longer."""
        with self._wake:
            self.flush_interval_seconds = seconds
            self._wake.notify()

    def stop(self) -> None:
        """Let the thread end after it has answered who waits."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def run(self) -> None:
        """The fsync thread."""
        while True:
            with self._wake:
                if not self._waiting and not self._stopped:
                    self._wake.wait(self._patience())
                waiting, self._waiting = self._waiting, []
                stopped = self._stopped
            try:
                self._tend(waiting)
            except HoldfastError as error:
                self._give_up(waiting, error)
            except Exception as error:  # a thread that dies here would leave writes unsynced without a word
                self._give_up(waiting, _unforeseen(error))
            if stopped and not waiting:
                return

    def _tend(self, waiting: list[tuple[Submission, Outcome]]) -> None:
        log = self._committer.log
        if waiting or self._interval_is_over():
            self._last_sync_ns = self._clock.monotonic_ns()
            if log is not None:
                log.sync()
        # Without a log now they were logged before it was disabled, and closing it has synced it.
        for submission, outcome in waiting:
            answer = replace(outcome, durable=outcome.kept_in is not KeptIn.NOTHING)
            for ticket in (submission.ticket, *submission.followers):
                ticket.succeed(answer)
        if log is not None:
            self._prepare_next(log)
            self._write_ahead(log)
            self._mark_if_idle(log.last_sequence)

    def _prepare_next(self, log: Wal) -> None:
        """Space for the next WAL segment; on a full disk what is left is for others."""
        if self.room is not None and self.room.full:
            return
        try:
            log.prepare_next()
        except ResourceExhausted:
            # History of the log yields before writing does (RULES 13); the next look finds the room.
            self.on_no_room()

    def _write_ahead(self, log: Wal) -> None:
        size, before = log.size_bytes, self._seen_bytes
        self._seen_bytes = size
        if self._committer.sync_mode is not SyncMode.FSYNC or size - before > ZEROS_AHEAD_BYTES // 2:
            return
        if log.zeros_ahead > ZEROS_AHEAD_BYTES // 2:
            return
        while log.zeros_ahead < ZEROS_AHEAD_BYTES and self._committer.between_groups(log.write_ahead):
            pass

    def _patience(self) -> float:
        """Seconds until the next look: to the end of the interval, or until the log may have become idle."""
        if self._committer.sync_mode is not SyncMode.PERIODIC:
            return IDLE_SECONDS
        left = self.flush_interval_seconds - (self._clock.monotonic_ns() - self._last_sync_ns) / 1e9
        return min(max(left, 0.0), IDLE_SECONDS)

    def _interval_is_over(self) -> bool:
        if self._committer.sync_mode is not SyncMode.PERIODIC:
            return False
        return self._clock.monotonic_ns() - self._last_sync_ns >= self.flush_interval_seconds * 1e9

    def _mark_if_idle(self, sequence: int) -> None:
        now = self._clock.monotonic_ns()
        if sequence != self._seen_sequence:
            self._seen_sequence, self._seen_ns = sequence, now
            return
        if now - self._seen_ns < IDLE_SECONDS * 1e9:
            return
        if sequence != self._marked_sequence:
            self._committer.between_groups(self._marker)
            self._marked_sequence = sequence

    def _marker(self) -> None:
        if self._committer.log is not None:
            self._committer.log.marker()

    def _give_up(self, waiting: list[tuple[Submission, Outcome]], error: HoldfastError) -> None:
        if isinstance(error, EngineFailed):
            self._on_failure(error)
        answer = CommitUnknown(
            f"the log could not be synced ({error.message}); the write may be lost in a power cut",
            hint="restart the daemon, then read the points or send the write again with the same request_id",
        )
        for submission, _ in waiting:
            if not submission.ticket.done:
                submission.fail(answer)


def _unforeseen(error: Exception) -> EngineFailed:
    return EngineFailed(
        f"the fsync thread failed: {type(error).__name__}: {error}",
        hint="restart holdfastd, and report this with its log",
    )
