"""What an operator has promised of backups: alarms come when it is broken, say what to run, and go by themselves."""

from __future__ import annotations

import pytest

from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.objectives import DAMAGE, OVERDUE, UNVERIFIED
from holdfastd.engine.snapshots import PruneRequest
from holdfastd.format.subset import parse_subset
from holdfastd.model import Alarm, StorageKind
from tests.support.archives import ArchiveKit, lived_in
from tests.support.engines import CALLER
from tests.support.snapshots import SNAPSHOTS_DIR, SnapshotKit

HOUR_US = 3600 * 1_000_000
DAY_US = 24 * HOUR_US


def store(objective_us: int = DAY_US, verify_within_us: int = 0) -> SnapshotKit:
    """A store with one collection of two points and a promise."""
    kit = SnapshotKit(recovery_point_objective_us=objective_us, verify_within_us=verify_within_us)
    kit.create("c")
    kit.upsert(["a", "b"])
    return kit


def alarms(kit: SnapshotKit) -> dict[str, Alarm]:
    return {alarm.code: alarm for alarm in kit.engine.alarms()}


def test_the_archive_of_the_log_keeps_the_promise_as_long_as_it_leads_on_from_a_snapshot() -> None:
    kit, _ = lived_in(ArchiveKit(recovery_point_objective_us=DAY_US))
    kit.prune()
    assert kit.archiver.survey().begins_after
    kit.clock.advance_us(3 * DAY_US)
    kit.write(20)
    kit.round()
    assert alarms(kit) == {}
    kit.write()
    kit.clock.advance_us(DAY_US + HOUR_US)
    assert OVERDUE in alarms(kit), "what waits for the archive has waited too long"
    kit.round()
    assert OVERDUE not in alarms(kit)
    for name in kit.fs.listdir(SNAPSHOTS_DIR):
        kit.fs.unlink(f"{SNAPSHOTS_DIR}/{name}")
    assert OVERDUE in alarms(kit), "nothing is left that the pruned archive could lead on from"


def test_an_archive_that_begins_with_the_store_keeps_the_promise_without_a_snapshot() -> None:
    kit = ArchiveKit(recovery_point_objective_us=DAY_US)
    kit.create("c")
    kit.write(20)
    kit.clock.advance_us(2 * DAY_US)
    assert OVERDUE in alarms(kit)
    kit.round()
    assert OVERDUE not in alarms(kit)


# How old --------------------------------------------------------------------------------------------------------------


def test_a_store_that_was_never_saved_is_overdue_once_its_first_collection_is_old_enough() -> None:
    kit = store()
    assert alarms(kit) == {}
    kit.clock.advance_us(DAY_US + HOUR_US)
    alarm = alarms(kit)[OVERDUE]
    assert alarm.message == (
        "what was written to c is in no snapshot that can be restored, though it should be within 24h "
        "(--recovery-point-objective): c is in no snapshot, and was made 25h ago"
    )
    assert alarm.hint.startswith("holdfast storage snapshot create --incremental")
    assert alarm.severity == "warning"
    kit.snapshot()
    assert alarms(kit) == {}, "it goes by itself"


def test_a_snapshot_may_be_old_as_long_as_nothing_was_written_since() -> None:
    kit = store()
    made = kit.later()
    kit.clock.advance_us(30 * DAY_US)
    assert alarms(kit) == {}
    kit.restart()
    assert alarms(kit) == {}
    kit.upsert(["c"])
    assert f"c was last saved with {made.id}, 30d ago" in alarms(kit)[OVERDUE].message
    kit.delete("c")
    assert alarms(kit) == {}, "what is there is what was saved"


def test_the_alarm_keeps_its_time_while_it_stands() -> None:
    kit = store()
    kit.clock.advance_us(2 * DAY_US)
    since = alarms(kit)[OVERDUE].since_us
    kit.clock.advance_us(DAY_US)
    assert alarms(kit)[OVERDUE].since_us == since
    assert "3d ago" in alarms(kit)[OVERDUE].message


def test_each_collection_has_to_be_in_a_snapshot() -> None:
    kit = store()
    kit.create("d")
    kit.upsert(["x"], name="d")
    kit.create("m", storage=StorageKind.MEMORY)
    kit.clock.advance_us(2 * DAY_US)
    kit.snapshot(collection="c")
    assert "what was written to d is in no snapshot" in alarms(kit)[OVERDUE].message
    kit.snapshot(collection="d")
    assert alarms(kit) == {}, "what lives in memory is not promised"


def test_what_cannot_be_restored_is_no_snapshot() -> None:
    kit = store()
    full = kit.later()
    kit.upsert(["n"])
    kit.later(incremental=True)
    kit.clock.advance_us(DAY_US // 2)
    kit.upsert(["o"])
    assert alarms(kit) == {}
    kit.clock.advance_us(DAY_US // 3)
    kit.fs.damage(full.path, full.record.size_bytes // 2, b"\xff" * 9)
    kit.verify("latest")
    assert OVERDUE not in alarms(kit), "the collection itself is not old enough"
    kit.clock.advance_us(DAY_US // 3)
    assert "c is in no snapshot, and was made" in alarms(kit)[OVERDUE].message


def test_another_stores_snapshot_keeps_no_promise_of_ours() -> None:
    other, kit = SnapshotKit(seed=99), store()
    other.create("c")
    theirs = other.snapshot()
    kit.put(f"/theirs/{theirs['snapshot_id']}.snap", other.fs.read(theirs["path"]))
    kit.engine.snapshots.list(path="/theirs")
    kit.clock.advance_us(2 * DAY_US)
    assert OVERDUE in alarms(kit)


def test_a_snapshot_from_the_future_keeps_no_promise_of_today() -> None:
    kit = store()
    old = kit.later()
    kit.clock.jump_us(400 * DAY_US)
    kit.upsert(["c"])
    ahead = kit.later()
    kit.clock.jump_us(-400 * DAY_US)
    assert OVERDUE not in alarms(kit), "nothing was written since"
    kit.upsert(["d"])
    assert OVERDUE not in alarms(kit)
    kit.clock.advance_us(2 * DAY_US)
    said = alarms(kit)[OVERDUE].message
    assert f"c was last saved with {old.id}, 2d ago ({ahead.id} is dated in the future, and does not count)" in said
    kit.later()
    assert OVERDUE not in alarms(kit)


def test_a_collection_from_the_future_is_in_no_snapshot_all_the_same() -> None:
    kit = SnapshotKit(recovery_point_objective_us=DAY_US)
    kit.clock.jump_us(400 * DAY_US)
    kit.create("c")
    kit.upsert(["a"])
    kit.clock.jump_us(-400 * DAY_US)
    assert "c is in no snapshot, and was made in the future, by a clock that was wrong" in alarms(kit)[OVERDUE].message
    kit.later()
    assert OVERDUE not in alarms(kit)


# How long ago -------------------------------------------------------------------------------------------------------


def test_snapshots_that_nobody_verifies_are_told_of_and_a_verification_ends_it() -> None:
    kit = store(0, 7 * DAY_US)
    kit.clock.advance_us(30 * DAY_US)
    assert alarms(kit) == {}, "there is nothing to verify"
    kit.snapshot()
    kit.clock.advance_us(6 * DAY_US)
    assert alarms(kit) == {}
    kit.snapshot()
    kit.clock.advance_us(2 * DAY_US)
    alarm = alarms(kit)[UNVERIFIED]
    assert alarm.message == (
        "no snapshot of late was ever verified, and the oldest of 2 was made 8d ago; it should be done within 7d "
        "(--verify-within)"
    )
    assert alarm.hint.startswith("holdfast storage snapshot verify latest")
    kit.verify("latest", level=1)
    assert UNVERIFIED in alarms(kit), "nobody has read the bytes"
    id = kit.verify("latest")["snapshot_id"]
    assert alarms(kit) == {}
    kit.clock.advance_us(8 * DAY_US)
    assert f"the last snapshot that was verified is {id}, 8d ago" in alarms(kit)[UNVERIFIED].message


def test_an_old_snapshot_that_is_verified_again_and_again_says_nothing_of_new_ones() -> None:
    kit = store(0, 7 * DAY_US)
    old = kit.later()
    kit.clock.advance_us(10 * DAY_US)
    kit.later()
    kit.verify(old.id)
    assert UNVERIFIED in alarms(kit)
    kit.verify("latest")
    assert alarms(kit) == {}


def test_a_verification_in_the_future_keeps_no_promise_of_today() -> None:
    kit = store(0, 7 * DAY_US)
    made = kit.later()
    kit.clock.jump_us(400 * DAY_US)
    kit.verify(made.id)
    kit.clock.jump_us(-400 * DAY_US)
    kit.clock.advance_us(8 * DAY_US)
    assert "no snapshot of late was ever verified" in alarms(kit)[UNVERIFIED].message
    kit.verify(made.id)
    assert alarms(kit) == {}


def test_a_snapshot_from_the_future_makes_no_other_old_and_stands_for_no_other() -> None:
    kit = store(0, 7 * DAY_US)
    kit.clock.jump_us(400 * DAY_US)
    ahead = kit.later()
    kit.clock.jump_us(-400 * DAY_US)
    assert "was made in the future, by a clock that was wrong" in alarms(kit)[UNVERIFIED].message
    kit.verify(ahead.id)
    assert alarms(kit) == {}, "it is all that there is"
    made = kit.later()
    kit.verify(made.id)
    kit.clock.advance_us(8 * DAY_US)
    kit.verify(ahead.id)
    assert f"the last snapshot that was verified is {made.id}, 8d ago" in alarms(kit)[UNVERIFIED].message


def test_snapshots_of_which_none_can_be_read_are_told_of() -> None:
    kit = store(0, 7 * DAY_US)
    made = kit.later()
    kit.verify(made.id)
    kit.fs.unlink(made.path)
    kit.clock.advance_us(8 * DAY_US)
    alarm = alarms(kit)[UNVERIFIED]
    assert "no snapshot can be restored as it is, and the oldest of 1 was made 8d ago" in alarm.message
    assert "holdfast storage snapshot list" in alarm.hint
    kit.verify(kit.later().id)
    assert alarms(kit) == {}


def test_pruning_does_not_take_along_how_long_nobody_has_looked() -> None:
    """Where few are kept, all that are there are young, and none of them was ever verified."""
    kit = store(0, 7 * DAY_US)

    def days(count: int) -> set[int]:
        """The days on which the alarm stands."""
        found = set()
        for day in range(count):
            kit.clock.advance_us(DAY_US)
            kit.later(collection="c")
            kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=2)), caller=CALLER)
            kit.reopen()
            found |= {day} if UNVERIFIED in alarms(kit) else set()
        return found

    assert days(10) == {7, 8, 9}
    said = alarms(kit)[UNVERIFIED].message
    assert said.startswith("no snapshot, of those that are gone either, was verified for 9d; it should be done within")
    kit.verify("latest")
    assert alarms(kit) == {}
    assert days(9) == {6, 7, 8}
    kit.verify("latest", skip_chain=True)
    assert alarms(kit) == {}


def test_without_any_snapshot_there_is_nothing_to_verify_whatever_there_was() -> None:
    kit = store(0, 7 * DAY_US)
    kit.engine.snapshots.delete(kit.later().id, caller=CALLER)
    kit.clock.advance_us(30 * DAY_US)
    assert alarms(kit) == {}


def test_an_increment_is_verified_with_all_that_it_builds_on() -> None:
    kit = store(0, 7 * DAY_US)
    kit.later()
    kit.upsert(["n"])
    kit.later(incremental=True)
    kit.clock.advance_us(8 * DAY_US)
    kit.verify("latest", skip_chain=True)
    assert UNVERIFIED in alarms(kit)
    kit.verify("latest")
    assert alarms(kit) == {}


def test_a_slice_a_day_keeps_the_promise_of_a_week() -> None:
    kit = store(0, 7 * DAY_US)
    made = kit.later()
    kit.clock.advance_us(DAY_US)
    for day in range(30):
        kit.verify(made.id, subset=parse_subset(f"{day % 7 + 1}/7", 0))
        assert alarms(kit) == {}, day
        kit.clock.advance_us(DAY_US - 1_000_000)
    kit.clock.advance_us(DAY_US)
    assert UNVERIFIED in alarms(kit)


def test_a_restore_is_as_good_as_a_verification() -> None:
    kit = store(0, 7 * DAY_US)
    kit.later()
    kit.clock.advance_us(8 * DAY_US)
    kit.restore("latest", collection="drill")
    assert alarms(kit) == {}


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["deleted", "put right"])
def test_a_damaged_snapshot_is_told_of_without_any_promise_until_it_is_gone(ends: str) -> None:
    kit = store(0)
    made = kit.later()
    data = kit.fs.read(made.path)
    kit.fs.damage(made.path, made.record.size_bytes // 2, b"\xff" * 9)
    kit.verify(made.id)
    alarm = alarms(kit)[DAMAGE]
    assert alarm.message.startswith(f"{made.id} cannot be restored: {made.path}:")
    assert f"holdfast storage snapshot verify {made.id}" in alarm.hint
    assert alarm.severity == "critical"
    kit.restart()
    assert DAMAGE in alarms(kit)
    if ends == "deleted":
        kit.engine.snapshots.delete(made.id, caller=CALLER)
    else:
        kit.put(made.path, data)
        assert DAMAGE in alarms(kit), "nobody has read it since"
        kit.verify(made.id)
    assert alarms(kit) == {}


def test_many_damaged_ones_are_one_alarm() -> None:
    kit = store(0)
    for _ in range(5):
        made = kit.later()
        kit.put(made.path, kit.fs.read(made.path)[:-512])
    assert alarms(kit)[DAMAGE].message.startswith(f"{made.id}, ")
    assert " and 2 more cannot be restored: " in alarms(kit)[DAMAGE].message
