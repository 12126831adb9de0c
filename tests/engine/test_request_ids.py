"""RULES 17: a request sent again is told the first answer, restarts in between included, for as long as is promised."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfastd.engine.operations import MAX_KEPT, OperationState, Work
from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.requests import MAX_AGE_US, MAX_REMEMBERED, RequestTable
from holdfastd.engine.snapshots import RestoreRequest, SnapshotRequest
from holdfastd.engine.tickets import Caller, Outcome
from holdfastd.errors import FailedPrecondition, HoldfastError, NotFound
from holdfastd.format.requests import encode_requests
from tests.support.engines import CALLER, ROOT
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit
from tests.support.waiting import until

ASKED = Caller(actor="test", request_id="r1")
FIRST_SNAPSHOT = "snap-2023-11-14-221320"


def store(fs: MemFileSystem | None = None, seed: int = 7) -> SnapshotKit:
    """A store with points, an alias of c and a snapshot."""
    kit = SnapshotKit(fs, seed=seed)
    if fs is None:
        kit.create("c")
        kit.create("d")
        kit.upsert(["a", "b"])
        kit.engine.collections.create_alias("x", "c", caller=CALLER)
        kit.engine.collections.create_alias("y", "c", caller=CALLER)
        kit.snapshot(collection="c")
    return kit


@pytest.fixture
def kit() -> Iterator[SnapshotKit]:
    kit = store()
    yield kit
    kit.engine.operations.stop()


def work_until_cancelled(work: Work) -> dict[str, Any]:
    until(work._cancel.is_set)
    work.check_cancelled()
    return {}


def told(outcome: Outcome) -> tuple[int, int, tuple[str, ...]]:
    """What of an outcome reaches the client, but for whether it is durable: that may have changed for the better."""
    return outcome.sequence, outcome.count, outcome.names


def upsert(kit: SnapshotKit) -> Any:
    return told(kit.upsert(["a", "n", "a"], caller=ASKED))


def update(kit: SnapshotKit) -> Any:
    points = kit.engine.points
    return told(points.update("c", ["a"], vectors=None, payload_block=b'[{"n":1}]', merge=True, caller=ASKED))


def delete(kit: SnapshotKit) -> Any:
    return told(kit.delete("a", "unknown", caller=ASKED))


def delete_where(kit: SnapshotKit) -> Any:
    return told(kit.engine.points.delete_where("c", "n = 1", caller=ASKED))


def truncate(kit: SnapshotKit) -> Any:
    return told(kit.engine.points.truncate("c", caller=ASKED))


def create(kit: SnapshotKit) -> Any:
    spec = kit.engine.collections.create("new", 3, caller=ASKED).spec
    return spec.id, spec.created_sequence


def drop(kit: SnapshotKit) -> Any:
    dropped = kit.engine.collections.drop("c", caller=ASKED)
    return told(dropped.outcome), dropped.aliases


def create_alias(kit: SnapshotKit) -> Any:
    return told(kit.engine.collections.create_alias("z", "c", caller=ASKED).outcome)


def switch_alias(kit: SnapshotKit) -> Any:
    changed = kit.engine.collections.switch_alias("x", "d", caller=ASKED)
    return told(changed.outcome), changed.before


def delete_alias(kit: SnapshotKit) -> Any:
    changed = kit.engine.collections.delete_alias("x", caller=ASKED)
    return told(changed.outcome), changed.before


def mark(kit: SnapshotKit) -> Any:
    return kit.engine.wal.mark("here", caller=ASKED)


def delete_snapshot(kit: SnapshotKit) -> Any:
    return kit.engine.snapshots.delete(FIRST_SNAPSHOT, caller=ASKED)


def create_snapshot(kit: SnapshotKit) -> Any:
    operation = kit.engine.snapshots.start_create(SnapshotRequest(), caller=ASKED)
    return kit.engine.operations.wait(operation.id)


def restore(kit: SnapshotKit) -> Any:
    operation = kit.engine.snapshots.start_restore(
        RestoreRequest("latest", collection="copy", from_collection="c"), caller=ASKED
    )
    return kit.engine.operations.wait(operation.id)


def replay(kit: SnapshotKit) -> Any:
    return kit.engine.operations.wait(kit.engine.replay.start(ReplayRequest(), caller=ASKED).id)


CHANGES: list[Callable[[SnapshotKit], Any]] = [
    upsert, update, delete, delete_where, truncate, create, drop, create_alias, switch_alias, delete_alias, mark,
    delete_snapshot, create_snapshot, restore, replay,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("between", ["nothing", "a checkpoint", "a restore"])
def test_a_request_sent_again_after_two_crashes_is_told_what_it_was_told_first(
    kit: SnapshotKit, change: Callable[[SnapshotKit], Any], between: str
) -> None:
    if between == "a restore":
        kit.snapshot(path="/backups")
    first = change(kit)
    if between == "a checkpoint":
        kit.engine.checkpoint()
    elif between == "a restore":
        # Its manifest reflects the catalog, and so the next recovery applies no change of it again.
        kit.restore("latest", collection="other", from_collection="d")
    for seed in (1, 2):
        kit.engine.operations.stop()
        kit = store(kit.fs.crash(random.Random(seed)), seed=seed + 50)
        kit.clock.wall_us += seed * 1_000_000
        sequence = kit.engine.sequence
        again = change(kit)
        assert again == first
        assert kit.engine.sequence == sequence
        assert not kit.engine.recovery.warnings


def test_a_request_whose_collection_is_gone_by_now_says_so(kit: SnapshotKit) -> None:
    create(kit)
    kit.engine.collections.drop("new", caller=CALLER)
    kit.create("new")
    with pytest.raises(NotFound, match=r"at sequence \d+ was dropped or replaced since"):
        create(kit)


# How long ------------------------------------------------------------------------------------------------------------


def test_after_ten_minutes_a_request_is_a_new_one(kit: SnapshotKit) -> None:
    first = upsert(kit)
    kit.clock.advance_us(MAX_AGE_US - 1000)
    assert upsert(kit) == first
    kit.reopen()
    assert upsert(kit) == first
    kit.clock.advance_us(1000)
    assert upsert(kit) != first


def test_of_more_than_a_hundred_thousand_requests_the_oldest_are_forgotten() -> None:
    table = RequestTable()
    for number in range(MAX_REMEMBERED + 2):
        table.remember(f"r{number}", Outcome(number, 1, durable=True, time_us=number))
    for known in (table, RequestTable.load(encode_requests(table.rows()))):
        assert len(known) == MAX_REMEMBERED
        assert known.find("r1", MAX_REMEMBERED) is None
        found = known.find("r2", MAX_REMEMBERED)
        assert found is not None
        assert found.sequence == 2


def test_what_is_older_than_ten_minutes_takes_no_room() -> None:
    table = RequestTable()
    table.remember("old", Outcome(1, 1, durable=True, time_us=0))
    table.remember("new", Outcome(2, 1, durable=True, time_us=MAX_AGE_US + 1))
    assert [row[0] for row in table.rows()] == ["new"]


def test_an_id_that_is_used_again_after_ten_minutes_is_as_new_as_its_outcome() -> None:
    table, again = RequestTable(), MAX_AGE_US + 1
    table.remember("job", Outcome(1, 1, durable=True, time_us=0))
    for number in range(MAX_REMEMBERED - 1):
        table.remember(f"r{number}", Outcome(2 + number, 1, durable=True, time_us=again - 1))
    assert table.find("job", again) is None
    table.remember("job", Outcome(MAX_REMEMBERED + 1, 1, durable=True, time_us=again))
    for number in range(3):
        table.remember(f"n{number}", Outcome(MAX_REMEMBERED + 2 + number, 1, durable=True, time_us=again))
    found = table.find("job", again)
    assert found is not None
    assert found.sequence == MAX_REMEMBERED + 1


def test_operations_whose_request_may_come_again_are_not_forgotten(kit: SnapshotKit) -> None:
    operations = kit.engine.operations
    first = operations.start("snapshot", lambda work: {}, request={}, request_id="r1")
    for _ in range(MAX_KEPT + 5):
        operations.wait(operations.start("snapshot", lambda work: {}, request={}).id)
    begun = operations.begun("r1")
    assert begun is not None
    assert begun.id == first.id
    assert len(operations.list()) <= MAX_KEPT + 1
    kit.clock.advance_us(MAX_AGE_US)
    operations.wait(operations.start("snapshot", lambda work: {}, request={}).id)
    assert operations.begun("r1") is None


# Deleting snapshots --------------------------------------------------------------------------------------------------


def test_a_snapshot_whose_deletion_a_crash_cut_short_is_deleted_by_the_request_sent_again(kit: SnapshotKit) -> None:
    """Whatever file operation the crash follows: the answer is the first one, and then the snapshot is gone."""
    (id,) = kit.ids()
    begun = kit.fs.ops
    first = kit.engine.snapshots.delete(id, caller=ASKED)
    assert kit.fs.ops - begun > 5
    for index in range(begun, kit.fs.ops + 1):
        for seed in range(3):
            again = store(kit.fs.crash_at(index, random.Random(seed)), seed=seed + 1)
            assert again.engine.snapshots.delete(id, caller=ASKED) == first
            assert again.ids() == []
            assert again.fs.listdir(f"{ROOT}/snapshots") == []


def test_a_deletion_that_failed_is_no_answer(kit: SnapshotKit) -> None:
    (id,) = kit.ids()
    kit.fs.fail_on("unlink", "*.snap")
    with pytest.raises(HoldfastError):
        kit.engine.snapshots.delete(id, caller=ASKED)
    kit.fs.heal()
    kit.reopen()
    assert kit.ids() == [id]
    assert kit.engine.snapshots.delete(id, caller=ASKED).id == id
    assert kit.ids() == []


@pytest.mark.crash
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("killed", [False, True])
def test_whatever_fails_in_a_deletion_sent_again_it_is_done(code: int, killed: bool) -> None:
    counted = store()
    begun, failed = counted.fs.ops, 0
    counted.engine.snapshots.delete(*counted.ids(), caller=ASKED)
    for step in range(counted.fs.ops - begun):
        kit = store()
        (id,) = kit.ids()
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            kit.engine.snapshots.delete(id, caller=ASKED)
        except HoldfastError:
            failed += 1
        kit.fs.heal()
        if killed or kit.engine.failure is not None:
            kit.reopen()
        assert kit.engine.snapshots.delete(id, caller=ASKED).id == id
        assert kit.ids() == []
        assert not any(entry.high_water for entry in kit.engine._keeper.current.collections)
    assert failed > 0


def test_what_a_refused_deletion_would_have_deleted_is_looked_at_again(kit: SnapshotKit) -> None:
    (id,) = kit.ids()
    info = kit.engine.snapshots.get(id)
    with kit.engine.snapshots._catalog.in_use(info.path), pytest.raises(FailedPrecondition):
        kit.engine.snapshots.delete(id, caller=ASKED)
    kit.engine.snapshots.delete(id)
    with pytest.raises(NotFound):
        kit.engine.snapshots.delete(id, caller=ASKED)


def test_on_a_full_disk_a_snapshot_can_be_deleted(kit: SnapshotKit) -> None:
    (id,) = kit.ids()
    kit.fs.fail_on("write", "*RECEIPTS*", 28)
    assert kit.engine.snapshots.delete(id, caller=ASKED) == kit.engine.snapshots.delete(id, caller=ASKED)
    assert kit.ids() == []


def test_damaged_receipts_are_a_warning_and_moved_aside(kit: SnapshotKit) -> None:
    delete_snapshot(kit)
    kit.fs.damage(f"{ROOT}/RECEIPTS.json", 90, b"#")
    damaged = kit.fs.read(f"{ROOT}/RECEIPTS.json")
    (warning,) = kit.reopen().recovery.warnings
    assert f"moved to {ROOT}/RECEIPTS.json.damaged; what was deleted by requests before this start" in warning
    assert kit.fs.read(f"{ROOT}/RECEIPTS.json.damaged") == damaged
    assert kit.reopen().recovery.warnings == (), "it is said once"


def test_cancelling_again_with_the_same_request_is_no_error(kit: SnapshotKit) -> None:
    operations = kit.engine.operations
    started = operations.start("snapshot", work_until_cancelled, request={})
    operations.cancel(started.id, request_id="r1")
    assert operations.wait(started.id).state is OperationState.CANCELLED
    assert operations.cancel(started.id, request_id="r1").id == started.id
