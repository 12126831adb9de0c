"""The engine: the only door. Opens the store, wires its parts, starts and stops its threads.

The parts do the work: ``collections`` and ``points`` (data plane), ``wal``, ``replay``, ``snapshots`` and
``operations`` (control plane). ARCHITECTURE.md has the thread table and two walks through the code.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from ..errors import CommitUnknown, EngineFailed, HoldfastError
from ..format.manifest import Manifest
from ..model import Alarm, Sequence64
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem, Lock, make_dirs
from ..storage.names import Layout
from .alarms import Alarms
from .background import CheckpointThread
from .checkpoint import Checkpointer
from .collections import Collections
from .committer import Committer
from .disk_errors import disk_errors_of
from .meters import Meters
from .operations import OperationRegistry
from .points import Points
from .recovery import RecoveredStore, open_store
from .replay import Replay
from .retention import Retention
from .settings import EngineConfig
from .snapshots import Snapshots
from .syncer import Syncer
from .wal_control import WalControl


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
    mapped_bytes: int
    resident_bytes: int
    free_bytes: int
    started_us: int


class Engine:
    """One open store. Made by ``open``; its methods and parts may be used from any thread."""

    def __init__(
        self,
        config: EngineConfig,
        fs: FileSystem,
        clock: Clock,
        randomness: Randomness,
        store: RecoveredStore,
        lock: Lock,
        on_fatal: Callable[[BaseException], NoReturn],
    ) -> None:
        layout = Layout(config.data_dir)
        # Constant after creation.
        self.config = config
        self.recovery = store.report
        self._fs = fs
        self._layout = layout
        self._lock = lock
        self._applier = store.applier
        self._keeper = store.keeper
        self._started_us = clock.now_us()
        settings = store.keeper.current.wal_settings
        meters = Meters(clock)
        self._alarms = Alarms(clock)
        self._committer = Committer(
            log=store.log,
            sync_mode=settings.sync_mode,
            applier=store.applier,
            requests=store.requests,
            clock=clock,
            on_fatal=on_fatal,
        )
        self._syncer = Syncer(self._committer, clock, self._committer.fail)
        self._syncer.flush_interval_seconds = settings.flush_interval_us / 1e6
        self._retention = Retention(store.keeper, clock, self._alarms)
        self._checkpointer = Checkpointer(
            fs=fs,
            layout=layout,
            randomness=randomness,
            applier=store.applier,
            committer=self._committer,
            keeper=store.keeper,
            pace=lambda size: None,
            trim=self._trim_log,
        )
        self._checkpoints = CheckpointThread(config, store.applier, self._committer, self._checkpointer, self._alarms)
        self.operations = OperationRegistry(fs, clock, randomness, layout)
        self.collections = Collections(store.applier, self._committer, randomness, meters, self._catalog_changed)
        self.points = Points(store.applier, self._committer, meters)
        self.wal = WalControl(
            fs=fs,
            layout=layout,
            clock=clock,
            randomness=randomness,
            new_lock=threading.Lock,
            applier=store.applier,
            committer=self._committer,
            keeper=store.keeper,
            checkpointer=self._checkpointer,
            syncer=self._syncer,
            retention=self._retention,
            closed_files=store.closed_files,
        )
        self.replay = Replay(
            fs=fs,
            layout=layout,
            clock=clock,
            applier=store.applier,
            committer=self._committer,
            keeper=store.keeper,
            checkpointer=self._checkpointer,
            retention=self._retention,
            control=self.wal,
            operations=self.operations,
        )
        self.snapshots = Snapshots(
            fs=fs,
            layout=layout,
            clock=clock,
            randomness=randomness,
            applier=store.applier,
            committer=self._committer,
            keeper=store.keeper,
            checkpointer=self._checkpointer,
            operations=self.operations,
            config=config,
        )
        self._committer.wait_for_sync = self._syncer.wait_for_sync
        store.keeper.on_failure = self._committer.fail
        self._committer.on_applied = self._checkpoints.notice
        self._committer.hold_writes_while(self._checkpoints.memory_is_full)
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
            make_dirs(fs, layout.root)
            lock = fs.lock(layout.lock)
            try:
                store = open_store(fs, layout, clock, randomness, config, threading.Lock)
                engine = cls(config, fs, clock, randomness, store, lock, on_fatal)
                engine.operations.load()
                engine.snapshots.load()
            except BaseException:
                lock.release()
                raise
            return engine

    def start(self) -> None:
        """Start the committer, fsync and checkpoint threads. Writes work without them, one caller at a time."""
        for name, run in (
            ("committer", self._committer.run),
            ("fsync", self._syncer.run),
            ("checkpoint", self._checkpoints.run),
        ):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop in order: long work, new writes, threads, a last sync, the lock. Blocks until all of it is done."""
        self.operations.stop()
        self._checkpoints.stop()
        self._syncer.stop()
        for thread in self._threads[1:]:
            thread.join()
        try:
            if self.failure is None:
                self._close_cleanly()
        finally:
            self._committer.stop()
            for thread in self._threads[:1]:
                thread.join()
            if self._committer.log is not None:
                self._committer.log.close()
            self._lock.release()

    def _close_cleanly(self) -> None:
        """Leave a store that lost nothing and knows it."""
        log = self._committer.log
        if log is None:
            self._checkpointer.run(clean=True)
            return

        def seal() -> None:
            log.marker()
            log.sync()
            self._keeper.update(lambda manifest: _marked_clean(manifest, log.last_sequence))
            # Nothing may follow what the manifest calls the end.
            self._committer.stop()

        with self._committer.writes_held("the daemon is stopping"):
            if self._applier.sequence > max(log.last_sequence, self._keeper.current.sequence):
                # Memory collections have used sequences that no log knows of.
                self._checkpointer.run()
            self._committer.between_groups(seal)

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
        """Active alarms, the oldest first."""
        active = self._alarms.list()
        failure = self.failure
        if failure is not None:
            hint = failure.hint or "restart the daemon"
            active.insert(0, Alarm("ENGINE_FAILED", failure.message, hint, "critical"))
        return active

    def status(self) -> StoreStatus:
        """The store now. Asks the kernel how much of the maps is resident; otherwise does not block."""
        views = [collection.view for collection in self._applier.catalog.collections.values()]
        segments = [segment for view in views for segment in view.segments]
        wal = self.wal.status()
        return StoreStatus(
            store_id=self.store_id,
            timeline=self.timeline,
            state="read_only" if self.failure is not None else "serving",
            data_dir=self._layout.root,
            sequence=self.sequence,
            durable_sequence=self.durable_sequence,
            checkpoint_sequence=self._keeper.current.sequence,
            collections=len(views),
            vectors=sum(view.count for view in views),
            segment_bytes=sum(segment.size_bytes for segment in segments),
            memory_bytes=sum(part.table.bytes for view in views for part in view.memtables),
            wal_bytes=wal.size_bytes,
            mapped_bytes=sum(segment.mapped_bytes() for segment in segments),
            resident_bytes=sum(segment.resident_bytes() for segment in segments),
            free_bytes=self._fs.free_bytes(self._layout.root),
            started_us=self._started_us,
        )

    def _catalog_changed(self) -> None:
        """Without a log, only a manifest makes a change of the catalog durable, and it does so at once (RULES 5)."""
        if self._committer.log is None:
            try:
                self._checkpointer.run()
            except HoldfastError as error:
                raise CommitUnknown(
                    f"the change is made, but could not be written to the disk: {error.message}", hint=error.hint
                ) from error
        else:
            self._checkpoints.request()

    def _trim_log(self, not_needed_before: Sequence64) -> None:
        if self._committer.log is not None:
            self._retention.trim(self._committer.log, not_needed_before)


def _marked_clean(manifest: Manifest, logged_sequence: Sequence64) -> Manifest:
    return replace(manifest, clean=True, logged_sequence=logged_sequence)
