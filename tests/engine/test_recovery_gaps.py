"""Recovery where something is missing: a log cut below the checkpoint, a manifest that is not there to be read."""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Corruption, OutOfRange, ResourceExhausted
from holdfastd.model import StorageKind
from holdfastd.storage.names import Layout
from tests.support.engines import CALLER, ROOT, Kit, abandon, open_engine
from tests.support.logs import flip
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit, raise_failure

LAYOUT = Layout(ROOT)
TEMPORARY = f"{LAYOUT.manifest}.tmp"


def wal_files(fs: MemFileSystem) -> list[str]:
    return sorted(f"{ROOT}/wal/{name}" for name in fs.listdir(f"{ROOT}/wal") if name.endswith(".wal"))


def damage_record(kit: Kit, sequence: int) -> None:
    """Change a byte of a logged operation, durably."""
    record = next(iter(kit.engine.wal.records(from_sequence=sequence))).record
    assert record.sequence == sequence
    flip(kit.fs, record.path, record.offset + 70)


# A log cut below what the checkpoint reflects (RULES 2, 5).


def cut_below_checkpoint() -> SnapshotKit:
    """A snapshot at 3, a checkpoint at 6, and after a crash a damaged record 5."""
    kit = SnapshotKit(segment_size=1 << 16)
    kit.create()
    kit.upsert(["a"])
    kit.upsert(["b"])
    kit.engine.start()
    kit.snapshot(collection="c")
    for id in ("d", "e", "f"):
        kit.upsert([id])
    assert kit.engine.checkpoint() == 6
    damage_record(kit, 5)
    kit.engine.stop()
    return kit


def recover_to_a_point(kit: Kit) -> None:
    abandon(kit.fs)
    kit.engine = open_engine(kit.fs, clock=kit.clock, randomness=kit.randomness, recovery="point-in-time")


def replay(kit: Kit, **request: Any) -> dict[str, Any]:
    operation = kit.engine.replay.start(ReplayRequest(**request), caller=CALLER)
    return raise_failure(kit.engine.operations.wait(operation.id))


def test_a_replay_does_not_run_across_what_point_in_time_recovery_cut() -> None:
    kit = cut_below_checkpoint()
    recover_to_a_point(kit)
    assert sorted(kit.values()) == ["a", "b", "d", "e", "f"]
    assert kit.upsert(["g"]).sequence == 7
    for name in ("copy", "again"):
        kit.engine.start()
        kit.restore("latest", collection=name)
        with pytest.raises(OutOfRange) as caught:
            replay(kit, collection=name)
        assert caught.value.reason == "LOG_GAP"
        assert "between sequence 4 and 7" in caught.value.message
        assert sorted(kit.values(name)) == ["a", "b", "d"], "what stands behind the gap was replayed"
        kit.restart()


def test_the_log_after_the_cut_begins_behind_what_is_reflected_and_says_that_history_is_missing() -> None:
    kit = cut_below_checkpoint()
    recover_to_a_point(kit)
    assert kit.log is not None
    header = kit.log.files[-1].header
    assert (header.timeline, header.previous_sequence, header.first_sequence) == (2, 6, 7)
    assert header.gap_before


def test_a_crash_of_that_recovery_never_leaves_a_log_that_hides_the_gap() -> None:
    kit = cut_below_checkpoint()
    fs = kit.fs.crash(random.Random(3))
    open_engine(fs, recovery="point-in-time")
    refused = 0
    for cut in range(fs.ops + 1):
        disk = MemFileSystem(fs.crash_disk_at(cut, random.Random(cut)))
        try:
            engine = open_engine(disk)
        except Corruption:
            refused += 1
            abandon(disk)
            engine = open_engine(disk, recovery="point-in-time")
        assert engine.sequence >= 6
        log = engine._committer.log
        assert log is not None
        assert any(file.header.gap_before for file in log.files), f"after {cut} operations"
    assert 0 < refused <= fs.ops


def test_a_cut_at_the_checkpoint_leaves_no_gap() -> None:
    kit = Kit(segment_size=1 << 16)
    kit.create()
    kit.upsert(["a"])
    kit.engine.checkpoint()
    kit.upsert(["b"])
    kit.upsert(["d"])
    damage_record(kit, 3)
    recover_to_a_point(kit)
    assert sorted(kit.values()) == ["a"]
    assert kit.log is not None
    assert not any(file.header.gap_before for file in kit.log.files)


def test_numbers_that_only_memory_collections_used_are_no_gap() -> None:
    kit = Kit(segment_size=1 << 16)
    kit.create()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"])
    kit.upsert(["x"], name="m")
    assert kit.engine.checkpoint() == 4
    kit.upsert(["b"])
    kit.upsert(["d"])
    damage_record(kit, 5)
    recover_to_a_point(kit)
    assert kit.engine.sequence == 4
    assert kit.log is not None
    assert not any(file.header.gap_before for file in kit.log.files)
    kit.upsert(["e"])
    kit.reopen()
    assert sorted(kit.values()) == ["a", "e"]


# A manifest that cannot be read (RULES 24).


def disabled_for_good(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["b"])
    kit.engine.checkpoint()


def disabled_by_the_lost_manifest(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)


def enabled_by_the_lost_manifest(kit: Kit) -> None:
    disabled_for_good(kit)
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["d"])


def without_a_log(kit: Kit) -> None:
    kit.upsert(["a"])
    for path in wal_files(kit.fs):
        kit.fs.unlink(path)
    kit.fs.sync_dir(f"{ROOT}/wal")


SCENES = [disabled_for_good, disabled_by_the_lost_manifest, enabled_by_the_lost_manifest, without_a_log]


def crashed(kit: Kit) -> MemFileSystem:
    return kit.fs.crash(random.Random(0))


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    kit.create("second")
    kit.reopen()
    return kit


@pytest.mark.parametrize("scene", SCENES)
def test_the_manifest_before_is_no_help_where_the_log_does_not_hold_what_came_after(kit: Kit, scene: Any) -> None:
    scene(kit)
    fs = crashed(kit)
    flip(fs, LAYOUT.manifest, 40)
    files = {path: fs.read(path) for path in (LAYOUT.manifest_prev, *wal_files(fs))}
    with pytest.raises(Corruption) as caught:
        open_engine(fs)
    assert caught.value.path == LAYOUT.manifest
    assert caught.value.hint is not None
    assert "point-in-time" in caught.value.hint
    assert files == {path: fs.read(path) for path in (LAYOUT.manifest_prev, *wal_files(fs))}
    engine = open_engine(fs, recovery="point-in-time")
    assert engine.timeline == 2
    assert engine.recovery.new_timeline
    assert any("data may be missing" in warning for warning in engine.recovery.warnings)
    abandon(fs)
    assert open_engine(fs).timeline >= 2


@pytest.mark.parametrize("scene", SCENES)
def test_a_manifest_that_is_missing_is_damage_like_any_other(kit: Kit, scene: Any) -> None:
    """No crash removes it: the name of the new one is durable before the current one gives up its own."""
    scene(kit)
    fs = crashed(kit)
    fs.unlink(LAYOUT.manifest)
    with pytest.raises(Corruption, match="the manifest before it cannot take its place") as caught:
        open_engine(fs)
    assert caught.value.message.startswith(f"{LAYOUT.manifest}: missing;")
    engine = open_engine(fs, recovery="point-in-time")
    assert engine.timeline == 2
    assert any("data may be missing" in warning for warning in engine.recovery.warnings)
    abandon(fs)
    assert open_engine(fs).timeline >= 2


def test_a_manifest_that_is_missing_is_replaced_where_the_log_holds_what_came_after(kit: Kit) -> None:
    kit.upsert(["a"])
    fs = crashed(kit)
    fs.unlink(LAYOUT.manifest)
    engine = open_engine(fs)
    assert engine.points.count("c") == 1
    assert engine.timeline == 2


def test_history_ends_before_a_time_without_a_log_that_the_lost_manifest_covered(kit: Kit) -> None:
    """The previous manifest is put back from before the log was disabled and enabled again."""
    kit.upsert(["a"])
    early = kit.fs.read(LAYOUT.manifest)
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["b"])
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["d"])
    fs = crashed(kit)
    for path in (LAYOUT.manifest, LAYOUT.manifest_prev):
        fs.unlink(path)
    file = fs.create(LAYOUT.manifest_prev)
    file.pwrite([early], 0)
    file.sync()
    file.close()
    with pytest.raises(Corruption, match="disabled after sequence 3"):
        open_engine(fs)
    engine = open_engine(fs, recovery="point-in-time")
    assert {record.id for batch in engine.points.export("c") for record in batch} == {"a"}
    assert engine.timeline == 2
    assert engine.recovery.copies


def test_a_clean_stop_that_the_manifest_before_tells_of_is_not_believed(kit: Kit) -> None:
    kit.restart()
    kit.upsert(["a"])
    fs = crashed(kit)
    flip(fs, LAYOUT.manifest, 40)
    engine = open_engine(fs)
    assert engine.points.count("c") == 1
    assert engine.timeline == 2


@pytest.mark.parametrize("change", ["create", "checkpoint", "disable"])
def test_a_commit_cut_between_its_renames_is_no_damage(kit: Kit, change: str) -> None:
    """Nobody was told of it, so that the manifest before is the last one acknowledged: with the log disabled, too."""
    if change != "disable":
        kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"])
    before = kit.fs.read(LAYOUT.manifest)
    if change == "create":
        kit.create("late")
    elif change == "checkpoint":
        kit.engine.checkpoint()
    else:
        kit.engine.wal.disable(caller=CALLER)
    fs = crashed(kit)
    assert fs.read(LAYOUT.manifest_prev) == before
    fs.rename(LAYOUT.manifest, TEMPORARY)
    engine = open_engine(fs)
    assert [each.spec.name for each in engine.collections.list()] == ["c", "second"]
    assert not any("may be missing" in warning for warning in engine.recovery.warnings)


def test_an_unfinished_commit_of_another_generation_is_no_proof(kit: Kit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.create("late")
    stale = kit.fs.read(LAYOUT.manifest)
    kit.create("later")
    fs = crashed(kit)
    fs.unlink(LAYOUT.manifest)
    file = fs.create(TEMPORARY)
    file.pwrite([stale], 0)
    file.sync()
    file.close()
    with pytest.raises(Corruption):
        open_engine(fs)


# A log begun anew behind numbers that no log holds.


def test_a_log_is_not_trimmed_to_a_gap_that_no_checkpoint_has_reached() -> None:
    """What a start needs may be nothing but the numbers of memory collections; it must still be told so by the log."""
    kit = SnapshotKit()
    kit.create()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"])
    kit.engine.checkpoint()
    kit.upsert(["x"], name="m")
    kit.upsert(["y"], name="m")
    taken = kit.snapshot()["sequence"]
    kit.fs.fail_on("write", TEMPORARY, errno.ENOSPC)
    with pytest.raises(ResourceExhausted):
        kit.engine.wal.disable(caller=CALLER)
    kit.reopen()
    assert kit.engine.sequence == taken, "it reflects what memory collections used"
    kit.upsert(["b"], 2)
    kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER)
    kit.reopen()
    assert kit.values() == {"a": 1, "b": 2}
