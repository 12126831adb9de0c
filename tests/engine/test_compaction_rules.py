"""Compaction by its rules: what the log counts on stays, and what fails or comes between leaves nothing behind."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from holdfastd.errors import Corruption, ResourceExhausted
from tests.engine.test_compaction_snapshots import gives_back, tick
from tests.support.compactions import (
    IDS,
    collection_of,
    rows_in_segments,
    three_segments,
    tombstones_in_segments,
    while_compacting,
)
from tests.support.engines import CALLER, ROOT
from tests.support.left_over import left_over
from tests.support.oracle import observe, observe_scrolls
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return three_segments()


def test_what_died_behind_the_checkpoint_stays_for_the_log_to_kill_it(kit: SnapshotKit) -> None:
    """Count, digest and versions of the manifest are those of the checkpoint (RULES 19, 20)."""
    kit.delete(IDS[5])
    kit.upsert([IDS[6]], 600)
    before = observe(kit.engine)
    while_compacting(kit)
    assert rows_in_segments(kit) == [19]
    assert observe(kit.engine) == before
    kit.reopen()
    assert observe(kit.engine) == before


@pytest.mark.parametrize("threshold", [0, 24])
def test_pages_come_in_the_order_of_writes(kit: SnapshotKit, threshold: int) -> None:
    for number in range(3):
        kit.upsert([f"more {each}" for each in range(4)], *range(1, 5))
        kit.upsert([f"even {number}"], 3)
        kit.engine.checkpoint()
        kit.compact("c", threshold_percent=threshold)
        observe_scrolls(kit.engine, "c")
        kit.reopen()
        observe_scrolls(kit.engine, "c")
    assert len(rows_in_segments(kit)) > 1


def test_checkpoints_are_held_off_while_it_publishes(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that came between would write kills of segments that the manifest no longer names, or give a number twice."""
    keeper, update = kit.engine._keeper, kit.engine._keeper.update
    checkpointer = kit.engine._checkpointer
    held = []

    def watched(change: Any) -> Any:
        held.append(checkpointer._one_at_a_time.locked())
        return update(change)

    monkeypatch.setattr(keeper, "update", watched)
    while_compacting(kit)
    assert held == [True, True]


def test_without_room_for_the_manifest_it_leaves_everything_as_it_was(kit: SnapshotKit) -> None:
    before, segments = observe(kit.engine), rows_in_segments(kit)
    kit.fs.fail_on("create", f"{ROOT}/MANIFEST*", errno.ENOSPC, forever=True)
    with pytest.raises(ResourceExhausted, match="no space to write a new manifest"):
        kit.compact("c")
    kit.fs.heal()
    assert (observe(kit.engine), rows_in_segments(kit)) == (before, segments)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    assert left_over(kit.fs, kit.engine) == set()


def test_a_checkpoint_that_waits_for_one_that_fails_keeps_what_it_writes(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives its segment the number that the other would have given, and its part of the index the same name."""
    checkpointer, exclusive = kit.engine._checkpointer, kit.engine._checkpointer.exclusive

    @contextmanager
    def with_one_behind() -> Iterator[None]:
        try:
            with exclusive():
                yield
        finally:
            kit.fs.heal()
            kit.engine.checkpoint()

    monkeypatch.setattr(checkpointer, "exclusive", with_one_behind)
    kit.upsert(["new"], 3)
    kit.fs.fail_on("create", f"{ROOT}/MANIFEST*", errno.ENOSPC, forever=True)
    with pytest.raises(ResourceExhausted):
        while_compacting(kit)
    before = observe(kit.engine)
    assert left_over(kit.fs, kit.engine) == set()
    kit.reopen()
    assert observe(kit.engine) == before
    assert not kit.engine.recovery.rebuilt


def test_without_room_for_the_second_manifest_a_checkpoint_removes_what_is_old(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, update, calls = kit.engine._keeper, kit.engine._keeper.update, []

    def second(change: Any) -> Any:
        calls.append(change)
        if len(calls) == 2:
            raise ResourceExhausted("no space", reason="DISK_FULL", hint="free space")
        return update(change)

    monkeypatch.setattr(keeper, "update", second)
    before = observe(kit.engine)
    kit.compact("c", aggressive=True)
    assert observe(kit.engine) == before
    assert left_over(kit.fs, kit.engine), "the manifest before this one names them"
    kit.engine.checkpoint()
    assert left_over(kit.fs, kit.engine) == set()
    kit.reopen()
    assert observe(kit.engine) == before


def test_a_snapshot_of_what_was_compacted_holds_rows_alone(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.delete(*IDS[5:10])
    kit.compact("c", aggressive=True)
    assert tombstones_in_segments(kit) == 5
    tick(kit)
    gives_back(kit, str(kit.snapshot(compress=True)["snapshot_id"]))
    assert tombstones_in_segments(kit) == 0


def test_what_was_restored_may_be_compacted_while_the_log_still_holds_the_restore(kit: SnapshotKit) -> None:
    """A start does not ask for staged files that are gone: the manifest has the restore."""
    kit.create("behind")
    kit.upsert(["a"], name="behind")
    kit.engine.checkpoint()
    snapshot = str(kit.snapshot(collection="c")["snapshot_id"])
    kit.upsert(["a"], 2, name="behind")
    kit.fs.unlink(collection_of(kit, "behind").segments[0].path("vectors.npy"))
    kit.reopen()
    kit.restore(snapshot, collection="copy", from_collection="c")
    restored = kit.engine.sequence
    kit.delete(*IDS[4:], name="copy")
    kit.compact("copy", aggressive=True)
    assert kit.engine._keeper.current.log_start_required <= restored
    values = kit.values("copy")
    for start in (kit.reopen, kit.restart):
        start()
        assert kit.values("copy") == values
        assert rows_in_segments(kit, "copy") == [len(values)]


@pytest.mark.parametrize("name", ["vectors", "norms", "rows", "ids", "payloads"])
def test_damage_of_any_file_is_told_and_not_copied(kit: SnapshotKit, name: str) -> None:
    path = collection_of(kit).segments[0].path(f"{name}.npy")
    kit.fs.damage(path, kit.fs.size(path) - 1, b"?")
    kit.reopen()
    segments = rows_in_segments(kit)
    with pytest.raises(Corruption, match="checksum"):
        kit.compact("c")
    assert rows_in_segments(kit) == segments
    assert left_over(kit.fs, kit.engine) == set()


@pytest.mark.parametrize("checkpoints", [0, 1, 2])
def test_a_collection_that_is_dropped_meanwhile_leaves_no_directory(kit: SnapshotKit, checkpoints: int) -> None:
    drop = partial(kit.engine.collections.drop, "c", caller=CALLER)
    assert while_compacting(kit, drop, *[kit.engine.checkpoint] * checkpoints) is None
    for _ in range(2):
        kit.engine.checkpoint()
    assert kit.fs.listdir(COLLECTIONS_DIR) == []
