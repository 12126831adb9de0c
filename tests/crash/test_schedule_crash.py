"""Power cuts all along a run of a schedule: it is made, or made again, and what it prunes goes or stays as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from holdfastd.engine.cron import CronLine
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.schedule import Schedule
from holdfastd.engine.snapshot_request import SnapshotRequest
from tests.support.memfs import MemFileSystem
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import BACKUPS, IDS, Recorder, Sweep, assert_tidy
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

HOUR_US = 3_600_000_000
HOURLY = Schedule("hourly", CronLine("0 * * * *"), SnapshotRequest(path=BACKUPS), RetentionPolicy(last=1))


class Scheduled(Sweep):
    """A sweep whose starts know the schedule."""

    def opened(self, fs: MemFileSystem) -> SnapshotKit:
        self.starts += 1
        return SnapshotKit(fs, seed=1000 + self.starts, schedules=(HOURLY,))


def ran(kit: SnapshotKit) -> dict[str, Any]:
    assert kit.engine.schedules.run_if_due(HOURLY)
    return {}


def test_a_power_cut_during_a_run(record_property: Recorder) -> None:
    kit = SnapshotKit(schedules=(HOURLY,))
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    old = kit.later(path=BACKUPS).id
    kit.sync_log()
    kit.clock.advance_us(HOUR_US)
    sweep, seen = Scheduled(kit, ran, draws=2), set()

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        assert_tidy(kit)
        found = [old in kit.ids(), len(kit.ids())]
        assert found in ([True, 1], [True, 2], [False, 1])
        assert not done or found == [False, 1]
        # Less than an hour later: nothing else is due.
        kit.clock.advance_us(HOUR_US + 10_000_000)
        seen.add(kit.engine.schedules.run_if_due(HOURLY))
        assert not kit.engine.schedules.run_if_due(HOURLY)
        assert kit.engine.schedules.status()[0].state.outcome == "succeeded"
        assert len(kit.ids()) == 1
        assert old not in kit.ids()
        assert kit.engine.alarms() == []
        assert_tidy(kit)

    sweep.run(check, seed=31).report(record_property)
    assert seen == {True, False}
