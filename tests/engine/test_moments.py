"""Restoring to a moment: which snapshot is begun with, what is refused and in which words, and that nothing is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfastd.engine import logged
from holdfastd.engine.history import Ending, iso_time
from holdfastd.engine.roll_forward import RollForward
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import (
    AlreadyExists,
    Cancelled,
    Corruption,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    OutOfRange,
)
from holdfastd.model import StorageKind
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.replays import ReplayKit, found_again, kit_with_moments, lost_store
from tests.support.restores import assert_sound, directories


def tick(kit: ReplayKit) -> None:
    kit.clock.advance_us(2_000_000)


@pytest.fixture
def kit() -> ReplayKit:
    return kit_with_moments()


def to(kit: ReplayKit, sequence: int | None = None, **options: Any) -> dict[str, Any]:
    ending = options.pop("ending", None) or Ending(sequence)
    return kit.restore(options.pop("snapshot", "latest"), ending=ending, **options)


def refused(kind: type[HoldfastError], kit: ReplayKit, sequence: int | None = None, **options: Any) -> Any:
    """The error of a restore that must change nothing."""
    before, there = observe(kit.engine), directories(kit)
    with pytest.raises(kind) as caught:
        to(kit, sequence, **options)
    assert observe(kit.engine) == before
    assert directories(kit) == there
    return caught.value


# The way --------------------------------------------------------------------------------------------------------------


def test_the_newest_snapshot_before_the_moment_is_begun_with(kit: ReplayKit) -> None:
    newest, oldest = kit.ids()
    found = to(kit, 8, from_collection="c", collection="copy")
    assert (found["chain"], found["operations_replayed"]) == ([oldest, newest], 2)
    assert (found["restored_through_sequence"], found["vectors_restored"]) == (8, 1)
    assert kit.values("copy") == {"e": 5.0}
    found = to(kit, 4, from_collection="c", collection="other")
    assert (found["chain"], found["operations_replayed"]) == ([oldest], 1)
    assert kit.values("other") == {"a": 10.0, "b": 2.0}


def test_the_moment_of_a_snapshot_needs_no_log(kit: ReplayKit) -> None:
    assert to(kit, 5, from_collection="c", collection="copy")["operations_replayed"] == 0
    assert kit.values("copy") == {"a": 10.0}


def test_a_snapshot_that_is_named_is_begun_with(kit: ReplayKit) -> None:
    _, oldest = kit.ids()
    found = to(kit, 8, snapshot=oldest, from_collection="c", collection="copy")
    assert (found["chain"], found["operations_replayed"]) == ([oldest], 4)
    assert kit.values("copy") == {"e": 5.0}


def test_a_nearer_one_that_is_missing_is_passed_over_and_said(kit: ReplayKit) -> None:
    newest, oldest = kit.ids()
    kit.fs.unlink(kit.engine.snapshots.get(newest).path)
    found = to(kit, 8, from_collection="c", collection="copy")
    assert found["chain"] == [oldest]
    assert found["warnings"] == [f"{newest} would have been nearer, and was passed over: it is missing"]
    assert kit.values("copy") == {"e": 5.0}


def test_a_nearer_one_that_turns_out_damaged_is_passed_over_and_said(kit: ReplayKit) -> None:
    newest, oldest = kit.ids()
    path = kit.engine.snapshots.get(newest).path
    kit.fs.damage(path, kit.fs.read(path).index(b'"collections"'), b"#")
    found = to(kit, 8, from_collection="c", collection="copy")
    assert found["chain"] == [oldest]
    assert found["warnings"] == [f"{newest} would have been nearer, and was passed over: it is damaged"]
    assert kit.values("copy") == {"e": 5.0}
    with pytest.raises(Corruption, match=newest):
        to(kit, 8, snapshot=newest, from_collection="c", collection="named")


def test_everything_as_it_was_replaces_what_is_there(kit: ReplayKit) -> None:
    expected = {4: {"a": 10.0, "b": 2.0}, 7: {"a": 10.0, "e": 5.0}}
    kit.create("later")
    for sequence, values in expected.items():
        found = to(kit, sequence, overwrite=True)
        assert found["collections_restored"] == ["c", "d"]
        assert found["collections_untouched"] == ["later"]
        assert kit.values("c") == values
    assert_sound(kit, observe(kit.engine))


def test_a_collection_made_and_one_dropped_on_the_way(kit: ReplayKit) -> None:
    kit.create("new", dimensions=3)
    kit.upsert(["n"], 3, name="new")
    kit.engine.collections.create_alias("current", "new", caller=CALLER)
    kit.engine.collections.drop("d", caller=CALLER)
    then = observe(kit.engine)
    sequence = kit.engine.sequence
    for name in ("c", "new"):
        kit.engine.collections.drop(name, caller=CALLER)
    assert to(kit, sequence)["collections_restored"] == ["c", "new"]
    assert_sound(kit, then)


def test_the_name_counts_for_one_that_was_made_anew(kit: ReplayKit) -> None:
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("c", dimensions=3)
    kit.upsert(["z"], 9)
    to(kit, kit.engine.sequence, from_collection="c", collection="copy")
    assert kit.values("copy") == {"z": 9.0}
    assert kit.engine.collections.stats("copy").spec.dimensions == 3


def test_a_time_means_the_last_operation_at_or_before_it(kit: ReplayKit) -> None:
    (record,) = kit.engine.points.get("c", ["e"])
    assert record is not None
    at = record.time_us
    for time_us, values in ((at, {"a": 10.0, "e": 5.0}), (at - 1, {"a": 10.0})):
        to(kit, ending=Ending(time_us=time_us), from_collection="c", collection="copy", overwrite=True)
        assert kit.values("copy") == values


def test_with_small_memtables_it_is_sealed_on_the_way_and_every_row_is_verified() -> None:
    """Kills that an increment brought are replaced by those of what follows, more than once."""
    kit = ReplayKit()
    kit.create("c")
    kit.upsert([f"n{number}" for number in range(20)])
    tick(kit)
    kit.snapshot()
    tick(kit)
    kit.delete("n1", "n2")
    kit.snapshot(incremental=True)
    for number in range(3, 15):
        kit.upsert([f"n{number}", f"m{number}"], number * 10, number)
        kit.delete(f"m{number - 1}", f"n{number + 3}")
    sealing = kit.engine.snapshots.moments
    sealing._context = replace(sealing._context, config=replace(kit.engine.config, memtable_bytes=1500))
    to(kit, kit.engine.sequence, from_collection="c", collection="copy", verify=True)
    assert kit.values("copy") == kit.values()
    collection = kit.engine._applier.catalog.resolve("copy")
    assert len(collection.segments) > 4
    assert_sound(kit, observe(kit.engine))


def test_it_can_be_rolled_forward_further(kit: ReplayKit) -> None:
    """Its origin is what it would be of a snapshot of that moment (RULES 31)."""
    kit.engine.start()
    to(kit, 4, from_collection="c", collection="copy")
    assert kit.replay(collection="copy")["operations_replayed"] == 3
    assert kit.values("copy") == {"e": 5.0}
    assert kit.replay(collection="copy")["operations_replayed"] == 0
    kit.engine.stop()


def test_a_dry_run_reads_the_log_and_touches_nothing(kit: ReplayKit) -> None:
    before, there = observe(kit.engine), directories(kit)
    found = to(kit, 8, from_collection="c", collection="copy", validate_only=True)
    assert (found["status"], found["operations_replayed"], found["restored_through_sequence"]) == ("planned", 2, 8)
    assert found["warnings"] == [
        f"the vectors are those of {kit.ids()[0]}: 2 operations follow, and what they add and remove is not counted"
    ]
    own = to(kit, 5, from_collection="c", collection="copy", validate_only=True)
    assert (own["vectors_restored"], own["warnings"]) == (1, []), "nothing follows: they are counted"
    assert (observe(kit.engine), directories(kit)) == (before, there)


def test_a_memory_collection_is_as_the_snapshot_has_it(kit: ReplayKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["v"], 1, name="m")
    tick(kit)
    taken = kit.snapshot()
    kit.upsert(["v", "w"], 2, 3, name="m")
    found = to(kit, kit.engine.sequence, from_collection="m", collection="copy")
    assert kit.values("copy") == {"v": 1.0}
    assert found["warnings"] == [
        f"m lives in memory, and its writes are not in the log: it is as {taken['snapshot_id']} has it"
    ]


# A collection beside --------------------------------------------------------------------------------------------------


def test_into_makes_a_collection_that_holds_the_moment(kit: ReplayKit) -> None:
    found = kit.replay(collection="c", into="copy", to_sequence=7)
    assert kit.values("copy") == {"a": 10.0, "e": 5.0}
    assert found["collections_affected"] == ["copy"]
    assert (found["snapshot_id"], found["first_sequence"], found["through_sequence"]) == (kit.ids()[0], 6, 7)
    assert (found["operations_replayed"], found["vectors_affected"], found["segments_replayed"]) == (1, 1, 1)


def test_into_without_an_end_is_the_newest_moment_of_one_that_is_gone(kit: ReplayKit) -> None:
    kit.upsert(["last"], 7)
    kit.engine.collections.drop("c", caller=CALLER)
    dropped_at = kit.engine.sequence
    with pytest.raises(NotFound, match=f"sequence {dropped_at} dropped it") as caught:
        kit.replay(collection="c", into="copy")
    assert caught.value.hint == f"restore it as it was just before: --before {dropped_at}"
    kit.replay(collection="c", into="copy", to_sequence=dropped_at - 1)
    assert kit.values("copy") == {"e": 5.0, "last": 7.0}


def test_into_needs_no_snapshot_while_the_log_reaches_back_to_the_beginning() -> None:
    kit = ReplayKit()
    kit.create("c")
    kit.upsert(["a"], 1)
    kit.upsert(["a"], 2)
    found = kit.replay(collection="c", into="copy", to_sequence=2)
    assert (found["snapshot_id"], kit.values("copy")) == ("", {"a": 1.0})
    with pytest.raises(OutOfRange) as caught:
        to(kit, 2, collection="other", from_collection="c")
    assert caught.value.hint is not None
    assert "holdfast storage wal replay --collection c --into NEW_NAME --to 2" in caught.value.hint


def test_into_follows_an_alias(kit: ReplayKit) -> None:
    kit.engine.collections.create_alias("current", "c", caller=CALLER)
    kit.replay(collection="current", into="copy", to_sequence=4)
    assert kit.values("copy") == {"a": 10.0, "b": 2.0}


def test_into_reads_the_log_of_a_lost_store() -> None:
    lost = lost_store()
    found = found_again(lost, restore=False)
    found.engine.snapshots.list("/")
    found.replay(path="/old", collection="kept", into="kept")
    assert found.values("kept") == lost.values("kept")


@pytest.mark.parametrize(
    ("request_", "field"),
    [({"collection": "c", "from_sequence": 3}, "start"), ({"collection": None}, "collection")],
)
def test_into_has_an_end_and_a_collection_and_no_start(kit: ReplayKit, request_: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        kit.replay(into="copy", **request_)
    assert caught.value.metadata["field"] == field


def test_into_a_name_that_is_taken_is_refused(kit: ReplayKit) -> None:
    with pytest.raises(AlreadyExists):
        kit.replay(collection="c", into="d")


# Refused --------------------------------------------------------------------------------------------------------------


def test_a_moment_before_the_first_snapshot_is_told_the_window(kit: ReplayKit) -> None:
    error = refused(OutOfRange, kit, 2, from_collection="c", collection="copy")
    oldest = kit.ids()[1]
    assert error.reason == "PITR_OUT_OF_WINDOW"
    assert "sequence 2 cannot be reached: no snapshot leads there. The window begins at " in error.message
    assert (
        f"({oldest}, sequence 3), since it is the oldest whole snapshot of it, and ends with sequence 8"
        in error.message
    )
    assert error.metadata["earliest_sequence"] == "3"
    assert error.metadata["latest_sequence"] == "8"
    begins = f"The window begins at {error.metadata['earliest_time']} ({oldest}"
    assert begins in error.message
    assert error.metadata["latest_time"] == iso_time(kit.engine._applier.time_us)


def test_the_window_begins_where_it_says(kit: ReplayKit) -> None:
    kit.clock.advance_us(123_456)
    kit.snapshot(collection="d")
    first = kit.engine.snapshots.list()[0]
    tick(kit)
    kit.upsert(["x"], 2, name="d")
    (record,) = kit.engine.points.get("c", ["e"])
    assert record is not None
    at = record.time_us
    for info in kit.engine.snapshots.list()[1:]:
        kit.fs.unlink(info.path)
    error = refused(OutOfRange, kit, ending=Ending(time_us=at), from_collection="d", collection="copy")
    assert error.message.startswith(f"{iso_time(at)} ")
    begins = datetime.fromisoformat(error.metadata["earliest_time"])
    assert begins == datetime.fromtimestamp(0, UTC) + timedelta(microseconds=first.record.created_us)
    to(kit, ending=Ending(time_us=first.record.created_us), from_collection="d", collection="copy")
    assert kit.values("copy") == {"x": 1.0}


def test_a_moment_that_has_not_come_is_refused_with_the_window(kit: ReplayKit) -> None:
    future = Ending(time_us=kit.clock.now_us() + 5_000_000)
    for ending, why in (
        (Ending(9), "there is no sequence 9 yet"),
        (future, f"{future} lies in the future: the daemon's "),
    ):
        error = refused(OutOfRange, kit, ending=ending)
        assert error.reason == "PITR_OUT_OF_WINDOW"
        assert why in error.message
        assert ". The window begins at " in error.message
        assert error.message.endswith("ends with sequence 8")
        assert (error.metadata["earliest_sequence"], error.metadata["latest_sequence"]) == ("3", "8")


def test_a_snapshot_from_behind_the_moment_is_refused(kit: ReplayKit) -> None:
    newest, _ = kit.ids()
    error = refused(OutOfRange, kit, 4, snapshot=newest, from_collection="c", collection="copy")
    assert f"{newest} does not lead there: it was made later, at sequence 5" in error.message
    assert error.hint == "`latest` in its place takes the snapshot that does, if there is one"


def test_nothing_leads_across_a_time_without_a_log(kit: ReplayKit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["unlogged"], 1)
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["logged"], 2)
    error = refused(OutOfRange, kit, 10, from_collection="c", collection="copy")
    assert error.reason == "PITR_OUT_OF_WINDOW"
    window = (
        f"({kit.ids()[1]}, sequence 3), since it is the oldest whole snapshot of it, and ends with sequence 8, since "
    )
    assert window in error.message
    assert "the log was disabled between sequence 8 and 10" in error.message
    assert "latest_time" not in error.metadata
    to(kit, 8, from_collection="c", collection="copy")
    assert kit.values("copy") == {"e": 5.0}


def test_nothing_leads_from_a_snapshot_whose_log_was_trimmed(kit: ReplayKit) -> None:
    kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER)
    oldest = kit.ids()[1]
    for _ in range(200):
        kit.upsert(["a", "b", "c"])
    tick(kit)
    kit.snapshot()
    tick(kit)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    kit.upsert(["a"], 5)
    error = refused(OutOfRange, kit, 6, snapshot=oldest, from_collection="c", collection="copy")
    assert "is trimmed" in error.message
    to(kit, kit.engine.sequence, from_collection="c", collection="copy")
    assert kit.values("copy") == kit.values()


def test_nothing_leads_across_a_restore_of_what_is_wanted(kit: ReplayKit) -> None:
    """Its content is in a snapshot, not in the log."""
    kit.restore("latest", from_collection="c", overwrite=True)
    restored_at = kit.engine.sequence
    kit.upsert(["more"], 1)
    error = refused(OutOfRange, kit, kit.engine.sequence, from_collection="c", collection="copy")
    assert error.reason == "PITR_OUT_OF_WINDOW"
    assert f"sequence {restored_at} restored c from" in error.message
    tick(kit)
    kit.snapshot()
    kit.upsert(["most"], 2)
    to(kit, kit.engine.sequence, from_collection="c", collection="copy")
    assert kit.values("copy") == kit.values()


def test_another_stores_snapshot_has_another_history() -> None:
    found = found_again(lost_store(), restore=False)
    error = refused(FailedPrecondition, found, 1, snapshot="/copied.snap")
    assert error.reason == "FOREIGN_ORIGIN"
    assert "wal replay --path" in error.hint


def test_a_target_alone_must_say_which_collection_is_meant(kit: ReplayKit) -> None:
    error = refused(InvalidArgument, kit, 4, collection="copy")
    assert error.hint == "say which with --from-collection: c, d"
    to(kit, 4, collection="c", overwrite=True)
    assert kit.values() == {"a": 10.0, "b": 2.0}


def test_one_that_exists_is_replaced_only_when_asked(kit: ReplayKit) -> None:
    assert refused(AlreadyExists, kit, 4).reason == "COLLECTION_EXISTS"


def test_a_wrong_digest_is_found_before_anything_is_seen(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = RollForward._apply_to_points

    def wrong(roll: RollForward, change: Any, record: Any) -> int:
        for rolling in roll._here.values():
            rolling.collection.digest = rolling.collection.digest.plus(1, 1)
        return apply(roll, change, record)

    monkeypatch.setattr(RollForward, "_apply_to_points", wrong)
    error = refused(Corruption, kit, 7, from_collection="c", collection="copy")
    assert error.reason == "DIGEST_MISMATCH"


def test_one_that_differs_from_the_live_collection_is_refused(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that is left out fits with itself; the live collection knows better."""
    apply = RollForward._apply_to_points
    monkeypatch.setattr(
        RollForward,
        "_apply_to_points",
        lambda roll, change, record: 0 if record.sequence == 6 else apply(roll, change, record),
    )
    error = refused(Corruption, kit, 8, from_collection="c", collection="copy")
    assert "the live one, not written to since, has 1 with" in error.message


def test_a_cancelled_one_leaves_nothing(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = RollForward._apply

    def cancelled(roll: RollForward, change: Any, record: Any) -> int:
        if record.sequence == 8:
            raise Cancelled("cancelled")
        return apply(roll, change, record)

    monkeypatch.setattr(RollForward, "_apply", cancelled)
    refused(Cancelled, kit, 8, from_collection="c", collection="copy")


def test_a_damaged_log_is_told_before_anything_is_seen(kit: ReplayKit) -> None:
    (path,) = [f"/data/wal/{name}" for name in kit.fs.listdir("/data/wal") if name.endswith(".wal")]
    kit.sync_log()
    data = bytearray(kit.fs.read(path))
    at = data.rindex(b"\0\0\xa0@")
    data[at] ^= 1
    kit.put(path, bytes(data))
    refused(Corruption, kit, 8, from_collection="c", collection="copy")


def test_a_sound_record_that_is_no_operation_is_damage(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told as such by a restore to a moment, its dry run, and a replay."""
    kit.engine.start()
    kit.restore("latest", from_collection="c", collection="behind")

    def refuse(payload: memoryview) -> object:
        raise ValueError("not a LogOperation")

    monkeypatch.setattr(logged, "decode_change", refuse)
    for dry_run in (False, True):
        error = refused(Corruption, kit, 8, from_collection="c", collection="copy", validate_only=dry_run)
        assert "the record's checksums hold, but it is no operation: not a LogOperation" in error.message
    with pytest.raises(Corruption, match="it is no operation"):
        kit.replay(collection="behind")
    kit.engine.stop()
