"""Power cuts and failures at every file operation of what is done with snapshots: the stores, and what must hold."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import xxhash

from holdfastd.engine.snapshots import SnapshotInfo
from holdfastd.errors import HoldfastError
from holdfastd.format.verify_receipt import ROWS
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER, take_apart
from tests.support.left_over import files_below, left_over
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshots import COLLECTIONS_DIR, SNAPSHOTS_DIR, SnapshotKit

DRAWS = int(os.environ.get("HOLDFAST_CRASH_DRAWS", "3"))
AGAIN = float(os.environ.get("HOLDFAST_CRASH_AGAIN", "0.02"))
"""How many of the starts are cut as well, each at every one of its operations."""
KILLS = float(os.environ.get("HOLDFAST_CRASH_KILLS", "0.25"))
"""At how many of the operations a kill comes first: the power goes during or after the start behind it."""
LAST = 60
"""As many of the last operations are cut one by one, whatever is left out before: there something is published."""
BACKUPS = "/backups"
IDS = ["a", "b", "c", "d", "z"]
MEMORY = StorageKind.MEMORY
FOUND_WHOLE: set[frozenset[object]] = set()
"""What every snapshot of some listing was verified by, row by row: most crash states leave the same archives."""

Recorder = Callable[[str, object], None]
Action = Callable[[SnapshotKit], dict[str, Any]]


def prepared(mode: SyncMode = SyncMode.FSYNC) -> SnapshotKit:
    """A store with rows in segments and memtables, some dead, an alias, a memory collection and one snapshot."""
    kit = SnapshotKit(sync_mode=mode)
    kit.create("c")
    kit.create("m", storage=MEMORY)
    kit.engine.collections.create_alias("alias", "c", caller=CALLER)
    kit.upsert(["a", "b", "c"], 1, 2, 3, payloads=[b'{"n":1}', None, b"{}"])
    kit.engine.checkpoint()
    kit.upsert(["b", "d"], 20, 4)
    kit.delete("c")
    kit.upsert(["x"], 1, name="m")
    kit.clock.advance_us(1_000_000)
    kit.snapshot(compress=True)
    kit.upsert(["a", "z"], 100, 26)
    kit.sync_log()
    kit.clock.advance_us(1_000_000)
    return kit


class Start(NamedTuple):
    """A start took the first ``ops`` operations of ``fs``."""

    fs: MemFileSystem
    ops: int


@dataclass
class Sweep:
    """A kit in which ``action`` was recorded between two operation counts, and the states before and after it.

    ``every``: power is cut at every so many operations, and at each of the last ones. ``strangers``: files that
    somebody else has put where they lie. ``cut``: after which operation the power goes, or the kill comes, just now.
    """

    kit: SnapshotKit
    action: Action
    draws: int = DRAWS
    every: int = 1
    strangers: frozenset[str] = frozenset()
    before: StoreState = field(init=False)
    after: StoreState = field(init=False)
    start: int = field(init=False)
    end: int = field(init=False)
    cut: int = 0
    states: int = 0
    starts: int = 0
    seen: set[tuple[int, bool]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.before, self.start = observe(self.kit.engine, IDS).restarted(), self.kit.fs.ops
        self.result = self.action(self.kit)
        self.after, self.end = observe(self.kit.engine, IDS).restarted(), self.kit.fs.ops

    def run(self, check: Callable[[SnapshotKit, bool], None], seed: int) -> Sweep:
        """``check`` a store after each power cut; it is told whether the action was reported as done by then."""
        rng = random.Random(seed)
        last = max(self.start, self.end - LAST)
        for cut in (*range(self.start, last, self.every), *range(last, self.end + 1)):
            self.cut, done = cut, cut == self.end
            for draw in range(self.draws):
                disk = self.kit.fs.crash_disk_at(self.cut, rng, "prefix" if (self.cut + draw) % 3 == 0 else "subset")
                started = self.looked_at(disk, check, done)
                if started is not None and rng.random() < AGAIN:
                    self.cut_recovery(started, check, rng, done)
            if rng.random() < KILLS:
                self.kill(check, rng, done)
        return self

    def kill(self, check: Callable[[SnapshotKit, bool], None], rng: random.Random, done: bool) -> None:
        """A kill, a start that believes what the kernel still holds, and then a power cut."""
        fs = self.kit.fs.killed_at(self.cut)
        began = fs.ops
        kit = self.opened(fs)
        assert_nothing_left(kit, self.strangers, start_again=False)
        take_apart(kit.engine)
        self.looked_at(fs.crash_disk_at(rng.randint(began, fs.ops), rng, "subset"), check, done)
        self.looked_at(fs.crash_disk_at(fs.ops, rng, "nothing"), check, done)

    def looked_at(self, disk: Disk, check: Callable[[SnapshotKit, bool], None], done: bool) -> Start | None:
        """``check`` what a start makes of one state; returns the start, or None where the same was seen before."""
        self.states += 1
        key = (disk.digest(), done)
        if key in self.seen:
            return None
        self.seen.add(key)
        fs = MemFileSystem(disk)
        recovered = self.opened(fs)
        started = Start(fs, fs.ops)
        assert_nothing_left(recovered, self.strangers, start_again=self.now_and_then)
        check(recovered, done)
        take_apart(recovered.engine)
        return started

    def report(self, record_property: Recorder) -> None:
        """How many states there were, for the summary of the run."""
        record_property("crash_states", self.states)
        record_property("distinct_states", len(self.seen))

    @property
    def now_and_then(self) -> bool:
        """Whether it is time for what takes long."""
        return len(self.seen) % 25 == 0

    def opened(self, fs: MemFileSystem) -> SnapshotKit:
        """A start on what is left, with ids that nobody has drawn before."""
        self.starts += 1
        return SnapshotKit(fs, sync_mode=self.kit.sync_mode, seed=1000 + self.starts)

    def cut_recovery(
        self, start: Start, check: Callable[[SnapshotKit, bool], None], rng: random.Random, done: bool
    ) -> None:
        """The power goes again during a start."""
        for again in range(start.ops + 1):
            self.looked_at(start.fs.crash_disk_at(again, rng, "subset"), check, done)


def assert_nothing_left(kit: SnapshotKit, strangers: Collection[str] = (), *, start_again: bool = True) -> None:
    """Of what a power cut, a kill or a failure left, the start has removed what nobody names.

    ``start_again``: the next start finds what this one has left, and leaves the same.
    """
    unnamed = left_over(kit.fs, kit.engine) - {*strangers}
    assert not unnamed, sorted(unnamed)
    if not start_again:
        return
    before, files = observe(kit.engine, IDS), set(files_below(kit.fs, COLLECTIONS_DIR))
    listed = kit.engine.snapshots.list()
    kit.reopen()
    assert observe(kit.engine, IDS) == before
    assert kit.engine.snapshots.list() == listed
    assert set(files_below(kit.fs, COLLECTIONS_DIR)) == files
    unnamed = left_over(kit.fs, kit.engine) - {*strangers}
    assert not unnamed, sorted(unnamed)


def assert_tidy(kit: SnapshotKit) -> None:
    """Nothing half-written, nothing that nobody names, and every snapshot listed is whole."""
    alive = {str(stats.spec.id) for stats in kit.engine.collections.list()}
    assert set(kit.fs.listdir(COLLECTIONS_DIR)) <= alive
    listed = kit.engine.snapshots.listing()
    assert listed.warnings == []
    files = {info.path for info in listed.snapshots}
    for directory in (SNAPSHOTS_DIR, BACKUPS):
        if kit.fs.exists(directory):
            assert {f"{directory}/{name}" for name in kit.fs.listdir(directory)} <= files
    assert {info.state for info in listed.snapshots} <= {"ready"}
    facts = _facts_to_verify(kit, listed.snapshots)
    if facts not in FOUND_WHOLE:
        for info in listed.snapshots:
            assert kit.verify(info.path, level=ROWS)["valid"], info.id
        FOUND_WHOLE.add(facts)


def _facts_to_verify(kit: SnapshotKit, snapshots: Iterable[SnapshotInfo]) -> frozenset[object]:
    """All that a verification of these snapshots reads: what is known of them, and a digest of the bytes of each."""
    return frozenset(
        (info.path, replace(info.record, receipts=(), verified_us=0), xxhash.xxh3_128_digest(kit.fs.read(info.path)))
        for info in snapshots
    )


def assert_goes_on(kit: SnapshotKit) -> None:
    """The store takes writes, checkpoints, snapshots and restores, and loses none of them."""
    kit.clock.advance_us(60_000_000)
    before = kit.engine.sequence
    kit.upsert(["new"], 9)
    assert kit.engine.sequence == before + 1
    kit.engine.checkpoint()
    expected = observe(kit.engine).collections["c"]
    kit.snapshot(path=BACKUPS)
    kit.restore("latest", from_collection="c", collection="again")
    kit.reopen()
    found = observe(kit.engine).collections
    assert found["c"] == found["again"] == expected
    assert_tidy(kit)


def sweep_creation(
    sweep: Sweep, seed: int, record_property: Recorder, go_on: Callable[[SnapshotKit], None] = assert_goes_on
) -> None:
    """Cut the power all along a snapshot: it is there and whole, or not at all, and both happen.

    ``go_on``: what the store can still do, whether it is there or not.
    """
    old, new = sweep.kit.ids()[1], sweep.result["snapshot_id"]
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        ids = kit.ids()
        assert ids in ([old], [new, old])
        assert not done or ids[0] == new
        assert_tidy(kit)
        outcomes[ids[0] == new] += 1
        if ids[0] == new:
            assert kit.engine.sequence >= sweep.result["sequence"], "a snapshot of what the log has lost"
        if sweep.now_and_then:
            go_on(kit)

    sweep.run(check, seed).report(record_property)
    assert min(outcomes) > 0


def sweep_restore(sweep: Sweep, seed: int, record_property: Recorder) -> None:
    """Cut the power all along a restore: the store is what it was before it or what it is after, and both happen."""
    assert sweep.before != sweep.after
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        found = observe(kit.engine, IDS)
        assert found in (sweep.before, sweep.after)
        assert not done or found == sweep.after
        assert not done or kit.engine.sequence >= sweep.result["sequence"]
        outcomes[found == sweep.after] += 1
        assert_tidy(kit)
        if sweep.now_and_then:
            assert_goes_on(kit)

    sweep.run(check, seed).report(record_property)
    assert min(outcomes) > 0


def once_more(ready: SnapshotKit) -> SnapshotKit:
    """A store like one that is ready, on files of its own: what only memory holds is written again.

    A row is written behind it, so that the log holds the last sequence, as that of the store that is ready does.
    """
    kit = ready.twin()
    in_memory = [stats.spec.name for stats in ready.engine.collections.list() if stats.spec.storage is MEMORY]
    for name in in_memory:
        values = ready.values(name)
        kit.upsert([*values], *values.values(), name=name)
    if in_memory:
        kit.upsert(["z"], ready.values()["z"])
        kit.sync_log()
    return kit


def failing(
    action: Action,
    code: int,
    prepare: Callable[[], SnapshotKit] = prepared,
    *,
    every: int = 1,
    settle: Callable[[SnapshotKit], object] = assert_tidy,
) -> None:
    """Fail each file operation of ``action`` in turn: it succeeds or says why, and the store is whole either way.

    ``every``: fail every so many of them. ``settle``: what is asserted after a restart, and done about what is left.
    """
    ready = prepare()
    kit = once_more(ready)
    start = kit.fs.ops
    action(kit)
    count = kit.fs.ops - start
    raised = 0
    for step in range(0, count, every):
        kit = once_more(ready)
        before = observe(kit.engine, IDS)
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            action(kit)
        except HoldfastError:
            raised += 1
        kit.fs.heal()
        live = observe(kit.engine, IDS)
        kit.reopen()
        assert_nothing_left(kit, start_again=step // every % 20 == 0)
        found = observe(kit.engine, IDS)
        assert found.restarted() in (before.restarted(), live.restarted())
        settle(kit)
        if step // every % 20 == 0:
            assert_goes_on(kit)
    assert raised > count // every // 2
