"""What runs behind the engine's door, wired together: committing, syncing, checkpoints, the retention of the log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from ..errors import CommitUnknown, HoldfastError
from ..model import Sequence64
from ..storage.bulk import Pace
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem
from ..storage.names import Layout
from .alarms import Alarms
from .background import CheckpointThread
from .changes import Change, DropCollection
from .checkpoint import Checkpointer
from .clock_watch import ClockWatch
from .committer import Committer
from .manifest_keeper import ManifestKeeper
from .pacing import BACKUP_SHARE, Pacer
from .recovered import RecoveredStore
from .retention import Retention
from .room import Room
from .settings import EngineConfig
from .syncer import Syncer
from .wal_left import remove_left
from .wal_locks import WalLocks


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything stands on: the world outside, and the store as it was found there."""

    config: EngineConfig
    fs: FileSystem
    layout: Layout
    clock: Clock
    randomness: Randomness
    wal_locks: WalLocks
    store: RecoveredStore


@dataclass(frozen=True, slots=True)
class Machinery:
    """The parts that commit, sync and checkpoint. Constant; each part says which threads may use it."""

    alarms: Alarms
    room: Room
    keeper: ManifestKeeper
    committer: Committer
    syncer: Syncer
    retention: Retention
    checkpointer: Checkpointer
    checkpoints: CheckpointThread
    pace: Pacer
    backup_pace: Pacer
    checkpoint_pace: Pace

    def catalog_changed(self, change: Change, sequence: Sequence64) -> None:
        """Without a log, only a manifest makes a change of the catalog durable, and it does so at once (RULES 5).

        With one, a checkpoint is worth its while after a drop alone: it gives the disk space back.
        """
        if self.committer.log is not None:
            if isinstance(change, DropCollection):
                self.checkpoints.request()
            return
        self.settle_catalog(sequence)

    def settle_catalog(self, sequence: Sequence64) -> None:
        """Without a log: let a manifest reflect the catalog's change at ``sequence``, if none does yet.

        Also before its answer is given again: the manifest may be what failed. Blocks; raises CommitUnknown.
        """
        if self.committer.log is not None or sequence <= self.keeper.current.sequence:
            return
        try:
            self.checkpointer.run(insist=True)
        except HoldfastError as error:
            raise CommitUnknown(
                f"the change is made, but could not be written to the disk: {error.message}", hint=error.hint
            ) from error


def build_machinery(ground: Ground, on_fatal: Callable[[BaseException], NoReturn]) -> Machinery:
    """Make the parts and tell them of each other. Starts no thread."""
    store, clock = ground.store, ground.clock
    settings = store.keeper.current.wal_settings
    alarms = Alarms(clock)
    room = Room(
        ground.fs,
        ground.layout,
        alarms,
        ground.config.disk_reserve_bytes,
        lambda: ground.layout.wal_dir(store.keeper.current.wal_settings.path),
    )
    committer = Committer(
        log=store.log,
        sync_mode=settings.sync_mode,
        applier=store.applier,
        requests=store.requests,
        clock=clock,
        on_fatal=on_fatal,
    )
    syncer = Syncer(committer, clock, committer.fail)
    syncer.flush_interval_seconds = settings.flush_interval_us / 1e6
    watch = ClockWatch(clock, alarms, lambda: store.applier.time_us)
    retention = Retention(store.keeper, watch, alarms, clock.now_us)
    rate = ground.config.background_bytes_per_second
    pace = Pacer(clock, rate, lambda: committer.last_write_ns)
    backup_pace = Pacer(clock, -(-rate // BACKUP_SHARE), lambda: committer.last_write_ns)

    def checkpoint_pace(count: int) -> None:
        """That of bulk writes, unless writers are about to wait for it."""
        if not checkpoints.is_behind():
            pace(count)

    checkpointer = Checkpointer(
        fs=ground.fs,
        layout=ground.layout,
        randomness=ground.randomness,
        applier=store.applier,
        committer=committer,
        keeper=store.keeper,
        pace=checkpoint_pace,
        trim=lambda sequence: _trim_log(ground, committer, retention, sequence),
    )
    checkpoints = CheckpointThread(
        ground.config,
        store.applier,
        committer,
        checkpointer,
        alarms,
        room,
        retention,
        log_start=store.keeper.current.log_start_required,
        max_wal_bytes=lambda: store.keeper.current.wal_settings.max_wal_bytes,
    )
    room.on_full = checkpoints.request
    syncer.on_no_room = lambda: _make_room_for_the_log(store.keeper, committer, retention, room)
    committer.room = store.keeper.room = checkpointer.room = syncer.room = room
    committer.wait_for_sync = syncer.wait_for_sync
    committer.on_applied = checkpoints.notice
    committer.hold_writes_while(checkpoints.memory_is_full)
    store.keeper.on_failure = committer.fail
    return Machinery(
        alarms,
        room,
        store.keeper,
        committer,
        syncer,
        retention,
        checkpointer,
        checkpoints,
        pace,
        backup_pace,
        checkpoint_pace,
    )


def _make_room_for_the_log(keeper: ManifestKeeper, committer: Committer, retention: Retention, room: Room) -> None:
    """Give up history so that the next WAL segment fits."""
    size = keeper.current.wal_settings.segment_size_bytes
    if committer.log is not None:
        with suppress(OSError):
            retention.give_way(committer.log, lambda: room.next_segment_fits(size))


def _trim_log(ground: Ground, committer: Committer, retention: Retention, not_needed_before: Sequence64) -> None:
    """After a checkpoint: remove WAL segments, and leave the directories that the manifest no longer lists."""
    remove_left(ground.fs, ground.layout, ground.store.keeper, ground.wal_locks)
    listed = ground.store.keeper.current.wal_directories
    ground.wal_locks.keep_only(map(ground.layout.wal_dir, listed))
    if committer.log is not None:
        retention.trim(committer.log, not_needed_before)
