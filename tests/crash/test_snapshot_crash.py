"""Power cuts at every file operation of a snapshot and of a restore, and a failure of each of them.

After any of them the next start finds the store exactly as it was before or as it is after, lists no snapshot that is
not whole, and leaves nothing lying around. What was reported as done is there.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from holdfastd.errors import CommitUnknown, HoldfastError
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshots import COLLECTIONS_DIR, SNAPSHOTS_DIR, SnapshotKit

DRAWS = int(os.environ.get("HOLDFAST_CRASH_DRAWS", "3"))
BACKUPS = "/backups"
IDS = ["a", "b", "c", "d", "z"]

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

Action = Callable[[SnapshotKit], dict[str, Any]]


def prepared(mode: SyncMode = SyncMode.FSYNC) -> SnapshotKit:
    """A store with rows in segments and memtables, some dead, an alias, a memory collection and one snapshot."""
    kit = SnapshotKit(sync_mode=mode)
    kit.create("c")
    kit.create("m", storage=StorageKind.MEMORY)
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


@dataclass
class Sweep:
    """A kit in which ``action`` was recorded between two operation counts, and the states before and after it."""

    kit: SnapshotKit
    action: Action
    before: StoreState = field(init=False)
    after: StoreState = field(init=False)
    start: int = field(init=False)
    end: int = field(init=False)
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
        for cut in range(self.start, self.end + 1):
            for draw in range(DRAWS):
                disk = self.kit.fs.crash_disk_at(cut, rng, "prefix" if draw % 3 == 0 else "subset")
                self.states += 1
                key = (disk.digest(), cut == self.end)
                if key in self.seen:
                    continue
                self.seen.add(key)
                fs = MemFileSystem(disk)
                recovered = self.opened(fs)
                started = fs.ops
                check(recovered, cut == self.end)
                if rng.random() < 0.04:
                    self.cut_recovery(fs, started, check, rng, cut == self.end)
        return self

    def opened(self, fs: MemFileSystem) -> SnapshotKit:
        """A start on what is left, with ids that nobody has drawn before."""
        self.starts += 1
        return SnapshotKit(fs, sync_mode=self.kit.sync_mode, seed=1000 + self.starts)

    def cut_recovery(
        self, fs: MemFileSystem, ops: int, check: Callable[[SnapshotKit, bool], None], rng: random.Random, done: bool
    ) -> None:
        """The power goes again during the start, which took the first ``ops`` operations of ``fs``."""
        for again in range(ops + 1):
            disk = fs.crash_disk_at(again, rng, "subset")
            check(self.opened(MemFileSystem(disk)), done)


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
    for info in listed.snapshots:
        assert info.state == "ready"
        assert kit.verify(info.path)["valid"], info.id


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


CREATE: list[tuple[str, dict[str, Any]]] = [
    ("default directory", {}),
    ("compressed elsewhere", {"path": BACKUPS, "compress": True}),
]


@pytest.mark.parametrize("request_", [row[1] for row in CREATE], ids=[row[0] for row in CREATE])
@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC])
def test_a_power_cut_while_a_snapshot_is_created(
    request_: dict[str, Any], mode: SyncMode, record_property: Callable[[str, object], None]
) -> None:
    sweep = Sweep(prepared(mode), lambda kit: kit.snapshot(**request_))
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
        if len(sweep.seen) % 25 == 0:
            assert_goes_on(kit)

    sweep.run(check, seed=1)
    record_property("crash_states", sweep.states)
    record_property("distinct_states", len(sweep.seen))
    assert sweep.end - sweep.start > 20
    assert min(outcomes) > 0


def behind_memory() -> SnapshotKit:
    """The last writes went to memory: no log holds their sequences."""
    kit = prepared()
    kit.upsert(["y", "z"], 1, 2, name="m")
    return kit


def without_log() -> SnapshotKit:
    """The last writes are in no log, and no checkpoint has reached them."""
    kit = prepared()
    kit.engine.wal.disable(caller=CALLER)
    kit.engine.checkpoint()
    kit.upsert(["a", "late"], 7, 8)
    kit.delete("b")
    return kit


@pytest.mark.parametrize("prepare", [behind_memory, without_log])
def test_a_snapshot_of_what_no_log_holds_never_outlives_it(prepare: Callable[[], SnapshotKit]) -> None:
    sweep = Sweep(prepare(), lambda kit: kit.snapshot())
    new = sweep.result["snapshot_id"]
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        published = kit.ids()[0] == new
        outcomes[published] += 1
        assert published or not done
        if published:
            assert observe(kit.engine, IDS) == sweep.before
            assert kit.engine.sequence >= sweep.result["sequence"], "the next write would take its sequence again"
        assert_tidy(kit)
        if len(sweep.seen) % 25 == 0:
            assert_goes_on(kit)

    sweep.run(check, seed=5)
    assert min(outcomes) > 0


RESTORE: list[tuple[str, dict[str, Any]]] = [
    ("everything", {"overwrite": True}),
    ("another name", {"collection": "copy", "from_collection": "c", "verify": True}),
]


@pytest.mark.parametrize("request_", [row[1] for row in RESTORE], ids=[row[0] for row in RESTORE])
@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC, None], ids=["fsync", "async", "no log"])
def test_a_power_cut_while_a_snapshot_is_restored(
    request_: dict[str, Any], mode: SyncMode | None, record_property: Callable[[str, object], None]
) -> None:
    kit = prepared(mode or SyncMode.FSYNC)
    if mode is None:
        kit.engine.wal.disable(caller=CALLER)
        kit.engine.checkpoint()
    sweep = Sweep(kit, lambda kit: kit.restore("latest", **request_))
    assert sweep.before != sweep.after
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        found = observe(kit.engine, IDS)
        assert found in (sweep.before, sweep.after)
        assert not done or found == sweep.after
        assert not done or kit.engine.sequence >= sweep.result["sequence"]
        outcomes[found == sweep.after] += 1
        assert_tidy(kit)
        if len(sweep.seen) % 25 == 0:
            assert_goes_on(kit)

    sweep.run(check, seed=2)
    record_property("crash_states", sweep.states)
    record_property("distinct_states", len(sweep.seen))
    assert sweep.end - sweep.start > 60
    assert min(outcomes) > 0


LATER: list[tuple[str, Action]] = [
    ("snapshot", lambda kit: kit.snapshot()),
    ("restore", lambda kit: kit.restore("latest", collection="copy", from_collection="c")),
]


@pytest.mark.parametrize("action", [row[1] for row in LATER], ids=[row[0] for row in LATER])
def test_what_is_published_never_outlives_a_write_before_it(action: Action) -> None:
    """In `async` a power cut may take writes, but always the last ones: never one before a snapshot or a restore."""
    kit = prepared(SyncMode.ASYNC)
    kit.upsert(["unsynced"], 5)
    assert kit.engine.durable_sequence < kit.engine.sequence
    sweep = Sweep(kit, action)
    lost, kept = [0, 0], [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        published = len(kit.ids()) == 2 or "copy" in observe(kit.engine).collections
        written = "unsynced" in kit.values()
        (kept if written else lost)[published] += 1
        assert written or not published
        assert published or not done
        assert not published or kit.engine.sequence >= sweep.result["sequence"]

    sweep.run(check, seed=4)
    assert lost[0] > 0
    assert min(kept) > 0


def test_a_power_cut_while_a_snapshot_is_deleted() -> None:
    kit = prepared()
    (id,) = kit.ids()
    sweep = Sweep(kit, lambda kit: {"id": kit.engine.snapshots.delete(id).id})

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        states = [info.state for info in kit.engine.snapshots.list()]
        assert states in ([], ["missing"], ["ready"])
        assert not done or states == []

    sweep.run(check, seed=3)


# Failures -------------------------------------------------------------------------------------------------------------


def failing(action: Action, code: int) -> None:
    """Fail each file operation of ``action`` in turn: it succeeds or says why, and the store is whole either way."""
    kit = prepared()
    start = kit.fs.ops
    action(kit)
    count = kit.fs.ops - start
    raised = 0
    for step in range(count):
        kit = prepared()
        before = observe(kit.engine, IDS)
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            action(kit)
        except HoldfastError:
            raised += 1
        kit.fs.heal()
        live = observe(kit.engine, IDS)
        kit.reopen()
        found = observe(kit.engine, IDS)
        assert found.restarted() in (before.restarted(), live.restarted())
        assert_tidy(kit)
        if step % 20 == 0:
            assert_goes_on(kit)
    assert raised > count // 2


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_snapshot_fails(code: int) -> None:
    failing(lambda kit: kit.snapshot(path=BACKUPS), code)


@pytest.mark.parametrize("logging", [True, False], ids=["log", "no log"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_restore_fails(code: int, logging: bool) -> None:
    """Called done or not: a kill, or a checkpoint and a stop, and what was acknowledged is there."""
    count = operations_of(restore_over, logging=logging)
    unknown = 0
    for step in range(count):
        publishing = step > count - PUBLISHING
        if not publishing and step % 2 != logging:
            # Nothing is logged yet: the other half of the staging fails in the other store.
            continue
        for stops in (False, True) if publishing else (step % 4 < 2,):
            kit = with_answers(logging=logging)
            before = observe(kit.engine, IDS)
            kit.fs.fail_at(kit.fs.ops + step, code)
            try:
                restore_over(kit)
            except CommitUnknown:
                unknown += 1
                allowed = [before, observe(kit.engine, IDS)]
            except HoldfastError:
                allowed = [before]
            else:
                allowed = [observe(kit.engine, IDS)]
                assert allowed != [before]
            kit.fs.heal()
            if stops and kit.engine.failure is None:
                allowed = [checkpointed(kit)]
                kit.restart()
            else:
                kit.reopen()
            assert observe(kit.engine, IDS) in [state.restarted() for state in allowed], step
            assert_tidy(kit)
            if step % 20 == 0:
                assert_goes_on(kit)
    assert unknown > 0


PUBLISHING = 60
"""File operations from the record of a restore to its end, at most."""


def restore_over(kit: SnapshotKit) -> dict[str, Any]:
    return kit.restore("latest", overwrite=True)


def with_answers(*, logging: bool) -> SnapshotKit:
    """The prepared store, with a request id to be remembered; without a log, everything is in segments."""
    kit = prepared()
    kit.upsert(["r"], 5, caller=replace(CALLER, request_id="r"))
    if not logging:
        kit.engine.wal.disable(caller=CALLER)
        kit.engine.checkpoint()
    return kit


def operations_of(action: Action, *, logging: bool) -> int:
    kit = with_answers(logging=logging)
    start = kit.fs.ops
    action(kit)
    return kit.fs.ops - start


def checkpointed(kit: SnapshotKit) -> StoreState:
    """Two more writes, one of them to what was restored, and a checkpoint of it all."""
    kit.upsert(["late"], 9)
    kit.delete("a")
    kit.engine.checkpoint()
    return observe(kit.engine, IDS)
