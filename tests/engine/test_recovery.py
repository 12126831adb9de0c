"""Starting again: what is found, what is applied, what is refused, what is removed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import Corruption, DataDirectoryLocked, FailedPrecondition
from holdfastd.model import StorageKind, SyncMode
from holdfastd.storage.names import Layout
from tests.support.engines import CALLER, ROOT, Kit, abandon, open_engine
from tests.support.logs import flip
from tests.support.memfs import MemFileSystem
from tests.support.oracle import observe

LAYOUT = Layout(ROOT)


def power_cut(kit: Kit, seed: int = 1) -> Kit:
    """The same store on what a power cut leaves."""
    return Kit(kit.fs.crash(random.Random(seed)), seed=seed)


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    return kit


def test_a_fresh_store_is_created_and_says_so() -> None:
    kit = Kit()
    assert kit.engine.recovery.created
    assert kit.engine.timeline == 1
    assert kit.engine.wal.status().settings.enabled
    assert kit.engine.wal.status().settings.sync_mode is SyncMode.FSYNC


def test_what_was_acknowledged_is_there_after_a_power_cut(kit: Kit) -> None:
    kit.upsert(["a", "b"])
    kit.delete("a")
    again = power_cut(kit)
    assert again.values() == {"b": 2.0}
    assert again.engine.recovery.records == 3
    assert not again.engine.recovery.new_timeline


def test_a_second_engine_is_refused_with_the_holder(kit: Kit) -> None:
    with pytest.raises(DataDirectoryLocked):
        open_engine(kit.fs)


def test_only_records_after_the_checkpoint_are_applied(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.upsert(["a"])
    kit.engine.checkpoint()
    kit.upsert(["a"])
    kit.delete("b")
    again = power_cut(kit)
    assert again.engine.recovery.records == 2
    assert again.versions() == {"a": 3}


def test_starting_twice_changes_nothing(kit: Kit) -> None:
    kit.upsert(["a", "b"])
    kit.engine.checkpoint()
    kit.upsert(["a"])
    expected = observe(kit.engine)
    for _ in range(3):
        kit.reopen()
        assert observe(kit.engine) == expected


# Numbers (RULES 1, 2).


def test_the_sequence_does_not_go_back_when_the_catalog_is_ahead_of_the_points(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.create("d")
    for _ in range(2):
        kit.reopen()
        assert kit.engine.sequence == 3
    assert kit.upsert(["b"]).sequence == 4
    assert sorted(kit.reopen() and kit.values()) == ["a", "b"]


def test_a_restart_in_order_goes_on_after_the_writes_of_memory_collections() -> None:
    kit = Kit()
    kit.create("m", storage=StorageKind.MEMORY)
    last = kit.upsert(["a"], name="m").sequence
    kit.restart()
    assert kit.engine.sequence >= last
    assert kit.engine.timeline == 1


def test_numbers_that_memory_collections_took_before_a_crash_belong_to_an_older_timeline() -> None:
    kit = Kit()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"], name="m")
    assert power_cut(kit).engine.timeline == 2


@pytest.mark.parametrize(("mode", "timeline"), [(SyncMode.FSYNC, 1), (SyncMode.PERIODIC, 2), (SyncMode.ASYNC, 2)])
def test_an_unclean_start_begins_a_timeline_where_history_may_be_cut(mode: SyncMode, timeline: int) -> None:
    kit = Kit(sync_mode=mode)
    kit.create()
    kit.upsert(["a"])
    assert power_cut(kit).engine.timeline == timeline


@pytest.mark.parametrize("mode", list(SyncMode))
def test_a_restart_in_order_stays_on_its_timeline_and_loses_nothing(mode: SyncMode) -> None:
    kit = Kit(sync_mode=mode)
    kit.create()
    kit.upsert(["a"])
    kit.engine.stop()
    again = power_cut(kit)
    assert again.engine.timeline == 1
    assert list(again.values()) == ["a"]


def test_a_crash_after_a_restart_in_order_is_unclean_again() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.restart()
    assert power_cut(kit).engine.timeline == 2


# The log disabled (RULES 5).


def test_what_was_logged_before_the_log_was_disabled_is_not_lost(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["lost"])
    assert list(power_cut(kit).values()) == ["a"]


def test_with_the_log_disabled_a_catalog_change_is_durable_at_once(kit: Kit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.create("d")
    kit.engine.collections.create_alias("x", "d", caller=CALLER)
    again = power_cut(kit)
    assert [stats.spec.name for stats in again.engine.collections.list()] == ["c", "d"]
    assert again.engine.collections.aliases() == [("x", "d")]


def test_a_log_that_was_closed_but_not_yet_disabled_is_begun_again(kit: Kit) -> None:
    kit.upsert(["a"])
    assert kit.log is not None
    kit.log.close_log()
    again = power_cut(kit)
    assert again.upsert(["b"]).durable
    assert sorted(power_cut(again).values()) == ["a", "b"]


@pytest.mark.parametrize("mode", list(SyncMode))
def test_so_is_one_that_was_closed_before_anything_was_written(mode: SyncMode) -> None:
    kit = Kit(sync_mode=mode)
    assert kit.log is not None
    kit.log.close_log()
    again = power_cut(kit)
    again.create()
    again.sync_log()
    third = power_cut(again)
    assert [stats.spec.name for stats in third.engine.collections.list()] == ["c"]
    assert third.engine.wal.verify().sound


# Memory collections (RULES 30).


def test_a_memory_collection_is_empty_after_a_start_and_is_another_one() -> None:
    kit = Kit()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.engine.collections.create_alias("x", "m", caller=CALLER)
    kit.upsert(["a"], name="m")
    before = kit.engine.collections.stats("m").spec.id
    kit.reopen()
    stats = kit.engine.collections.stats("x")
    assert (stats.vectors, stats.digest.hex()) == (0, "0" * 32)
    assert stats.spec.id != before
    kit.upsert(["b"], name="x")
    kit.engine.collections.drop("m", caller=CALLER)
    kit.reopen()
    assert [each.spec.name for each in kit.engine.collections.list()] == ["c"] or not kit.engine.collections.list()


# Records of what is gone (RULES 18).


def test_records_of_a_dropped_collection_are_passed_over(kit: Kit) -> None:
    kit.create("d")
    kit.upsert(["a"], name="d")
    kit.engine.collections.drop("d", caller=CALLER)
    kit.create("d")
    kit.upsert(["b"], name="d")
    assert list(kit.reopen() and kit.values("d")) == ["b"]
    assert kit.versions("d") == {"b": 1}


# Damage.


def wal_files(fs: MemFileSystem) -> list[str]:
    return [f"{ROOT}/wal/{name}" for name in fs.listdir(f"{ROOT}/wal") if name.endswith(".wal")]


def damaged(kit: Kit) -> MemFileSystem:
    """The store after a crash, with a byte of an early, durable record changed."""
    for number in range(6):
        kit.upsert([f"p{number}"])
    fs = kit.fs.crash(random.Random(0))
    flip(fs, wal_files(fs)[0], 300)
    return fs


def test_damage_to_durable_records_is_refused_and_nothing_is_touched(kit: Kit) -> None:
    fs = damaged(kit)
    before = fs.state_digest()
    with pytest.raises(Corruption) as caught:
        open_engine(fs)
    assert caught.value.path == wal_files(fs)[0]
    assert caught.value.offset is not None
    assert not fs.locked
    assert {f"{ROOT}/{name}" for name in fs.listdir(ROOT)} >= {LAYOUT.manifest}
    assert fs.crash(random.Random(0)).state_digest() == before or fs.exists(LAYOUT.lock)


def test_point_in_time_keeps_what_stands_before_the_damage_on_a_new_timeline(kit: Kit) -> None:
    fs = damaged(kit)
    engine = open_engine(fs, recovery="point-in-time")
    assert engine.timeline == 2
    assert engine.recovery.new_timeline
    assert engine.recovery.warnings
    assert engine.recovery.copies
    assert engine.points.count("c") < 6
    abandon(fs)
    assert open_engine(fs).timeline == 2


def test_a_damaged_manifest_is_replaced_by_the_one_before_and_the_log(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.checkpoint()
    kit.upsert(["a", "b"])
    kit.engine.checkpoint()
    kit.delete("a")
    expected = observe(kit.engine)
    fs = kit.fs.crash(random.Random(0))
    flip(fs, LAYOUT.manifest, 40)
    engine = open_engine(fs)
    assert observe(engine) == expected
    assert LAYOUT.manifest in engine.recovery.warnings[0]
    abandon(fs)
    assert observe(open_engine(fs)) == expected


def test_a_data_directory_without_its_manifest_is_not_taken_for_a_new_one(kit: Kit) -> None:
    kit.upsert(["a"])
    for path in (LAYOUT.manifest, LAYOUT.manifest_prev):
        if kit.fs.exists(path):
            kit.fs.unlink(path)
    abandon(kit.fs)
    with pytest.raises(FailedPrecondition) as caught:
        open_engine(kit.fs)
    assert caught.value.reason == "MANIFEST_MISSING"


# Garbage (RULES 3).


def leave(fs: MemFileSystem, path: str) -> None:
    file = fs.create(path)
    file.pwrite([b"x"], 0)
    file.close()


@pytest.mark.parametrize(
    "place",
    [
        lambda kit, one: f"{LAYOUT.collections}/6f6c6466-6173-4a00-8000-686f6c646661",
        lambda kit, one: f"{one}/6f6c6466-6173-4a00-8000-686f6c646661",
        lambda kit, one: f"{one}/ids/run-09-0000000099-hash.npy",
        lambda kit, one: f"{ROOT}/requests-{99:020d}.json",
        lambda kit, one: f"{one}/{kit.engine._keeper.current.collections[0].segments[0].id}/kills.tmp",
        lambda kit, one: f"{LAYOUT.registry}.tmp",
        lambda kit, one: f"{LAYOUT.uploads}.tmp",
    ],
    ids=["collection", "segment", "index-run", "requests", "kills", "registry", "uploads"],
)
def test_what_neither_manifest_nor_log_names_is_removed(kit: Kit, place: Callable[[Kit, str], str]) -> None:
    kit.upsert(["a"], caller=Caller(request_id="r"))
    kit.engine.checkpoint()
    path = place(kit, LAYOUT.collection_dir(kit.engine.collections.stats("c").spec.id))
    leave(kit.fs, path)
    kit.reopen()
    assert not kit.fs.exists(path)
    assert list(kit.values()) == ["a"]


def test_an_operator_s_files_are_left_alone(kit: Kit) -> None:
    leave(kit.fs, f"{ROOT}/notes.txt")
    kit.reopen()
    assert kit.fs.exists(f"{ROOT}/notes.txt")
