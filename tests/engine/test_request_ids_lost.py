"""RULES 17: an answer that outlives its write is a lie: what a crash or damage took is done again when asked again."""

from __future__ import annotations

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import NotFound
from tests.support.engines import CALLER, Kit, abandon, open_engine
from tests.support.memfs import MemFileSystem
from tests.support.segment_damages import file_of, kit_with_two_segments, lose, start
from tests.support.snapshots import SnapshotKit

ASKED = Caller(actor="test", request_id="r1")


def unlogged() -> SnapshotKit:
    """A store with the log off: a is in the log that was, w nowhere but in memory."""
    kit = SnapshotKit()
    kit.create()
    kit.upsert(["a"], 1)
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["w"], 2, caller=ASKED)
    return kit


def writes_to(kit: SnapshotKit, ending: str) -> list[int]:
    """From now on, how many file operations were done before each write to a file with this ending."""
    at: list[int] = []

    def note(kind: str, path: str) -> None:
        if kind == "write" and path.endswith(ending):
            at.append(kit.fs.ops)

    kit.fs.on_operation = note
    return at


# Killed with the log off ---------------------------------------------------------------------------------------------


def test_a_write_that_a_kill_during_a_snapshot_took_is_done_again() -> None:
    kit = unlogged()
    at = writes_to(kit, ".part")
    kit.snapshot()
    again = SnapshotKit(MemFileSystem(kit.fs.kill_disk_at(at[0])), seed=9)
    assert again.values() == {"a": 1}
    again.upsert(["w"], 2, caller=ASKED)
    assert again.values() == {"a": 1, "w": 2}


def quarantined_and_unlogged() -> SnapshotKit:
    """A store with the log off, in which c cannot be read and the log is kept for what it took last."""
    kit = kit_with_two_segments()
    kit.upsert(["e"], 5)
    lose(kit.fs, file_of(kit, "vectors.npy"))
    start(kit)
    kit.engine.wal.disable(caller=CALLER)
    return kit


def test_beside_a_quarantined_collection_a_checkpoint_keeps_answers() -> None:
    kit = quarantined_and_unlogged()
    first = kit.upsert(["w"], 2, name="other", caller=ASKED)
    kit.engine.checkpoint()
    for _ in range(2):
        start(kit)
        assert kit.upsert(["w"], 2, name="other", caller=ASKED).sequence == first.sequence
    assert kit.versions("other")["w"] == 1


def test_but_not_what_came_after_the_checkpoint() -> None:
    kit = quarantined_and_unlogged()
    kit.engine.checkpoint()
    first = kit.upsert(["w"], 2, name="other", caller=ASKED)
    at = writes_to(kit, ".part")
    kit.snapshot(collection="other")
    kit.engine = SnapshotKit(MemFileSystem(kit.fs.kill_disk_at(at[0])), seed=9).engine
    assert "w" not in kit.values("other")
    assert kit.upsert(["w"], 2, name="other", caller=ASKED).sequence > first.sequence
    assert kit.values("other") == {"x": 9, "w": 2}


# A log that was cut --------------------------------------------------------------------------------------------------


def cut_before(kit: Kit, sequence: int) -> None:
    """Damage the record of ``sequence`` under a killed daemon, and start with everything before it."""
    record = next(each.record for each in kit.engine.wal.records() if each.record.sequence == sequence)
    abandon(kit.fs)
    kit.fs.damage(record.path, record.offset + 80, b"\xff\xff\xff")
    kit.engine = open_engine(kit.fs, clock=kit.clock, randomness=kit.randomness, recovery="point-in-time")


def logged_and_stored() -> tuple[Kit, int, object]:
    """A store whose table of request ids was stored by a start: r1 wrote w, r2 dropped k. Also w's sequence."""
    kit = Kit()
    kit.create()
    kit.create("k")
    kit.upsert(["a"], 1)
    kit.upsert(["n"], 1, name="k")
    sequence = kit.upsert(["w"], 2, caller=ASKED).sequence
    dropped = kit.engine.collections.drop("k", caller=Caller(actor="test", request_id="r2"))
    kit.reopen()
    kit.upsert(["y"], 3)
    kit.upsert(["z"], 4)
    kit.sync_log()
    return kit, sequence, (dropped.outcome.sequence, dropped.outcome.count)


def test_a_write_that_was_cut_from_a_damaged_log_is_done_again() -> None:
    kit, sequence, _ = logged_and_stored()
    cut_before(kit, sequence)
    assert kit.values() == {"a": 1}
    assert kit.upsert(["w"], 2, caller=ASKED).sequence > sequence
    assert kit.values() == {"a": 1, "w": 2}
    kit.reopen()
    assert kit.upsert(["w"], 2, caller=ASKED).count == 1
    assert kit.versions()["w"] == 1


def test_a_change_of_the_catalog_that_the_manifest_reflects_keeps_its_answer_where_the_log_was_cut() -> None:
    kit, sequence, told = logged_and_stored()
    cut_before(kit, sequence)
    with pytest.raises(NotFound):
        kit.values("k")
    again = kit.engine.collections.drop("k", caller=Caller(actor="test", request_id="r2"))
    assert (again.outcome.sequence, again.outcome.count) == told
