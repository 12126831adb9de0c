"""The engine: the only door. Opens the store, wires its parts, starts and stops its threads.

The parts do the work: ``collections`` and ``points`` (data plane), ``wal``, ``replay``, ``snapshots`` and
``operations`` (control plane). ARCHITECTURE.md has the thread table and two walks through the code.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from ..errors import EngineFailed, HoldfastError
from ..format.manifest import Manifest
from ..model import Alarm, Sequence64
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem, Lock, make_lasting_dir
from ..storage.names import Layout
from ..storage.reserve import Reserve
from .collections import Collections
from .compaction import CompactionGround
from .compaction_thread import CompactionThread
from .compactions import Compactions
from .disk_errors import disk_errors_of, lacks_space
from .log_archive_prune import ArchivePruneRequest
from .log_archiving import Archiving
from .machinery import Ground, Machinery, build_machinery
from .meters import Meters
from .mmap_control import MmapControl
from .moments import Moments
from .objectives import Objectives
from .operations import Operation, OperationRegistry
from .points import Points
from .populating import Populator
from .presence import Presence
from .quarantine import quarantine_alarms
from .recovery import open_store
from .replay import Replay
from .replay_log import ReplayLogs
from .schedules import Schedules
from .settings import EngineConfig
from .snapshots import Snapshots
from .tickets import Caller
from .upload_expiry import UploadExpiry
from .wal_control import WalControl
from .wal_locks import WalLocks

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The store in one screen's worth of numbers; sizes in bytes."""

    store_id: uuid.UUID
    timeline: int
    state: str
    data_dir: str
    sequence: Sequence64
    durable_sequence: Sequence64
    checkpoint_sequence: Sequence64
    collections: int
    vectors: int
    segment_bytes: int
    memory_bytes: int
    wal_bytes: int
    free_bytes: int
    reserve_bytes: int
    started_us: int


class Engine:
    """One open store. Made by ``open``; its methods and parts may be used from any thread."""

    def __init__(self, ground: Ground, lock: Lock, on_fatal: Callable[[BaseException], NoReturn]) -> None:
        store, machinery = ground.store, build_machinery(ground, on_fatal)
        meters = Meters(ground.clock, Presence(ground.clock))
        # Constant after creation.
        self.config = ground.config
        self._ground = ground
        self._lock = lock
        self._started_us = ground.clock.now_us()
        self._applier = store.applier
        self._keeper = store.keeper
        self._alarms = machinery.alarms
        self._committer = machinery.committer
        self._syncer = machinery.syncer
        self._checkpointer = machinery.checkpointer
        self._retention = machinery.retention
        self._room = machinery.room
        self._checkpoints = machinery.checkpoints
        self.operations = OperationRegistry(ground.fs, ground.clock, ground.randomness, ground.layout)
        self.operations.room = machinery.room
        self.collections = Collections(
            store.applier,
            self._committer,
            ground.randomness,
            meters,
            machinery.catalog_changed,
            machinery.settle_catalog,
        )
        self.points = Points(store.applier, self._committer, meters)
        self.wal = _wal_control(ground, machinery)
        logs = _logs(ground, machinery, self.wal)
        self.snapshots = _snapshots(ground, machinery, self.operations, logs, self.wal)
        self.mmap = MmapControl(store.applier, self._committer, store.keeper, self._checkpointer)
        self._populator = Populator(machinery.alarms)
        self._populator.ask_for(store.applier.catalog.collections.values())
        store.applier.open_restored = self._populator.after(store.applier.open_restored)
        self._upload_expiry = UploadExpiry(self.snapshots.uploads)
        self.compactions = _compactions(ground, machinery, self.operations, meters.presence)
        self._compaction_thread = CompactionThread(self.compactions, machinery.alarms)
        self.replay = _replay(ground, machinery, self.operations, logs, self.wal, self.snapshots.moments)
        self.archiving = Archiving(
            ground,
            machinery,
            self.wal.files_before_gap,
            self.snapshots.known,
            self.snapshots.covered_through,
            self.snapshots.footings,
        )
        self.schedules = _schedules(ground, machinery, self.snapshots, self.operations, self.archiving)
        self.recovery = replace(store.report, warnings=(*store.report.warnings, *self.snapshots.warnings))
        if self.recovery.rebuilt:
            self._tell_of_rebuilt_indexes()
        self._objectives = Objectives(
            ground.config,
            ground.clock,
            machinery.alarms,
            self.snapshots.known,
            self.snapshots.unverified_since_us,
            lambda: store.applier.catalog.collections.values(),
            self.archiving.reach,
        )
        # Changed by start and stop.
        self._threads: list[threading.Thread] = []

    @classmethod
    def open(
        cls,
        config: EngineConfig,
        *,
        fs: FileSystem,
        clock: Clock,
        randomness: Randomness,
        on_fatal: Callable[[BaseException], NoReturn],
    ) -> Engine:
        """Lock the data directory, recover what is in it, or create a store. Blocks; starts no thread.

        Raises DataDirectoryLocked, Corruption (nothing was touched), UnsupportedFormat, FailedPrecondition,
        ResourceExhausted or EngineFailed.
        """
        layout = Layout(config.data_dir)
        with disk_errors_of(f"opening the store in {layout.root}"):
            make_lasting_dir(fs, layout.root)
            lock, wal_locks = fs.lock(layout.lock), WalLocks(fs, layout)
            try:
                store = _with_the_reserve(
                    fs,
                    layout,
                    lambda: open_store(fs, layout, clock, randomness, config, threading.Lock, wal_locks),
                )
                engine = cls(Ground(config, fs, layout, clock, randomness, wal_locks, store), lock, on_fatal)
                engine._room.open()
                engine._room.insist(engine.operations.load)
                warnings = (*engine.recovery.warnings, *engine.operations.warnings)
                engine.recovery = replace(engine.recovery, warnings=warnings)
                engine._room.insist(engine.snapshots.load)
                for problem in (engine.schedules.load(), engine.archiving.load()):
                    if problem is not None:
                        engine.recovery = replace(engine.recovery, warnings=(*engine.recovery.warnings, problem))
            except BaseException:
                wal_locks.release()
                lock.release()
                raise
            return engine

    def start(self) -> None:
        """Start the threads. Writes work without them, one caller at a time."""
        for name, run in (
            ("committer", self._committer.run),
            ("fsync", self._syncer.run),
            ("checkpoint", self._checkpoints.run),
            ("uploads", self._upload_expiry.run),
            ("populate", self._populator.run),
            *([("compaction", self._compaction_thread.run)] if self.config.auto_compact else []),
        ):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        for schedule in self.schedules.all:
            thread = threading.Thread(
                target=self.schedules.run, args=(schedule,), name=f"schedule {schedule.name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self.archiving.start()

    def stop(self) -> None:
        """Stop in order: long work, new writes, threads, a last checkpoint, a last round of archiving, the lock.

        Blocks until all is done, though not for long for an archive that does not answer.
        """
        self.schedules.stop()
        self.operations.stop()
        self._checkpoints.stop()
        self._syncer.stop()
        self._upload_expiry.stop()
        self._populator.stop()
        self._compaction_thread.stop()
        for thread in self._threads[1:]:
            thread.join()
        try:
            if self.failure is None:
                self._close_cleanly()
        finally:
            self._committer.stop()
            for thread in self._threads[:1]:
                thread.join()
            self.archiving.finish()
            if self._committer.log is not None:
                self._committer.log.close()
            self._ground.wal_locks.release()
            self._lock.release()

    def _close_cleanly(self) -> None:
        """Leave a store that lost nothing and knows it."""
        log = self._committer.log
        if log is None:
            with self._committer.writes_held("the daemon is stopping"):
                self._checkpointer.run(clean=True, insist=True)
                # Nothing may follow what the manifest calls the end.
                self._committer.stop()
            return

        def seal() -> None:
            self._room.insist(log.marker)
            log.sync()
            self._keeper.update(lambda manifest: _marked_clean(manifest, log.last_sequence))
            # Nothing may follow what the manifest calls the end.
            self._committer.stop()

        with self._committer.writes_held("the daemon is stopping"):
            if self._applier.sequence > self._keeper.current.checkpoint_sequence:
                self._last_checkpoint()
            self._committer.between_groups(seal)

    def _last_checkpoint(self) -> None:
        """Spare the next start the reading of the log. A full disk must not stand in the way of a stop, though."""
        log = self._committer.log
        # Without the checkpoint everything has to be in the log; memory collections use sequences that are not.
        needed = log is None or self._applier.sequence > max(log.last_sequence, self._keeper.current.sequence)
        try:
            self._checkpointer.run(insist=needed)
        except HoldfastError:
            if needed:
                raise

    @property
    def failure(self) -> EngineFailed | None:
        """Why the store is read-only, or None."""
        return self._committer.failure or self._keeper.failure

    @property
    def store_id(self) -> uuid.UUID:
        """The store's identity, for ever."""
        return self._keeper.current.store_id

    @property
    def timeline(self) -> int:
        """The current history; it changes only where an older one may have been cut."""
        return self._keeper.current.timeline

    @property
    def sequence(self) -> Sequence64:
        """The last sequence applied."""
        return self._applier.sequence

    @property
    def durable_sequence(self) -> Sequence64:
        """The last logged sequence known to be on the disk."""
        log = self._committer.log
        return log.synced_sequence if log is not None else self._keeper.current.logged_sequence

    def checkpoint(self) -> Sequence64:
        """Write all memtables into segments now; returns the sequence reached. Blocks."""
        return self._checkpointer.run()

    def alarms(self) -> list[Alarm]:
        """Active alarms, the oldest first. Looks at the clock, and at the names of snapshots' files."""
        self._retention.look(self._committer.log)
        self._objectives.look()
        self.archiving.look()
        self._tell_of_the_log()
        active = self._alarms.list()
        failure = self.failure
        if failure is not None:
            hint = failure.hint or "restart the daemon"
            active.insert(0, Alarm("ENGINE_FAILED", failure.message, hint, "critical"))
        return active + quarantine_alarms(self._applier.catalog.collections.values(), self._started_us)

    def _tell_of_rebuilt_indexes(self) -> None:
        names = ", ".join(sorted(set(self.recovery.rebuilt)))
        self._alarms.raise_(
            "ID_INDEX_REBUILT",
            f"the id index of {names} was damaged, and was made anew at start from its segments",
            hint="look for disk errors with dmesg and smartctl; the daemon's log names the files; goes with a restart",
        )

    def _tell_of_the_log(self) -> None:
        log = self._committer.log
        if log is None or not log.closed:
            self._alarms.clear("WAL_CLOSED")
        if log is not None:
            self._alarms.clear("WAL_DISABLED")
            if log.closed:
                self._alarms.raise_(
                    "WAL_CLOSED",
                    "the log is closed, but disabling it could not be completed: writes are refused",
                    hint="make room on the disk, then complete it with `holdfast storage wal disable`, or begin the "
                    "log again: `holdfast storage wal enable`",
                    severity="critical",
                )
            return
        self._alarms.raise_(
            "WAL_DISABLED",
            "the log is disabled: writes are durable only with the next checkpoint",
            hint="holdfast storage wal enable",
        )

    def _state(self) -> str:
        if self.failure is not None:
            return "read_only"
        return "full" if self._room.full else "serving"

    def real_path(self, path: str) -> str:
        """Where a path of this machine leads, its links followed; what does not exist is taken as it is. Blocks."""
        return self._ground.fs.real_path(path)

    def status(self) -> StoreStatus:
        """The store now. Does not block."""
        views = [collection.view for collection in self._applier.catalog.collections.values()]
        segments = [segment for view in views for segment in view.segments]
        wal = self.wal.status()
        return StoreStatus(
            store_id=self.store_id,
            timeline=self.timeline,
            state=self._state(),
            data_dir=self._ground.layout.root,
            sequence=self.sequence,
            durable_sequence=self.durable_sequence,
            checkpoint_sequence=self._keeper.current.checkpoint_sequence,
            collections=len(views),
            vectors=sum(view.count for view in views),
            segment_bytes=sum(segment.size_bytes for segment in segments),
            memory_bytes=sum(part.table.bytes for view in views for part in view.memtables),
            wal_bytes=wal.size_bytes,
            free_bytes=self._ground.fs.free_bytes(self._ground.layout.root),
            reserve_bytes=self._room.reserve_bytes,
            started_us=self._started_us,
        )


def _with_the_reserve(fs: FileSystem, layout: Layout, recover: Callable[[], T]) -> T:
    """Recover; where the disk has no room for it, once more with the reserve given up."""
    try:
        return recover()
    except (OSError, HoldfastError) as error:
        reserve = Reserve(fs, layout.reserve)
        if not lacks_space(error) or not (reserve.find() or reserve.give_back(0)):
            raise
    return recover()


def _wal_control(ground: Ground, machinery: Machinery) -> WalControl:
    return WalControl(
        fs=ground.fs,
        layout=ground.layout,
        clock=ground.clock,
        randomness=ground.randomness,
        new_lock=threading.Lock,
        applier=ground.store.applier,
        committer=machinery.committer,
        keeper=ground.store.keeper,
        checkpointer=machinery.checkpointer,
        syncer=machinery.syncer,
        retention=machinery.retention,
        room=machinery.room,
        locks=ground.wal_locks,
        closed_files=ground.store.closed_files,
        archive_path=ground.config.archive_path,
    )


def _logs(ground: Ground, machinery: Machinery, control: WalControl) -> ReplayLogs:
    return ReplayLogs(
        layout=ground.layout,
        clock=ground.clock,
        applier=ground.store.applier,
        committer=machinery.committer,
        keeper=ground.store.keeper,
        control=control,
    )


def _replay(
    ground: Ground,
    machinery: Machinery,
    operations: OperationRegistry,
    logs: ReplayLogs,
    control: WalControl,
    moments: Moments,
) -> Replay:
    return Replay(
        clock=ground.clock,
        randomness=ground.randomness,
        applier=ground.store.applier,
        committer=machinery.committer,
        checkpointer=machinery.checkpointer,
        retention=machinery.retention,
        control=control,
        operations=operations,
        logs=logs,
        moments=moments,
    )


def _snapshots(
    ground: Ground, machinery: Machinery, operations: OperationRegistry, logs: ReplayLogs, control: WalControl
) -> Snapshots:
    return Snapshots(
        fs=ground.fs,
        layout=ground.layout,
        clock=ground.clock,
        randomness=ground.randomness,
        applier=ground.store.applier,
        committer=machinery.committer,
        keeper=ground.store.keeper,
        checkpointer=machinery.checkpointer,
        operations=operations,
        config=ground.config,
        room=machinery.room,
        logs=logs,
        control=control,
        retention=machinery.retention,
        pace=machinery.pace,
        backup_pace=machinery.backup_pace,
        quiet=machinery.backup_pace.is_quiet,
    )


def _compactions(ground: Ground, machinery: Machinery, operations: OperationRegistry, readers: Presence) -> Compactions:
    parts = CompactionGround(
        fs=ground.fs,
        layout=ground.layout,
        randomness=ground.randomness,
        applier=ground.store.applier,
        committer=machinery.committer,
        keeper=machinery.keeper,
        checkpointer=machinery.checkpointer,
        held_pace=machinery.checkpoint_pace,
    )
    pace = machinery.backup_pace.that_yields_to(readers.last_ns)
    return Compactions(parts, ground.clock, operations, pace, machinery.room, ground.config.disk_reserve_bytes)


def _schedules(
    ground: Ground, machinery: Machinery, snapshots: Snapshots, operations: OperationRegistry, archiving: Archiving
) -> Schedules:
    within_us = ground.config.archive_keep_within_us
    pruning = ArchivePruneRequest(within_us=within_us) if within_us and archiving.archiver is not None else None

    def prune_archive(caller: Caller) -> Operation | None:
        return None if pruning is None else archiving.start_prune(pruning, operations, caller=caller)

    return Schedules(
        ground.config.schedules,
        fs=ground.fs,
        layout=ground.layout,
        clock=ground.clock,
        alarms=machinery.alarms,
        snapshots=snapshots,
        operations=operations,
        prune_archive=prune_archive,
    )


def _marked_clean(manifest: Manifest, logged_sequence: Sequence64) -> Manifest:
    return replace(manifest, clean=True, logged_sequence=logged_sequence)
