"""Compaction and snapshots: increments tell of what is gone, comparisons see it, for as long as anybody may ask."""

from __future__ import annotations

import pytest

from tests.support.compactions import (
    IDS,
    rows_in_segments,
    three_segments,
    tombstones_in_segments,
    while_compacting,
)
from tests.support.engines import CALLER, rows
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return three_segments()


def tick(kit: SnapshotKit) -> None:
    kit.clock.advance_us(2_000_000)


def gives_back(kit: SnapshotKit, snapshot: str) -> None:
    """A restore of the snapshot makes the store what it is now."""
    expected = observe(kit.engine)
    kit.engine.points.truncate("c", caller=CALLER)
    kit.restore(snapshot, overwrite=True, verify=True)
    assert observe(kit.engine) == expected


@pytest.mark.parametrize("rounds", [1, 3])
def test_an_increment_tells_of_what_compaction_has_dropped(kit: SnapshotKit, rounds: int) -> None:
    kit.snapshot()
    kit.upsert(["born", "and dead"], 1, 2)
    kit.delete(IDS[5], IDS[6], "and dead")
    kit.upsert([IDS[6], IDS[7]], 60, 70)
    for _ in range(rounds):
        kit.compact("c", aggressive=True)
        kit.upsert(["more"], 5)
        kit.delete(IDS[8], "more")
    assert sum(rows_in_segments(kit)) < 26
    tick(kit)
    made = kit.snapshot(incremental=True)
    assert made["type"] == "incremental"
    assert made["deleted"] == 2
    gives_back(kit, str(made["snapshot_id"]))


def test_tombstones_go_once_a_newer_snapshot_is_there(kit: SnapshotKit) -> None:
    kit.compact("c", aggressive=True)
    assert tombstones_in_segments(kit) == 0
    kit.snapshot()
    kit.delete(*IDS[5:10])
    kit.compact("c", aggressive=True)
    assert tombstones_in_segments(kit) == 5
    kit.reopen()
    assert tombstones_in_segments(kit) == 5
    tick(kit)
    made = kit.snapshot(incremental=True)
    assert made["deleted"] == 5
    kit.delete(IDS[11])
    kit.compact("c", aggressive=True)
    assert tombstones_in_segments(kit) == 1
    tick(kit)
    gives_back(kit, str(kit.snapshot(incremental=True)["snapshot_id"]))


def test_everything_dead_but_asked_for_leaves_tombstones_alone(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.engine.points.truncate("c", caller=CALLER)
    kit.compact("c")
    assert rows_in_segments(kit) == [0]
    kit.reopen()
    before = observe(kit.engine)
    assert before.collections["c"].points == {}
    assert kit.engine.points.search("c", rows(1.0), k=3) == [[]]
    tick(kit)
    made = kit.snapshot(incremental=True)
    assert made["deleted"] == 19
    kit.upsert(["a"], 1)
    kit.compact("c", aggressive=True)
    kit.reopen()
    assert kit.values() == {"a": 1}


def test_a_comparison_tells_the_same_before_and_after(kit: SnapshotKit) -> None:
    snapshot = str(kit.snapshot(compress=True)["snapshot_id"])
    kit.delete(IDS[5], IDS[6])
    kit.upsert([IDS[6], IDS[7], "new"], 60, 70, 80)
    kit.engine.checkpoint()
    before = kit.diff(snapshot)
    kit.compact("c", aggressive=True)
    after = kit.diff(snapshot)
    assert after["collections"] == before["collections"]
    assert after["warnings"] == before["warnings"]


def test_the_first_snapshot_may_begin_while_a_compaction_runs(kit: SnapshotKit) -> None:
    while_compacting(
        kit,
        lambda: kit.delete(IDS[14]),
        lambda: kit.snapshot(),
        lambda: kit.delete(IDS[15]),
        kit.engine.checkpoint,
    )
    kit.compact("c", aggressive=True)
    tick(kit)
    made = kit.snapshot(incremental=True)
    assert (made["type"], made["deleted"]) == ("incremental", 1)
    gives_back(kit, str(made["snapshot_id"]))
