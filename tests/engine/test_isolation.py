"""Readers, writers, checkpoints and changes of settings at once: every read is one exact moment, whatever goes on.

A writer gives all points of its group the same value in one operation, so a reader that sees two values, or a part of
the group, has seen a moment that never was. Content, count and digest of each pinned view must agree as well.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from holdfastd.engine import read
from holdfastd.engine.engine import Engine
from holdfastd.engine.reading import ScrollPosition
from holdfastd.engine.settings import EngineConfig
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Aborted
from holdfastd.model import CollectionStats, Record, SyncMode
from holdfastd.storage.clock import SystemClock, SystemRandomness
from holdfastd.storage.osfiles import OsFileSystem
from tests.support.engines import CALLER, die
from tests.support.oracle import CollectionState, Point

SECONDS = float(os.environ.get("HOLDFAST_ISOLATION_SECONDS", "3"))
GROUPS = 2
GROUP_SIZE = 40
DIMENSIONS = 8


def open_store(path: Path) -> Engine:
    """A store on the real file system, with memtables so small that they are replaced all the time."""
    return Engine.open(
        EngineConfig(str(path), memtable_bytes=200_000),
        fs=OsFileSystem(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        on_fatal=die,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(tmp_path / "data")
    engine.collections.create("c", DIMENSIONS, caller=CALLER)
    engine.start()
    yield engine
    engine.stop()


class Crowd:
    """Threads that each repeat one thing until time is up; the first exception ends all."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        self.rounds: dict[str, int] = {}
        self.threads: list[threading.Thread] = []

    def add(self, name: str, step: Callable[[], None]) -> None:
        def run() -> None:
            self.rounds[name] = 0
            try:
                while not self.over.is_set():
                    step()
                    self.rounds[name] += 1
            except BaseException as error:
                self.errors.append(error)
                self.over.set()

        self.threads.append(threading.Thread(target=run, name=name))

    def run(self, seconds: float) -> None:
        for thread in self.threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        assert min(self.rounds.values()) > 0, f"somebody never got a turn: {self.rounds}"


def ids_of(group: int) -> list[str]:
    return [f"g{group}-{number:03d}" for number in range(GROUP_SIZE)]


def check_moment(records: list[Record]) -> None:
    """Each group is there as a whole, with one value, one sequence and one version, or not at all."""
    for group in range(GROUPS):
        mine = [record for record in records if record.id.startswith(f"g{group}-")]
        assert len(mine) in (0, GROUP_SIZE), f"{len(mine)} of {GROUP_SIZE} points"
        assert len({record.id for record in mine}) == len(mine)
        assert len({(record.sequence, record.version) for record in mine}) <= 1
        for record in mine:
            value = json.loads(record.payload or b"")["v"]
            assert record.vector is not None
            assert record.vector.tolist() == [value] * DIMENSIONS
        assert len({record.payload for record in mine}) <= 1


def write_step(engine: Engine, group: int) -> Callable[[], None]:
    values = itertools.count(1)
    rng = random.Random(group)
    ids = ids_of(group)

    def step() -> None:
        value = float(next(values))
        vectors = np.full((GROUP_SIZE, DIMENSIONS), value, np.float32)
        payloads = json.dumps([{"v": value}] * GROUP_SIZE).encode()
        shuffled = rng.sample(ids, k=GROUP_SIZE)
        luck = rng.random()
        if luck < 0.1:
            engine.points.delete_ids("c", shuffled, caller=CALLER)
        elif luck < 0.2:
            engine.points.delete_where("c", f"v = {value - 1}", caller=CALLER)
        else:
            engine.points.upsert("c", shuffled, vectors, payloads, caller=CALLER)

    return step


def view_step(engine: Engine) -> Callable[[], None]:
    def step() -> None:
        view = engine._applier.catalog.resolve("c").view
        records = [record for batch in read.export(view, None) for record in batch]
        check_moment(records)
        assert len(records) == view.count
        points = {
            r.id: Point(np.ascontiguousarray(r.vector).tobytes(), r.payload, r.version, r.sequence) for r in records
        }
        assert CollectionState(DIMENSIONS, view.spec.storage, points).digest() == view.digest

    return step


def search_step(engine: Engine) -> Callable[[], None]:
    query = np.ones((1, DIMENSIONS), np.float32)

    def step() -> None:
        hits = engine.points.search("c", query, k=GROUPS * GROUP_SIZE, vectors=True)[0]
        check_moment([hit.record for hit in hits])
        check_moment(engine.points.get("c", [id for group in range(GROUPS) for id in ids_of(group)]))
        order = "id" if random.random() < 0.5 else "timestamp"
        reading = engine.points.reading("c")
        page = reading.scroll(order=order, limit=1000, vectors=True)
        check_moment(page)
        assert reading.count() == len(page)

    return step


def settings_step(engine: Engine) -> Callable[[], None]:
    modes = itertools.cycle(SyncMode)
    paths = itertools.cycle(["wal", "wal-2"])

    def step() -> None:
        engine.wal.enable(WalChanges(sync_mode=next(modes)), caller=CALLER)
        engine.wal.enable(WalChanges(path=next(paths)), caller=CALLER)
        engine.wal.disable(caller=CALLER)
        engine.wal.enable(WalChanges(), caller=CALLER)
        assert engine.wal.verify().sound
        time.sleep(0.02)

    return step


def merge_step(engine: Engine) -> Callable[[], None]:
    """Counts up by merging: an update that is lost would leave a number out."""
    numbers = itertools.count(1)

    def step() -> None:
        number = next(numbers)
        block = json.dumps([{f"k{number % 5}": number}]).encode()
        try:
            engine.points.update("c", ["counter"], vectors=None, payload_block=block, merge=True, caller=CALLER)
        except Aborted:
            return

    return step


def test_every_read_is_one_moment(tmp_path: Path) -> None:
    engine = open_store(tmp_path / "data")
    engine.collections.create("c", DIMENSIONS, caller=CALLER)
    engine.start()
    try:
        before = live(engine)
    finally:
        engine.stop()
    again = open_store(tmp_path / "data")
    try:
        after = again.collections.stats("c")
        assert (after.vectors, after.digest) == (before.vectors, before.digest)
        view_step(again)()
    finally:
        again.stop()


def live(engine: Engine) -> CollectionStats:
    """Let everybody at it at once; returns what is left."""
    engine.points.upsert("c", ["counter"], np.zeros((1, DIMENSIONS), np.float32), b"[{}]", caller=CALLER)
    crowd = Crowd()
    for group in range(GROUPS):
        crowd.add(f"writer {group}", write_step(engine, group))
    crowd.add("views", view_step(engine))
    crowd.add("searches", search_step(engine))
    crowd.add("checkpoints", lambda: engine.checkpoint() and None)
    crowd.add("settings", settings_step(engine))
    crowd.add("updates", merge_step(engine))
    crowd.run(SECONDS)
    return engine.collections.stats("c")


def test_updates_of_one_point_by_many_are_all_in_it(engine: Engine) -> None:
    engine.points.upsert("c", ["counter"], np.zeros((1, DIMENSIONS), np.float32), b"[{}]", caller=CALLER)
    done: list[set[int]] = [set() for _ in range(4)]

    def update(worker: int) -> None:
        for number in range(25):
            block = json.dumps([{f"w{worker}-{number}": 1}]).encode()
            try:
                engine.points.update("c", ["counter"], vectors=None, payload_block=block, merge=True, caller=CALLER)
            except Aborted as error:
                assert error.reason == "CONTENTION"  # noqa: PT017
                continue
            done[worker].add(number)

    threads = [threading.Thread(target=update, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (record,) = engine.points.get("c", ["counter"])
    expected = {f"w{worker}-{number}" for worker in range(4) for number in done[worker]}
    assert set(json.loads(record.payload or b"")) == expected
    assert record.version == 1 + len(expected)


def test_scrolling_goes_on_where_it_stopped_while_points_come_and_go(engine: Engine) -> None:
    ids = [f"p{number:03d}" for number in range(60)]
    for id in ids:
        engine.points.upsert("c", [id], np.ones((1, DIMENSIONS), np.float32), b"", caller=CALLER)
    seen: list[str] = []
    after: ScrollPosition | None = None
    while True:
        page = engine.points.reading("c").scroll(after=after, limit=7)
        if not page:
            break
        seen += [record.id for record in page]
        after = ScrollPosition(page[-1].sequence, page[-1].id)
        engine.points.delete_ids("c", [page[-1].id], caller=CALLER)
        engine.checkpoint()
    assert seen == ids
