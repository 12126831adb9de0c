"""An engine to test with: on a file system in memory, with a clock that tests move and without threads."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from typing import NoReturn, Self

import numpy as np

from holdfastd.engine.engine import Engine
from holdfastd.engine.schedule import Schedule
from holdfastd.engine.settings import EngineConfig
from holdfastd.engine.tickets import Caller, Outcome
from holdfastd.format.payloads import join_payloads
from holdfastd.model import Float32Array, Metric, StorageKind, SyncMode, WalSettings
from holdfastd.storage.clock import Clock, Randomness
from holdfastd.storage.files import FileSystem
from holdfastd.storage.wal import Wal
from tests.support.clock import ManualClock, SeededRandomness
from tests.support.memfs import MemFileSystem

ROOT = "/data"
CALLER = Caller(actor="test")
SMALL_WAL_SEGMENT = 4096


class Fatal(BaseException):
    """The engine would have ended the process."""


def die(error: BaseException) -> NoReturn:
    """``on_fatal`` for tests."""
    raise Fatal(f"{type(error).__name__}: {error}") from error


def open_engine(
    fs: FileSystem,
    *,
    clock: Clock | None = None,
    randomness: Randomness | None = None,
    sync_mode: SyncMode = SyncMode.FSYNC,
    segment_size: int = SMALL_WAL_SEGMENT,
    recovery: str = "strict",
    memtable_bytes: int = 64 << 20,
    laggard_bytes: int = 1 << 30,
    disk_reserve_bytes: int = 0,
    snapshot_max_links: int = 100,
    recovery_point_objective_us: int = 0,
    verify_within_us: int = 0,
    schedules: tuple[Schedule, ...] = (),
    archive_path: str = "",
    archive_keep_within_us: int = 0,
) -> Engine:
    """Open or create the store in ``ROOT``, without threads. ``sync_mode`` and ``segment_size`` are for a fresh one."""
    wal = WalSettings(sync_mode=sync_mode, segment_size_bytes=segment_size)
    config = EngineConfig(
        ROOT,
        recovery=recovery,
        fresh_wal=wal,
        memtable_bytes=memtable_bytes,
        laggard_bytes=laggard_bytes,
        disk_reserve_bytes=disk_reserve_bytes,
        snapshot_max_links=snapshot_max_links,
        recovery_point_objective_us=recovery_point_objective_us,
        verify_within_us=verify_within_us,
        host="testhost",
        schedules=schedules,
        archive_path=archive_path,
        archive_keep_within_us=archive_keep_within_us,
    )
    return Engine.open(
        config,
        fs=fs,
        clock=clock or ManualClock(),
        randomness=randomness or SeededRandomness(),
        on_fatal=die,
    )


def abandon(fs: MemFileSystem) -> None:
    """What SIGKILL leaves: the kernel's view of every file, and no locks."""
    fs.locked.clear()


def take_apart(engine: Engine) -> None:
    """Free an engine that nobody will look at again, now: its parts know each other, and sweeps open thousands.

    The collector of cycles would have to find each object of each of them.
    """
    for part in (*vars(engine).values(), engine):
        if type(part).__module__.startswith(Engine.__module__.partition(".")[0]) and not is_dataclass(part):
            vars(part).clear()


def rows(*values: float, dimensions: int = 2) -> Float32Array:
    """(n, dimensions) float32: row i is filled with values[i]."""
    return np.repeat(np.array(values, np.float32)[:, None], dimensions, axis=1)


class Kit:
    """One store on one file system, and the shortest way to write to it."""

    def __init__(
        self,
        fs: MemFileSystem | None = None,
        *,
        sync_mode: SyncMode = SyncMode.FSYNC,
        segment_size: int = SMALL_WAL_SEGMENT,
        seed: int = 7,
        memtable_bytes: int = 64 << 20,
        laggard_bytes: int = 1 << 30,
        disk_reserve_bytes: int = 0,
        snapshot_max_links: int = 100,
        recovery_point_objective_us: int = 0,
        verify_within_us: int = 0,
        schedules: tuple[Schedule, ...] = (),
        archive_path: str = "",
        archive_keep_within_us: int = 0,
    ) -> None:
        self.fs = MemFileSystem() if fs is None else fs
        self.clock = ManualClock()
        self.randomness = SeededRandomness(seed)
        self.sync_mode = sync_mode
        self.segment_size = segment_size
        self.memtable_bytes = memtable_bytes
        self.laggard_bytes = laggard_bytes
        self.disk_reserve_bytes = disk_reserve_bytes
        self.snapshot_max_links = snapshot_max_links
        self.recovery_point_objective_us = recovery_point_objective_us
        self.verify_within_us = verify_within_us
        self.schedules = schedules
        self.archive_path = archive_path
        self.archive_keep_within_us = archive_keep_within_us
        self.engine = self._open()

    def _open(self) -> Engine:
        return open_engine(
            self.fs,
            clock=self.clock,
            randomness=self.randomness,
            sync_mode=self.sync_mode,
            segment_size=self.segment_size,
            memtable_bytes=self.memtable_bytes,
            laggard_bytes=self.laggard_bytes,
            disk_reserve_bytes=self.disk_reserve_bytes,
            snapshot_max_links=self.snapshot_max_links,
            recovery_point_objective_us=self.recovery_point_objective_us,
            verify_within_us=self.verify_within_us,
            schedules=self.schedules,
            archive_path=self.archive_path,
            archive_keep_within_us=self.archive_keep_within_us,
        )

    def reopen(self) -> Engine:
        """Kill the process and start again."""
        abandon(self.fs)
        self.engine = self._open()
        return self.engine

    def twin(self) -> Self:
        """Another store that begins where this one would after a kill: its files are copies, its next ids the same.

        Much cheaper than to prepare the same store again.
        """
        twin = copy.copy(self)
        twin.fs = MemFileSystem(self.fs.kill_disk_at(self.fs.ops))
        twin.clock, twin.randomness = copy.deepcopy((self.clock, self.randomness))
        twin.engine = twin._open()
        return twin

    def restart(self) -> Engine:
        """Stop in order and start again."""
        self.engine.stop()
        self.engine = self._open()
        return self.engine

    def create(
        self, name: str = "c", dimensions: int = 2, storage: StorageKind = StorageKind.DISK, caller: Caller = CALLER
    ) -> None:
        """Create a collection."""
        self.engine.collections.create(name, dimensions, metric=Metric.COSINE, storage=storage, caller=caller)

    def upsert(
        self,
        ids: Sequence[str],
        *values: float,
        name: str = "c",
        payloads: Iterable[bytes | None] | None = None,
        caller: Caller = CALLER,
    ) -> Outcome:
        """Write points whose vectors are filled with ``values`` (default: 1, 2, ...)."""
        vectors = rows(*(values or range(1, len(ids) + 1)), dimensions=self.engine.points.dimensions(name))
        block = b"" if payloads is None else join_payloads(list(payloads))
        return self.engine.points.upsert(name, ids, vectors, block, caller=caller)

    def delete(self, *ids: str, name: str = "c", caller: Caller = CALLER) -> Outcome:
        """Delete points."""
        return self.engine.points.delete_ids(name, ids, caller=caller)

    def values(self, name: str = "c") -> dict[str, float]:
        """The first component of each live vector, by id."""
        return {
            record.id: float(record.vector[0])
            for batch in self.engine.points.export(name)
            for record in batch
            if record.vector is not None
        }

    def versions(self, name: str = "c") -> dict[str, int]:
        """Version by id."""
        return {record.id: record.version for batch in self.engine.points.export(name) for record in batch}

    @property
    def log(self) -> Wal | None:
        """The log that is written to, or None while it is disabled."""
        return self.engine._committer.log

    def sync_log(self) -> None:
        """What the fsync thread does when the flush interval is over."""
        if self.log is not None:
            self.log.sync()
