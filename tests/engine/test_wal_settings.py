"""The log's settings by command: kept, refused, moved, switched off and on; and what its records hold."""

from __future__ import annotations

import contextlib
import errno
import random

import pytest

from holdfastd.engine.changes import DeleteIds, UpsertRows
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition, HoldfastError, InvalidArgument
from holdfastd.model import SyncMode
from holdfastd.storage.files import parent_of
from tests.support.engines import CALLER, ROOT, Kit


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    return kit


def crashed(kit: Kit) -> Kit:
    return Kit(kit.fs.crash(random.Random(1)), seed=11)


def test_options_left_out_keep_their_values(kit: Kit) -> None:
    control = kit.engine.wal
    control.enable(WalChanges(sync_mode=SyncMode.PERIODIC, flush_interval_us=2_000_000), caller=CALLER)
    status = control.enable(WalChanges(retention_us=5_000_000), caller=Caller(actor="ops"))
    assert status.settings.sync_mode is SyncMode.PERIODIC
    assert status.settings.flush_interval_us == 2_000_000
    assert status.settings.segment_size_bytes == kit.segment_size
    assert crashed(kit).engine.wal.status().settings == status.settings


@pytest.mark.parametrize("restarted", [False, True])
def test_directory_mode_and_size_hold_at_once_and_after_a_restart(kit: Kit, restarted: bool) -> None:
    asked = WalChanges(path="/mnt/log", sync_mode=SyncMode.ASYNC, segment_size_bytes=1 << 20)
    settings = kit.engine.wal.enable(asked, caller=CALLER).settings
    assert (settings.path, settings.sync_mode, settings.segment_size_bytes) == ("/mnt/log", SyncMode.ASYNC, 1 << 20)
    if restarted:
        kit = crashed(kit)
        assert kit.engine.wal.status().settings == settings
    for number in range(24):
        text = random.Random(number).randbytes(50_000).hex().encode()
        outcome = kit.upsert([f"n{number}"], payloads=[b'{"text":"%s"}' % text])
        assert not outcome.durable
    files = kit.engine.wal.status().files
    assert {parent_of(file.path) for file in files[1:]} == {"/mnt/log"}
    assert [file.size_bytes for file in files if 900_000 < file.size_bytes <= 1 << 20], "none was as large as was asked"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (WalChanges(segment_size_bytes=1000), "segment_size_bytes"),
        (WalChanges(segment_size_bytes=1 << 40), "segment_size_bytes"),
        (WalChanges(flush_interval_us=0), "flush_interval"),
        (WalChanges(retention_us=-1), "retention"),
        (WalChanges(max_wal_bytes=1000), "max_size_bytes"),
        (WalChanges(max_wal_bytes=1 << 60), "max_size_bytes"),
        (WalChanges(max_wal_bytes=8 << 20, segment_size_bytes=5 << 20), "max_size_bytes"),
    ],
)
def test_values_out_of_range_are_refused_by_the_name_of_their_field(kit: Kit, changes: WalChanges, field: str) -> None:
    before = kit.engine.wal.status().settings
    with pytest.raises(InvalidArgument) as caught:
        kit.engine.wal.enable(changes, caller=CALLER)
    assert caught.value.field == field
    assert kit.engine.wal.status().settings == before


def test_the_cap_of_the_log_is_kept_with_who_set_it(kit: Kit) -> None:
    status = kit.engine.wal.enable(WalChanges(max_wal_bytes=20 << 30), caller=Caller(actor="ops"))
    assert status.settings.max_wal_bytes == 20 << 30
    again = crashed(kit)
    assert again.engine.wal.status().settings.max_wal_bytes == 20 << 30
    assert again.engine._keeper.current.settings_origin["wal.max_wal_bytes"] == "command by ops"


def test_wal_segments_may_not_outgrow_a_cap_that_was_set_before(kit: Kit) -> None:
    kit.engine.wal.enable(WalChanges(max_wal_bytes=8 << 20), caller=CALLER)
    with pytest.raises(InvalidArgument, match="less than two WAL segments of 6 MiB") as caught:
        kit.engine.wal.enable(WalChanges(segment_size_bytes=6 << 20), caller=CALLER)
    assert "--segment-size" in str(caught.value.hint)


def test_fsync_mode_makes_durable_what_was_written_before_it() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.upsert(["a"])
    kit.engine.wal.enable(WalChanges(sync_mode=SyncMode.FSYNC), caller=CALLER)
    assert list(crashed(kit).values()) == ["a"]


# Moving.


def test_the_log_moves_and_the_old_directory_still_counts(kit: Kit) -> None:
    kit.upsert(["a"])
    status = kit.engine.wal.enable(WalChanges(path="/elsewhere/wal"), caller=CALLER)
    assert status.path == "/elsewhere/wal"
    assert {file.directory for file in status.files} == {f"{ROOT}/wal", "/elsewhere/wal"}
    kit.upsert(["b"])
    assert sorted(crashed(kit).values()) == ["a", "b"]


def test_a_directory_inside_the_data_directory_is_kept_relative(kit: Kit) -> None:
    status = kit.engine.wal.enable(WalChanges(path=f"{ROOT}/logs/wal"), caller=CALLER)
    assert status.settings.path == "logs/wal"


@pytest.mark.parametrize("kind", ["mkdir", "create", "write", "resize", "sync", "rename", "sync_dir"])
@pytest.mark.parametrize("nth", range(4))
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC])
def test_a_move_that_fails_half_way_loses_nothing(kit: Kit, kind: str, nth: int, code: int) -> None:
    kit.upsert(["a"])
    seen = 0

    def hook(called: str, path: str) -> None:
        nonlocal seen
        if called == kind:
            seen += 1
            if seen == nth + 1:
                kit.fs.fail_on(kind, "*", code)

    kit.fs.on_operation = hook
    with contextlib.suppress(HoldfastError):
        kit.engine.wal.enable(WalChanges(path="wal-2"), caller=CALLER)
    kit.fs.on_operation = None
    kit.fs.heal()
    expected = {"a"}
    if kit.engine.failure is None:
        assert kit.upsert(["b"]).durable
        expected = {"a", "b"}
    assert set(crashed(kit).values()) == expected
    kit.reopen()
    assert set(kit.values()) == expected
    assert kit.upsert(["c"]).durable


# Off and on (RULES 5).


def test_without_the_log_replies_say_that_nothing_is_durable(kit: Kit) -> None:
    assert kit.engine.wal.disable(caller=CALLER).state == "disabled"
    assert not kit.upsert(["a"]).durable
    kit.engine.checkpoint()
    assert list(crashed(kit).values()) == ["a"]


def test_enabling_again_makes_everything_durable_first(kit: Kit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"])
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    assert list(crashed(kit).values()) == ["a"]
    assert kit.upsert(["b"]).durable
    assert sorted(crashed(kit).values()) == ["a", "b"]


def test_disabling_twice_is_no_error_and_neither_is_enabling(kit: Kit) -> None:
    for _ in range(2):
        kit.engine.wal.disable(caller=CALLER)
    for _ in range(2):
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
    assert kit.engine.wal.status().state == "active"


def test_the_log_stays_disabled_over_a_restart(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["b"])
    kit.restart()
    assert kit.engine.wal.status().state == "disabled"
    assert sorted(kit.values()) == ["a", "b"]
    assert kit.engine.timeline == 1


def test_the_log_is_sound_after_it_was_off_and_has_moved_on(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    for number in range(3):
        kit.upsert([f"b{number}"])
        assert kit.log is not None
        kit.log.rotate()
    assert kit.engine.wal.verify().sound
    assert [operation.record.sequence for operation in kit.engine.wal.records()] == [1, 2, 3, 4, 5]


# Disabling that the manifest could not follow: the log is closed, and the settings say that it is not.


def half_disabled(kit: Kit) -> None:
    kit.upsert(["a"])
    for kind in ("create", "write"):
        kit.fs.fail_on(kind, f"{ROOT}/MANIFEST*", errno.ENOSPC, forever=True)
    with pytest.raises(HoldfastError):
        kit.engine.wal.disable(caller=CALLER)
    assert kit.engine.failure is None


@pytest.fixture
def closed(kit: Kit) -> Kit:
    """A store whose log is closed, with room on the disk again."""
    half_disabled(kit)
    kit.fs.heal()
    kit.engine._room.tend()
    return kit


def test_a_write_to_a_log_that_is_closed_is_told_what_to_do(closed: Kit) -> None:
    with pytest.raises(FailedPrecondition, match="the log is closed") as caught:
        closed.upsert(["b"])
    assert "storage wal enable" in str(caught.value.hint)
    assert "storage wal disable" in str(caught.value.hint)
    assert closed.engine.wal.status().state == "disabled"
    (alarm,) = closed.engine.alarms()
    assert (alarm.code, alarm.severity) == ("WAL_CLOSED", "critical")


def test_disabling_again_completes_it(closed: Kit) -> None:
    status = closed.engine.wal.disable(caller=CALLER)
    assert (status.state, status.settings.enabled) == ("disabled", False)
    assert [alarm.code for alarm in closed.engine.alarms()] == ["WAL_DISABLED"]
    assert not closed.upsert(["b"]).durable
    closed.restart()
    assert closed.engine.wal.status().state == "disabled"
    assert set(closed.values()) == {"a", "b"}


def test_enabling_begins_the_log_again_behind_the_closed_one(closed: Kit) -> None:
    status = closed.engine.wal.enable(WalChanges(), caller=CALLER)
    assert (status.state, status.settings.enabled) == ("active", True)
    assert [bool(file.header.gap_before) for file in status.files] == [False, True]
    assert closed.engine.alarms() == []
    assert closed.upsert(["b"]).durable
    assert closed.engine.wal.verify().sound
    for again in (crashed(closed), closed):
        again.restart()
        assert set(again.values()) == {"a", "b"}
        assert again.upsert(["c"]).durable


@pytest.mark.parametrize("finish", ["disable", "enable"])
def test_a_second_try_without_room_leaves_it_to_a_third(kit: Kit, finish: str) -> None:
    half_disabled(kit)

    def again() -> None:
        if finish == "disable":
            kit.engine.wal.disable(caller=CALLER)
        else:
            kit.engine.wal.enable(WalChanges(path="wal-2"), caller=CALLER)

    with pytest.raises(HoldfastError):
        again()
    kit.fs.heal()
    again()
    assert kit.upsert(["b"]).durable == (finish == "enable")
    kit.restart()
    assert set(kit.values()) == {"a", "b"}


@pytest.mark.parametrize("kind", ["mkdir", "create", "write", "resize", "sync", "rename", "sync_dir"])
@pytest.mark.parametrize("nth", range(4))
def test_whatever_fails_in_beginning_it_again_loses_nothing(closed: Kit, kind: str, nth: int) -> None:
    kit, seen = closed, 0

    def hook(called: str, path: str) -> None:
        nonlocal seen
        if called == kind:
            seen += 1
            if seen == nth + 1:
                kit.fs.fail_on(kind, "*", errno.ENOSPC)

    kit.fs.on_operation = hook
    with contextlib.suppress(HoldfastError):
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.fs.on_operation = None
    kit.fs.heal()
    expected = {"a"}
    if kit.engine.failure is None:
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        assert kit.upsert(["b"]).durable
        expected = {"a", "b"}
    assert set(crashed(kit).values()) == expected
    kit.reopen()
    assert set(kit.values()) == expected
    assert kit.upsert(["c"]).durable


@pytest.mark.crash
@pytest.mark.parametrize("finish", ["disable", "enable"])
def test_a_power_cut_while_it_is_completed_loses_nothing(closed: Kit, finish: str) -> None:
    begun = closed.fs.ops
    if finish == "disable":
        closed.engine.wal.disable(caller=CALLER)
    else:
        closed.engine.wal.enable(WalChanges(), caller=CALLER)
    assert closed.fs.ops > begun
    for index in range(begun, closed.fs.ops + 1):
        for seed in range(2):
            again = Kit(closed.fs.crash_at(index, random.Random(seed)), seed=11 + seed)
            assert set(again.values()) == {"a"}
            again.upsert(["b"])
            again.restart()
            assert set(again.values()) == {"a", "b"}
            assert again.engine.wal.verify().sound


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_store_whose_log_is_closed_is_stopped_and_starts_with_a_new_one(closed: Kit, end: str) -> None:
    closed.restart() if end == "stop" else closed.reopen()
    assert closed.engine.wal.status().state == "active"
    assert closed.upsert(["b"]).durable
    for again in (crashed(closed), closed):
        again.restart()
        assert set(again.values()) == {"a", "b"}
        assert again.engine.wal.verify().sound


def test_the_fsync_thread_lives_on_beside_a_closed_log(closed: Kit) -> None:
    assert closed.log is not None
    assert not closed.log.marker()
    assert not closed.log.write_ahead()
    assert not closed.log.prepare_next()


# Marks.


def test_a_mark_is_kept_by_the_log_and_by_checkpoints(kit: Kit) -> None:
    mark = kit.engine.wal.mark("before-import", caller=CALLER)
    kit.upsert(["a"])
    assert crashed(kit).engine._applier.marks == {"before-import": mark}
    kit.engine.checkpoint()
    assert crashed(kit).engine._applier.marks == {"before-import": mark}


@pytest.mark.parametrize("name", ["", "12", "1e3", "2026-01-20", "latest", "5m", "a/b"])
def test_a_mark_must_not_read_as_anything_else(kit: Kit, name: str) -> None:
    with pytest.raises(InvalidArgument):
        kit.engine.wal.mark(name, caller=CALLER)


def test_a_mark_needs_the_log(kit: Kit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    with pytest.raises(FailedPrecondition):
        kit.engine.wal.mark("here", caller=CALLER)


# What is logged.


def test_only_synced_records_are_read() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.upsert(["a"])
    assert list(kit.engine.wal.records()) == []
    kit.sync_log()
    kit.upsert(["b"])
    assert [operation.record.sequence for operation in kit.engine.wal.records()] == [1, 2]


def test_a_record_holds_final_rows_never_an_instruction(kit: Kit) -> None:
    kit.upsert(["a"], 3.0, payloads=[b'{"x":1,"y":2}'])
    kit.engine.points.update(
        "c", ["a"], vectors=None, payload_block=b'[{"y":null,"z":3}]', merge=True, caller=Caller(actor="somebody")
    )
    kit.engine.points.delete_where("c", "x = 1", caller=CALLER)
    updated, deleted = list(kit.engine.wal.records())[-2:]
    assert isinstance(updated.logged.change, UpsertRows)
    assert updated.logged.change.rows.payloads == [b'{"x":1,"z":3}']
    assert updated.logged.change.rows.vectors.tolist() == [[3.0, 3.0]]
    assert updated.logged.actor == "somebody"
    assert isinstance(deleted.logged.change, DeleteIds)
    assert deleted.logged.change.ids == [b"a"]


def test_deleting_everything_is_one_small_record(kit: Kit) -> None:
    kit.upsert([f"p{number}" for number in range(300)])
    assert kit.engine.points.truncate("c", caller=CALLER).count == 300
    assert len(list(kit.engine.wal.records())[-1].record.payload) < 100
    kit.reopen()
    assert kit.values() == {}


def test_an_operation_larger_than_a_wal_segment_is_logged_whole(kit: Kit) -> None:
    kit.upsert([f"p{number}" for number in range(600)])
    assert len(crashed(kit).values()) == 600
