"""Pruning by command: what goes, in which order, what stays whatever the policy says, and what is told of it."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from holdfastd.engine.history import iso_time
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.snapshots import Pruned, PruneRequest
from holdfastd.engine.tickets import Caller
from holdfastd.errors import FailedPrecondition, HoldfastError, InvalidArgument, NotFound
from tests.support.chains import HOURLY, chained, filled, info, restored
from tests.support.engines import CALLER
from tests.support.snapshot_sweeps import assert_tidy
from tests.support.snapshots import SECOND_US, SNAPSHOTS_DIR, SnapshotKit

LAST = RetentionPolicy(last=1)
DAY_US = 86_400 * SECOND_US


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


def prune(kit: SnapshotKit, policy: RetentionPolicy = LAST, caller: Caller = CALLER, **more: object) -> Pruned:
    dry = bool(more.pop("validate_only", False))
    return kit.engine.snapshots.prune(PruneRequest(policy, **more), caller=caller, validate_only=dry)  # type: ignore[arg-type]


def told(pruned: Pruned) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.info.id, each.reasons) for each in pruned.decisions]


# What goes and what stays ---------------------------------------------------------------------------------------------


def test_what_no_rule_keeps_is_deleted_and_said(kit: SnapshotKit) -> None:
    old, middle = kit.later(), kit.later(path="/backups", compress=True)
    new = kit.later()
    pruned = prune(kit)
    assert told(pruned) == [(new.id, ("last",)), (middle.id, ()), (old.id, ())]
    assert (pruned.kept_count, len(pruned.order)) == (1, 2)
    assert pruned.freed_bytes == old.record.size_bytes + middle.record.size_bytes
    assert not kit.fs.exists(old.path)
    assert not kit.fs.exists(middle.path)
    for _ in range(2):
        assert kit.ids() == [new.id]
        assert_tidy(kit)
        kit.reopen()
    again = prune(kit)
    assert (told(again), again.freed_bytes) == ([(new.id, ("last",))], 0)


def test_a_dry_run_says_the_same_and_touches_nothing(kit: SnapshotKit) -> None:
    for _ in range(3):
        kit.later()
    kit.engine.snapshots.list()
    before = kit.fs.ops
    planned = prune(kit, validate_only=True)
    assert kit.fs.ops == before
    done = prune(kit)
    assert (told(planned), planned.freed_bytes, planned.warnings) == (told(done), done.freed_bytes, done.warnings)
    assert len(kit.ids()) == 1


def test_a_clock_that_was_ahead_costs_nothing_that_is_made_after_it(kit: SnapshotKit) -> None:
    kit.clock.jump_us(400 * DAY_US)
    ahead = kit.later()
    kit.clock.jump_us(-400 * DAY_US)
    kit.upsert(["x"])
    old, new = kit.later(), kit.later()
    for dry in (True, False):
        pruned = prune(kit, validate_only=dry)
        assert told(pruned) == [(ahead.id, ("in the future",)), (new.id, ("last",)), (old.id, ())]
        assert f"{ahead.id} is dated in the future, by a clock that was wrong" in pruned.warnings[0]
        assert f"holdfast storage snapshot delete {ahead.id}" in pruned.warnings[0]
    assert kit.ids() == [ahead.id, new.id]


def test_a_clock_that_fell_back_does_not_cost_the_only_snapshot_of_what_is_there_now(kit: SnapshotKit) -> None:
    before = kit.later()
    kit.clock.jump_us(-400 * DAY_US)
    kit.upsert(["x"])
    middle = kit.later()
    kit.upsert(["y"])
    after = kit.later()
    kit.clock.jump_us(400 * DAY_US)
    assert told(prune(kit)) == [(before.id, ("last",)), (after.id, ("newest",)), (middle.id, ())]


def test_a_chain_stays_as_long_as_its_end_is_kept_and_goes_from_its_end(kit: SnapshotKit) -> None:
    chain = chained(kit)
    held = restored(kit, chain[2])
    assert [reasons for _, reasons in told(prune(kit))] == [
        ("last",),
        (f"base of {chain[2].id}",),
        (f"base of {chain[1].id}",),
    ]
    assert restored(kit, chain[2]) == held
    new = kit.later()
    pruned = prune(kit)
    assert pruned.order == tuple(each.path for each in reversed(chain))
    assert kit.ids() == [new.id]
    assert kit.fs.listdir(HOURLY) == []


def test_a_base_in_the_directory_stays_for_an_increment_elsewhere(kit: SnapshotKit) -> None:
    full = kit.later(path="/daily")
    kit.upsert(["x"], 1)
    hourly = kit.later(path=HOURLY, incremental=True)
    newest = kit.later(path="/daily")
    pruned = prune(kit, path="/daily")
    assert told(pruned) == [(newest.id, ("last",)), (full.id, (f"base of {hourly.id}",))]
    assert [each.id for each in prune(kit, path=HOURLY).going] == []
    prune(kit)
    assert kit.ids() == [newest.id]


def test_each_scope_is_counted_on_its_own(kit: SnapshotKit) -> None:
    kit.create("d")
    everything, of_c, of_d, again_c = (
        kit.later(),
        kit.later(collection="c"),
        kit.later(collection="d"),
        kit.later(collection="c"),
    )
    assert told(prune(kit, collection="c")) == [(again_c.id, ("last",)), (of_c.id, ())]
    prune(kit)
    assert kit.ids() == [again_c.id, of_d.id, everything.id]


def test_a_collection_that_nobody_knows_is_a_typing_error(kit: SnapshotKit) -> None:
    kit.later()
    with pytest.raises(NotFound) as caught:
        prune(kit, collection="prodcuts")
    assert "prodcuts" in caught.value.message
    assert prune(kit, collection="c").decisions == ()
    kit.engine.collections.create_alias("alias", "c", caller=CALLER)
    of_c = kit.later(collection="alias")
    assert told(prune(kit, collection="alias")) == [(of_c.id, ("last",))]
    with pytest.raises(NotFound):
        prune(kit, path="/nowhere")


@pytest.mark.parametrize("policy", [RetentionPolicy(), RetentionPolicy(last=-1), RetentionPolicy(last=1, yearly=-3)])
def test_a_policy_that_keeps_nothing_is_refused(kit: SnapshotKit, policy: RetentionPolicy) -> None:
    kit.later()
    with pytest.raises(InvalidArgument):
        prune(kit, policy)
    assert len(kit.ids()) == 1


# What cannot be judged ------------------------------------------------------------------------------------------------


def test_a_damaged_newest_one_never_costs_the_last_good_one(kit: SnapshotKit) -> None:
    old, good, bad = kit.later(), kit.later(), kit.later()
    kit.fs.damage(bad.path, kit.fs.size(bad.path) // 2, b"#" * 600)
    kit.verify(bad.id)
    pruned = prune(kit)
    assert told(pruned) == [(bad.id, ("damaged",)), (good.id, ("last",)), (old.id, ())]
    assert any(f"{bad.id} is damaged, and was left" in warning for warning in pruned.warnings)
    assert restored(kit, good)


def test_what_is_missing_may_come_back_and_so_does_its_base_stay(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    kit.later()
    content = kit.fs.read(two.path)
    kit.fs.unlink(two.path)
    assert dict(told(prune(kit)))[two.id] == ("missing",)
    kit.put(two.path, content)
    assert [each.state for each in kit.engine.snapshots.list()] == ["ready"] * 4
    kit.fs.unlink(one.path)
    reasons = dict(told(prune(kit)))
    assert (reasons[two.id], reasons[one.id]) == (("incomplete",), ("missing", f"base of {two.id}"))
    assert reasons[full.id] == (f"base of {one.id}",)


def test_another_store_s_snapshots_and_copies_are_left_and_do_not_count(kit: SnapshotKit) -> None:
    other = SnapshotKit(seed=99)
    other.create("c")
    other.clock.advance_us(90 * SECOND_US)
    theirs = other.engine.snapshots.get(other.snapshot()["snapshot_id"])
    kit.put(f"{SNAPSHOTS_DIR}/{theirs.id}.snap", other.fs.read(theirs.path))
    old, new = kit.later(), kit.later()
    copy = kit.put(f"/copies/{old.id}.snap", kit.fs.read(old.path))
    pruned = prune(kit)
    assert told(pruned) == [(theirs.id, ("of another store",)), (new.id, ("last",)), (old.id, ())]
    assert [each for each in pruned.warnings if theirs.id in each] == [], "that is how it is, every night"
    newest = kit.put(f"/copies/{new.id}.snap", kit.fs.read(new.path))
    pruned = prune(kit, path="/copies")
    assert kit.fs.exists(newest)
    assert (new.id, ("a copy",)) in told(pruned)
    assert kit.fs.exists(copy), "its original is gone, so it is the only one now"


def test_a_copy_beside_it_that_builds_on_it_keeps_it(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    copy = f"{SNAPSHOTS_DIR}/{one.path.rpartition('/')[2]}"
    kit.put(f"/elsewhere/{one.path.rpartition('/')[2]}", kit.fs.read(one.path))
    kit.fs.unlink(copy)
    kit.engine.snapshots.list("/elsewhere")
    kit.put(copy, kit.fs.read(f"/elsewhere/{one.path.rpartition('/')[2]}"))
    kit.later()
    assert dict(told(prune(kit)))[full.id] == (f"base of {one.id}",)
    assert kit.fs.exists(full.path)


def test_what_is_being_read_is_left_and_so_is_what_it_builds_on(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    new = kit.later()
    with kit.engine.snapshots._catalog.in_use(one.path):
        pruned = prune(kit)
    assert dict(told(pruned)) == {new.id: ("last",), two.id: (), one.id: ("in use",), full.id: (f"base of {one.id}",)}
    assert f"{one.id} is in use, and was left; the next prune takes it" in pruned.warnings
    assert kit.ids() == [new.id, one.id, full.id]
    with kit.engine.snapshots._catalog.in_use(new.path):
        assert not [each for each in prune(kit).warnings if "in use" in each], "a rule keeps it"
    assert kit.ids() == [new.id]


def test_what_comes_into_use_between_look_and_deletion_is_left_with_a_word(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, one, two = chained(kit)
    new = kit.later()
    catalog = kit.engine.snapshots._catalog
    monkeypatch.setattr(catalog, "is_in_use", lambda *paths, own=1: False)
    caller = Caller(actor="test", request_id="p")
    with catalog.in_use(one.path):
        pruned = prune(kit, caller=caller)
        assert prune(kit, caller=caller) == pruned, "what came of it is the answer"
    assert dict(told(pruned)) == {new.id: ("last",), two.id: (), one.id: ("in use",), full.id: (f"base of {one.id}",)}
    assert [each for each in pruned.warnings if each.startswith(f"{one.id} was left: ")]
    assert pruned.freed_bytes == two.record.size_bytes
    assert kit.ids() == [new.id, one.id, full.id]


def test_what_the_caller_may_not_touch_is_left(kit: SnapshotKit) -> None:
    inside, outside, _ = kit.later(), kit.later(path="/backups"), kit.later()
    pruned = prune(kit, allowed=lambda path: path.startswith(SNAPSHOTS_DIR))
    assert dict(told(pruned))[outside.id] == ("outside the allowed paths",)
    assert not kit.fs.exists(inside.path)


def test_what_cannot_be_read_as_a_snapshot_is_left_and_said(kit: SnapshotKit) -> None:
    kit.later()
    path = kit.put(f"{SNAPSHOTS_DIR}/snap-2020-01-01-000000.snap", b"not a tar")
    assert prune(kit).warnings[0].startswith(path)
    assert kit.fs.exists(path)


# What it costs --------------------------------------------------------------------------------------------------------


def test_what_point_in_time_recovery_loses_is_told_beforehand(kit: SnapshotKit) -> None:
    first, second = kit.later(), kit.later()
    kit.upsert(["x"], 1)
    [warning] = prune(kit, validate_only=True).warnings
    reached = f"{iso_time(first.record.created_us)} ({first.id}, sequence {first.record.sequence})"
    assert f"recovery of everything no longer reaches back to {reached}: the window begins at " in warning
    assert f"{iso_time(second.record.created_us)} ({second.id}" in warning
    assert prune(kit).warnings == (warning,)
    kit.restore("latest", collection="copy", from_collection="c")
    third = kit.later(collection="c")
    kit.later(collection="c")
    assert prune(kit).warnings == (), f"{second.id} leads to all that {third.id} does"


def test_the_newest_moment_that_the_log_is_kept_for_stays(kit: SnapshotKit) -> None:
    for _ in range(4):
        kit.later()
    before = kit.engine.snapshots._newest_moment()
    prune(kit, RetentionPolicy(yearly=1))
    assert kit.engine.snapshots._newest_moment() == before


# Failures and repetitions ---------------------------------------------------------------------------------------------


def test_a_failure_says_how_far_it_came_and_the_request_sent_again_goes_on(kit: SnapshotKit) -> None:
    snapshots = [kit.later() for _ in range(4)]
    kit.fs.fail_on("unlink", snapshots[1].path, errno.EIO)
    caller = Caller(actor="test", request_id="p")
    with pytest.raises(FailedPrecondition) as caught:
        prune(kit, caller=caller)
    assert f"1 of 3 snapshots were deleted, then: deleting {snapshots[1].id}" in caught.value.message
    assert {each.state for each in kit.engine.snapshots.list()} == {"ready"}
    kit.fs.heal()
    kit.reopen()
    pruned = prune(kit, caller=caller)
    assert len(pruned.order) == 3
    assert kit.ids() == [snapshots[3].id]
    assert prune(kit, caller=caller) == pruned


def test_a_request_id_belongs_to_one_policy(kit: SnapshotKit) -> None:
    kit.later()
    caller = Caller(actor="test", request_id="p")
    prune(kit, caller=caller)
    with pytest.raises(InvalidArgument) as caught:
        prune(kit, replace(LAST, daily=2), caller)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(InvalidArgument):
        kit.engine.snapshots.delete(kit.ids()[0], caller=caller)


def test_on_a_full_disk_it_makes_room(kit: SnapshotKit) -> None:
    for _ in range(3):
        kit.later()
    kit.fs.leave_free(0)
    prune(kit)
    assert len(kit.ids()) == 1


def test_a_file_that_cannot_be_deleted_is_as_it_was(kit: SnapshotKit) -> None:
    one = kit.later()
    kit.fs.fail_on("unlink", one.path, errno.EACCES)
    with pytest.raises(HoldfastError):
        kit.engine.snapshots.delete(one.id)
    kit.fs.heal()
    kit.reopen()
    assert info(kit, one).state == "ready", "a note of the failed deletion would have finished it"


def test_a_note_of_a_deletion_whose_disk_is_not_there_is_taken_back(kit: SnapshotKit) -> None:
    one = kit.later(path="/usb")
    content = kit.fs.read(one.path)
    kit.fs.fail_on("unlink", one.path, errno.EIO, forever=True)
    kit.fs.fail_on("write", "/data/REGISTRY*", errno.EIO)
    with pytest.raises(HoldfastError):
        kit.engine.snapshots.delete(one.id)
    kit.fs.heal()
    kit.fs.unlink(one.path)
    kit.fs.rmdir("/usb")
    kit.reopen()
    assert info(kit, one).state == "missing"
    kit.put(one.path, content)
    kit.reopen()
    assert info(kit, one).state == "ready"
