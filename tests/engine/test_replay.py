"""Replay: the log applied again to what came out of a snapshot, in order, once, and never on top of other writes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition, HoldfastError, OutOfRange
from holdfastd.model import Digest, SyncMode
from tests.support.engines import CALLER, abandon
from tests.support.snapshots import SnapshotKit, raise_failure


class ReplayKit(SnapshotKit):
    """A store that replays, waiting for the end."""

    def replay(self, **request: Any) -> dict[str, Any]:
        operation = self.engine.replay.start(ReplayRequest(**request), caller=CALLER)
        return raise_failure(self.engine.operations.wait(operation.id))

    def digest(self, name: str = "c") -> Digest:
        return self.engine.collections.stats(name).digest


def history(sync_mode: SyncMode = SyncMode.FSYNC) -> ReplayKit:
    """A snapshot of c, then four operations on c (sequences 5 to 8) between others on d."""
    kit = ReplayKit(sync_mode=sync_mode)
    kit.create("c")
    kit.create("d")
    kit.upsert(["a", "b", "x"], 1.0, 2.0, 3.0)
    kit.upsert(["a"], name="d")
    kit.engine.start()
    kit.snapshot(collection="c")
    kit.upsert(["a"], 10.0)
    kit.upsert(["a"], 11.0, name="d")
    kit.delete("b")
    kit.upsert(["e", "f"], 5.0, 6.0)
    kit.delete("e")
    return kit


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
    assert kit.digest("copy") == before


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
