"""Power cuts at every file operation of a store's life, against a model of what was acknowledged.

A random life is recorded once (writes, checkpoints, rotations, changes of settings, restarts, earlier power cuts); then
the power goes after each of its file operations, and the disk keeps a random part of what was not synced. The next
start must find the exact state after some operation: none before the last that was acknowledged as durable, none that
was never asked for, nothing half-done, and no file that nobody names. Recovery is then cut as well, at each of its own
operations. And the process is killed: the next one believes what only the kernel holds, acknowledges something that
builds upon it, and then the power goes.
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
from tests.support.engines import abandon, open_engine, take_apart
from tests.support.foretold import Foretold
from tests.support.left_over import left_over
from tests.support.lives import IDS, Era, History, Life, Promises
from tests.support.memdisk import DirectoryModel, Disk
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshot_sweeps import AGAIN, KILLS

SEEDS = int(os.environ.get("HOLDFAST_ENGINE_CRASH_SEEDS", "3"))
DRAWS = int(os.environ.get("HOLDFAST_ENGINE_CRASH_DRAWS", "14"))
GOES_ON = 0.04
"""How many of the recovered stores go on: each is started twice more, and written to."""
STEPS = 40
_MODELS: tuple[DirectoryModel, ...] = ("nothing", "subset")

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
    assert not (unnamed := left_over(fs, engine)), sorted(unnamed)
    found = Found(engine.sequence, engine.timeline, observe(engine, IDS))
    take_apart(engine)
    return found


def killed(promises: Promises) -> Promises:
    """What must be there when only the process dies: all that was logged and acknowledged, in any mode."""
    return replace(promises, durable=promises.killed)


@dataclass
class Sweep:
    """Crash states looked at, and how many of them differed, in the disk's content or in what was promised.

    ``kills``: at how many of the operations a power cut comes soon after a kill.
    """

    life: Life
    rng: random.Random
    kills: float = KILLS
    states: int = 0
    seen: set[tuple[int, Promises]] = field(default_factory=set)
    found: dict[int, Found] = field(default_factory=dict)
    foretold: Foretold[Found] = field(default_factory=Foretold)

    def run(self, draws: int) -> Sweep:
        for era in self.life.eras:
            for cut in range(era.fs.ops + 1):
                if self.rng.random() < self.kills:
                    self.kill(era, cut)
                else:
                    self.check(era.fs.kill_disk_at(cut), killed(era.at(cut)))
                for draw in range(draws):
                    disk = era.fs.crash_disk_at(cut, self.rng, "prefix" if draw % 3 == 0 else "subset")
                    self.check(disk, era.at(cut))
        return self

    def kill(self, era: Era, cut: int) -> None:
        """A kill, a start, a little work, and a power cut: at any operation of these, and behind them."""
        life = self.life.killed(era, cut, seed=self.rng.getrandbits(32))
        Found(life.engine.sequence, life.engine.timeline, life.history.now).check(killed(era.at(cut)))
        life.work()
        after = life.era
        again = self.rng.randint(0, after.fs.ops)
        self.check(after.fs.crash_disk_at(again, self.rng, self.rng.choice(_MODELS)), after.at(again))
        self.check(after.fs.crash_disk_at(after.fs.ops, self.rng, "nothing"), after.at(after.fs.ops))

    def check(self, disk: Disk, promises: Promises) -> None:
        if not self.is_news(disk, promises):
            return
        luck = self.rng.random()
        if luck < AGAIN:
            self.cut_recovery(self.recovered(disk, promises), promises)
        elif luck < AGAIN + GOES_ON:
            go_on(self.recovered(disk, promises), promises.history)
        else:
            self.foresee(disk, promises)

    def cut_recovery(self, fs: MemFileSystem, promises: Promises) -> None:
        """The power goes again, while the recovery that has just been checked was at work."""
        for again in range(fs.ops + 1):
            disk = fs.crash_disk_at(again, self.rng, "subset")
            if self.is_news(disk, promises):
                self.foresee(disk, promises)

    def is_news(self, disk: Disk, promises: Promises) -> bool:
        """Whether no such disk was seen before; one that was is held to these promises as well."""
        self.states += 1
        digest = disk.digest()
        if (digest, promises) in self.seen:
            return False
        self.seen.add((digest, promises))
        known = self.found.get(digest)
        if known is not None:
            known.check(promises)
        return known is None

    def foresee(self, disk: Disk, promises: Promises) -> None:
        """Check one state, without a start where one that looked at the same has told what it comes to."""
        found = self.foretold.find(disk)
        if found is None:
            self.recovered(disk, promises)
        else:
            self.found[disk.digest()] = found
            found.check(promises)

    def recovered(self, disk: Disk, promises: Promises) -> MemFileSystem:
        """Check one state by a start; returns the file system behind it."""
        fs = MemFileSystem(disk)
        found = recover(fs)
        assert self.foretold.find(disk) in (None, found), "a start is not what another one has foretold"
        self.foretold.note(disk, fs, found)
        self.found[disk.digest()] = found
        found.check(promises)
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
