"""Power cuts at every file operation of a store's life, against a model of what was acknowledged.

A random life is recorded once (writes, checkpoints, rotations, changes of settings, restarts, earlier power cuts); then
the power goes after each of its file operations, and the disk keeps a random part of what was not synced. The next
start must find the exact state after some operation: none before the last that was acknowledged as durable, none that
was never asked for, nothing half-done. Recovery is then cut as well, at each of its own operations.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from holdfastd.engine.engine import Engine
from holdfastd.errors import NotFound
from holdfastd.model import SyncMode
from tests.support.clock import ManualClock, SeededRandomness
from tests.support.engines import abandon, open_engine
from tests.support.lives import IDS, History, Life, Promises
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshot_sweeps import AGAIN

SEEDS = int(os.environ.get("HOLDFAST_ENGINE_CRASH_SEEDS", "3"))
DRAWS = int(os.environ.get("HOLDFAST_ENGINE_CRASH_DRAWS", "14"))
GOES_ON = 0.04
"""How many of the recovered stores go on: each is started twice more, and written to."""
STEPS = 40

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def start(fs: MemFileSystem, seed: int = 1001) -> Engine:
    return open_engine(fs, clock=ManualClock(), randomness=SeededRandomness(seed))


@dataclass(frozen=True, slots=True)
class Found:
    """What a start made of a disk."""

    sequence: int
    timeline: int
    state: StoreState

    def check(self, promises: Promises) -> None:
        """Hold it to what was promised."""
        sequence = self.sequence
        assert sequence >= promises.durable, f"acknowledged through {promises.durable}, recovered through {sequence}"
        assert sequence <= promises.attempted, f"asked for up to {promises.attempted}, recovered through {sequence}"
        assert self.state == promises.history.at(sequence).restarted()
        if promises.exists:
            assert self.timeline > promises.timeline or sequence >= promises.acknowledged, (
                f"sequences {sequence + 1} to {promises.acknowledged} were acknowledged and would be used again"
            )


def recover(fs: MemFileSystem) -> Found:
    """Start on what is left, and read everything."""
    engine = start(fs)
    assert not engine.recovery.rebuilt, "a power cut damages nothing: no part of an index has to be made anew"
    return Found(engine.sequence, engine.timeline, observe(engine, IDS))


def killed(promises: Promises) -> Promises:
    """What must be there when only the process dies: all that was logged and acknowledged, in any mode."""
    return replace(promises, durable=promises.killed)


@dataclass
class Sweep:
    """Crash states looked at, and how many of them differed, in the disk's content or in what was promised."""

    life: Life
    rng: random.Random
    states: int = 0
    seen: set[tuple[int, Promises]] = field(default_factory=set)
    found: dict[int, Found] = field(default_factory=dict)

    def run(self, draws: int) -> Sweep:
        for era in self.life.eras:
            for cut in range(era.fs.ops + 1):
                self.check(era.fs.kill_disk_at(cut), killed(era.at(cut)))
                for draw in range(draws):
                    disk = era.fs.crash_disk_at(cut, self.rng, "prefix" if draw % 3 == 0 else "subset")
                    self.check(disk, era.at(cut))
        return self

    def check(self, disk: Disk, promises: Promises) -> None:
        fs = self.recovered(disk, promises)
        if fs is None:
            return
        luck = self.rng.random()
        if luck < AGAIN:
            self.cut_recovery(fs, promises)
        elif luck < AGAIN + GOES_ON:
            go_on(fs, promises.history)

    def cut_recovery(self, fs: MemFileSystem, promises: Promises) -> None:
        """The power goes again, while the recovery that has just been checked was at work."""
        for again in range(fs.ops + 1):
            self.recovered(fs.crash_disk_at(again, self.rng, "subset"), promises)

    def recovered(self, disk: Disk, promises: Promises) -> MemFileSystem | None:
        """Check one state; returns the file system after its recovery, or None when this disk was seen before."""
        self.states += 1
        digest = disk.digest()
        known = self.found.get(digest)
        self.seen.add((digest, promises))
        if known is not None:
            known.check(promises)
            return None
        fs = MemFileSystem(disk)
        self.found[digest] = recover(fs)
        self.found[digest].check(promises)
        return fs


def go_on(fs: MemFileSystem, history: History) -> None:
    """Retry what was acknowledged, write, checkpoint and start once more: the recovered store is a sound one."""
    abandon(fs)
    engine = start(fs, seed=1002)
    expected = observe(engine)
    last = engine.sequence
    for sequence, send_again in history.requests:
        if sequence <= last:
            # What a creation answers with may have been dropped since.
            with contextlib.suppress(NotFound):
                send_again(engine)
            assert engine.sequence == last, f"operation {sequence} was done twice"
    assert observe(engine) == expected
    engine.checkpoint()
    abandon(fs)
    assert observe(start(fs, seed=1003), IDS) == expected


@pytest.mark.parametrize("mode", list(SyncMode))
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_power_cut_at_any_operation(
    seed: int, mode: SyncMode, record_property: Callable[[str, object], None]
) -> None:
    life = Life(seed, mode).run(STEPS)
    sweep = Sweep(life, random.Random(seed)).run(DRAWS)
    record_property("crash_states", sweep.states)
    record_property("distinct_states", len(sweep.seen))
    operations = sum(era.fs.ops for era in life.eras)
    assert life.serial > 10, "the life wrote too little to prove anything"
    assert len(sweep.seen) > operations // 2, "the power cuts left too few different disks"
