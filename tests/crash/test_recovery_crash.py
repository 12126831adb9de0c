"""Power cuts around a recovery that ends history early, and around directories that a killed daemon left unsynced."""

from __future__ import annotations

import random

import pytest

from holdfastd.engine.engine import Engine
from holdfastd.errors import Corruption
from tests.support.engines import ROOT, Kit, abandon, open_engine
from tests.support.logs import flip
from tests.support.memfs import MemFileSystem

WAL = f"{ROOT}/wal"

pytestmark = pytest.mark.crash


def damaged_store(*, checkpoint_first: bool) -> MemFileSystem:
    """Seven operations, all of them durable, of which the fifth is damaged."""
    kit = Kit(segment_size=1 << 16)
    kit.create()
    for number in range(3):
        kit.upsert([f"p{number}"])
    if checkpoint_first:
        kit.engine.checkpoint()
    offset = next(iter(kit.engine.wal.records(from_sequence=kit.upsert(["damaged"]).sequence))).record.offset
    for number in range(2):
        kit.upsert([f"late{number}"])
    (name,) = (name for name in kit.fs.listdir(WAL) if name.endswith(".wal"))
    flip(kit.fs, f"{WAL}/{name}", offset + 70)
    return kit.fs.crash(random.Random(1))


def ids(engine: Engine) -> set[str]:
    return {record.id for batch in engine.points.export("c") for record in batch}


@pytest.mark.parametrize("checkpoint_first", [False, True])
def test_a_crash_never_leaves_a_cut_log_on_the_old_timeline(checkpoint_first: bool) -> None:
    fs = damaged_store(checkpoint_first=checkpoint_first)
    open_engine(fs, recovery="point-in-time")
    rng = random.Random(2)
    timelines = set()
    for cut in range(fs.ops + 1):
        for _ in range(4):
            disk = fs.crash_disk_at(cut, rng)
            try:
                timeline = open_engine(MemFileSystem(disk)).timeline
            except Corruption:
                timeline = 0
            timelines.add(timeline)
            assert timeline != 1, f"after {cut} operations the log is cut on the timeline of before"
            again = open_engine(MemFileSystem(disk), recovery="point-in-time")
            assert again.timeline > 1
            assert ids(again) == {"p0", "p1", "p2"}
    assert timelines >= {0, 2}, "the power cuts fell on one side of the cut only"


def test_a_collection_s_directories_that_a_killed_daemon_left_unsynced() -> None:
    """SIGKILL between making a directory and syncing its name: the next start sees it, the next power cut takes it."""
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    directory = f"{ROOT}/collections/{kit.engine.collections.stats('c').spec.id}"
    kit.fs.mkdir(directory)
    kit.fs.mkdir(f"{directory}/ids")
    kit.reopen().checkpoint()
    kit.upsert(["b"])
    for seed in range(20):
        assert ids(open_engine(kit.fs.crash(random.Random(seed)))) == {"a", "b"}
    abandon(kit.fs)
