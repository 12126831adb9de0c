"""Replay: the log applied again to what came out of a snapshot, in order, once, and never on top of other writes."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from holdfastd.engine import committer, replay_one
from holdfastd.engine.operations import Operation, Work
from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Cancelled, FailedPrecondition, HoldfastError, OutOfRange, ResourceExhausted
from holdfastd.model import SyncMode
from holdfastd.storage.wal import Entry, Wal
from tests.support.engines import CALLER, ROOT, abandon
from tests.support.replays import ReplayKit, history
from tests.support.snapshots import raise_failure
from tests.support.waiting import until

WAL = f"{ROOT}/wal"


@pytest.fixture
def kit() -> Iterator[ReplayKit]:
    kit = history()
    yield kit
    kit.fs.heal()
    kit.engine.stop()


def logged(kit: ReplayKit) -> list[int]:
    """The sequences of the operations on c behind the snapshot."""
    return [operation.record.sequence for operation in kit.engine.wal.records(from_sequence=5)]


def test_a_restored_copy_is_rolled_forward_to_what_the_original_is(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    assert kit.values("copy") == {"a": 1.0, "b": 2.0, "x": 3.0}
    result = kit.replay(collection="copy")
    assert kit.digest("copy") == kit.digest()
    assert kit.values("copy") == kit.values() == {"a": 10.0, "x": 3.0, "f": 6.0}
    assert result["operations_replayed"] == 4
    assert result["collections_affected"] == ["copy"]
    assert result["status"] == "completed"


def test_a_second_replay_has_nothing_to_do(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.replay()
    before = kit.digest("copy")
    for _ in range(2):
        assert kit.replay()["operations_replayed"] == 0
    assert kit.digest("copy") == before


def test_a_replay_goes_on_with_what_was_logged_since(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.replay()
    kit.upsert(["g"], 7.0)
    assert kit.replay()["operations_replayed"] == 1
    assert kit.digest("copy") == kit.digest()


def test_a_replay_survives_a_crash_and_is_not_done_twice(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.replay(to_sequence=logged(kit)[0])
    again = ReplayKit(kit.fs.crash(random.Random(1)), seed=99)
    again.engine.start()
    try:
        assert again.values("copy") == {"a": 10.0, "b": 2.0, "x": 3.0}
        assert again.replay()["operations_replayed"] == 3
        assert again.digest("copy") == again.digest()
        assert again.versions("copy")["a"] == 2
    finally:
        again.engine.stop()


def test_a_target_that_a_replay_stops_at_is_inclusive_and_a_replay_to_before_it_does_nothing(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    first, *_ = logged(kit)
    assert kit.replay(to_sequence=first - 1)["operations_replayed"] == 0
    assert kit.replay(to_sequence=first)["operations_replayed"] == 1
    assert kit.replay(to_sequence=first)["operations_replayed"] == 0


def test_replaying_to_before_a_delete_does_not_raise_the_dead_later(kit: ReplayKit) -> None:
    """Upsert at 10, delete at 20, replay to 15, then to the end: the point is dead."""
    kit.restore("latest", collection="copy")
    kit.replay(to_sequence=logged(kit)[2])
    assert "e" in kit.values("copy") or "b" not in kit.values("copy")
    kit.replay()
    kit.replay()
    assert kit.values("copy") == kit.values()


def test_a_dry_run_counts_and_changes_nothing(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    before = kit.digest("copy")
    result = kit.replay(validate_only=True)
    assert (result["operations_replayed"], result["status"]) == (4, "planned")
    assert kit.digest("copy") == before
    assert kit.replay()["operations_replayed"] == 4


def test_a_live_collection_has_nothing_to_replay(kit: ReplayKit) -> None:
    result = kit.replay()
    assert (result["operations_replayed"], result["status"]) == (0, "completed")
    assert result["warnings"]


def test_on_top_of_other_writes_nothing_is_replayed(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.upsert(["mine"], name="copy")
    before = kit.digest("copy")
    with pytest.raises(FailedPrecondition) as caught:
        kit.replay(collection="copy")
    assert caught.value.reason == "TARGET_HAS_OWN_WRITES"
    assert "holdfast storage wal replay --collection ORIGINAL --into NEW_NAME" in str(caught.value.hint)
    assert kit.digest("copy") == before
    kit.replay(collection="c", into="beside")
    assert kit.digest("beside") == kit.digest("c"), "as the hint says"


def test_own_writes_are_remembered_over_checkpoints_and_crashes(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.upsert(["mine"], name="copy")
    for checkpoint in (False, True):
        if checkpoint:
            kit.engine.checkpoint()
        again = ReplayKit(kit.fs.crash(random.Random(1)), seed=98)
        again.engine.start()
        with pytest.raises(FailedPrecondition) as caught:
            again.replay(collection="copy")
        assert caught.value.reason == "TARGET_HAS_OWN_WRITES"
        again.engine.stop()


def test_replay_stops_before_the_record_that_ended_the_original(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    expected = kit.digest()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("c")
    kit.upsert(["other"])
    result = kit.replay()
    assert kit.digest("copy") == expected
    assert "dropped or replaced" in result["warnings"][0]


def test_a_replayed_drop_does_not_drop_what_was_just_restored(kit: ReplayKit) -> None:
    kit.engine.collections.drop("c", caller=CALLER)
    kit.restore("latest", collection="c")
    kit.replay()
    assert kit.values() == {"a": 10.0, "x": 3.0, "f": 6.0}


def test_a_start_beyond_the_snapshot_that_leaves_a_hole_is_refused(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    before = kit.digest("copy")
    with pytest.raises(OutOfRange) as caught:
        kit.replay(from_sequence=logged(kit)[-1])
    assert caught.value.reason == "REPLAY_HOLE"
    assert kit.digest("copy") == before


@pytest.mark.parametrize("mode", [SyncMode.PERIODIC, SyncMode.ASYNC])
def test_what_was_acknowledged_but_not_yet_synced_is_replayed_too(mode: SyncMode) -> None:
    kit = history(mode)
    try:
        kit.restore("latest", collection="copy")
        kit.upsert(["late"], 9.0)
        kit.replay()
        assert kit.digest("copy") == kit.digest()
    finally:
        kit.engine.stop()


def test_versions_and_sequences_are_those_of_the_replay(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    before = kit.engine.sequence
    kit.replay()
    replayed, kept = kit.engine.points.get("copy", ["a", "x"])
    assert replayed.sequence > before > kept.sequence
    assert (replayed.version, kept.version) == (2, 1)


def test_a_log_that_was_off_in_between_is_not_crossed(kit: ReplayKit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["unlogged"])
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["after"])
    kit.restore("latest", collection="copy")
    with pytest.raises(OutOfRange) as caught:
        kit.replay(collection="copy")
    assert caught.value.reason == "LOG_GAP"


@pytest.mark.parametrize("restarted", [False, True])
def test_the_window_begins_behind_a_gap_and_marks_before_it_are_reached_from_before_it(
    kit: ReplayKit, restarted: bool
) -> None:
    early = kit.engine.wal.mark("early", caller=CALLER)
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["unlogged"])
    begun = kit.engine.sequence + 1
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["after"])
    kit.snapshot(collection="c")
    late = kit.engine.wal.mark("late", caller=CALLER)
    if restarted:
        kit.restart()
        kit.engine.start()
    status = kit.engine.wal.status()
    window = kit.engine.snapshots.window(status.files)
    assert (status.first_sequence, window.sequence) == (1, begun)
    assert window.time_us >= early.time_us
    assert status.marks == (late, early)
    newest, oldest = kit.ids()
    for mark, snapshot in ((early, oldest), (late, newest)):
        kit.restore(snapshot, collection=mark.name)
        kit.replay(collection=mark.name, to_sequence=mark.sequence)
    assert kit.values("early") == {"a": 10.0, "x": 3.0, "f": 6.0}
    assert kit.values("late") == kit.values()


def test_a_replay_that_fails_half_way_goes_on_later(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.fs.fail_on("sync", "*/wal/*", times=1)
    with pytest.raises(HoldfastError):
        kit.replay()
    kit.fs.heal()
    assert kit.engine.failure is not None
    abandon(kit.fs)
    again = ReplayKit(kit.fs, seed=97)
    again.engine.start()
    try:
        again.replay()
        assert again.digest("copy") == again.digest()
    finally:
        again.engine.stop()


# What is refused in the middle ------------------------------------------------------------------------------------


def replay_while_nothing_commits(kit: ReplayKit, before: Callable[[], None] = lambda: None) -> Operation:
    """Start a replay of the four operations behind whatever ``before`` sends, and let go once all of them wait."""
    begun: list[Operation] = []

    def begin() -> None:
        before()
        waiting = kit.queued()
        begun.append(kit.engine.replay.start(ReplayRequest(collection="copy"), caller=CALLER))
        until(lambda: kit.queued() == waiting + 4)

    kit.engine._committer.between_groups(begin)
    return begun[0]


def refuse_write(kit: ReplayKit, number: int) -> None:
    """Let the disk be full at write ``number`` to the log, counted from 1; those that prepare a file do not count."""
    writes = []

    def look(kind: str, path: str) -> None:
        if kind == "write" and path.startswith(WAL) and threading.current_thread().name in ("MainThread", "committer"):
            writes.append(path)
            if len(writes) == number:
                kit.fs.fail_on("write", path, errno.ENOSPC)

    kit.fs.on_operation = look


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_behind_an_operation_that_was_refused_none_is_applied(
    kit: ReplayKit, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the watermark passes the one that is missing, and nobody ever notices."""
    monkeypatch.setattr(committer, "MAX_GROUP_CHANGES", 1)
    kit.restore("latest", collection="copy")
    refuse_write(kit, number)
    operation = replay_while_nothing_commits(kit)
    with pytest.raises(ResourceExhausted):
        raise_failure(kit.engine.operations.wait(operation.id))
    kit.fs.on_operation = None
    kit.fs.heal()
    assert kit.replay(collection="copy")["operations_replayed"] == 5 - number
    assert kit.digest("copy") == kit.digest()
    assert kit.values("copy") == kit.values()


def test_a_write_that_arrives_with_a_replay_is_not_overwritten_by_it(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    writer = threading.Thread(target=lambda: kit.upsert(["a"], 99.0, name="copy"))

    def write() -> None:
        writer.start()
        until(lambda: kit.queued() == 1)

    operation = replay_while_nothing_commits(kit, write)
    with pytest.raises(FailedPrecondition) as caught:
        raise_failure(kit.engine.operations.wait(operation.id))
    writer.join()
    assert caught.value.reason == "TARGET_HAS_OWN_WRITES"
    assert kit.values("copy") == {"a": 99.0, "b": 2.0, "x": 3.0}


class CancelledWork:
    """Work that is cancelled at its first report of something done."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def report(self, **changes: Any) -> None:
        if "done_vectors" in changes:
            self.cancelled.set()
        self.check_cancelled()

    def check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled("cancelled")


def test_a_cancelled_replay_goes_on_where_it_stopped(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends only when all that it had sent off is settled."""
    for n in range(20):
        kit.upsert(["n"], n + 1.0)
    kit.restore("latest", collection="copy")
    work, groups, append = CancelledWork(), [], Wal.append
    monkeypatch.setattr(replay_one, "MAX_IN_FLIGHT", 8)

    def held(log: Wal, entries: list[Entry]) -> None:
        groups.append(entries)
        if len(groups) > 1:
            until(work.cancelled.is_set)
        append(log, entries)

    with monkeypatch.context() as patch:
        patch.setattr(committer, "MAX_GROUP_CHANGES", 1)
        patch.setattr(Wal, "append", held)
        with pytest.raises(Cancelled):
            kit.engine.replay.run(ReplayRequest(collection="copy"), cast(Work, work))
        assert 0 < len(groups) <= 8
    assert kit.replay(collection="copy")["operations_replayed"] == 24 - len(groups)
    assert kit.digest("copy") == kit.digest()
    assert kit.versions("copy")["n"] == kit.versions()["n"]


def test_two_replays_at_once_apply_nothing_twice(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.restore("latest", collection="copy")
    asked: list[str] = []
    lock = threading.Lock()

    class WatchedLock:
        def __enter__(self) -> None:
            asked.append(threading.current_thread().name)
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    def begin() -> Operation:
        return kit.engine.replay.start(ReplayRequest(), caller=CALLER)

    monkeypatch.setattr(kit.engine.replay, "_running", WatchedLock())
    started: list[Operation] = []

    def both() -> None:
        started.extend((begin(), begin()))
        until(lambda: len(asked) == 2 and kit.queued() == 4)

    kit.engine._committer.between_groups(both)
    results = [raise_failure(kit.engine.operations.wait(operation.id)) for operation in started]
    assert sorted(result["operations_replayed"] for result in results) == [0, 4]
    assert kit.versions("copy") == kit.versions()


# Which log ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["wal", "wal2", f"{ROOT}/wal/"])
def test_a_directory_of_the_stores_own_log_means_all_of_it(kit: ReplayKit, path: str) -> None:
    kit.engine.wal.enable(WalChanges(path="wal2"), caller=CALLER)
    kit.upsert(["g"], 7.0)
    kit.restore("latest", collection="copy")
    assert kit.replay(collection="copy", path=path)["operations_replayed"] == 5
    assert kit.digest("copy") == kit.digest()


@pytest.mark.parametrize("path", [None, "wal"])
def test_only_what_is_durable_is_read(path: str | None) -> None:
    kit = history(SyncMode.ASYNC)
    try:
        kit.restore("latest", collection="copy")
        kit.upsert(["late"], 9.0)
        last = kit.engine.sequence
        assert kit.log is not None
        assert kit.log.synced_sequence < last
        assert kit.replay(path=path, validate_only=True)["operations_replayed"] == 5
        assert kit.log.synced_sequence >= last
    finally:
        kit.engine.stop()


@pytest.fixture
def other(kit: ReplayKit) -> Iterator[ReplayKit]:
    """Another store: with a copy of the first one's snapshot, restored as copy, and of its log, in /old."""
    other = ReplayKit(seed=8)
    other.engine.start()
    (snapshot,) = kit.engine.snapshots.list()
    other.restore(other.put("/copied.snap", kit.fs.read(snapshot.path)), collection="copy")
    other.fs.mkdir("/old")
    other.fs.mkdir("/empty")
    for name in kit.fs.listdir(WAL):
        if name.endswith(".wal"):
            other.put(f"/old/{name}", kit.fs.read(f"{WAL}/{name}"))
    yield other
    other.engine.stop()


def test_a_log_that_survived_its_store_rolls_the_snapshot_forward(kit: ReplayKit, other: ReplayKit) -> None:
    assert other.replay(path="/old")["operations_replayed"] == 4
    assert other.digest("copy") == kit.digest()
    assert other.replay(path="/old")["operations_replayed"] == 0


@pytest.mark.parametrize(
    ("path", "reason"), [(None, "FOREIGN_ORIGIN"), ("wal", "FOREIGN_ORIGIN"), ("/empty", "LOG_NOT_FOUND")]
)
def test_the_log_of_another_store_is_not_taken_for_the_originals(
    other: ReplayKit, path: str | None, reason: str
) -> None:
    before = other.digest("copy")
    with pytest.raises(FailedPrecondition) as caught:
        other.replay(path=path)
    assert caught.value.reason == reason
    assert other.digest("copy") == before


def test_a_snapshot_of_a_history_that_was_left_is_not_continued_with_another() -> None:
    kit = ReplayKit(sync_mode=SyncMode.ASYNC)
    kit.create("c")
    kit.upsert(["a"], 1.0)
    kit.sync_log()
    earlier = kit.fs.crash(random.Random(1))
    kit.upsert(["a"], 2.0)
    taken = kit.snapshot(collection="c")

    again = ReplayKit(earlier, seed=96)
    again.engine.start()
    try:
        assert again.engine.timeline == 2
        for n in range(5):
            again.upsert(["b"], n + 1.0)
        again.restore(again.put("/copied.snap", kit.fs.read(taken["path"])), collection="copy")
        before = again.digest("copy")
        with pytest.raises(FailedPrecondition) as caught:
            again.replay(collection="copy")
        assert caught.value.reason == "TIMELINE_DIVERGED"
        assert again.digest("copy") == before
    finally:
        again.engine.stop()


# Up to where --------------------------------------------------------------------------------------------------------


def test_a_target_up_to_now_is_valid_and_a_later_one_is_refused(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    before = kit.digest("copy")
    with pytest.raises(OutOfRange, match="future"):
        kit.replay(to_us=kit.clock.now_us() + 3_600_000_000)
    with pytest.raises(OutOfRange, match="there is no sequence"):
        kit.replay(to_sequence=kit.engine.sequence + 1)
    assert kit.digest("copy") == before
    kit.clock.advance_us(60_000_000)
    assert kit.replay(to_us=kit.clock.now_us())["operations_replayed"] == 4
    assert kit.replay(to_sequence=kit.engine.sequence)["operations_replayed"] == 0


def test_a_record_from_a_clock_that_was_ahead_is_a_valid_target(kit: ReplayKit) -> None:
    kit.clock.jump_us(600_000_000)
    kit.upsert(["ahead"], 8.0)
    ahead = kit.clock.now_us() - 1000
    kit.upsert(["last"], 9.0)
    kit.clock.jump_us(-600_000_000)
    kit.restore("latest", collection="copy")
    assert kit.replay(to_us=ahead)["operations_replayed"] >= 4


def test_the_end_of_another_stores_log_is_its_last_record(kit: ReplayKit, other: ReplayKit) -> None:
    last = kit.engine.sequence
    with pytest.raises(OutOfRange, match=f"ends with sequence {last};"):
        other.replay(path="/old", to_sequence=last + 1)
    with pytest.raises(OutOfRange, match="future"):
        other.replay(path="/old", to_us=other.clock.now_us() + 3_600_000_000)
    assert other.replay(path="/old", to_sequence=last)["operations_replayed"] == 4
