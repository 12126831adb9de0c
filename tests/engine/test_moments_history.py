"""Any moment of a random history, reached from its snapshots and its log, is exactly what the store was at that moment.

What it was is known from a model that shares no code with the engine. Where nothing leads to a moment, it is refused
with the window, and nothing is changed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfastd.engine.history import Ending
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import OutOfRange
from tests.support.engines import CALLER
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.replays import ReplayKit

IDS = [f"id-{number}" for number in range(12)]
NAMES = ["one", "two", "three"]
SMALL = 3000
"""Bytes of a memtable where a moment is restored: rolling forward seals a few of them."""


@dataclass
class Life:
    """A store, and what it was after each of its operations: by sequence, with the store's time by then."""

    rng: random.Random
    gaps: bool = False
    kit: ReplayKit = field(default_factory=ReplayKit)
    states: dict[int, StoreState] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    first_snapshot: int = 0

    def live(self, steps: int) -> Life:
        """Begin with a snapshot, then do whatever comes."""
        self.kit.create("one")
        self.kit.upsert(IDS[:4], name="one")
        self.snapshot()
        self.first_snapshot = self.kit.engine.sequence
        self.note()
        for _ in range(steps):
            self.step()
            self.kit.clock.advance_us(self.rng.choice([1, 50, 1_500_000]))
            self.note()
        return self

    def note(self) -> None:
        engine = self.kit.engine
        self.states.setdefault(engine.sequence, observe(engine))
        self.times.setdefault(engine.sequence, engine._applier.time_us)

    def step(self) -> None:
        kit, rng, engine = self.kit, self.rng, self.kit.engine
        there = sorted(stats.spec.name for stats in engine.collections.list())
        name = rng.choice(there) if there else ""
        kinds = ["write"] * 8 + ["delete"] * 3 + ["create", "drop", "alias", "truncate", "snapshot", "checkpoint"]
        kinds += ["restart", "unalias", "gap"]
        kind = rng.choice(kinds)
        if kind == "create" and len(there) < len(NAMES):
            kit.create(rng.choice([each for each in NAMES if each not in there]), dimensions=rng.choice([2, 3]))
        elif kind == "snapshot":
            self.snapshot()
        elif kind == "checkpoint":
            engine.checkpoint()
        elif kind == "restart":
            kit.reopen()
        elif kind == "gap" and self.gaps:
            self.change_the_log()
        elif name:
            self.change(kind, name)

    def change(self, kind: str, name: str) -> None:
        kit, rng, engine = self.kit, self.rng, self.kit.engine
        some = rng.sample(IDS, rng.randint(1, 5))
        aliases = observe(engine).aliases
        if kind == "write":
            payloads = [rng.choice([None, b"{}", b'{"n":%d}' % rng.randint(0, 9)]) for _ in some]
            kit.upsert(some, *(rng.random() for _ in some), name=name, payloads=payloads)
        elif kind == "delete":
            kit.delete(*some, name=name)
        elif kind == "truncate" and rng.random() < 0.4:
            engine.points.truncate(name, caller=CALLER)
        elif kind == "drop" and rng.random() < 0.5:
            engine.collections.drop(name, caller=CALLER)
        elif kind == "alias" and "alias" not in aliases:
            engine.collections.create_alias("alias", name, caller=CALLER)
        elif kind == "alias":
            engine.collections.switch_alias("alias", name, caller=CALLER)
        elif kind == "unalias" and "alias" in aliases:
            engine.collections.delete_alias("alias", caller=CALLER)

    def snapshot(self) -> None:
        incremental = bool(self.states) and self.rng.random() < 0.6
        self.kit.clock.advance_us(1_000_000)
        self.kit.snapshot(incremental=incremental, compress=self.rng.random() < 0.3)

    def change_the_log(self) -> None:
        """Lose some of it: a time without, or all that no checkpoint needs."""
        engine = self.kit.engine
        if self.rng.random() < 0.5:
            engine.wal.disable(caller=CALLER)
            self.kit.upsert(IDS[:2], 5, 6, name=self.any_name())
            engine.wal.enable(WalChanges(), caller=CALLER)
        else:
            engine.wal.enable(WalChanges(retention_us=0), caller=CALLER)
            self.kit.clock.advance_us(10_000_000)
            engine.checkpoint()

    def any_name(self) -> str:
        there = [stats.spec.name for stats in self.kit.engine.collections.list()]
        if not there:
            self.kit.create("one")
        return there[0] if there else "one"

    def clone(self, seed: int) -> ReplayKit:
        """The store as a power cut would leave it, without its collections: nothing is in the way of a restore."""
        disk = self.kit.fs.crash_disk_at(self.kit.fs.ops, self.rng, "subset")
        kit = ReplayKit(MemFileSystem(disk), memtable_bytes=SMALL, seed=seed)
        kit.clock.advance_us(self.kit.clock.now_us() - kit.clock.now_us())
        for stats in kit.engine.collections.list():
            kit.engine.collections.drop(stats.spec.name, caller=CALLER)
        return kit

    def at(self, sequence: int) -> StoreState:
        """What the store was when ``sequence`` was its last operation."""
        return self.states[max(each for each in self.states if each <= sequence)]


def restored(kit: ReplayKit, ending: Ending, **options: Any) -> StoreState:
    kit.restore("latest", ending=ending, **options)
    state = observe(kit.engine)
    kit.reopen()
    assert observe(kit.engine) == state
    return state


@pytest.mark.parametrize("seed", range(6))
def test_every_moment_since_the_first_snapshot_is_what_it_was(seed: int) -> None:
    life = Life(random.Random(seed)).live(60)
    moments = sorted(each for each in life.states if each >= life.first_snapshot)
    for number, sequence in enumerate(life.rng.sample(moments, min(8, len(moments)))):
        assert restored(life.clone(seed=100 + number), Ending(sequence)) == life.states[sequence]
        by_time = Ending(time_us=life.times[sequence])
        assert restored(life.clone(seed=200 + number), by_time, verify=True) == life.states[sequence]


@pytest.mark.parametrize("seed", range(6))
def test_what_a_lost_piece_of_history_leaves_is_exact_and_the_rest_is_refused(seed: int) -> None:
    life = Life(random.Random(1000 + seed), gaps=True).live(60)
    moments, reached = sorted(life.states), 0
    for number, sequence in enumerate(life.rng.sample(moments, min(12, len(moments)))):
        kit = life.clone(seed=300 + number)
        before = observe(kit.engine)
        try:
            found = restored(kit, Ending(sequence))
        except OutOfRange as caught:
            error = caught
        else:
            assert found == life.states[sequence]
            reached += 1
            continue
        assert error.reason == "PITR_OUT_OF_WINDOW"
        assert observe(kit.engine) == before
    assert reached > 0


def test_a_single_collection_is_found_by_its_name_whatever_it_was_then() -> None:
    """It may have been dropped and made anew since: what had that name at that moment is meant."""
    for seed in range(4):
        life = Life(random.Random(50 + seed)).live(60)
        kit = life.clone(seed=400)
        for number, sequence in enumerate(life.rng.sample(sorted(life.states), 8)):
            for name, state in life.states[sequence].collections.items():
                kit.replay(collection=name, into=f"copy-{number}-{name}", to_sequence=sequence)
                assert observe(kit.engine).collections[f"copy-{number}-{name}"] == state
