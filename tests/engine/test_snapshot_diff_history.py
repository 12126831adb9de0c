"""Comparisons along random histories: every two moments, in either direction, against the oracle's states of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind
from tests.support.diffs import SAMPLE, assert_diff
from tests.support.engines import CALLER
from tests.support.oracle import StoreState, observe
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit

NAMES = ["c", "d", "m"]
IDS = [f"id-{n}" for n in range(9)] + ["é", "z" * 40]
PAYLOADS = [None, b"{}", b'{"n":1}']
ALIASES = ["one", "two"]


@dataclass
class Life:
    """A store, and what it was at each snapshot."""

    rng: random.Random
    kit: SnapshotKit = field(default_factory=SnapshotKit)
    moments: dict[str, StoreState] = field(default_factory=dict)

    def step(self) -> None:
        rng, kit, engine = self.rng, self.kit, self.kit.engine
        there = [stats.spec.name for stats in engine.collections.list()]
        name = rng.choice(NAMES)
        what = rng.random()
        if name not in there:
            kit.create(name, rng.choice([2, 3]), StorageKind.MEMORY if name == "m" else StorageKind.DISK)
        elif what < 0.5:
            self.write(name)
        elif what < 0.65:
            kit.delete(*rng.sample(IDS, 3), name=name)
        elif what < 0.7:
            engine.collections.drop(name, caller=CALLER)
        elif what < 0.75:
            alias = rng.choice(ALIASES)
            if alias in dict(engine.collections.aliases()):
                engine.collections.delete_alias(alias, caller=CALLER)
            else:
                engine.collections.create_alias(alias, name, caller=CALLER)
        elif what < 0.87:
            engine.checkpoint()
        elif what < 0.9:
            kit.reopen()
        else:
            self.snapshot()

    def write(self, name: str) -> None:
        ids = self.rng.sample(IDS, self.rng.randint(1, 5))
        # Few values, so that rows are often written as they were; one of them has no direction.
        values = [[self.rng.choice([-1.0, 0.0, 0.5, 1.0]) for _ in range(self.dimensions(name))] for _ in ids]
        payloads = join_payloads([self.rng.choice(PAYLOADS) for _ in ids])
        self.kit.engine.points.upsert(name, ids, np.array(values, np.float32), payloads, caller=CALLER)

    def dimensions(self, name: str) -> int:
        return self.kit.engine.points.dimensions(name)

    def snapshot(self) -> None:
        incremental = bool(self.moments) and self.rng.random() < 0.6
        made = self.kit.later(incremental=incremental, compress=self.rng.random() < 0.4)
        self.moments[made.id] = observe(self.kit.engine)


@pytest.mark.parametrize("seed", range(6))
def test_any_two_moments_of_a_life(seed: int) -> None:
    life = Life(random.Random(seed))
    while len(life.moments) < 4:
        life.step()
    for _ in range(4):
        life.step()
    now = observe(life.kit.engine)
    directories = set(life.kit.fs.listdir(COLLECTIONS_DIR))
    for first, then in life.moments.items():
        assert_diff(life.kit.diff(first, sample=SAMPLE), then, now)
        assert_diff(life.kit.diff("live", first, sample=SAMPLE), now, then)
        for second, later in life.moments.items():
            assert_diff(life.kit.diff(first, second, sample=SAMPLE), then, later)
    assert set(life.kit.fs.listdir(COLLECTIONS_DIR)) == directories
    assert observe(life.kit.engine) == now
