"""The bounds of a replay: empty ranges, a log that is switched off, and a gap behind the end (RULES 12)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition, OutOfRange
from holdfastd.model import Origin, StorageKind
from tests.support.engines import CALLER
from tests.support.replays import ReplayKit, history


@pytest.fixture
def kit() -> Iterator[ReplayKit]:
    kit = history()
    yield kit
    kit.engine.stop()


def origin(kit: ReplayKit) -> Origin:
    found = kit.engine.collections.stats("copy").spec.origin
    assert found is not None
    return found


def switch_off(kit: ReplayKit) -> int:
    """Returns the last sequence of the log."""
    kit.engine.wal.disable(caller=CALLER)
    return kit.engine.sequence


def switch_on(kit: ReplayKit) -> None:
    kit.engine.wal.enable(WalChanges(), caller=CALLER)


# Empty ranges ---------------------------------------------------------------------------------------------------------


def test_a_range_that_ends_before_it_begins_is_a_success_with_a_warning(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    before = kit.digest("copy"), origin(kit), kit.engine.sequence
    early = kit.clock.now_us() - 2
    for bounds in ({"from_sequence": 8, "to_sequence": 7}, {"from_us": early + 1, "to_us": early}):
        result = kit.replay(**bounds)
        assert (result["operations_replayed"], result["status"]) == (0, "completed")
        assert result["warnings"] == ["the range is empty: it ends before it begins"]
    assert (kit.digest("copy"), origin(kit), kit.engine.sequence) == before


def test_an_empty_range_that_lies_in_the_future_is_refused_like_any_other(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    with pytest.raises(OutOfRange, match="there is no sequence"):
        kit.replay(from_sequence=kit.engine.sequence + 2, to_sequence=kit.engine.sequence + 1)


def test_a_range_of_one_operation_is_not_empty(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    through = origin(kit).through
    result = kit.replay(from_sequence=through + 1, to_sequence=through + 1)
    assert (result["operations_replayed"], result["warnings"]) == (1, [])


def test_a_range_without_anything_that_is_missing_is_a_success_with_a_warning(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    through = origin(kit).through
    for bounds in ({"to_sequence": through}, {"from_sequence": 1, "to_sequence": through - 1}):
        result = kit.replay(**bounds)
        assert (result["operations_replayed"], result["status"]) == (0, "completed")
        assert ["nothing was left to replay" in warning for warning in result["warnings"]] == [True]
    assert not kit.replay()["warnings"]
    assert kit.replay()["warnings"]


# The log is switched off ----------------------------------------------------------------------------------------------


def test_the_stores_own_log_is_its_own_with_the_log_switched_off(kit: ReplayKit) -> None:
    switch_off(kit)
    result = kit.replay()
    assert (result["operations_replayed"], result["status"]) == (0, "completed")
    assert ["recovery has applied the whole log" in warning for warning in result["warnings"]] == [True]


def test_a_copy_of_the_own_log_is_nobodys_history_without_a_restore(kit: ReplayKit) -> None:
    kit.fs.mkdir("/copied")
    for name in kit.fs.listdir("/data/wal"):
        if name.endswith(".wal"):
            kit.put(f"/copied/{name}", kit.fs.read(f"/data/wal/{name}"))
    for _ in range(2):
        with pytest.raises(FailedPrecondition) as caught:
            kit.replay(path="/copied")
        assert caught.value.reason == "FOREIGN_ORIGIN"
        switch_off(kit)


def test_with_the_log_switched_off_a_replay_leads_to_its_end_and_says_what_is_not_in_it(kit: ReplayKit) -> None:
    expected = kit.digest()
    kit.restore("latest", collection="copy")
    end = switch_off(kit)
    kit.upsert(["unlogged"], 4.0)
    result = kit.replay(collection="copy")
    assert kit.digest("copy") == expected
    assert origin(kit).through == end
    assert [f"ends with sequence {end}" in warning for warning in result["warnings"]] == [True]


def test_with_the_log_switched_off_nothing_behind_its_end_can_be_a_target(kit: ReplayKit) -> None:
    """Else the watermark passes operations that no log holds, and the next replay leaves them out in silence."""
    kit.restore("latest", collection="copy")
    end = switch_off(kit)
    kit.upsert(["unlogged"], 4.0)
    last = kit.engine.sequence
    before = kit.digest("copy"), origin(kit)
    for to in (end + 1, last, last + 1):
        with pytest.raises(OutOfRange, match=f"the log ends with sequence {end};"):
            kit.replay(collection="copy", to_sequence=to)
    assert (kit.digest("copy"), origin(kit)) == before
    result = kit.replay(collection="copy", to_sequence=end)
    assert (result["operations_replayed"], result["warnings"]) == (4, [])
    assert origin(kit).through == end


def test_with_the_log_switched_off_now_is_a_target_that_leads_to_its_end(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    end = switch_off(kit)
    kit.upsert(["unlogged"], 4.0)
    result = kit.replay(collection="copy", to_us=kit.clock.now_us())
    assert (result["operations_replayed"], origin(kit).through) == (4, end)
    assert [f"ends with sequence {end}" in warning for warning in result["warnings"]] == [True]
    with pytest.raises(OutOfRange, match="future"):
        kit.replay(collection="copy", to_us=kit.clock.now_us() + 3_600_000_000)


def test_numbers_of_collections_in_memory_are_no_end_of_a_log_that_is_switched_off(kit: ReplayKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.restore("latest", collection="copy")
    end = kit.engine.sequence
    kit.upsert(["a"], name="m")
    switch_off(kit)
    with pytest.raises(OutOfRange, match=f"the log ends with sequence {end};"):
        kit.replay(collection="copy", to_sequence=kit.engine.sequence)


def test_what_a_replay_did_with_the_log_switched_off_is_on_the_disk(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy")
    switch_off(kit)
    kit.replay(collection="copy")
    again = ReplayKit(kit.fs.crash(random.Random(5)), seed=90)
    again.engine.start()
    try:
        assert again.digest("copy") == again.digest()
        assert origin(again) == origin(kit)
        assert again.replay(collection="copy")["operations_replayed"] == 0
    finally:
        again.engine.stop()


# A gap ----------------------------------------------------------------------------------------------------------------


def with_a_gap(kit: ReplayKit) -> int:
    """What was restored as copy, and a log that was off for one write. Returns the last sequence before the gap."""
    kit.restore("latest", collection="copy")
    end = switch_off(kit)
    kit.upsert(["unlogged"], 4.0)
    switch_on(kit)
    return end


@pytest.mark.parametrize("written", [False, True])
def test_a_target_before_a_gap_is_reached_and_one_in_it_is_not(kit: ReplayKit, written: bool) -> None:
    expected = kit.digest()
    end = with_a_gap(kit)
    last = kit.engine.sequence
    if written:
        kit.upsert(["after"])
    assert kit.replay(collection="copy", to_sequence=end)["operations_replayed"] == 4
    assert (kit.digest("copy"), origin(kit).through) == (expected, end)
    for to in (last, None):
        with pytest.raises(OutOfRange) as caught:
            kit.replay(collection="copy", to_sequence=to)
        assert caught.value.reason == "LOG_GAP"
    assert (kit.digest("copy"), origin(kit).through) == (expected, end)
    assert kit.replay(collection="copy", to_sequence=end)["operations_replayed"] == 0


def test_the_moment_of_the_last_operation_before_a_gap_is_reached(kit: ReplayKit) -> None:
    expected = kit.digest()
    moment = next(o for o in kit.engine.wal.records(from_sequence=kit.engine.sequence)).record.header.timestamp_us
    with_a_gap(kit)
    kit.replay(collection="copy", to_us=moment)
    assert kit.digest("copy") == expected
    with pytest.raises(OutOfRange) as caught:
        kit.replay(collection="copy", to_us=kit.clock.now_us())
    assert caught.value.reason == "LOG_GAP"
