"""Compaction in the background: what checkpoints leave is merged, little garbage is let be, and what fails is told."""

from __future__ import annotations

import pytest

from holdfastd.engine.compaction_plan import FANOUT
from tests.support.compactions import collection_of, rows_in_segments, three_segments
from tests.support.left_over import left_over
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return three_segments()


def test_the_background_merges_what_checkpoints_leave() -> None:
    kit = SnapshotKit()
    kit.create("c")
    for number in range(5 * FANOUT):
        kit.upsert([f"{number}"], number + 1)
        kit.engine.checkpoint()
        assert kit.engine._compaction_thread.look()
        assert len(collection_of(kit).segments) <= FANOUT
    before = observe(kit.engine)
    kit.reopen()
    assert observe(kit.engine) == before
    assert left_over(kit.fs, kit.engine) == set()


def test_little_garbage_is_let_be_there(kit: SnapshotKit) -> None:
    segments = rows_in_segments(kit)
    assert kit.engine._compaction_thread.look()
    assert rows_in_segments(kit) == segments


def test_what_fails_there_raises_an_alarm_until_it_works() -> None:
    kit = SnapshotKit()
    kit.create("c")
    for number in range(FANOUT):
        kit.upsert([f"{number}"], number + 1)
        kit.engine.checkpoint()
    kit.fs.leave_free(1000)
    assert not kit.engine._compaction_thread.look()
    alarm = next(alarm for alarm in kit.engine.alarms() if alarm.code == "COMPACTION_FAILING")
    assert "are needed" in alarm.message
    kit.fs.leave_free(1 << 30)
    assert kit.engine._compaction_thread.look()
    assert "COMPACTION_FAILING" not in {alarm.code for alarm in kit.engine.alarms()}


def test_a_stop_does_not_wait_for_it() -> None:
    kit = SnapshotKit()
    kit.create("c")
    for number in range(FANOUT):
        kit.upsert([f"{number}"], number + 1)
        kit.engine.checkpoint()
    kit.engine._compaction_thread.stop()
    assert kit.engine._compaction_thread.look()
    kit.engine._compaction_thread.run()
    assert len(collection_of(kit).segments) == FANOUT
