"""Schedules over a real socket, and in a real daemon."""

from __future__ import annotations

from pathlib import Path

import holdfast
from holdfast.v1 import snapshot_pb2
from holdfastd.engine.cron import CronLine
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.schedule import Schedule, ScheduleState, store_states
from holdfastd.engine.snapshot_request import SnapshotRequest
from holdfastd.storage.osfiles import OsFileSystem
from tests.rpc.process import Daemon
from tests.rpc.wires import serving
from tests.support.snapshots import SnapshotKit
from tests.support.waiting import until

Outcome = snapshot_pb2.Schedule


def test_a_schedule_is_told_before_its_first_run_and_after_it(tmp_path: Path) -> None:
    policy = RetentionPolicy(daily=7, within_us=3_600_000_000)
    request = SnapshotRequest(path="/hourly", compress=True)
    schedule = Schedule("hourly", CronLine("0 * * * *", "Europe/Berlin"), request, policy, verify_level=2)
    with serving(SnapshotKit(segment_size=1 << 20, schedules=(schedule,)), str(tmp_path / "s")) as wire:
        asked = snapshot_pb2.ListSchedulesRequest()
        [before] = wire.snapshots.ListSchedules(asked).schedules
        assert (before.name, before.cron, before.time_zone) == ("hourly", "0 * * * *", "Europe/Berlin")
        assert (before.path, before.compress, before.incremental) == ("/hourly", True, False)
        assert before.verify_level == 2
        assert (before.policy.keep_daily, before.policy.keep_within.seconds, before.policy.keep_last) == (7, 3600, 0)
        assert before.next_time.seconds % 3600 == 0
        assert (before.outcome, before.HasField("start_time")) == (Outcome.OUTCOME_UNSPECIFIED, False)
        wire.kit.clock.advance_us(3_600_000_000)
        wire.kit.engine.schedules.run_if_due(schedule)
        [after] = wire.snapshots.ListSchedules(asked).schedules
        assert (after.outcome, after.due_time) == (Outcome.OUTCOME_SUCCEEDED, before.next_time)
        assert after.snapshot_id == wire.kit.engine.snapshots.list()[0].id
        assert after.next_time.seconds == before.next_time.seconds + 3600


def test_a_daemon_makes_up_for_what_it_missed(tmp_path: Path) -> None:
    """It was down when the year began."""
    settings, data = tmp_path / "d.toml", tmp_path / "data"
    settings.write_text('[[schedule]]\nname = "yearly"\ncron = "0 0 1 1 *"\nkeep_last = 1\n', encoding="utf-8")
    data.mkdir(mode=0o700)
    state = ScheduleState("yearly", "0 0 1 1 * UTC", since_us=1_600_000_000_000_000)
    store_states(OsFileSystem(), str(data / "SCHEDULES.json"), {"yearly": state})
    daemon = Daemon(tmp_path, "--config", str(settings)).started()
    try:
        with holdfast.connect(daemon.address) as db:
            until(lambda: db.snapshots.schedules()[0].outcome is not None)
            [schedule] = db.snapshots.schedules()
            assert (schedule.outcome, schedule.keep) == ("succeeded", {"last": 1})
            assert schedule.due_at == "2021-01-01T00:00:00Z"
            assert [each.id for each in db.snapshots.list()] == [schedule.snapshot_id]
            assert db.storage.alarms() == []
        assert daemon.stop() == 0
        daemon = Daemon(tmp_path, "--config", str(settings)).started()
        with holdfast.connect(daemon.address) as db:
            [again] = db.snapshots.schedules()
            assert (again.snapshot_id, again.last_at) == (schedule.snapshot_id, schedule.last_at)
    finally:
        daemon.kill()


def test_a_daemon_refuses_a_wrong_line_at_its_start(tmp_path: Path) -> None:
    settings = tmp_path / "d.toml"
    settings.write_text('[[schedule]]\nname = "nightly"\ncron = "0 26 * * *"\n', encoding="utf-8")
    daemon = Daemon(tmp_path, "--config", str(settings))
    assert daemon.ended() == 78
    assert f"{settings}: schedule 1 ('nightly'): '0 26 * * *' is no cron line: bad hour" in daemon.log
    assert not daemon.data.exists()
