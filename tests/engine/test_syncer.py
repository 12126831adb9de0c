"""What periodic mode promises: nothing stays unsynced for longer than the interval, whatever the interval is."""

from __future__ import annotations

import random

import pytest

from holdfastd.engine.wal_control import WalChanges
from holdfastd.model import SyncMode
from tests.support.engines import CALLER, Kit

SLACK_US = 1000
"""What the looks at the clock take of the tests' own."""


def busy_until_synced(kit: Kit, sequence: int) -> int:
    """Let the fsync thread's looks follow each other beside writes that never end; returns the microseconds."""
    syncer, passed = kit.engine._syncer, 0
    while kit.engine.durable_sequence < sequence:
        pause = int(syncer._patience() * 1e6)
        assert pause > 0, "it would look without a pause"
        kit.clock.advance_us(pause)
        passed += pause
        kit.upsert([f"beside {passed}"])
        syncer._tend([])
    return passed


@pytest.mark.parametrize("interval_us", [50_000, 100_000, 700_000, 1_100_000, 1_500_000, 5_000_000, 61_500_000])
def test_what_was_written_is_synced_when_the_interval_is_over(interval_us: int) -> None:
    kit = Kit(sync_mode=SyncMode.PERIODIC, segment_size=1 << 20)  # a rotation syncs, too
    kit.create("c")
    kit.engine.wal.enable(WalChanges(flush_interval_us=interval_us), caller=CALLER)
    kit.clock.advance_us(interval_us)
    kit.engine._syncer._tend([])
    outcome = kit.upsert(["first"])
    assert not outcome.durable
    assert kit.engine.durable_sequence < outcome.sequence
    passed = busy_until_synced(kit, outcome.sequence)
    assert passed <= interval_us + SLACK_US
    assert passed >= interval_us - interval_us // 10 - SLACK_US
    survivor = Kit(kit.fs.crash(random.Random(1)), sync_mode=SyncMode.PERIODIC)
    assert "first" in survivor.values()


def test_an_interval_that_gets_shorter_counts_at_once() -> None:
    kit = Kit(sync_mode=SyncMode.PERIODIC)
    kit.create("c")
    kit.engine._syncer._tend([])
    kit.engine.wal.enable(WalChanges(flush_interval_us=100_000), caller=CALLER)
    outcome = kit.upsert(["first"])
    assert busy_until_synced(kit, outcome.sequence) <= 100_000 + SLACK_US


def test_without_a_log_the_thread_rests_between_its_looks() -> None:
    kit = Kit(sync_mode=SyncMode.PERIODIC)
    kit.engine.wal.disable(caller=CALLER)
    kit.clock.advance_us(60_000_000)
    kit.engine._syncer._tend([])
    assert kit.engine._syncer._patience() > 0.5


@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC])
def test_other_modes_have_no_interval(mode: SyncMode) -> None:
    kit = Kit(sync_mode=mode)
    kit.clock.advance_us(60_000_000)
    assert kit.engine._syncer._patience() == 1.0
