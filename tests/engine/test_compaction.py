"""Compaction: the same points in fewer bytes, whatever is written, read or dropped meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Cancelled, Corruption, InvalidArgument, NotFound, ResourceExhausted
from holdfastd.model import StorageKind, SyncMode
from holdfastd.storage.disk_usage import disk_usage
from tests.support.compactions import IDS, collection_of, rows_in_segments, three_segments, while_compacting
from tests.support.engines import CALLER, ROOT
from tests.support.left_over import files_below, left_over
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return three_segments()


def usage(kit: SnapshotKit, name: str = "c") -> int:
    return disk_usage(kit.fs, f"{COLLECTIONS_DIR}/{collection_of(kit, name).spec.id}")


# The same in fewer bytes ----------------------------------------------------------------------------------------------


def test_dead_rows_go_and_every_point_stays(kit: SnapshotKit) -> None:
    before, bytes_before = observe(kit.engine), usage(kit)
    assert rows_in_segments(kit) == [20, 5, 1]
    done = kit.compact("c")
    assert observe(kit.engine) == before
    assert rows_in_segments(kit) == [18, 1]
    assert done["collections_compacted"] == ["c"]
    assert done["rows_dropped"] == 7
    # Kills files that a checkpoint has replaced go with the one after it.
    kit.upsert(["x"], 1)
    kit.engine.checkpoint()
    assert done["before_size_bytes"] - done["after_size_bytes"] == done["freed_bytes"] > 0
    assert done["before_size_bytes"] == bytes_before
    kit.reopen()
    assert left_over(kit.fs, kit.engine) == set()


def test_what_it_says_is_what_the_disk_says(kit: SnapshotKit) -> None:
    kit.engine.checkpoint()
    before = usage(kit)
    done = kit.compact("c", aggressive=True)
    assert (done["before_size_bytes"], done["after_size_bytes"]) == (before, usage(kit))
    assert done["reduction_percent"] == pytest.approx(100 * (before - usage(kit)) / before)
    assert left_over(kit.fs, kit.engine) == set()


@pytest.mark.parametrize("start", ["reopen", "restart"])
def test_it_survives_a_start(kit: SnapshotKit, start: str) -> None:
    kit.compact("c", aggressive=True)
    before = observe(kit.engine)
    kit.upsert(["new", IDS[7]], 1, 2)
    kit.delete(IDS[8])
    getattr(kit, start)()
    after = observe(kit.engine)
    assert rows_in_segments(kit)[0] == 19
    points = after.collections["c"].points
    assert points.keys() == before.collections["c"].points.keys() - {IDS[8]} | {"new"}
    assert points[IDS[7]].version == 2
    assert left_over(kit.fs, kit.engine) == set()


def test_aggressive_leaves_one_segment_and_one_run(kit: SnapshotKit) -> None:
    before = observe(kit.engine)
    kit.compact("c", aggressive=True)
    assert rows_in_segments(kit) == [19]
    assert [run.rows_count for run in collection_of(kit).index.runs] == [19]
    assert observe(kit.engine) == before
    again = kit.compact("c", aggressive=True)
    assert (again["collections_compacted"], again["freed_bytes"]) == ([], 0)


def test_what_is_dead_but_not_checkpointed_goes_too(kit: SnapshotKit) -> None:
    kit.delete(*IDS[5:])
    kit.compact("c")
    assert sum(rows_in_segments(kit)) == 4
    assert kit.values() == {"id-2": 102, "id-3": 103, "id-4": 104, "later": 7}


def test_a_collection_without_a_live_point_has_no_file_left() -> None:
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(IDS)
    kit.engine.checkpoint()
    kit.engine.points.truncate("c", caller=CALLER)
    assert kit.compact("c")["rows_dropped"] == 20
    assert (rows_in_segments(kit), collection_of(kit).index.runs) == ([], ())
    kit.reopen()
    assert kit.values() == {}
    kit.upsert(["a"], 3)
    kit.engine.checkpoint()
    kit.reopen()
    assert kit.values() == {"a": 3}
    assert left_over(kit.fs, kit.engine) == set()


def test_the_threshold_decides(kit: SnapshotKit) -> None:
    assert kit.compact("c", threshold_percent=30)["rows_dropped"] == 2
    assert rows_in_segments(kit) == [20, 3, 1]
    assert kit.compact("c", threshold_percent=100)["rows_dropped"] == 0
    assert kit.compact("c", threshold_percent=25)["rows_dropped"] == 5


def test_all_collections_or_the_one_behind_an_alias(kit: SnapshotKit) -> None:
    kit.create("d", 3)
    kit.upsert(IDS, name="d")
    kit.engine.checkpoint()
    kit.delete(*IDS[3:], name="d")
    kit.engine.collections.create_alias("live", "d", caller=CALLER)
    assert kit.compact("live")["collections_compacted"] == ["d"]
    assert kit.compact()["collections_compacted"] == ["c"]
    assert kit.compact()["collections_compacted"] == []


def test_a_dry_run_tells_and_changes_nothing(kit: SnapshotKit) -> None:
    files = {path: kit.fs.read(path) for path in files_below(kit.fs)}
    before, segments = observe(kit.engine), rows_in_segments(kit)
    told = kit.compact("c", validate_only=True)
    assert (told["status"], told["collections_compacted"], told["rows_dropped"]) == ("planned", ["c"], 7)
    assert told["freed_bytes"] > 0
    assert (observe(kit.engine), rows_in_segments(kit)) == (before, segments)
    assert {path: kit.fs.read(path) for path in files_below(kit.fs)} == files
    assert kit.engine.operations.list() == []


def test_a_dry_run_counts_what_was_just_deleted_as_the_real_one_does(kit: SnapshotKit) -> None:
    kit.compact("c", aggressive=True)
    kit.delete(*IDS[5:])
    told = kit.compact("c", validate_only=True)
    assert (told["collections_compacted"], told["rows_dropped"]) == (["c"], 15)
    done = kit.compact("c")
    assert (done["collections_compacted"], done["rows_dropped"]) == (["c"], 15)


def test_the_index_forgets_segments_that_are_gone() -> None:
    kit = SnapshotKit()
    kit.create("c")
    for number in range(40):
        kit.upsert(IDS, *[float(number + 1)] * 20)
        kit.engine.checkpoint()
        kit.compact("c")
        index = collection_of(kit).index
        assert index.rows_count <= 2 * 20 + 20
    assert kit.values() == dict.fromkeys(IDS, 40.0)
    assert kit.versions() == dict.fromkeys(IDS, 40)


def test_without_a_log_it_is_as_durable() -> None:
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(IDS)
    kit.engine.wal.disable(caller=CALLER)
    kit.delete(*IDS[5:])
    kit.compact("c")
    before = observe(kit.engine)
    kit.reopen()
    assert observe(kit.engine) == before
    assert rows_in_segments(kit) == [5]


@pytest.mark.parametrize("mode", list(SyncMode))
def test_in_every_sync_mode(kit: SnapshotKit, mode: SyncMode) -> None:
    kit.engine.wal.enable(WalChanges(sync_mode=mode), caller=CALLER)
    before = observe(kit.engine)
    kit.compact("c")
    kit.reopen()
    assert observe(kit.engine) == before


# Meanwhile ------------------------------------------------------------------------------------------------------------


def test_writes_meanwhile_are_carried_over(kit: SnapshotKit) -> None:
    done = while_compacting(
        kit,
        lambda: kit.upsert([IDS[4], IDS[9]], 400, 900),
        lambda: kit.delete(IDS[3], IDS[10]),
        kit.engine.checkpoint,
        lambda: kit.upsert([IDS[3]], 300),
        lambda: kit.delete(IDS[11], "later"),
        lambda: kit.upsert(IDS[:2], 1, 2),
    )
    assert done is not None
    before = observe(kit.engine)
    values = kit.values()
    assert (values[IDS[4]], values[IDS[9]], values[IDS[3]]) == (400, 900, 300)
    assert {IDS[10], IDS[11], "later"}.isdisjoint(values)
    assert kit.versions()[IDS[9]] == 2
    assert kit.versions()[IDS[3]] == 1
    kit.reopen()
    assert observe(kit.engine) == before
    kit.engine.checkpoint()
    kit.reopen()
    assert observe(kit.engine) == before
    assert left_over(kit.fs, kit.engine) == set()


def behind_the_next_manifest(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]) -> None:
    """The step happens once the next manifest is durable, before whoever replaced it goes on."""
    keeper, update = kit.engine._keeper, kit.engine._keeper.update

    def late(change: Any) -> Any:
        done = update(change)
        monkeypatch.setattr(keeper, "update", update)
        step()
        return done

    monkeypatch.setattr(keeper, "update", late)


def test_kills_between_the_manifest_and_the_readers_are_carried_over(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late() -> None:
        kit.delete(IDS[12])
        kit.upsert([IDS[13]], 1300)

    behind_the_next_manifest(kit, monkeypatch, late)
    while_compacting(kit)
    before = observe(kit.engine)
    assert IDS[12] not in kit.values()
    assert kit.values()[IDS[13]] == 1300
    kit.reopen()
    assert observe(kit.engine) == before


def test_a_reader_goes_on_with_the_files_that_are_gone(kit: SnapshotKit) -> None:
    view = collection_of(kit).view
    batches = iter(kit.engine.points.export("c"))
    read = [record.id for record in next(batches)]
    kit.compact("c", aggressive=True)
    kit.delete(*IDS)
    read += [record.id for batch in batches for record in batch]
    assert sorted(read) == sorted([*IDS[2:], "later"])
    assert [segment.rows_count for segment in view.segments] == [20, 5, 1]
    assert view.segments[0].ids_at(np.arange(20)) == [id.encode() for id in IDS]


@pytest.mark.parametrize("end", ["drop", "overwrite"])
def test_a_collection_that_ends_meanwhile_takes_the_compaction_along(kit: SnapshotKit, end: str) -> None:
    snapshot = kit.snapshot()["snapshot_id"]

    def step() -> None:
        if end == "drop":
            kit.engine.collections.drop("c", caller=CALLER)
        else:
            kit.restore(snapshot, overwrite=True)

    assert while_compacting(kit, step) is None
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    before = observe(kit.engine)
    assert left_over(kit.fs, kit.engine) == set()
    kit.reopen()
    assert observe(kit.engine) == before
    assert left_over(kit.fs, kit.engine) == set()


def test_a_collection_that_is_dropped_between_manifest_and_readers(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_the_next_manifest(kit, monkeypatch, lambda: kit.engine.collections.drop("c", caller=CALLER))
    while_compacting(kit)
    kit.reopen()
    assert observe(kit.engine).collections == {}
    assert left_over(kit.fs, kit.engine) == set()


def test_cancelled_it_leaves_everything_as_it_was(kit: SnapshotKit) -> None:
    before, segments = observe(kit.engine), rows_in_segments(kit)

    def cancel() -> None:
        raise Cancelled("enough")

    for number in range(12):
        with pytest.raises(Cancelled):
            while_compacting(kit, *[lambda: None] * number, cancel)
        assert (observe(kit.engine), rows_in_segments(kit)) == (before, segments)
        assert left_over(kit.fs, kit.engine) == set()


# Refused --------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_asked_is_refused_by_name(kit: SnapshotKit) -> None:
    with pytest.raises(NotFound, match="no collection or alias named 'none'"):
        kit.compact("none")
    for percent in (-1, 100.5, float("nan")):
        with pytest.raises(InvalidArgument, match="0 to 100"):
            kit.compact("c", threshold_percent=percent)


def test_memory_has_no_segments(kit: SnapshotKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"], 1, name="m")
    assert kit.compact("m")["warnings"] == ["m lives in memory: it has no segments on the disk"]
    assert kit.compact()["warnings"] == []


def test_without_room_nothing_is_begun_and_what_needs_none_goes_on() -> None:
    kit = SnapshotKit(disk_reserve_bytes=1 << 20)
    for name in ("c", "dead"):
        kit.create(name)
        kit.upsert(IDS, name=name)
    kit.engine.checkpoint()
    kit.engine.points.truncate("dead", caller=CALLER)
    kit.delete(*IDS[5:])
    kit.engine.checkpoint()
    before = rows_in_segments(kit)
    kit.fs.leave_free(900_000)
    with pytest.raises(ResourceExhausted, match=r"not everything .* \(dead compacted, \d+ bytes freed\)"):
        kit.compact()
    assert (rows_in_segments(kit), rows_in_segments(kit, "dead")) == (before, [])


def test_on_a_full_disk_the_reserve_is_there_for_what_frees_more() -> None:
    kit = SnapshotKit(disk_reserve_bytes=1 << 20)
    kit.create("c")
    large = [b'{"text":"%s"}' % (b"x" * 3000)] * 200
    for number in range(6):
        kit.upsert([f"{number}-{row}" for row in range(200)], payloads=large)
        kit.engine.checkpoint()
    kit.fs.leave_free(0)
    with pytest.raises(ResourceExhausted):
        kit.upsert([f"more-{row}" for row in range(200)], payloads=large)
    for number in range(6):
        kit.delete(*[f"{number}-{row}" for row in range(190)])
    with pytest.raises(ResourceExhausted):
        kit.upsert(["again"])
    kit.compact("c")
    kit.upsert(["again"])
    values = kit.values().keys()
    assert len(values) == 61
    kit.reopen()
    assert kit.values().keys() == values
    assert left_over(kit.fs, kit.engine) == {f"{ROOT}/RESERVE"}


def test_damage_is_told_and_the_others_do_not_suffer(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(IDS, name="d")
    kit.engine.checkpoint()
    kit.delete(*IDS[5:], name="d")
    segment = collection_of(kit).segments[0]
    path = segment.path("vectors.npy")
    kit.fs.damage(path, kit.fs.size(path) - 1, b"?")
    kit.reopen()
    files = rows_in_segments(kit)
    with pytest.raises(Corruption, match=r"d compacted, \d+ bytes freed\): compacting c failed: .*checksum"):
        kit.compact()
    assert (rows_in_segments(kit), rows_in_segments(kit, "d")) == (files, [5])
    assert left_over(kit.fs, kit.engine) == set()


def test_a_quarantined_collection_is_left_out_and_refused_by_name(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(IDS, name="d")
    kit.engine.checkpoint()
    kit.delete(*IDS[5:], name="d")
    kit.fs.unlink(collection_of(kit).segments[0].path("vectors.npy"))
    kit.reopen()
    with pytest.raises(Corruption, match="it cannot be compacted"):
        kit.compact("c")
    done = kit.compact()
    assert done["collections_compacted"] == ["d"]
    assert done["warnings"] == ["c was left out: a segment of it is quarantined (holdfast storage alarms)"]


def test_a_disk_that_fills_up_half_way_is_left_as_it_was(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    before, segments = observe(kit.engine), rows_in_segments(kit)
    create, left = kit.fs.create, [3]

    def full(path: str, *args: Any, **more: Any) -> Any:
        if "collections" in path:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device", path)
        return create(path, *args, **more)

    monkeypatch.setattr(kit.fs, "create", full)
    with pytest.raises(ResourceExhausted, match="compacting c failed"):
        kit.compact("c")
    monkeypatch.undo()
    assert (observe(kit.engine), rows_in_segments(kit)) == (before, segments)
    assert left_over(kit.fs, kit.engine) == set()
