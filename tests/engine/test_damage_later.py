"""Damage that no start sees, as it costs no work per row: found by snapshots, and after a bus error."""

from __future__ import annotations

import errno

import pytest

from holdfastd.errors import Corruption
from holdfastd.storage.names import Layout
from tests.support.engines import CALLER, ROOT
from tests.support.logs import flip
from tests.support.segment_damages import file_of, kit_with_two_segments, start
from tests.support.snapshots import SnapshotKit

LAYOUT = Layout(ROOT)


@pytest.fixture
def kit() -> SnapshotKit:
    return kit_with_two_segments()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("file", ["vectors.npy", "ids.npy", "payloads.npy", "norms.npy", "rows.npy"])
def test_a_changed_byte_is_never_backed_up(kit: SnapshotKit, file: str, number: int, compress: bool) -> None:
    """Of a segment whose files are copied as they are, and of one with dead rows, which is written anew."""
    kit.upsert(["p"], 5, payloads=[b'{"n": 1}'])
    kit.upsert(["q", "b"], 6, 7, payloads=[b'{"n": 2}', b'{"n": 3}'])
    kit.engine.checkpoint()
    kit.delete("p")
    kit.engine.checkpoint()
    number = 2 if number else 1
    path = file_of(kit, file, number)
    flip(kit.fs, path, kit.fs.size(path) - 1)
    start(kit)
    with pytest.raises(Corruption) as caught:
        kit.snapshot(collection="c", compress=compress)
    assert path in caught.value.message or file == "rows.npy"
    assert kit.ids() == []
    assert kit.fs.listdir(LAYOUT.snapshots) == []


def test_a_block_that_cannot_be_read_fails_the_snapshot_and_not_the_daemon(kit: SnapshotKit) -> None:
    path = file_of(kit, "vectors.npy", 1)
    kit.fs.fail_on("populate", path, errno.EFAULT, forever=True)
    with pytest.raises(Corruption, match="a block cannot be read from the disk") as caught:
        kit.snapshot(collection="c")
    assert caught.value.message.startswith(f"{path} at offset 0: ")
    assert caught.value.hint is not None
    assert "restart the daemon: it sets the segment aside" in caught.value.hint
    assert kit.snapshot(collection="other")["vectors"] == 1


def die_of(kit: SnapshotKit, signal: str) -> None:
    """What the handler of fatal signals leaves."""
    kit.put(LAYOUT.faults, f"Fatal Python error: {signal}\n\nCurrent thread 0x00007f:\n  File ...\n".encode())


def flip_in_the_middle(kit: SnapshotKit) -> str:
    path = file_of(kit, "vectors.npy")
    flip(kit.fs, path, kit.fs.size(path) - 1)
    return path


def test_after_a_bus_error_every_file_is_read_and_what_is_damaged_set_aside(kit: SnapshotKit) -> None:
    """RULES 28: a media error on an evicted page kills the daemon; the restart quarantines that segment."""
    path = flip_in_the_middle(kit)
    assert start(kit).collections.stats("c").quarantined == (), "a start that has no reason reads no row"
    die_of(kit, "Bus error")
    for _ in range(2):
        engine = start(kit)
        (part,) = engine.collections.stats("c").quarantined
        assert (part.path, part.problem) == (path, "the content does not match its checksum in segment.json")
        assert "'Fatal Python error: Bus error': /data/FAULT.log has its stacks" in engine.recovery.warnings[0]
        assert engine.points.count("other") == 1
    engine.collections.drop("c", caller=CALLER)
    engine = start(kit)
    assert "/data/FAULT.last.log has its stacks" in engine.recovery.warnings[0]
    assert kit.fs.read(LAYOUT.faults) == b""
    assert b"Bus error" in kit.fs.read(LAYOUT.last_faults)
    assert start(kit).recovery.warnings == ()


def test_after_a_bus_error_a_run_of_the_index_is_read_as_well(kit: SnapshotKit) -> None:
    collection = kit.engine._applier.catalog.resolve("c")
    hashes = LAYOUT.run_files(collection.spec.id, collection.index.entries[0].name).hashes
    flip(kit.fs, hashes, kit.fs.size(hashes) - 1)
    die_of(kit, "Bus error")
    engine = start(kit)
    assert engine.recovery.rebuilt == ("c",)
    assert len(engine.points.get("c", ["a", "b", "d"])) == 3


def test_another_fatal_signal_is_told_and_costs_nothing(kit: SnapshotKit) -> None:
    flip_in_the_middle(kit)
    die_of(kit, "Segmentation fault")
    kit.fs.fail_on("create", f"{LAYOUT.last_faults}*", errno.ENOSPC)
    for _ in range(2):
        (warning,) = start(kit).recovery.warnings
        assert "ended by a fatal signal, 'Fatal Python error: Segmentation fault'" in warning
    assert start(kit).recovery.warnings == ()
    assert kit.engine.collections.stats("c").quarantined == ()
