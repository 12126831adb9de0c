"""Power cuts around a recovery: one that ends history early, one that has to set aside or make anew what is damaged."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from holdfastd.engine.engine import Engine
from holdfastd.errors import Corruption
from holdfastd.storage.names import Layout
from tests.support.clock import SeededRandomness
from tests.support.engines import CALLER, ROOT, Kit, abandon, open_engine, rows
from tests.support.logs import flip
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.snapshot_sweeps import KILLS

WAL = f"{ROOT}/wal"

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


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
    for disk in distinct(fs.crash_disk_at(cut, rng) for cut in range(fs.ops + 1) for _ in range(4)):
        try:
            timeline = open_engine(MemFileSystem(disk)).timeline
        except Corruption:
            timeline = 0
        timelines.add(timeline)
        assert timeline != 1, "the log is cut on the timeline of before"
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


def kit_with_segments() -> Kit:
    """Two collections; three segments of ``c``, in its id index as three runs, and a log that goes on after them."""
    kit = Kit()
    kit.create()
    kit.create("other")
    for number in range(3):
        kit.upsert([f"p{number}", "b"], number, number)
        kit.upsert([f"x{number}"], name="other")
        kit.engine.checkpoint()
    kit.upsert(["p1", "new"], 11, 12)
    kit.delete("p2")
    kit.upsert(["late"], name="other")
    return kit


def starts_of(fs: MemFileSystem, seed: int) -> Iterator[MemFileSystem]:
    """The store as each power cut and each kill of what runs on ``fs`` may leave it, each of them once."""
    yield from map(MemFileSystem, distinct(left_of(fs, random.Random(seed))))


def left_of(fs: MemFileSystem, rng: random.Random) -> Iterator[Disk]:
    for cut in range(fs.ops + 1):
        yield fs.kill_disk_at(cut)
        for model in ("prefix", "subset"):
            yield fs.crash_disk_at(cut, rng, model)
        if rng.random() < KILLS:
            yield left_after_a_kill(fs.killed_at(cut), rng)


def left_after_a_kill(fs: MemFileSystem, rng: random.Random) -> Disk:
    """What a power cut leaves of a start that believes what the kernel still holds, and of a checkpoint behind it."""
    open_engine(fs, randomness=SeededRandomness(4711)).checkpoint()
    return fs.crash_disk_at(rng.choice((fs.ops, rng.randint(0, fs.ops))), rng, "nothing")


def distinct(disks: Iterable[Disk]) -> Iterator[Disk]:
    """Those whose content was not seen before: a start on it would find the same."""
    seen: set[int] = set()
    for disk in disks:
        digest = disk.digest()
        if digest not in seen:
            seen.add(digest)
            yield disk


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("file", range(4))
def test_a_crash_while_a_damaged_run_of_the_index_is_made_anew(which: int, file: int) -> None:
    kit = kit_with_segments()
    collection = kit.engine._applier.catalog.resolve("c")
    run = collection.index.entries[which].name
    kit.fs.unlink(Layout(ROOT).run_files(collection.spec.id, run)[file])
    fs = kit.fs.crash(random.Random(3))
    open_engine(fs)
    expected = {"p0": 1, "p1": 2, "b": 3, "new": 1}
    seen = set()
    for after in starts_of(fs, 4):
        engine = open_engine(after)
        seen.add(engine.recovery.rebuilt)
        found = [record for batch in engine.points.export("c") for record in batch]
        assert {record.id: record.version for record in found} == expected
        assert len(engine.points.get("c", sorted(expected))) == len(expected)
        abandon(after)
        again = open_engine(after)
        assert again.recovery.rebuilt == ()
    assert seen == {("c",), ()}, "the cuts fell on one side of the new manifest only"


@pytest.mark.parametrize("file", ["vectors.npy", "segment.json"])
def test_a_crash_with_a_quarantined_segment_forgets_nothing(file: str) -> None:
    """Starts, checkpoints and writes to others, cut anywhere: what is put back is as it was when it was lost."""
    kit = kit_with_segments()
    path = kit.engine._applier.catalog.resolve("c").segments[1].path(file)
    content = kit.fs.read(path)
    kit.fs.unlink(path)
    fs = kit.fs.crash(random.Random(5))
    engine = open_engine(fs)
    for number in range(2):
        engine.points.upsert("other", [f"y{number}"], rows(1.0), b"", caller=CALLER)
        engine.checkpoint()
    engine.stop()
    open_engine(fs)
    for after in starts_of(fs, 6):
        engine = open_engine(after)
        assert len(engine.collections.stats("c").quarantined) == 1
        assert [record.version for record in engine.points.get("c", ["p0", "new"])] == [1, 1]
        assert engine.points.get("c", ["p2", "never"]) == []
        with pytest.raises(Corruption):
            engine.points.get("c", ["p1"])
        assert engine.points.count("other") >= 4
        abandon(after)
        file_back = after.create(path)
        file_back.pwrite([content], 0)
        file_back.sync()
        engine = open_engine(after)
        found = {record.id: record.version for batch in engine.points.export("c") for record in batch}
        assert found == {"p0": 1, "p1": 2, "b": 3, "new": 1}


def test_a_start_after_a_cut_commit_may_be_cut_as_well() -> None:
    """The log is disabled, so that the manifest alone knows: what was acknowledged stays, however often it is cut."""
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)
    began = kit.fs.ops
    kit.create("later")
    interrupted = 0
    for cut in range(began, kit.fs.ops + 1):
        fs = kit.fs.killed_at(cut)
        interrupted += not fs.exists(f"{ROOT}/MANIFEST.json")
        open_engine(fs)
        for after in starts_of(fs, cut):
            assert open_engine(after).points.count("c") == 1
    assert interrupted, "no cut fell between the two renames"
