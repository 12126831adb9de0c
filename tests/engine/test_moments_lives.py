"""Any moment of a store that lost power, moved its log, lived in memory and was restored is what it was, or is refused.

A moment is never another one's content: not that of a history which a power cut took, nor of a time without a log.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from holdfastd.engine.history import Ending
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import OutOfRange
from holdfastd.model import StorageKind, SyncMode
from tests.engine.test_moments_history import IDS, Life
from tests.support.engines import CALLER, abandon
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.replays import ReplayKit

MODES = [SyncMode.FSYNC, SyncMode.PERIODIC, SyncMode.ASYNC]


def lasting(state: StoreState) -> StoreState:
    """The state without the points of collections in memory, which no log has."""
    return replace(
        state,
        collections={
            name: replace(each, points={}) if each.storage is StorageKind.MEMORY else each
            for name, each in state.collections.items()
        },
    )


@dataclass
class Lives(Life):
    """A store of many lives. ``reached`` and ``refused``: how many moments were asked for."""

    reached: int = 0
    refused: list[str] = field(default_factory=list)
    moved: int = field(default=0)

    def note(self) -> None:
        engine = self.kit.engine
        for known in [each for each in self.states if each > engine.sequence]:
            # The numbers of what was in memory alone are given again.
            del self.states[known], self.times[known]
        self.states.setdefault(engine.sequence, lasting(observe(engine)))
        self.times.setdefault(engine.sequence, engine._applier.time_us)

    def step(self) -> None:
        kind = self.rng.choice(["plain"] * 12 + ["power", "move", "memory", "drill", "gap"])
        if kind == "power":
            self.lose_power()
        elif kind == "move":
            self.moved += 1
            self.kit.engine.wal.enable(WalChanges(path=f"wal-{self.moved % 3}"), caller=CALLER)
        elif kind == "memory":
            self.in_memory()
        elif kind == "drill":
            self.drill()
        elif kind == "gap" and self.gaps:
            self.change_the_log()
        else:
            super().step()

    def lose_power(self) -> None:
        """Start again with what is on the disk; what is lost has never been."""
        kit = self.kit
        kit.fs = MemFileSystem(kit.fs.crash_disk_at(kit.fs.ops, self.rng, "subset"))
        abandon(kit.fs)
        kit.reopen()
        self.note()
        assert lasting(observe(kit.engine)) == self.at(kit.engine.sequence)

    def in_memory(self) -> None:
        there = {stats.spec.name: stats.spec.storage for stats in self.kit.engine.collections.list()}
        name = self.rng.choice(["m", "n"])
        if name not in there:
            self.kit.create(name, storage=StorageKind.MEMORY)
        elif self.rng.random() < 0.5:
            self.kit.upsert(IDS[:2], name=name)
        else:
            self.kit.engine.collections.drop(name, caller=CALLER)

    def snapshot(self) -> None:
        """Of everything, or of one collection."""
        there = sorted(stats.spec.name for stats in self.kit.engine.collections.list())
        if not self.states or not there or self.rng.random() < 0.6:
            super().snapshot()
            return
        self.kit.clock.advance_us(1_000_000)
        self.kit.snapshot(collection=self.rng.choice(there))

    def ask_for_one(self, number: int, sequence: int) -> None:
        """Make a collection beside the live ones of each that was there at a moment."""
        kit, then = self.kit, self.at(sequence)
        for name, state in then.collections.items():
            if name == "drill" or state.storage is StorageKind.MEMORY:
                continue
            into = f"{name}-{number}"
            try:
                kit.replay(collection=name, into=into, to_sequence=sequence)
            except OutOfRange as caught:
                error = caught
            else:
                assert observe(kit.engine).collections[into] == state
                self.reached += 1
                continue
            assert error.reason == "PITR_OUT_OF_WINDOW"
            self.refused.append(error.message)

    def drill(self) -> None:
        """Restore something beside what is there, and drop it again, sooner or later."""
        there = {stats.spec.name for stats in self.kit.engine.collections.list()}
        if "drill" in there:
            self.kit.engine.collections.drop("drill", caller=CALLER)
            return
        newest = self.kit.engine.snapshots.get("latest")
        names = [name for name in newest.collections if name in ("one", "two", "three")]
        if newest.state == "ready" and names:
            self.kit.restore(newest.id, collection="drill", from_collection=self.rng.choice(names))

    def latest_at(self, time_us: int) -> int:
        """The last moment by then."""
        return max(each for each, known in self.times.items() if known <= time_us)

    def ask(self, number: int, ending: Ending, sequence: int) -> None:
        """Restore a moment where that is possible: then it is what it was; else nothing is changed."""
        self.kit.sync_log()
        kit = self.clone(seed=500 + number)
        before = observe(kit.engine)
        try:
            planned = kit.restore("latest", ending=ending, validate_only=True)
        except OutOfRange as caught:
            error = caught
        else:
            done = kit.restore("latest", ending=ending, verify=self.rng.random() < 0.3)
            self.check(kit, sequence, planned, done)
            return
        assert error.reason == "PITR_OUT_OF_WINDOW"
        assert observe(kit.engine) == before
        self.refused.append(error.message)

    def check(self, kit: ReplayKit, sequence: int, planned: dict[str, Any], done: dict[str, Any]) -> None:
        assert planned["collections_restored"] == done["collections_restored"]
        assert planned["operations_replayed"] == done["operations_replayed"]
        for _ in range(2):
            assert lasting(observe(kit.engine)) == self.at(sequence)
            kit.reopen()
        self.reached += 1


def moments(lives: Lives, count: int) -> None:
    """Ask for some of them by sequence and by time; those behind the log's end are gone with a power cut."""
    assert lives.kit.log is not None
    end = lives.kit.log.last_sequence
    known = sorted(each for each in lives.states if lives.first_snapshot <= each <= end)
    for number, sequence in enumerate(lives.rng.sample(known, min(count, len(known)))):
        lives.ask(2 * number, Ending(sequence), sequence)
        lives.ask(2 * number + 1, Ending(time_us=lives.times[sequence]), lives.latest_at(lives.times[sequence]))
    for number, sequence in enumerate(lives.rng.sample(known, min(count // 2, len(known)))):
        lives.ask_for_one(number, sequence)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("gaps", [False, True])
def test_every_moment_is_what_it_was_or_is_refused(mode: SyncMode, gaps: bool) -> None:
    reached = 0
    for seed in range(3):
        kit = ReplayKit(sync_mode=mode)
        lives = Lives(random.Random(f"{mode} {gaps} {seed}"), gaps=gaps, kit=kit)
        lives.live(60)
        moments(lives, 6)
        reached += lives.reached
    assert reached > (0 if gaps else 5)
