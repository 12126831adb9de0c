"""Power cuts, kills and failures at every file operation of a compaction: the same points before, meanwhile and after.

After any of them the next start finds each point, and nothing that nobody names; an increment on the snapshot from
before still tells of all that is gone; and the manifest before the current one names no file that is not there.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from holdfastd.engine.collection import Collection
from holdfastd.engine.recovery_open import open_collection
from holdfastd.errors import HoldfastError
from holdfastd.format.manifest import decode_manifest
from holdfastd.model import SyncMode
from holdfastd.storage.names import Layout
from tests.crash import test_engine_crash as lives
from tests.support.compactions import (
    IDS,
    assert_an_increment_gives_back,
    buried,
    collection_of,
    rows_in_segments,
    settled,
    tombstones_in_segments,
    vanishing,
    while_compacting,
    worn,
)
from tests.support.engines import ROOT, take_apart
from tests.support.left_over import left_over
from tests.support.lives import Life
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshot_sweeps import DRAWS, LAST, Action, Recorder, Start, Sweep, assert_nothing_left, assert_tidy
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

CURRENT = f"{ROOT}/MANIFEST.json"
PREVIOUS = f"{ROOT}/MANIFEST.prev.json"
OFTEN = "upsert delete checkpoint compact"
STEPS = 30
EVERY = int(os.environ.get("HOLDFAST_CRASH_EVERY", "4"))


class CompactionSweep(Sweep):
    """Looks at each state twice: as it is, and from the manifest before the current one, as far as it may be used."""

    goes_back = False

    def looked_at(self, disk: Disk, check: Callable[[SnapshotKit, bool], None], done: bool) -> Start | None:
        started = super().looked_at(disk, check, done)
        if started is not None:
            fs = MemFileSystem(disk)
            assert_previous_is_there(fs)
            if fs.exists(CURRENT) and fs.exists(PREVIOUS) and self.kit.log is not None:
                fs.damage(CURRENT, 40, b"\0\0")
                self.goes_back = True
                kit = self.opened(fs)
                check(kit, done)
                take_apart(kit.engine)
                self.goes_back = False
        return started

    @property
    def has_a_base(self) -> bool:
        """Whether the snapshot must be one to build on: a manifest from before an unclean start may not know of it."""
        return self.kit.sync_mode is SyncMode.FSYNC or not self.goes_back


def assert_previous_is_there(fs: MemFileSystem) -> None:
    """All that the manifest before the current one names is there, and is what it was."""
    if fs.exists(PREVIOUS):
        for entry in decode_manifest(fs.read(PREVIOUS)).collections:
            assert_intact(open_collection(fs, Layout(ROOT), entry))


def assert_intact(collection: Collection) -> None:
    """Each file is there, and is what it was."""
    assert not collection.quarantined
    for segment in collection.segments:
        segment.verify(True)
    collection.index.verify()


def assert_whole(kit: SnapshotKit) -> None:
    """Nothing is damaged, and nothing had to be made anew."""
    assert not kit.engine.recovery.rebuilt
    for collection in kit.engine._applier.catalog.collections.values():
        assert_intact(collection)


def aggressive(kit: SnapshotKit) -> dict[str, object]:
    return kit.compact("c", aggressive=True)


def by_garbage(kit: SnapshotKit) -> dict[str, object]:
    return kit.compact(threshold_percent=0)


QUIET: list[tuple[str, Callable[[], SnapshotKit], Action]] = [
    ("all of it, index included", worn, aggressive),
    ("what has garbage", worn, by_garbage),
    ("nothing stays", vanishing, by_garbage),
    ("tombstones alone stay", buried, by_garbage),
    ("in periodic", lambda: worn(SyncMode.PERIODIC), aggressive),
    ("in async", lambda: worn(SyncMode.ASYNC), aggressive),
    ("without a log", lambda: worn(logging=False), aggressive),
]


@pytest.mark.parametrize(("prepare", "action"), [row[1:] for row in QUIET], ids=[row[0] for row in QUIET])
def test_a_power_cut_while_segments_are_written_anew(
    prepare: Callable[[], SnapshotKit], action: Action, record_property: Recorder
) -> None:
    kit = prepare()
    old = rows_in_segments(kit)
    sweep = CompactionSweep(kit, action, draws=DRAWS if action is aggressive and prepare is worn else 1, every=EVERY)
    new = rows_in_segments(kit)
    assert sweep.before == sweep.after
    assert sum(new) < sum(old)
    seen: set[bool] = set()

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        found = rows_in_segments(kit)
        assert found in (old, new)
        seen.add(found == new)
        assert_whole(kit)
        assert_tidy(kit)
        goes_on(kit, sweep)

    sweep.run(check, seed=31).report(record_property)
    assert seen == {False, True}


def goes_on(kit: SnapshotKit, sweep: CompactionSweep) -> None:
    """An increment can be made of it, and now and then it is written to and compacted before."""
    if sweep.now_and_then:
        kit.upsert([IDS[8], "late"], 8, 9)
        kit.delete(IDS[9])
        kit.compact("c", aggressive=True)
        before = observe(kit.engine)
        kit.reopen()
        assert observe(kit.engine) == before
        assert left_over(kit.fs, kit.engine) == set()
    if sweep.has_a_base and len(sweep.seen) % 6 == 0:
        assert_an_increment_gives_back(kit)


# Meanwhile ------------------------------------------------------------------------------------------------------------


@dataclass
class Meanwhile:
    """Writes and checkpoints in the middle of a compaction, and what the store was at which file operation.

    ``began``, ``ended``: of each state, when the write that led to it was begun and acknowledged. ``durable``: when the
    checkpoint that reaches it was done.
    """

    states: list[StoreState] = field(default_factory=list)
    began: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    checkpointed: list[tuple[int, int]] = field(default_factory=list)

    def action(self, kit: SnapshotKit) -> dict[str, object]:
        self.note(kit, lambda: None)
        self.reached(kit)
        writes: list[Callable[[], object]] = [
            lambda: kit.upsert([IDS[4], IDS[8]], 400, 800),
            lambda: kit.delete(IDS[3], IDS[10]),
            lambda: kit.upsert([IDS[3], "newest"], 300, 1),
            lambda: kit.delete(IDS[11], "newer"),
            lambda: kit.upsert([*IDS[:2], IDS[8]], 1, 2, 801),
        ]
        steps = [lambda write=write: self.note(kit, write) for write in writes]
        steps[2:2] = steps[-1:-1] = [lambda: (kit.engine.checkpoint(), self.reached(kit))]
        while_compacting(kit, *steps, index_anew=True)
        return {}

    def note(self, kit: SnapshotKit, write: Callable[[], object]) -> None:
        self.began.append(kit.fs.ops)
        write()
        self.states.append(observe(kit.engine, IDS))
        self.ended.append(kit.fs.ops)

    def reached(self, kit: SnapshotKit) -> None:
        self.checkpointed.append((kit.fs.ops, len(self.states) - 1))

    def allowed(self, cut: int, *, synced: bool) -> list[StoreState]:
        """What there may be after a cut; ``synced``: what is acknowledged is durable."""
        first = max(number for ops, number in self.checkpointed if ops <= cut)
        if synced:
            first = max(number for number, ops in enumerate(self.ended) if ops <= cut)
        last = max(number for number, ops in enumerate(self.began) if ops <= cut)
        return self.states[first : last + 1]


@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC, None], ids=["fsync", "async", "no log"])
def test_a_power_cut_while_there_are_writes_and_checkpoints_meanwhile(
    mode: SyncMode | None, record_property: Recorder
) -> None:
    life, synced = Meanwhile(), mode is SyncMode.FSYNC
    sweep = CompactionSweep(
        worn(mode or SyncMode.FSYNC, logging=mode is not None),
        life.action,
        draws=1,
        every=2 * EVERY if EVERY > 1 else 1,
    )
    seen: set[int] = set()

    def check(kit: SnapshotKit, done: bool) -> None:
        found, allowed = observe(kit.engine, IDS), life.allowed(sweep.cut, synced=synced)
        assert found in allowed
        seen.add(life.states.index(found))
        assert_whole(kit)
        assert_tidy(kit)
        if sweep.has_a_base and len(sweep.seen) % 10 == 0:
            assert_an_increment_gives_back(kit)

    sweep.run(check, seed=32).report(record_property)
    assert 0 in seen
    assert len(seen) > 2


@pytest.mark.parametrize("mode", list(SyncMode))
def test_a_power_cut_in_a_life_full_of_compactions(mode: SyncMode, record_property: Recorder) -> None:
    life = Life(5, mode).run(STEPS, often=OFTEN)
    sweep = lives.Sweep(life, random.Random(5)).run(1)
    record_property("crash_states", sweep.states)
    record_property("distinct_states", len(sweep.seen))


# Failures -------------------------------------------------------------------------------------------------------------


FAILING = [QUIET[0], *QUIET[2:4]]


def some_of(count: int, code: int) -> Iterator[int]:
    """Which operations fail with this error: every so many of the first, and each of the last with one of the two."""
    half, last = int(code == errno.EIO), max(0, count - LAST)
    yield from range(0, last, EVERY)
    yield from range(last, count) if EVERY == 1 else range(last + half, count, 2)


@pytest.mark.parametrize(("prepare", "action"), [row[1:] for row in FAILING], ids=[row[0] for row in FAILING])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_it_fails(code: int, prepare: Callable[[], SnapshotKit], action: Action) -> None:
    """It is done or says why. The store goes on, or says that it has to be started again; a second try is well."""
    ready, rng = prepare(), random.Random(33)
    kit = ready.twin()
    start = kit.fs.ops
    action(kit)
    raised = 0
    for step in some_of(kit.fs.ops - start, code):
        kit = ready.twin()
        before = observe(kit.engine, IDS)
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            action(kit)
        except HoldfastError:
            raised += 1
        kit.fs.heal()
        assert observe(kit.engine, IDS) == before
        if kit.engine.failure is None and rng.random() < 0.5:
            kit.upsert([IDS[0], "late"], 7, 8)
            action(kit)
            before = observe(kit.engine, IDS)
        kit.reopen()
        assert observe(kit.engine, IDS) == before, step
        assert_nothing_left(kit, start_again=step % 10 == 0)
        assert_whole(kit)
        if step % 8 < 2:
            assert_an_increment_gives_back(kit)
    assert raised > 5


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_it_fails_with_writes_and_checkpoints_meanwhile(code: int) -> None:
    ready = worn()
    kit = ready.twin()
    start = kit.fs.ops
    Meanwhile().action(kit)
    for step in some_of(kit.fs.ops - start, code):
        kit, life = ready.twin(), Meanwhile()
        kit.fs.fail_at(kit.fs.ops + step, code)
        with suppress(HoldfastError, OSError):
            life.action(kit)
        kit.fs.heal()
        live = observe(kit.engine, IDS)
        kit.reopen()
        assert observe(kit.engine, IDS) == live, step
        assert_nothing_left(kit, start_again=step % 10 == 0)
        assert_whole(kit)


def test_the_stores_are_what_they_are_said_to_be() -> None:
    kit = worn()
    assert len(rows_in_segments(kit)) == 3
    assert tombstones_in_segments(kit) > 0
    segments = collection_of(kit).segments
    assert all(segment.dead_count(kit.engine.sequence) for segment in segments[:2])
    kit = vanishing()
    by_garbage(kit)
    assert rows_in_segments(kit) == []
    kit = buried()
    assert tombstones_in_segments(kit) > 0
    by_garbage(kit)
    assert set(rows_in_segments(settled(kit))) == {0}
