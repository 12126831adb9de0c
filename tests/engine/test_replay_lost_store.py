"""RULES 33: the data directory is lost, its log is not. A full restore and a replay of the log bring it all back."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from holdfastd.errors import FailedPrecondition, HoldfastError, OutOfRange
from holdfastd.model import StorageKind
from tests.support.engines import CALLER, abandon
from tests.support.memfs import MemFileSystem
from tests.support.replays import ReplayKit, content, found_again, lost_store


@pytest.fixture
def lost() -> Iterator[ReplayKit]:
    kit = lost_store()
    yield kit
    kit.engine.stop()


@pytest.fixture
def found(lost: ReplayKit) -> Iterator[ReplayKit]:
    kit = found_again(lost)
    yield kit
    kit.engine.stop()


def test_what_was_created_dropped_and_aliased_after_the_snapshot_is_as_it_was(
    lost: ReplayKit, found: ReplayKit
) -> None:
    assert content(found) != content(lost)
    result = found.replay(path="/old")
    assert content(found) == content(lost)
    assert not result["warnings"]
    assert found.values("made") == {"x": 7.0}


def test_it_is_idempotent(lost: ReplayKit, found: ReplayKit) -> None:
    found.replay(path="/old")
    sequence = found.engine.sequence
    result = found.replay(path="/old")
    assert (result["operations_replayed"], result["collections_affected"]) == (0, [])
    assert found.engine.sequence == sequence
    assert content(found) == content(lost)


def test_what_is_dropped_here_afterwards_does_not_come_back(found: ReplayKit) -> None:
    found.replay(path="/old")
    found.engine.collections.drop("made", caller=CALLER)
    found.replay(path="/old")
    assert [stats.spec.name for stats in found.engine.collections.list()] == ["kept", "renewed"]


def test_a_plan_counts_what_the_replay_then_does(lost: ReplayKit, found: ReplayKit) -> None:
    before = content(found)
    planned = found.replay(path="/old", validate_only=True)
    assert content(found) == before
    done = found.replay(path="/old")
    assert planned["operations_replayed"] == done["operations_replayed"]


def test_cut_off_by_a_crash_at_any_operation_it_goes_on_where_it_stopped(lost: ReplayKit) -> None:
    found = found_again(lost)
    begun = found.fs.ops
    found.replay(path="/old")
    ended = found.fs.ops
    found.engine.stop()
    for index in range(begun, ended + 1, 5):
        again = ReplayKit(found.fs.crash_at(index, random.Random(index)), seed=600 + index)
        again.engine.start()
        again.replay(path="/old")
        assert content(again) == content(lost)
        again.engine.stop()


def test_it_goes_on_with_what_the_next_replay_is_allowed(lost: ReplayKit, found: ReplayKit) -> None:
    (snapshot,) = lost.engine.snapshots.list()
    for sequence in range(snapshot.record.sequence, lost.engine.sequence + 1):
        found.replay(path="/old", to_sequence=sequence)
    assert content(found) == content(lost)


def test_without_a_full_restore_a_foreign_log_is_refused_and_the_remedy_is_named(lost: ReplayKit) -> None:
    kit = found_again(lost, restore=False)
    try:
        with pytest.raises(
            FailedPrecondition, match="nothing here was restored from a snapshot of that store"
        ) as caught:
            kit.replay(path="/old")
        assert caught.value.reason == "FOREIGN_ORIGIN"
        assert "snapshot restore" in (caught.value.hint or "")
        assert kit.engine.collections.list() == []
    finally:
        kit.engine.stop()


def test_after_a_restore_of_one_collection_the_catalog_stays_as_it_is(lost: ReplayKit) -> None:
    kit = found_again(lost, restore=False)
    try:
        kit.restore("/copied.snap", collection="copy", from_collection="kept")
        kit.replay(path="/old")
        assert [stats.spec.name for stats in kit.engine.collections.list()] == ["copy"]
        assert kit.digest("copy") == lost.digest("kept")
    finally:
        kit.engine.stop()


def test_for_one_collection_only_that_one_is_rolled_forward(lost: ReplayKit, found: ReplayKit) -> None:
    found.replay(path="/old", collection="kept")
    assert found.digest("kept") == lost.digest("kept")
    assert {stats.spec.name for stats in found.engine.collections.list()} == {"kept", "dropped", "renewed"}


def test_a_name_that_is_taken_here_stops_it_and_freeing_the_name_lets_it_go_on(
    lost: ReplayKit, found: ReplayKit
) -> None:
    found.create("made")
    with pytest.raises(FailedPrecondition) as caught:
        found.replay(path="/old")
    assert caught.value.reason == "NAME_TAKEN"
    found.engine.collections.drop("made", caller=CALLER)
    found.replay(path="/old")
    assert content(found) == content(lost)


def test_a_collection_with_writes_of_its_own_is_not_dropped_by_the_log(found: ReplayKit) -> None:
    found.upsert(["mine"], name="dropped")
    with pytest.raises(FailedPrecondition) as caught:
        found.replay(path="/old")
    assert caught.value.reason == "TARGET_HAS_OWN_WRITES"
    assert "mine" in found.values("dropped")


def test_it_stops_before_a_restore_whose_content_no_log_holds(lost: ReplayKit) -> None:
    lost.restore("latest", collection="copy", from_collection="kept")
    lost.create("too-late")
    found = found_again(lost)
    try:
        (warning,) = found.replay(path="/old")["warnings"]
        assert "which restored the snapshot" in warning
        assert "made" in {stats.spec.name for stats in found.engine.collections.list()}
        assert "too-late" not in {stats.spec.name for stats in found.engine.collections.list()}
    finally:
        found.engine.stop()


def test_a_collection_in_memory_comes_back_empty() -> None:
    lost = ReplayKit()
    lost.create("c")
    lost.engine.start()
    lost.snapshot()
    lost.create("m", storage=StorageKind.MEMORY)
    lost.upsert(["a"], name="m")
    found = found_again(lost)
    found.replay(path="/old")
    assert found.values("m") == {}
    found.engine.stop()
    lost.engine.stop()


def test_a_start_that_would_leave_out_a_change_of_the_catalog_is_refused(lost: ReplayKit, found: ReplayKit) -> None:
    with pytest.raises(OutOfRange, match="the catalog is complete through") as caught:
        found.replay(path="/old", from_sequence=lost.engine.sequence)
    assert caught.value.reason == "REPLAY_HOLE"


def test_the_catalogs_watermark_outlives_checkpoints_and_crashes(lost: ReplayKit, found: ReplayKit) -> None:
    found.replay(path="/old")
    found.engine.operations.stop()
    for seed in (1, 2):
        found.engine.checkpoint()
        abandon(found.fs)
        found = ReplayKit(found.fs.crash(random.Random(seed)), seed=70 + seed)
        assert content(found) == content(lost)
    found.engine.start()
    assert found.replay(path="/old")["operations_replayed"] == 0
    found.engine.stop()


def test_without_a_log_a_kill_takes_the_watermark_back_with_the_points(lost: ReplayKit, found: ReplayKit) -> None:
    """The manifest of a snapshot names collections that a replay has created, and none of their points."""
    found.engine.wal.disable(caller=CALLER)
    found.fs.fail_on("create", "*/vectors.npy", forever=True)
    with pytest.raises(HoldfastError, match="a checkpoint failed"):
        found.replay(path="/old")
    found.fs.heal()
    written: list[int] = []

    def note(kind: str, path: str) -> None:
        if kind == "write" and path.endswith(".part"):
            written.append(found.fs.ops)

    found.fs.on_operation = note
    found.snapshot()
    again = ReplayKit(MemFileSystem(found.fs.kill_disk_at(written[0])), seed=71)
    again.engine.start()
    again.replay(path="/old")
    assert content(again) == content(lost)
    again.engine.stop()
