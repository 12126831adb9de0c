"""Steps of a chronicle that change no point: checkpoints, compactions, and what the fsync thread does now and then."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter

from holdfastd.engine.compaction import Compaction
from holdfastd.engine.wal_control import WalChanges
from tests.support.engines import CALLER
from tests.support.replays import ReplayKit


class Upkeep(ABC):
    """What a store does with its files, while what it holds stays the same."""

    rng: random.Random
    tally: Counter[str]
    kit: ReplayKit
    logging: bool

    @abstractmethod
    def is_durable(self) -> None:
        """Nothing that the store holds now may be lost."""

    @abstractmethod
    def one_of(self, *, filled: bool = False) -> str | None:
        """The name of any collection."""

    @abstractmethod
    def do_anything(self) -> None:
        """A small step of any kind."""

    def checkpoint(self) -> None:
        self.kit.engine.checkpoint()
        self.is_durable()

    def compact(self) -> None:
        """All collections or one, everything or what has become worth it."""
        rng = self.rng
        name = self.one_of() if rng.random() < 0.5 else None
        done = self.kit.compact(
            name, aggressive=rng.random() < 0.5, threshold_percent=rng.choice((0.0, 20.0, 50.0, 100.0))
        )
        self.is_durable()
        self.tally["compacted"] += bool(done["collections_compacted"])

    def compact_meanwhile(self) -> None:
        """Some neighbours, while writes, checkpoints, snapshots and drops go on."""
        name, rng = self.one_of(), self.rng
        if name is None:
            return
        collection, ground = self.kit.engine._applier.catalog.resolve(name), self.kit.engine.compactions._ground
        count = len(collection.segments)
        if not count or not collection.reached_by_checkpoints:
            return
        start = rng.randrange(count)
        group = collection.segments[start : rng.randint(start + 1, count)]

        def pace(_: int) -> None:
            if rng.random() < 0.2:
                self.do_anything()

        done = Compaction(ground, collection, group, pace, index_anew=rng.random() < 0.5).run()
        self.tally["compacted meanwhile"] += done is not None

    def tick(self) -> None:
        """What the fsync thread does now and then."""
        if self.kit.log is not None:
            self.rng.choice((self.kit.log.sync, self.kit.log.marker, self.kit.log.prepare_next))()

    def move_the_log(self) -> None:
        if self.logging:
            self.kit.engine.wal.enable(WalChanges(path=self.rng.choice(("wal", "wal-2", "wal-3"))), caller=CALLER)
