"""RULES 31: when all of a range is done the watermark says so, and a second replay does nothing at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from holdfastd.engine import replay_one
from holdfastd.engine.operations import Work
from holdfastd.engine.replay import ReplayRequest
from holdfastd.errors import Cancelled
from holdfastd.model import Origin, StorageKind, SyncMode
from tests.support.engines import CALLER
from tests.support.replays import ReplayKit, history


@pytest.fixture
def kit() -> Iterator[ReplayKit]:
    kit = history()
    yield kit
    kit.engine.stop()


def origin(kit: ReplayKit, name: str = "copy") -> Origin:
    found = kit.engine.collections.stats(name).spec.origin
    assert found is not None
    return found


def test_a_finished_replay_is_complete_through_the_end_of_the_log(kit: ReplayKit) -> None:
    for number in range(3):
        kit.upsert([f"later-{number}"], name="d")
    kit.restore("latest", collection="copy")
    end = kit.engine.sequence
    kit.replay()
    assert origin(kit).through == end


def test_a_replay_to_a_target_is_complete_through_the_target(kit: ReplayKit) -> None:
    target = kit.engine.sequence - 1
    kit.upsert(["later"], name="d")
    kit.restore("latest", collection="copy")
    kit.replay(to_sequence=target)
    assert origin(kit).through == target


def test_a_second_replay_writes_nothing_at_all(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.restore("latest", collection="another")
    assert kit.replay()["collections_affected"] == ["another", "copy"]
    ops, sequence, through = kit.fs.ops, kit.engine.sequence, origin(kit).through
    result = kit.replay()
    assert (result["operations_replayed"], result["operations_skipped"]) == (0, 0)
    assert (kit.engine.sequence, origin(kit).through) == (sequence, through)
    assert kit.fs.ops - ops < 20, "only what an operation notes of itself"


def test_where_nothing_concerns_the_collection_the_watermark_moves_all_the_same_once(kit: ReplayKit) -> None:
    kit.snapshot(collection="c")
    kit.upsert(["later"], name="d")
    kit.restore("latest", collection="copy")
    end = kit.engine.sequence
    assert kit.replay()["operations_replayed"] == 0
    assert origin(kit).through == end
    sequence = kit.engine.sequence
    kit.replay()
    assert kit.engine.sequence == sequence


def test_a_plan_moves_no_watermark(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    before = origin(kit), kit.engine.sequence
    kit.replay(validate_only=True)
    assert (origin(kit), kit.engine.sequence) == before


def test_the_watermark_at_the_end_of_a_range_survives_a_crash_and_a_checkpoint(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    kit.replay()
    through, digest = origin(kit).through, kit.digest("copy")
    again = ReplayKit(kit.fs.crash(random.Random(3)), seed=91)
    again.engine.checkpoint()
    again = ReplayKit(again.fs.crash(random.Random(4)), seed=92)
    again.engine.start()
    try:
        assert origin(again).through == through
        assert again.replay()["operations_replayed"] == 0
        assert again.digest("copy") == digest
        assert again.versions("copy") == again.versions()
    finally:
        again.engine.stop()


def test_cut_off_by_a_crash_at_any_operation_a_replay_ends_like_one_that_was_not() -> None:
    kit = history()
    kit.restore("latest", collection="copy")
    kit.upsert(["g"], 7.0)
    begun = kit.fs.ops
    kit.replay()
    wanted = kit.digest("copy"), kit.versions("copy")
    ended = kit.fs.ops
    kit.engine.stop()
    for index in range(begun, ended + 1, 2):
        again = ReplayKit(kit.fs.crash_at(index, random.Random(index)), seed=500 + index)
        again.engine.start()
        again.replay()
        assert (again.digest("copy"), again.versions("copy")) == wanted
        sequence = again.engine.sequence
        assert again.replay()["operations_replayed"] == 0
        assert again.engine.sequence == sequence
        again.engine.stop()


def test_a_replay_that_crossed_to_a_later_timeline_can_be_repeated() -> None:
    """Every unclean start with a collection in memory begins a timeline: what was replayed lies on its history."""
    kit = ReplayKit()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.create("c")
    kit.upsert(["a"], 1.0)
    kit.snapshot(collection="c")
    kit.upsert(["b"], 2.0)
    kit.reopen()
    kit.upsert(["c"], 3.0)
    kit.engine.start()
    try:
        assert kit.engine.timeline == 2
        middle = kit.engine.sequence
        kit.upsert(["d"], 4.0)
        kit.restore("latest", collection="copy")
        assert kit.replay(to_sequence=middle)["operations_replayed"] == 2
        assert origin(kit).timeline == 2
        assert kit.replay()["operations_replayed"] == 1
        assert kit.digest("copy") == kit.digest()
        assert kit.replay()["operations_replayed"] == 0
    finally:
        kit.engine.stop()


def replays_over_and_over(kit: ReplayKit) -> None:
    """What was restored as copy follows c, whatever was written to others in between."""
    kit.replay(collection="copy")
    assert origin(kit).timeline == kit.engine.timeline
    kit.upsert(["z"], 5.0)
    assert kit.replay(collection="copy")["operations_replayed"] == 1
    assert kit.digest("copy") == kit.digest()


def restored_before_an_unclean_start(kit: ReplayKit) -> None:
    kit.create("c")
    kit.create("d")
    kit.upsert(["a"], 1.0)
    kit.snapshot(collection="c")
    kit.restore("latest", collection="copy")
    kit.sync_log()
    kit.reopen()
    kit.engine.start()
    assert kit.engine.timeline == 2


@pytest.mark.parametrize("memory", [False, True])
def test_a_watermark_that_others_writes_took_to_a_later_timeline_lies_there(memory: bool) -> None:
    kit = ReplayKit(sync_mode=SyncMode.FSYNC if memory else SyncMode.PERIODIC)
    if memory:
        kit.create("m", storage=StorageKind.MEMORY)
    restored_before_an_unclean_start(kit)
    try:
        kit.upsert(["b"], 2.0, name="d")
        replays_over_and_over(kit)
    finally:
        kit.engine.stop()


def test_a_watermark_that_the_target_took_to_a_later_timeline_lies_there() -> None:
    """The only numbers of that timeline up to the target are those of a collection in memory."""
    kit = ReplayKit(sync_mode=SyncMode.PERIODIC)
    kit.create("m", storage=StorageKind.MEMORY)
    kit.create("c")
    kit.upsert(["a"], 1.0)
    kit.snapshot(collection="c")
    kit.upsert(["a"], 2.0)
    kit.restore("latest", collection="copy")
    kit.sync_log()
    kit.reopen()
    kit.engine.start()
    try:
        kit.upsert(["b"], 2.0, name="m")
        kit.replay(collection="copy", to_sequence=kit.engine.sequence)
        replays_over_and_over(kit)
    finally:
        kit.engine.stop()


def test_the_result_says_what_changed_and_through_which_moment(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    found = kit.replay(collection="copy", to_sequence=8)
    assert (found["first_sequence"], found["through_sequence"], found["vectors_affected"]) == (5, 8, 4)
    (last,) = [each.record for each in kit.engine.wal.records(from_sequence=8, to_sequence=8)]
    assert found["through_us"] == last.timestamp_us
    again = kit.replay(collection="copy", to_sequence=8)
    assert (again["first_sequence"], again["through_sequence"], again["vectors_affected"]) == (0, 0, 0)


# Cancelled ------------------------------------------------------------------------------------------------------------


class Impatient:
    """Work that is cancelled at its report number ``reports``."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def report(self, **changes: Any) -> None:
        self.left -= 1
        self.check_cancelled()

    def check_cancelled(self) -> None:
        if self.left <= 0:
            raise Cancelled("operation op-1 was cancelled", hint="nothing was changed; start it again if needed")


def cancelled(kit: ReplayKit, reports: int) -> Cancelled:
    with pytest.raises(Cancelled) as caught:
        kit.engine.replay.run(ReplayRequest(collection="copy"), cast(Work, Impatient(reports)))
    return caught.value


def test_a_replay_cancelled_before_it_changed_anything_says_so(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    error = cancelled(kit, 1)
    assert error.hint == "nothing was changed; start it again if needed"


def test_a_replay_cancelled_later_says_how_far_it_came_and_that_the_next_goes_on_there(
    kit: ReplayKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_one, "MAX_IN_FLIGHT", 1)
    for number in range(20):
        kit.upsert([f"n{number}"], name="c")
    kit.restore("latest", collection="copy")
    error = cancelled(kit, 5)
    done = int(error.metadata["operations_replayed"])
    assert f"; {done} operations were applied before and stay" in error.message
    assert error.hint == "replay again: it goes on behind the last of them"
    assert 0 < done < 24
    assert kit.replay(collection="copy")["operations_replayed"] == 24 - done
    assert kit.digest("copy") == kit.digest()


def test_an_operation_that_was_cancelled_keeps_what_it_said(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    started = kit.engine.operations.start(
        "replay",
        lambda work: kit.engine.replay.run(ReplayRequest(collection="copy"), cast(Work, Impatient(3))),
        request={},
    )
    error = kit.engine.operations.wait(started.id).error
    assert error is not None
    assert "operations were applied before and stay" in error.message
    kit.engine.collections.drop("copy", caller=CALLER)
