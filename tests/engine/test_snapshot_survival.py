"""The sequence of a snapshot or a mark is taken for good, in whatever way the writes before it are kept (RULES 4)."""

from __future__ import annotations

import errno
import random
from dataclasses import replace

import pytest

from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import HoldfastError, ResourceExhausted
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.replays import ReplayKit
from tests.support.snapshots import SNAPSHOTS_DIR


def with_memory(mode: SyncMode = SyncMode.FSYNC) -> ReplayKit:
    """A store whose last writes went to a memory collection: their sequences are in no log."""
    kit = ReplayKit(sync_mode=mode)
    kit.create("c")
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"], 1)
    kit.upsert(["x"], 1, name="m")
    kit.upsert(["y"], 2, name="m")
    return kit


def without_log() -> ReplayKit:
    """A store without a log, whose last writes no checkpoint has reached."""
    kit = ReplayKit()
    kit.create("c")
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"], 1)
    kit.upsert(["b"], 2)
    return kit


def rolled_forward(kit: ReplayKit) -> None:
    """A copy restored of the newest snapshot becomes what the collection is."""
    kit.engine.start()
    try:
        kit.restore("latest", collection="copy", from_collection="c")
        kit.replay(collection="copy")
        assert kit.digest("copy") == kit.digest("c")
    finally:
        kit.engine.stop()


@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC])
def test_a_snapshot_behind_writes_to_memory_keeps_its_sequence(mode: SyncMode) -> None:
    kit = with_memory(mode)
    taken = kit.snapshot()["sequence"]
    kit.reopen()
    assert kit.engine.sequence >= taken
    kit.upsert(["b"], 2)
    kit.upsert(["c"], 3)
    rolled_forward(kit)


def test_a_snapshot_without_a_log_keeps_its_sequence_and_what_it_holds() -> None:
    kit = without_log()
    taken, expected = kit.snapshot()["sequence"], observe(kit.engine)
    kit.reopen()
    assert observe(kit.engine) == expected
    assert kit.engine.sequence == taken
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["a", "c"], 3, 4)
    kit.delete("b")
    rolled_forward(kit)


def test_a_snapshot_that_cannot_keep_its_sequence_is_not_made() -> None:
    kit = with_memory()
    kit.upsert(["r"], 1, caller=replace(CALLER, request_id="r"))
    kit.upsert(["z"], 3, name="m")
    kit.fs.fail_on("write", "/data/MANIFEST.json.tmp", errno.ENOSPC)
    with pytest.raises(ResourceExhausted):
        kit.snapshot()
    kit.fs.heal()
    assert not [name for name in kit.fs.listdir("/data") if name.startswith("requests-")], "a table that nobody names"
    assert kit.fs.listdir(SNAPSHOTS_DIR) == []
    assert kit.engine.failure is None
    kit.snapshot()


def test_a_snapshot_without_a_log_whose_checkpoint_fails_is_not_made() -> None:
    kit = without_log()
    kit.fs.fail_on("create", "/data/collections/*vectors.npy", errno.EIO)
    with pytest.raises(HoldfastError):
        kit.snapshot()
    kit.fs.heal()
    assert kit.fs.listdir(SNAPSHOTS_DIR) == []
    kit.snapshot()


def test_tables_of_request_ids_that_snapshots_replaced_go_with_the_next_checkpoint() -> None:
    kit = with_memory()
    for number in range(3):
        kit.upsert(["r"], 1, caller=replace(CALLER, request_id=f"r{number}"))
        kit.upsert(["z"], 3, name="m")
        kit.clock.advance_us(1_000_000)
        kit.snapshot()
    kit.upsert(["r"], 2, caller=replace(CALLER, request_id="last"))
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    tables = [name for name in kit.fs.listdir("/data") if name.startswith("requests-")]
    assert tables == [kit.engine._keeper.current.requests_file]


@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC])
def test_a_mark_behind_writes_to_memory_keeps_its_sequence(mode: SyncMode) -> None:
    """A mark is a record of the log: it is lost with its sequence, or neither is."""
    kit = with_memory(mode)
    taken = kit.engine.wal.mark("here", caller=CALLER)
    kit.reopen()
    assert kit.engine.wal.find_mark("here") == taken
    assert kit.engine.sequence >= taken.sequence


def test_no_power_cut_leaves_a_mark_beyond_what_is_there() -> None:
    kit = with_memory(SyncMode.ASYNC)
    start = kit.fs.ops
    taken = kit.engine.wal.mark("here", caller=CALLER)
    kit.upsert(["x"], 1, name="m")
    kit.engine.checkpoint()
    found = [0, 0]
    for cut in range(start, kit.fs.ops + 1):
        again = ReplayKit(kit.fs.crash_at(cut, random.Random(cut), "subset"), sync_mode=SyncMode.ASYNC, seed=50)
        marks = again.engine.wal.status().marks
        assert marks in ((), (taken,))
        assert not marks or again.engine.sequence >= taken.sequence
        found[bool(marks)] += 1
    assert min(found) > 0


def test_a_collection_that_was_dropped_before_a_snapshot_gives_its_space_back() -> None:
    kit = ReplayKit()
    kit.create("c")
    kit.upsert(["a"], 1)
    kit.engine.checkpoint()
    directory = kit.engine._ground.layout.collection_dir(kit.engine.collections.stats("c").spec.id)
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("d")
    kit.snapshot()
    assert kit.fs.exists(directory), "the manifest before the current one names it"
    kit.engine.checkpoint()
    assert not kit.fs.exists(directory)
