"""How segments are read is changed while they are: durably, for all of them or those of one collection."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfastd.engine.mmap_control import MmapChanges, MmapStatus
from holdfastd.engine.populating import FAILED
from holdfastd.errors import Corruption, EngineFailed, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from holdfastd.model import Advice, MmapSettings
from holdfastd.storage.mapped_column import MappedColumn
from holdfastd.storage.read_column import ReadColumn
from holdfastd.storage.sealed import OpenFiles
from tests.support.compactions import collection_of, while_compacting
from tests.support.engines import CALLER, Kit
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit
from tests.support.waiting import until

DEFAULT = MmapSettings()
READ = MmapChanges(enabled=False)


def filled(kit: Kit | None = None) -> Kit:
    """Two collections with a segment each."""
    kit = Kit() if kit is None else kit
    for name in ("a", "b"):
        kit.create(name)
        kit.upsert(["x", "y", "z"], 1, 2, 3, name=name)
    kit.engine.checkpoint()
    return kit


def configure(kit: Kit, changes: MmapChanges, collection: str | None = None) -> MmapStatus:
    return kit.engine.mmap.configure(changes, collection=collection, caller=CALLER)


def files_of(kit: Kit, name: str) -> list[OpenFiles]:
    collection = kit.engine._applier.catalog.resolve(name)
    return [*(s.files for s in collection.segments), *(run.opened for run in collection.index.runs)]


def how(kit: Kit, name: str) -> set[tuple[MmapSettings, type]]:
    """How every file of a collection is read: what was told, and what is done."""
    files = files_of(kit, name)
    assert files
    return {(each.settings, type(column)) for each in files for column in each.columns.values()}


def test_a_fresh_store_maps_for_random_access() -> None:
    kit = filled()
    status = kit.engine.mmap.status()
    assert status.settings == MmapSettings(enabled=True, advise=Advice.RANDOM, populate=False)
    assert how(kit, "a") == {(DEFAULT, MappedColumn)}
    [column] = {c for c in files_of(kit, "a")[0].columns.values() if c.path.endswith("vectors.npy")}
    assert isinstance(column, MappedColumn)
    assert column._mapping.advice[-1] == "random"  # type: ignore[attr-defined]  # of the file system in memory


def test_a_change_is_done_at_once_and_survives_a_kill_and_a_restart() -> None:
    kit = filled()
    before = observe(kit.engine)
    wanted = MmapSettings(enabled=False, advise=Advice.SEQUENTIAL)
    status = configure(kit, MmapChanges(enabled=False, advise=Advice.SEQUENTIAL))
    assert (status.settings, status.residence.mapped) == (wanted, 0)
    starts: list[Callable[[], object]] = [lambda: None, kit.reopen, kit.restart]
    for start in starts:
        start()
        assert kit.engine.mmap.status().settings == wanted
        assert how(kit, "a") == how(kit, "b") == {(wanted, ReadColumn)}
        assert observe(kit.engine) == before
    origins = kit.engine._keeper.current.settings_origin
    assert origins.keys() == {"mmap.enabled", "mmap.advise"}
    configure(kit, MmapChanges(enabled=True))
    assert how(kit, "a") == {(MmapSettings(advise=Advice.SEQUENTIAL), MappedColumn)}
    assert observe(kit.engine) == before


def test_a_collection_may_have_settings_of_its_own() -> None:
    kit = filled()
    kit.engine.collections.create_alias("alias", "a", caller=CALLER)
    status = configure(kit, READ, "alias")
    own = replace(DEFAULT, enabled=False)
    assert (status.settings, [row.name for row in status.collections]) == (own, ["a"])
    starts: list[Callable[[], object]] = [lambda: None, kit.reopen]
    for start in starts:
        start()
        assert how(kit, "a") == {(own, ReadColumn)}
        assert how(kit, "b") == {(DEFAULT, MappedColumn)}
    shown = kit.engine.mmap.status()
    assert [(row.name, row.own, row.settings) for row in shown.collections] == [("a", True, own), ("b", False, DEFAULT)]
    assert [row.residence.mapped > 0 for row in shown.collections] == [False, True]
    assert shown.residence == shown.collections[1].residence


def test_a_change_for_the_store_ends_what_collections_have_of_their_own_of_what_it_names() -> None:
    kit = filled()
    configure(kit, MmapChanges(enabled=False, advise=Advice.NORMAL), "a")
    configure(kit, MmapChanges(advise=Advice.SEQUENTIAL))
    assert how(kit, "a") == {(MmapSettings(enabled=False, advise=Advice.SEQUENTIAL), ReadColumn)}
    configure(kit, MmapChanges(enabled=True))
    assert how(kit, "a") == how(kit, "b") == {(MmapSettings(advise=Advice.SEQUENTIAL), MappedColumn)}
    assert not any(row.own for row in kit.engine.mmap.status().collections)


def test_settings_of_a_collection_that_is_gone_are_forgotten() -> None:
    kit = filled()
    configure(kit, READ, "a")
    kit.engine.collections.drop("a", caller=CALLER)
    configure(kit, MmapChanges(advise=Advice.NORMAL), "b")
    own = kit.engine._keeper.current.collection_mmap
    assert own
    assert list(own) == [collection_of_b(kit)]


def collection_of_b(kit: Kit) -> object:
    return kit.engine._applier.catalog.resolve("b").spec.id


def test_whoever_reads_goes_on_with_the_old_maps() -> None:
    kit = filled()
    reading = kit.engine.points.reading("a")
    scan = reading.view.segments[0].vectors
    expected = scan[:].copy()
    configure(kit, READ)
    assert isinstance(scan, MappedColumn)
    assert isinstance(reading.view.segments[0].vectors, ReadColumn)
    assert (scan[:] == expected).all()
    assert (reading.view.segments[0].vectors[:] == expected).all()
    assert [record.id for record in reading.get(["x", "z"])] == ["x", "z"]


@pytest.mark.parametrize("changes", [READ, MmapChanges(advise=Advice.NORMAL)])
def test_new_segments_take_the_settings(changes: MmapChanges) -> None:
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["x", "y"], 1, 2)
    kit.engine.checkpoint()
    wanted = configure(kit, changes).settings
    kind = MappedColumn if wanted.enabled else ReadColumn
    kit.upsert(["y", "z"], 5, 6)
    kit.engine.checkpoint()
    assert len(files_of(kit, "c")) == 4
    assert how(kit, "c") == {(wanted, kind)}
    while_compacting(kit)
    assert len(collection_of(kit).segments) == 1
    assert how(kit, "c") == {(wanted, kind)}
    before = kit.values()
    kit.snapshot()
    kit.restore("latest", collection="copy")
    assert how(kit, "copy") == {(wanted, kind)}
    assert kit.values("copy") == before


def test_a_change_during_a_compaction_holds_for_what_it_writes() -> None:
    kit = SnapshotKit()
    kit.create("c")
    for value in (1, 2):
        kit.upsert([f"p{value}", "again"], value, value)
        kit.engine.checkpoint()
    wanted = replace(DEFAULT, enabled=False)
    while_compacting(kit, lambda: configure(kit, READ))
    assert len(collection_of(kit).segments) == 1
    assert how(kit, "c") == {(wanted, ReadColumn)}
    assert kit.values() == {"p1": 1, "p2": 2, "again": 2}


def test_nothing_is_changed_where_it_is_only_asked_what_would_be() -> None:
    kit = filled()
    generation = kit.engine._keeper.current.generation
    status = kit.engine.mmap.configure(READ, caller=CALLER, validate_only=True)
    assert not status.settings.enabled
    assert configure(kit, MmapChanges()).settings == DEFAULT
    assert kit.engine._keeper.current.generation == generation
    assert how(kit, "a") == {(DEFAULT, MappedColumn)}


def test_what_contradicts_itself_or_is_not_there_is_refused() -> None:
    kit = filled()
    generation = kit.engine._keeper.current.generation
    with pytest.raises(InvalidArgument, match="--populate"):
        configure(kit, MmapChanges(enabled=False, populate=True))
    with pytest.raises(NotFound):
        configure(kit, READ, "none")
    with pytest.raises(NotFound):
        kit.engine.mmap.status("none")
    assert kit.engine._keeper.current.generation == generation
    configure(kit, READ)
    with pytest.raises(InvalidArgument, match="--populate"):
        configure(kit, MmapChanges(populate=True))
    # What is kept for the day on which it is enabled again does not contradict.
    configure(kit, MmapChanges(enabled=True, populate=True))
    assert configure(kit, READ).settings == MmapSettings(enabled=False, populate=True)


@pytest.mark.parametrize(
    ("code", "error", "match"),
    [
        (errno.EMFILE, ResourceExhausted, "so many open files"),
        (errno.EACCES, FailedPrecondition, "opening the segments' files failed"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(code: int, error: type[Exception], match: str) -> None:
    kit = filled()
    before = observe(kit.engine)
    kit.fs.fail_on("hold", "*/rows.npy", code)
    with pytest.raises(error, match=match):
        configure(kit, READ)
    assert kit.engine.mmap.status().settings == DEFAULT
    assert how(kit, "a") == how(kit, "b") == {(DEFAULT, MappedColumn)}
    kit.fs.heal()
    configure(kit, READ)
    assert observe(kit.engine) == before


def test_a_failed_sync_of_the_manifest_makes_the_store_read_only() -> None:
    kit = filled()
    kit.fs.fail_on("sync_dir", "/data")
    with pytest.raises(EngineFailed):
        configure(kit, READ)
    assert how(kit, "a") == {(DEFAULT, MappedColumn)}
    with pytest.raises(EngineFailed):
        configure(kit, READ)


def test_a_power_cut_leaves_the_old_settings_or_the_new_ones() -> None:
    kit = filled()
    expected = observe(kit.engine)
    first = kit.fs.ops
    configure(kit, READ)
    done = kit.fs.ops
    kit.upsert(["later"], 9, name="a")
    seen = set()
    for at in range(first, kit.fs.ops + 1):
        for draw in range(4):
            again = Kit(kit.fs.crash_at(at, random.Random(at * 10 + draw)))
            settings = again.engine.mmap.status().settings
            assert settings in (DEFAULT, replace(DEFAULT, enabled=False))
            assert settings.enabled is False or at < done, "what was answered is lost"
            assert {each for each, _ in how(again, "a")} == {settings}
            if at <= done:
                assert observe(again.engine) == expected
            seen.add(settings.enabled)
    assert seen == {True, False}


def test_populate_reads_every_map_in_and_says_how_much() -> None:
    kit = filled()
    kit.create("empty")
    status = configure(kit, MmapChanges(populate=True))
    assert status.populated_bytes == status.residence.mapped == status.residence.resident
    assert configure(kit, MmapChanges(populate=True), "a").populated_bytes == status.collections[0].residence.mapped
    assert configure(kit, MmapChanges(advise=Advice.NORMAL)).populated_bytes == 0
    assert configure(kit, MmapChanges(populate=False)).populated_bytes == 0


def test_populating_ends_when_nobody_waits_for_it() -> None:
    kit = filled()
    status = kit.engine.mmap.configure(MmapChanges(populate=True), caller=CALLER, go_on=lambda: False)
    assert 0 < status.populated_bytes < status.residence.mapped
    assert kit.engine.mmap.status().settings.populate


def alarm_of(kit: Kit) -> str:
    return "".join(alarm.message for alarm in kit.engine.alarms() if alarm.code == FAILED)


def test_what_a_start_and_a_restore_map_is_read_in_by_a_thread() -> None:
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["x"], 1)
    kit.engine.checkpoint()
    configure(kit, MmapChanges(populate=True))
    kit.snapshot()
    # That it was read in is seen where it fails.
    kit.fs.fail_on("populate", "*/vectors.npy")
    kit.reopen()
    populator = kit.engine._populator
    thread = threading.Thread(target=populator.run)
    thread.start()
    try:
        until(lambda: "vectors.npy" in alarm_of(kit))
        kit.fs.fail_on("populate", "*/norms.npy")
        kit.restore("latest", collection="copy")
        until(lambda: "norms.npy" in alarm_of(kit))
    finally:
        populator.stop()
        thread.join()
    assert kit.values("copy") == kit.values() == {"x": 1}


def test_what_a_checkpoint_writes_is_read_in_before_readers_get_it() -> None:
    kit = filled()
    configure(kit, MmapChanges(populate=True))
    kit.upsert(["later"], 4, name="a")
    kit.fs.fail_on("populate", "*/payloads.npy")
    with pytest.raises(Corruption, match=r"payloads\.npy"):
        kit.engine.checkpoint()
    assert len(kit.engine._applier.catalog.resolve("a").segments) == 1
    kit.engine.checkpoint()
    assert {each for each, _ in how(kit, "a")} == {MmapSettings(populate=True)}
    assert kit.values("a") == {"x": 1, "y": 2, "z": 3, "later": 4}
