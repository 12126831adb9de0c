"""Schedules: when a run begins, what it makes, what is kept of it, and what is said where it fails."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from holdfastd.engine.cron import CronLine
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.operations import OperationState
from holdfastd.engine.schedule import Schedule, ScheduleState, load_states
from holdfastd.engine.schedules import FAILING, NOT_KEPT, ScheduleStatus
from holdfastd.engine.snapshot_request import SnapshotRequest
from holdfastd.engine.snapshots import VerifyRequest
from holdfastd.engine.tickets import Caller
from holdfastd.errors import FailedPrecondition
from holdfastd.format.verify_receipt import CHECKSUMS, RESTORE, ROWS
from tests.support.archives import ArchiveKit, lived_in
from tests.support.engines import CALLER
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit
from tests.support.waiting import until

HOUR_US = 3_600_000_000
STATES = "/data/SCHEDULES.json"
HOURLY = Schedule("hourly", CronLine("0 * * * *"), SnapshotRequest(path="/hourly"))
GOLDEN = Path(__file__).parents[1] / "golden" / "schedules-v1" / "SCHEDULES.json"


def kit_of(*schedules: Schedule, fs: MemFileSystem | None = None) -> SnapshotKit:
    """A store with one collection at 22:13:20, and no thread: runs are made by `tick`."""
    kit = SnapshotKit(fs, schedules=schedules)
    if fs is None:
        kit.create("c")
        kit.upsert(["a"])
    return kit


def tick(kit: SnapshotKit, hours: float = 0) -> int:
    """Let time pass, then do what each schedule's thread does; returns how many runs were made."""
    kit.clock.advance_us(int(hours * HOUR_US))
    return sum(kit.engine.schedules.run_if_due(each) for each in kit.schedules)


def status(kit: SnapshotKit) -> ScheduleStatus:
    return kit.engine.schedules.status()[0]


def alarms(kit: SnapshotKit) -> dict[str, str]:
    return {alarm.code: f"{alarm.message} | {alarm.hint}" for alarm in kit.engine.alarms()}


# When -----------------------------------------------------------------------------------------------------------------


def test_a_run_is_made_when_it_comes_due_and_not_before() -> None:
    kit = kit_of(HOURLY)
    assert [tick(kit), tick(kit, 0.7), tick(kit, 0.1), tick(kit), tick(kit, 1)] == [0, 0, 1, 0, 1]
    assert len(kit.engine.snapshots.list("/hourly")) == 2
    operation = kit.engine.operations.list()[0]
    assert operation.actor == "schedule:hourly"
    now = status(kit)
    assert (now.state.outcome, now.state.operation_id) == ("succeeded", operation.id)
    assert now.state.snapshot_id == kit.ids()[0]
    assert now.next_us == now.state.due_us + HOUR_US


def test_a_new_schedule_makes_up_for_nothing() -> None:
    kit = kit_of()
    kit.clock.advance_us(100 * HOUR_US)
    kit.schedules = (HOURLY,)
    kit.reopen()
    assert tick(kit) == 0


@pytest.mark.parametrize("stops", [True, False])
def test_what_came_due_while_the_daemon_was_down_is_made_up_for_once(stops: bool) -> None:
    kit = kit_of(HOURLY)
    if stops:
        kit.engine.stop()
    kit.clock.advance_us(50 * HOUR_US)
    kit.reopen()
    assert [tick(kit), tick(kit), tick(kit, 1)] == [1, 0, 1]


def test_a_run_that_took_longer_than_its_hour_is_followed_by_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(HOURLY)
    wait = kit.engine.operations.wait

    def slowly(id: str) -> object:
        ended = wait(id)
        kit.clock.advance_us(int(2.5 * HOUR_US))
        return ended

    monkeypatch.setattr(kit.engine.operations, "wait", slowly)
    assert tick(kit, 1) == 1
    monkeypatch.undo()
    assert [tick(kit), tick(kit)] == [1, 0]


def test_a_line_that_was_changed_begins_anew() -> None:
    kit = kit_of(HOURLY)
    tick(kit, 1)
    kit.schedules = (replace(HOURLY, cron=CronLine("30 * * * *")),)
    kit.clock.advance_us(10 * HOUR_US)
    kit.reopen()
    assert (tick(kit), status(kit).state.outcome) == (0, "")


def test_a_clock_that_is_set_back_far_is_believed_and_a_little_makes_no_run_twice() -> None:
    kit = kit_of(HOURLY)
    assert tick(kit, 1) == 1
    due_us = status(kit).state.due_us
    kit.clock.jump_us(due_us - 1000 - kit.clock.wall_us)
    assert tick(kit) == 0
    kit.clock.jump_us(-100 * HOUR_US)
    assert [tick(kit), tick(kit, 1)] == [0, 1]


def test_a_run_that_a_kill_cut_short_is_made_again_once_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(HOURLY)
    kit.clock.advance_us(HOUR_US)
    for attempt in (1, 2):
        monkeypatch.setattr(kit.engine.schedules, "_made", killed)
        with pytest.raises(KeyboardInterrupt):
            tick(kit)
        monkeypatch.undo()
        kit.clock.advance_us(1_000_000)
        kit.reopen()
        assert (status(kit).state.attempts, FAILING in alarms(kit)) == (attempt, attempt == 2)
    assert tick(kit) == 0
    assert "the daemon ended twice while it was being made" in alarms(kit)[FAILING]
    assert tick(kit, 1) == 1
    assert FAILING not in alarms(kit)


def test_what_was_cut_short_is_made_again_whatever_the_clock_says_then(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(HOURLY)
    kit.clock.advance_us(HOUR_US)
    monkeypatch.setattr(kit.engine.schedules, "_made", killed)
    with pytest.raises(KeyboardInterrupt):
        tick(kit)
    monkeypatch.undo()
    kit.clock.jump_us(-50 * HOUR_US)
    kit.reopen()
    assert [tick(kit), tick(kit), tick(kit, 1)] == [1, 0, 1]


def killed(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_stop_in_the_middle_of_a_run_leaves_it_to_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(HOURLY)
    wait = kit.engine.operations.wait

    def stopped(id: str) -> object:
        kit.engine.schedules.stop()
        return replace(wait(id), state=OperationState.CANCELLED, result=None)

    monkeypatch.setattr(kit.engine.operations, "wait", stopped)
    assert tick(kit, 1) == 1
    monkeypatch.undo()
    kit.restart()
    assert FAILING not in alarms(kit)
    assert [tick(kit), tick(kit)] == [1, 0]


def test_one_that_was_cancelled_by_hand_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(HOURLY)
    wait = kit.engine.operations.wait
    monkeypatch.setattr(
        kit.engine.operations, "wait", lambda id: replace(wait(id), state=OperationState.CANCELLED, result=None)
    )
    tick(kit, 1)
    assert (status(kit).state.outcome, FAILING in alarms(kit)) == ("cancelled", False)
    assert tick(kit) == 0


# What -----------------------------------------------------------------------------------------------------------------


def test_an_incremental_one_without_a_base_is_a_full_one() -> None:
    kit = kit_of(replace(HOURLY, request=SnapshotRequest(incremental=True, compress=True, description="by the hour")))
    tick(kit, 1)
    kit.upsert(["b"], 2)
    tick(kit, 1)
    new, old = kit.engine.snapshots.list()
    assert (old.record.type, new.record.type, new.record.base_id) == ("full", "incremental", old.id)
    assert (new.record.compressed, new.record.description) == (True, "by the hour")


def test_what_lies_beside_it_and_is_of_its_scope_is_pruned_after_a_success() -> None:
    policy = RetentionPolicy(last=2)
    kit = kit_of(replace(HOURLY, policy=policy))
    elsewhere, of_c = kit.later(), kit.later(path="/hourly", collection="c")
    for _ in range(4):
        tick(kit, 1)
    assert [each.id for each in kit.engine.snapshots.list("/hourly") if each.record.everything] == kit.ids()[:2]
    assert {elsewhere.id, of_c.id} <= {*kit.ids()}
    assert (status(kit).state.pruned, status(kit).state.freed_bytes > 0) == (1, True)


def test_what_point_in_time_recovery_loses_by_it_is_told() -> None:
    kit = kit_of(replace(HOURLY, policy=RetentionPolicy(last=1)))
    for _ in range(2):
        tick(kit, 1)
    assert "point-in-time recovery of everything no longer reaches back to" in status(kit).state.message


def test_a_schedule_of_a_collection_prunes_those_of_that_collection_alone() -> None:
    kit = kit_of(replace(HOURLY, request=SnapshotRequest(collection="alias"), policy=RetentionPolicy(last=1)))
    kit.engine.collections.create_alias("alias", "c", caller=CALLER)
    everything = kit.later()
    for _ in range(3):
        tick(kit, 1)
    assert [each.collections for each in kit.engine.snapshots.list()] == [("c",), ("c",)]
    assert kit.ids()[1] == everything.id


def test_schedules_that_share_a_directory_keep_what_any_of_them_is_to_keep() -> None:
    """Else the hourly one would delete what the daily one has made to stay for two weeks."""
    hourly = replace(HOURLY, policy=RetentionPolicy(last=2))
    daily = Schedule("daily", CronLine("30 2 * * *"), SnapshotRequest(path="/hourly/"), RetentionPolicy(daily=14))
    of_c = replace(hourly, name="of c", request=SnapshotRequest(path="/hourly", collection="c"))
    kit = kit_of(hourly, daily, of_c)
    for _ in range(72):
        tick(kit, 1)
    everything = [each for each in kit.engine.snapshots.list("/hourly") if each.record.everything]
    days = {each.record.created_us // (24 * HOUR_US) for each in everything}
    assert (len(days), len(everything)) == (4, 5), "the newest of each day, and the newest two"
    assert len(kit.engine.snapshots.list("/hourly", "c")) - len(everything) == 2, "another scope is not concerned"


# Verifying ------------------------------------------------------------------------------------------------------------


def test_what_is_made_is_read_back_before_anything_is_pruned() -> None:
    kit = kit_of(replace(HOURLY, policy=RetentionPolicy(last=1), verify_level=CHECKSUMS))
    assert (tick(kit, 1), tick(kit, 1)) == (1, 1)
    (left,) = kit.engine.snapshots.list()
    assert left.standing is not None
    assert left.standing.level == CHECKSUMS
    assert (status(kit).state.outcome, status(kit).state.pruned) == ("succeeded", 1)
    assert [each.actor for each in kit.engine.operations.list()] == ["schedule:hourly"] * 4


def test_each_link_is_read_back_alone_and_the_chain_by_a_restore() -> None:
    incremental = SnapshotRequest(path="/hourly", incremental=True)
    for level, read in ((ROWS, 1), (RESTORE, 3)):
        kit = kit_of(replace(HOURLY, request=incremental, verify_level=level))
        for _ in range(3):
            kit.upsert(["b"], kit.engine.sequence)
            tick(kit, 1)
        last = next(each for each in kit.engine.operations.list() if each.kind == "verify")
        assert last.result is not None
        assert (last.result["level"], len(last.result["chain"])) == (level, read)
        standings = [each.standing for each in kit.engine.snapshots.list()]
        assert [each and each.level for each in standings] == [level, ROWS, ROWS]


def test_nothing_is_pruned_for_the_sake_of_one_that_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(replace(HOURLY, policy=RetentionPolicy(last=1), verify_level=CHECKSUMS))
    tick(kit, 1)
    verify = kit.engine.snapshots.start_verify

    def behind_damage(request: VerifyRequest, *, caller: Caller) -> object:
        kit.fs.damage(request.snapshot, kit.fs.size(request.snapshot) // 2, b"X")
        return verify(request, caller=caller)

    monkeypatch.setattr(kit.engine.snapshots, "start_verify", behind_damage)
    tick(kit, 1)
    monkeypatch.undo()
    newest, before = kit.engine.snapshots.list()
    assert (newest.state, before.state) == ("damaged", "ready")
    said = alarms(kit)[FAILING]
    assert f"hourly: {newest.id} was made, but is damaged, and nothing was pruned: {newest.path}:" in said
    assert f"holdfast storage snapshot restore {before.id}" in said
    tick(kit, 1)
    assert FAILING not in alarms(kit)
    assert before.id not in kit.ids()


@pytest.mark.parametrize("fails", ["refused", "cut off"])
def test_a_verification_that_fails_is_told_and_nothing_is_pruned(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(replace(HOURLY, policy=RetentionPolicy(last=1), verify_level=CHECKSUMS))
    tick(kit, 1)
    verify = kit.engine.snapshots.start_verify

    def failing(request: VerifyRequest, *, caller: Caller) -> object:
        if fails == "refused":
            raise FailedPrecondition("no", reason="NO", hint="do")
        kit.fs.fail_on("read", request.snapshot, errno.EACCES, forever=True)
        return verify(request, caller=caller)

    monkeypatch.setattr(kit.engine.snapshots, "start_verify", failing)
    tick(kit, 1)
    assert "was made, but not verified, and nothing was pruned: " in alarms(kit)[FAILING]
    kit.fs.heal()
    assert (status(kit).state.snapshot_id, len(kit.ids())) == (kit.ids()[0], 2)


# Failures -------------------------------------------------------------------------------------------------------------


def test_a_failure_is_an_alarm_with_what_to_do_until_a_run_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    kit = kit_of(HOURLY)
    kit.fs.fail_on("write", "/hourly/*.part", errno.ENOSPC)
    tick(kit, 1)
    said = alarms(kit)[FAILING]
    assert "hourly: the snapshot was not made: the disk of " in said
    assert "holdfast storage snapshot create" in said
    [line] = caplog.records
    assert (line.levelname, vars(line)["schedule"], vars(line)["outcome"]) == ("WARNING", "hourly", "failed")
    kit.fs.heal()
    kit.reopen()
    assert FAILING in alarms(kit), "a restart mends nothing"
    assert status(kit).state.outcome == "failed"
    assert tick(kit) == 0, "the next run is tried when it comes due"
    tick(kit, 1)
    assert (status(kit).state.outcome, FAILING in alarms(kit)) == ("succeeded", False)


def test_a_collection_that_is_gone_is_a_failure_and_others_go_on() -> None:
    other = replace(HOURLY, name="other", request=SnapshotRequest(collection="gone"))
    kit = kit_of(other, HOURLY)
    assert tick(kit, 1) == 2
    assert "other: there is no collection" in alarms(kit)[FAILING]
    assert "holdfast collection list" in alarms(kit)[FAILING]
    assert [each.state.outcome for each in kit.engine.schedules.status()] == ["failed", "succeeded"]


def test_what_to_do_is_said_of_each_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("first", "second", "third")
    kit = kit_of(*(replace(HOURLY, name=name, request=SnapshotRequest(path=f"/{name}")) for name in names))

    def failing(request: SnapshotRequest, **more: object) -> None:
        hint = "mount the disk" if request.path == "/third" else "look at the bucket"
        raise FailedPrecondition(f"no {request.path}", reason="NO", hint=hint)

    monkeypatch.setattr(kit.engine.snapshots, "start_create", failing)
    tick(kit, 1)
    said = alarms(kit)[FAILING]
    assert "first: no /first; second: no /second; third: no /third" in said
    assert "| look at the bucket; mount the disk; the next run is tried by itself" in said


def test_a_pruning_that_fails_is_told_though_the_snapshot_was_made() -> None:
    kit = kit_of(replace(HOURLY, policy=RetentionPolicy(last=1)))
    tick(kit, 1)
    kit.fs.fail_on("unlink", "/hourly/snap-*.snap", errno.EACCES)
    tick(kit, 1)
    assert "was made, but pruning failed: " in alarms(kit)[FAILING]
    assert status(kit).state.snapshot_id == kit.ids()[0]


def test_a_fault_of_the_daemon_does_not_end_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = kit_of(HOURLY)

    def broken(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(kit.engine.snapshots, "start_create", broken)
    tick(kit, 1)
    monkeypatch.undo()
    assert "hourly: ZeroDivisionError: by zero" in alarms(kit)[FAILING]
    assert tick(kit, 1) == 1
    assert FAILING not in alarms(kit)


def test_what_cannot_be_kept_is_said_and_made_all_the_same() -> None:
    kit = kit_of(HOURLY)
    kit.fs.fail_on("write", f"{STATES}*", errno.ENOSPC, forever=True)
    assert (tick(kit, 1), NOT_KEPT in alarms(kit)) == (1, True)
    kit.fs.heal()
    assert (tick(kit, 1), NOT_KEPT in alarms(kit)) == (1, False)


def test_what_is_kept_and_damaged_is_said_and_begun_anew() -> None:
    kit = kit_of(HOURLY)
    tick(kit, 1)
    kit.fs.damage(STATES, 100, b"zz")
    damaged = kit.fs.read(STATES)
    kit.clock.advance_us(5 * HOUR_US)
    kit.reopen()
    (warning,) = kit.engine.recovery.warnings
    assert f"moved to {STATES}.damaged; schedules begin anew" in warning
    assert kit.fs.read(f"{STATES}.damaged") == damaged
    assert tick(kit) == 0
    assert tick(kit, 1) == 1


def test_what_is_kept_is_read_and_written_as_it_was() -> None:
    fs = MemFileSystem()
    fs.mkdir("/data")
    file = fs.create(STATES)
    file.pwrite([GOLDEN.read_bytes()], 0)
    states, problem = load_states(fs, STATES)
    assert problem is None
    assert states == {
        "nightly": ScheduleState(
            "nightly", "0 2 * * * UTC", 1, 2, 3, 4, 1, "failed", "op-1", "snap-2026-01-01-020000", "größer", "do", 5, 6
        ),
        "new": ScheduleState("new", "0 * * * * Europe/Berlin", 7),
    }


# Threads --------------------------------------------------------------------------------------------------------------


def test_each_schedule_has_a_thread_that_ends_with_the_daemon() -> None:
    kit = kit_of(HOURLY, replace(HOURLY, name="other", request=SnapshotRequest()))
    kit.clock.advance_us(HOUR_US)
    kit.engine.start()
    until(lambda: all(each.state.outcome == "succeeded" for each in kit.engine.schedules.status()))
    names = {thread.name for thread in threading.enumerate()}
    assert {"schedule hourly", "schedule other"} <= names
    kit.engine.stop()
    assert not {thread.name for thread in threading.enumerate()} & {"schedule hourly", "schedule other"}
    assert len(kit.engine.snapshots.list()) == 2


# The archive of the log -----------------------------------------------------------------------------------------------

KEEPING = replace(HOURLY, request=SnapshotRequest(), policy=RetentionPolicy(last=1))


def archiving(within_us: int, schedule: Schedule = KEEPING) -> ArchiveKit:
    """A store with an archive and snapshots that a run of the schedule prunes, up to the one that it makes."""
    return lived_in(ArchiveKit(schedules=(schedule,), archive_keep_within_us=within_us))[0]


def test_the_archive_is_pruned_behind_the_snapshots() -> None:
    kit = archiving(within_us=1_000_000)
    first = kit.archived()[0][0]
    assert tick(kit, 1) == 1
    assert status(kit).state.outcome == "succeeded"
    assert status(kit).state.pruned == 3
    operation = kit.engine.operations.list()[0]
    assert (operation.kind, operation.actor) == ("prune_archive", "schedule:hourly")
    assert kit.archived()[0][0] > first
    assert "the archive reached back to the beginning of the store" in status(kit).state.message


@pytest.mark.parametrize(
    ("within_us", "schedule"), [(0, KEEPING), (1, replace(KEEPING, policy=None))], ids=["not asked", "prunes nothing"]
)
def test_it_is_not_where_nobody_asked_for_it(within_us: int, schedule: Schedule) -> None:
    kit = archiving(within_us, schedule)
    assert tick(kit, 1) == 1
    assert kit.archived()[0][0] == 1
    assert kit.engine.operations.list()[0].kind == "snapshot"


def test_what_is_younger_than_the_setting_stays() -> None:
    kit = archiving(within_us=1000 * HOUR_US)
    assert tick(kit, 1) == 1
    assert kit.engine.operations.list()[0].kind == "prune_archive"
    assert kit.archived()[0][0] == 1


def test_an_archive_that_is_not_pruned_is_told() -> None:
    kit = archiving(within_us=1)
    kit.fs.fail_on("create", "/archive/*.begins.part", errno.EIO, forever=True)
    assert tick(kit, 1) == 1
    state = status(kit).state
    assert state.outcome == "failed"
    assert state.message.startswith(
        f"{state.snapshot_id} was made, but the archive was not pruned: pruning the archive"
    )
    assert state.message in alarms(kit)[FAILING]
    kit.fs.heal()
    assert tick(kit, 1) == 1
    assert FAILING not in alarms(kit)
