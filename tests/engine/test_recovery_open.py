"""What a start does about damage that need not cost anything: to id indexes, to memory collections, to staged files."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from holdfastd.engine.engine import Engine
from holdfastd.engine.recovery_open import STAGED_ENTRY
from holdfastd.errors import Corruption
from holdfastd.model import StorageKind
from holdfastd.storage.names import Layout
from tests.support.engines import CALLER, ROOT, Kit, abandon
from tests.support.logs import flip
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit

LAYOUT = Layout(ROOT)


@pytest.fixture
def kit() -> SnapshotKit:
    """``c``: ten segments of two points, so that its index has a run of eight segments and two of one; b is in each."""
    kit = SnapshotKit()
    kit.create()
    for number in range(10):
        kit.upsert([f"p{number}", "b"], number, number)
        kit.engine.checkpoint()
    return kit


def start(kit: Kit) -> Engine:
    abandon(kit.fs)
    kit.engine = kit._open()
    return kit.engine


def run_files(kit: Kit, which: int) -> list[str]:
    """The files of one run, newest first."""
    collection = kit.engine._applier.catalog.resolve("c")
    return list(LAYOUT.run_files(collection.spec.id, collection.index.entries[which].name))


def lose(fs: MemFileSystem, path: str) -> None:
    fs.unlink(path)


def empty(fs: MemFileSystem, path: str) -> None:
    file = fs.open(path)
    file.truncate(0)
    file.sync()
    file.close()


def spoil(fs: MemFileSystem, path: str) -> None:
    fs.fail_on("read", path, errno.EIO, forever=True)


def is_whole(kit: Kit) -> None:
    """Every point is found by its id, and writing it again supersedes it."""
    everything = {f"p{number}": float(number) for number in range(10)} | {"b": 9.0}
    assert kit.values() == everything
    assert len(kit.engine.points.get("c", sorted(everything))) == 11
    kit.upsert(["p0", "p9", "b"], 1, 1, 1)
    assert kit.versions()["b"] == 11
    assert len(kit.values()) == 11


@pytest.mark.parametrize("damage", [lose, empty, spoil])
@pytest.mark.parametrize("file", range(4))
@pytest.mark.parametrize("which", range(3))
def test_a_damaged_run_of_the_id_index_is_made_anew(
    kit: SnapshotKit, which: int, file: int, damage: Callable[[MemFileSystem, str], None]
) -> None:
    old = run_files(kit, which)
    before = kit.engine._applier.catalog.resolve("c").index.entries
    damage(kit.fs, old[file])
    engine = start(kit)
    (alarm,) = engine.alarms()
    assert (alarm.code, alarm.severity) == ("ID_INDEX_REBUILT", "warning")
    assert "the id index of c was damaged" in alarm.message
    (warning,) = engine.recovery.warnings
    assert warning.startswith(old[file])
    assert "was made anew from its segments" in warning
    after = engine._applier.catalog.resolve("c").index.entries
    assert after[which].name == f"{before[which].name}-1"
    assert [(run.level, run.rows) for run in after] == [(run.level, run.rows) for run in before]
    assert not any(kit.fs.exists(path) for path in old)
    engine = start(kit)
    assert engine.alarms() == []
    assert engine.recovery.warnings == ()
    is_whole(kit)


def test_a_run_that_is_damaged_again_is_made_anew_again(kit: SnapshotKit) -> None:
    for number in (1, 2):
        lose(kit.fs, run_files(kit, 0)[0])
        start(kit)
        assert run_files(kit, 0)[0].endswith(f"-{number}-run.json")
    for number in range(20):
        kit.upsert([f"q{number}"])
        kit.engine.checkpoint()
        kit.delete(f"q{number}")
    start(kit)
    is_whole(kit)


def test_all_of_the_index_is_lost(kit: SnapshotKit) -> None:
    for which in range(3):
        for path in run_files(kit, which):
            kit.fs.unlink(path)
    start(kit)
    is_whole(kit)


def test_an_index_without_the_rows_of_a_quarantined_segment_never_passes_for_whole(kit: SnapshotKit) -> None:
    """Its manifest keeps naming the damaged run: else an id that was there would be said not to exist."""
    collection = kit.engine._applier.catalog.resolve("c")
    lose(kit.fs, run_files(kit, 2)[1])
    lose(kit.fs, f"{collection.segments[3].directory}/vectors.npy")
    for _ in range(3):
        engine = start(kit)
        assert [record.id for record in engine.points.get("c", ["p0", "p9"])] == ["p0", "p9"]
        for id in ("p3", "never"):
            with pytest.raises(Corruption) as caught:
                engine.points.get("c", [id])
            assert caught.value.reason == "SEGMENT_QUARANTINED"
        engine.checkpoint()
        kit.restart()


def test_a_run_of_other_segments_is_made_anew_for_good(kit: SnapshotKit) -> None:
    collection = kit.engine._applier.catalog.resolve("c")
    lose(kit.fs, run_files(kit, 0)[1])
    lose(kit.fs, f"{collection.segments[3].directory}/vectors.npy")
    start(kit)
    engine = start(kit)
    assert not any(alarm.code == "ID_INDEX_REBUILT" for alarm in engine.alarms())
    assert engine.points.get("c", ["never"]) == []


@pytest.mark.parametrize("file", ["ids.npy", "rows.npy"])
def test_damage_that_is_found_while_the_index_is_made_anew_quarantines_the_segment(kit: SnapshotKit, file: str) -> None:
    """An id that is misread would be missing for ever."""
    segment = kit.engine._applier.catalog.resolve("c").segments[9]
    flip(kit.fs, segment.path(file), kit.fs.size(segment.path(file)) - 1)
    lose(kit.fs, run_files(kit, 0)[0])
    for _ in range(2):
        engine = start(kit)
        (part,) = engine.collections.stats("c").quarantined
        assert part.path == f"{segment.directory}/{file}"
        assert "does not match its checksum" in part.problem
        with pytest.raises(Corruption):
            engine.points.get("c", ["p9"])
        assert engine.points.get("c", ["p8"]) != []


# Restores -----------------------------------------------------------------------------------------------------------


def restored(storage: StorageKind) -> tuple[SnapshotKit, str]:
    """A store in which a collection has just been restored, and the directory of that one."""
    kit = SnapshotKit()
    kit.create(storage=storage)
    kit.create("other")
    kit.upsert(["a", "b"])
    kit.snapshot(collection="c")
    kit.restore("latest", collection="copy")
    kit.upsert(["x"], 9, name="other")
    return kit, LAYOUT.collection_dir(kit.engine._applier.catalog.resolve("copy").spec.id)


def before_the_manifest(kit: SnapshotKit) -> None:
    """As if the crash had come between the record of the restore and the manifest that names it."""
    kit.fs.rename(LAYOUT.manifest_prev, LAYOUT.manifest)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("damage", [lose, empty])
def test_a_memory_collection_s_files_do_not_matter_to_a_start(
    known: bool, damage: Callable[[MemFileSystem, str], None]
) -> None:
    kit, directory = restored(StorageKind.MEMORY)
    if not known:
        before_the_manifest(kit)
    for name in kit.fs.listdir(directory):
        path = f"{directory}/{name}"
        if kit.fs.is_dir(path):
            for file in kit.fs.listdir(path):
                damage(kit.fs, f"{path}/{file}")
        else:
            damage(kit.fs, path)
    engine = start(kit)
    assert engine.points.count("copy") == 0
    assert engine.recovery.warnings == ()
    assert engine.alarms() == []
    assert kit.values("other") == {"x": 9}
    kit.upsert(["new"], name="copy")
    start(kit)


@pytest.mark.parametrize("damage", [lose, empty, spoil])
def test_a_restore_whose_staged_entry_is_lost_before_the_manifest_knew_it(
    damage: Callable[[MemFileSystem, str], None],
) -> None:
    kit, directory = restored(StorageKind.DISK)
    before_the_manifest(kit)
    damage(kit.fs, f"{directory}/{STAGED_ENTRY}")
    files = set(kit.fs.listdir(directory))
    for _ in range(2):
        engine = start(kit)
        (part,) = engine.collections.stats("copy").quarantined
        assert part.rows == 2
        assert engine.collections.stats("copy").vectors == 2
        with pytest.raises(Corruption):
            engine.points.get("copy", ["never"])
        with pytest.raises(Corruption):
            kit.values("copy")
        assert kit.values("other") == {"x": 9}
        assert set(kit.fs.listdir(directory)) == files
        engine.checkpoint()
    engine.collections.drop("copy", caller=CALLER)
    engine.checkpoint()
    engine.checkpoint()
    assert not kit.fs.exists(directory)


def test_a_segment_that_is_damaged_before_the_manifest_knew_of_its_restore() -> None:
    kit, directory = restored(StorageKind.DISK)
    before_the_manifest(kit)
    (segment,) = (name for name in kit.fs.listdir(directory) if kit.fs.is_dir(f"{directory}/{name}") and name != "ids")
    lose(kit.fs, f"{directory}/{segment}/vectors.npy")
    lose(kit.fs, f"{directory}/ids/{kit.fs.listdir(f'{directory}/ids')[0]}")
    for _ in range(2):
        engine = start(kit)
        with pytest.raises(Corruption):
            engine.points.get("copy", ["a"])
        assert kit.values("other") == {"x": 9}
