"""Group commit: order, durability, and what each writer is told when something goes wrong."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from holdfastd.engine import committer as committer_module
from holdfastd.engine.tickets import Caller, Outcome, Submission
from holdfastd.errors import (
    CommitUnknown,
    EngineFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import Fatal, Kit, rows

WAIT_SECONDS = 20.0


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    return kit


@pytest.fixture
def threaded() -> Iterator[Kit]:
    kit = Kit()
    kit.create()
    kit.engine.start()
    yield kit
    kit.fs.on_operation = None
    kit.fs.heal()
    kit.engine.stop()


def queue(kit: Kit, id: str, caller: Caller | None = None) -> Submission:
    """Hand one point to the committer without waiting."""
    submission = kit.engine.points.prepare_upsert("c", [id], rows(1.0), b"", caller=caller or Caller())
    kit.engine.points.commit_nowait(submission)
    return submission


def while_syncing(kit: Kit, do: Callable[[], None]) -> None:
    """Write one point, and run ``do`` when its group is about to be synced."""

    def hook(kind: str, path: str) -> None:
        if kind == "sync" and "/wal/" in path:
            kit.fs.on_operation = None
            do()

    kit.fs.on_operation = hook
    kit.upsert(["leader"])


def test_what_gathers_during_a_sync_becomes_one_group(threaded: Kit) -> None:
    waiting: list[Submission] = []
    while_syncing(threaded, lambda: waiting.extend(queue(threaded, f"q{n}") for n in range(5)))
    before = threaded.fs.ops
    outcomes = [submission.ticket.wait(WAIT_SECONDS) for submission in waiting]
    assert [outcome.sequence for outcome in outcomes] == list(range(3, 8))
    assert all(outcome.durable for outcome in outcomes)
    assert threaded.fs.ops - before <= 2, "five changes took more than one write and one sync"


def test_many_writers_are_committed_in_one_order_that_a_restart_repeats(threaded: Kit) -> None:
    written: list[tuple[int, str, float]] = []
    guard = threading.Lock()

    def write(worker: int) -> None:
        for step in range(25):
            id, value = f"p{(worker + step) % 7}", float(worker * 100 + step)
            outcome = threaded.upsert([id], value)
            assert outcome.durable
            with guard:
                written.append((outcome.sequence, id, value))

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(WAIT_SECONDS)
    written.sort()
    assert [sequence for sequence, _, _ in written] == list(range(2, 152))
    expected = {id: value for _, id, value in written}
    assert threaded.values() == expected
    digest = threaded.engine.collections.stats("c").digest
    again = Kit(threaded.fs.crash(random.Random(1)))
    assert again.values() == expected
    assert again.engine.collections.stats("c").digest == digest


def test_a_write_is_not_visible_before_it_is_durable(kit: Kit) -> None:
    seen: list[int] = []
    while_syncing(kit, lambda: seen.append(kit.engine.points.count("c")))
    assert seen == [0]
    assert kit.engine.points.count("c") == 1


# Request ids (RULES 17).


def as_told(upserted: Outcome) -> Outcome:
    """What the reply to an upsert tells of its outcome, which is what is remembered of it."""
    return replace(upserted, versions=None)


def test_a_request_sent_again_returns_the_first_result(kit: Kit) -> None:
    caller = Caller(request_id="r1")
    first = kit.upsert(["a", "a", "b"], caller=caller)
    assert kit.upsert(["a", "a", "b"], caller=caller) == as_told(first)
    assert first.count == 3
    assert sorted(kit.values()) == ["a", "b"]
    assert kit.versions() == {"a": 1, "b": 1}


def test_the_same_request_twice_in_one_group_is_done_once(threaded: Kit) -> None:
    twins: list[Submission] = []
    caller = Caller(request_id="twin")
    while_syncing(threaded, lambda: twins.extend(queue(threaded, "x", caller) for _ in range(2)))
    outcomes = [twin.ticket.wait(WAIT_SECONDS) for twin in twins]
    assert outcomes[0] == outcomes[1]
    assert threaded.versions()["x"] == 1


def test_a_refused_request_is_not_remembered(kit: Kit) -> None:
    caller = Caller(request_id="r1")
    kit.fs.fail_on("write", "*/wal/*", errno.ENOSPC)
    with pytest.raises(ResourceExhausted):
        kit.upsert(["a"], caller=caller)
    assert kit.upsert(["a"], caller=caller).sequence == 2


def test_a_request_sent_again_after_its_collection_is_gone(kit: Kit) -> None:
    upserted = kit.upsert(["a"], caller=Caller(request_id="r1"))
    removed = kit.delete("a", caller=Caller(request_id="r2"))
    kit.upsert(["a", "b"], payloads=[b'{"n":1}', b'{"n":1}'])
    where = kit.engine.points.delete_where("c", "n = 1", caller=Caller(request_id="r3"))
    assert kit.engine.collections.drop("c", caller=Caller(request_id="r4")).outcome.count == 0
    assert kit.engine.points.upsert("c", ["a"], rows(1.0), b"", caller=Caller(request_id="r1")) == as_told(upserted)
    assert kit.delete("a", caller=Caller(request_id="r2")) == removed
    assert kit.engine.points.delete_where("c", "n = 1", caller=Caller(request_id="r3")) == where
    assert where.count == 2
    assert kit.engine.collections.drop("c", caller=Caller(request_id="r4")).outcome.count == 0


def test_a_delete_that_found_nothing_deletes_nothing_when_it_is_sent_again(kit: Kit) -> None:
    caller = Caller(request_id="r1")
    first = kit.engine.points.delete_where("c", "n = 1", caller=caller)
    kit.upsert(["a"], payloads=[b'{"n":1}'])
    for _ in range(2):
        again = kit.engine.points.delete_where("c", "n = 1", caller=caller)
        assert (again.sequence, again.count) == (first.sequence, 0)
        kit.reopen()
    assert set(kit.values()) == {"a"}


def test_changes_of_the_catalog_tell_their_own_sequence(kit: Kit) -> None:
    collections = kit.engine.collections
    kit.create("d")
    made = collections.create_alias("x", "d", caller=Caller(request_id="r1"))
    switched = collections.switch_alias("x", "c", caller=Caller(request_id="r2"))
    deleted = collections.delete_alias("x", caller=Caller(request_id="r3"))
    dropped = collections.drop("d", caller=Caller(request_id="r4"))
    sequence = kit.engine.sequence
    kit.upsert(["a"])
    assert [each.outcome.sequence for each in (made, switched, deleted, dropped)] == [
        *range(sequence - 3, sequence + 1)
    ]
    assert [each.before for each in (made, switched, deleted)] == ["", "d", "c"]
    assert collections.create_alias("x", "d", caller=Caller(request_id="r1")).outcome == made.outcome
    assert collections.switch_alias("x", "c", caller=Caller(request_id="r2")).outcome == switched.outcome
    assert collections.delete_alias("x", caller=Caller(request_id="r3")).outcome == deleted.outcome
    assert collections.drop("d", caller=Caller(request_id="r4")).outcome == dropped.outcome


def test_catalog_changes_sent_again_are_done_once(kit: Kit) -> None:
    collections = kit.engine.collections
    for _ in range(2):
        kit.create("d", caller=Caller(request_id="r1"))
        collections.create_alias("x", "d", caller=Caller(request_id="r2"))
    for _ in range(2):
        collections.switch_alias("x", "c", caller=Caller(request_id="r3"))
    sequence = kit.engine.sequence
    assert kit.engine.wal.mark("here", caller=Caller(request_id="r4")).sequence == sequence + 1
    assert kit.engine.wal.mark("here", caller=Caller(request_id="r4")).sequence == sequence + 1
    for _ in range(2):
        collections.delete_alias("x", caller=Caller(request_id="r5"))
    assert kit.engine.sequence == sequence + 2


def test_request_ids_outlive_two_crashes_and_a_checkpoint(kit: Kit) -> None:
    first = kit.upsert(["a"], caller=Caller(request_id="r1"))
    kit.create("d", caller=Caller(request_id="r2"))
    for _ in range(2):
        kit.reopen()
        assert kit.upsert(["a"], caller=Caller(request_id="r1")).sequence == first.sequence
        kit.create("d", caller=Caller(request_id="r2"))
    kit.engine.checkpoint()
    kit.reopen()
    assert kit.upsert(["a"], caller=Caller(request_id="r1")).sequence == first.sequence
    assert kit.versions() == {"a": 1}


# When the log fails (RULES 10).


def test_a_write_in_flight_when_the_sync_fails_is_unknown_and_not_visible(kit: Kit) -> None:
    kit.fs.fail_on("sync", "*/wal/*")
    with pytest.raises(CommitUnknown) as caught:
        kit.upsert(["a"])
    assert caught.value.hint is not None
    assert kit.values() == {}
    with pytest.raises(EngineFailed):
        kit.upsert(["b"])


def test_out_of_space_in_a_group_refuses_all_of_it_and_none_comes_back(threaded: Kit) -> None:
    waiting: list[Submission] = []

    def fill() -> None:
        waiting.extend(queue(threaded, f"q{n}") for n in range(2))
        threaded.fs.fail_on("write", "*/wal/*", errno.ENOSPC)

    while_syncing(threaded, fill)
    for submission in waiting:
        with pytest.raises(ResourceExhausted):
            submission.ticket.wait(WAIT_SECONDS)
    assert list(threaded.values()) == ["leader"]
    assert list(Kit(threaded.fs.crash(random.Random(1))).values()) == ["leader"]
    assert threaded.upsert(["next"]).durable


def test_when_a_refused_write_cannot_be_cut_off_it_is_unknown(kit: Kit) -> None:
    kit.fs.fail_on("write", "*/wal/*", errno.ENOSPC)
    kit.fs.fail_on("resize", "*/wal/*", errno.EIO)
    with pytest.raises(CommitUnknown):
        kit.upsert(["a"])
    assert isinstance(kit.engine.failure, EngineFailed)


def test_an_exception_while_applying_ends_the_process(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(kit.engine._applier), "apply", broken)
    with pytest.raises(Fatal):
        kit.upsert(["a"])


# Back-pressure and stopping.


def test_writers_wait_for_room_and_give_up_after_a_while(threaded: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "MAX_QUEUED_BYTES", 100)
    monkeypatch.setattr(committer_module, "QUEUE_PATIENCE_SECONDS", 0.01)
    refused: list[ResourceExhausted] = []
    waiting: list[Submission] = []

    def overfill() -> None:
        waiting.append(queue(threaded, "first"))
        try:
            queue(threaded, "second")
        except ResourceExhausted as error:
            refused.append(error)

    while_syncing(threaded, overfill)
    assert refused[0].reason == "WRITE_QUEUE_FULL"
    assert refused[0].metadata["retry_after_ms"] == "1000"
    assert waiting[0].ticket.wait(WAIT_SECONDS).durable
    assert threaded.upsert(["later"]).durable


def test_a_stopped_engine_refuses_writes(kit: Kit) -> None:
    kit.engine.stop()
    with pytest.raises(Unavailable):
        kit.upsert(["a"])


def test_an_action_that_fails_tells_its_caller_and_nobody_else(kit: Kit) -> None:
    def action() -> None:
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        kit.engine._committer.between_groups(action)
    assert kit.upsert(["a"]).durable


# Names that change while a write is on its way (RULES 18).


def test_a_collection_dropped_while_a_write_was_prepared_is_not_found(kit: Kit) -> None:
    submission = kit.engine.points.prepare_upsert("c", ["a"], rows(1.0), b"", caller=Caller())
    kit.engine.collections.drop("c", caller=Caller())
    with pytest.raises(NotFound):
        kit.engine.points.commit(submission)


def test_a_name_that_was_given_to_another_collection_meanwhile_is_resolved_once_more(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = kit.engine.points
    prepare = type(points).prepare_upsert

    def replaced_meanwhile(*args: object, **options: object) -> Submission:
        monkeypatch.undo()
        submission = prepare(*args, **options)  # type: ignore[arg-type]
        kit.engine.collections.drop("c", caller=Caller())
        kit.create("c")
        return submission

    monkeypatch.setattr(type(points), "prepare_upsert", replaced_meanwhile)
    kit.upsert(["a"])
    assert list(kit.values()) == ["a"]


# Durability (RULES 16).


@pytest.mark.parametrize("mode", [SyncMode.PERIODIC, SyncMode.ASYNC])
def test_a_write_that_asks_for_it_is_durable_in_any_mode(mode: SyncMode) -> None:
    kit = Kit(sync_mode=mode)
    kit.create()
    kit.engine.start()
    try:
        assert not kit.upsert(["a"]).durable
        assert kit.upsert(["b"], caller=Caller(sync=True)).durable
        assert kit.engine.durable_sequence >= 3
        again = Kit(kit.fs.crash(random.Random(0)))
        assert sorted(again.values()) == ["a", "b"]
    finally:
        kit.engine.stop()


def test_a_retry_that_asks_for_durability_waits_for_it() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.engine.start()
    try:
        first = kit.upsert(["a"], caller=Caller(request_id="r"))
        again = kit.upsert(["a"], caller=Caller(request_id="r", sync=True))
        assert (first.durable, again.durable) == (False, True)
        assert first.sequence == again.sequence == kit.engine.durable_sequence
    finally:
        kit.engine.stop()


def test_durability_is_refused_where_there_is_none(kit: Kit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    sync = Caller(sync=True)
    with pytest.raises(FailedPrecondition) as caught:
        kit.upsert(["a"], name="m", caller=sync)
    assert caught.value.reason == "COLLECTION_NOT_DURABLE"
    kit.engine.wal.disable(caller=Caller())
    with pytest.raises(FailedPrecondition) as caught:
        kit.upsert(["a"], caller=sync)
    assert caught.value.reason == "WAL_DISABLED"
    assert not kit.upsert(["a"]).durable


# Numbers and times (RULES 1, 12).


def test_sequences_and_times_strictly_increase_though_the_clock_goes_back(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.clock.jump_us(-3_600_000_000)
    kit.upsert(["b"])
    kit.reopen()
    kit.clock.jump_us(-3_600_000_000)
    kit.upsert(["c"])
    headers = [operation.record.header for operation in kit.engine.wal.records()]
    times = [header.timestamp_us for header in headers]
    assert times == sorted(set(times))
    assert [header.sequence for header in headers] == [1, 2, 3, 4]
    assert headers[-1].wall_us < headers[-2].wall_us < headers[-3].wall_us, "raw wall time is kept beside"
