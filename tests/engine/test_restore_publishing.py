"""What a restore publishes: in the log and the manifest, and what is said where one of them fails."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine.manifest_swap import swap_manifest
from holdfastd.engine.operations import Work
from holdfastd.engine.snapshot_publish import Publisher
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import CommitUnknown
from holdfastd.model import SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.restores import assert_sound, before_the_staged_entry, with_rows
from tests.support.snapshots import SnapshotKit
from tests.support.waiting import until

SWAP = ["/data/requests-*.json*", "/data/MANIFEST.json.tmp"]


@pytest.fixture
def kit() -> SnapshotKit:
    return with_rows()


def with_answers(kit: SnapshotKit) -> None:
    """A snapshot, and a request id that the next manifest has to remember."""
    kit.snapshot()
    kit.upsert(["r"], 9, caller=replace(CALLER, request_id="r1"))


@pytest.mark.parametrize("path", SWAP)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_space_for_the_manifest_is_a_warning_since_the_log_has_it(kit: SnapshotKit, path: str, end: str) -> None:
    with_answers(kit)
    before_the_staged_entry(kit, lambda: kit.fs.fail_on("write", path, errno.ENOSPC))
    result = kit.restore("latest", overwrite=True)
    assert [warning.partition(":")[0] for warning in result["warnings"]] == [
        "restored, but the manifest does not say so yet"
    ]
    kit.delete("a")
    kit.engine.checkpoint()
    expected = observe(kit.engine)
    if end == "stop":
        kit.restart()
        assert observe(kit.engine) == expected
    assert_sound(kit, expected)


def test_a_snapshot_after_a_manifest_that_failed_holds_what_was_restored(kit: SnapshotKit) -> None:
    kit.snapshot()
    before_the_staged_entry(kit, lambda: kit.fs.fail_on("write", "/data/MANIFEST.json.tmp", errno.ENOSPC))
    kit.restore("latest", collection="copy")
    kit.clock.advance_us(1_000_000)
    kit.snapshot(collection="copy")
    kit.delete("a", name="copy")
    kit.engine.checkpoint()
    expected = observe(kit.engine)
    kit.restore("latest", collection="again")
    assert observe(kit.engine).collections["again"].points.keys() == {"a", *expected.collections["copy"].points}
    assert_sound(kit, observe(kit.engine))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_without_a_log_a_restore_that_no_manifest_names_is_not_called_done(kit: SnapshotKit, code: int) -> None:
    with_answers(kit)
    kit.engine.wal.disable(caller=CALLER)
    kit.engine.checkpoint()
    before = observe(kit.engine)
    before_the_staged_entry(kit, lambda: kit.fs.fail_on("write", SWAP[0], code))
    with pytest.raises(CommitUnknown, match="restored, but that could not be written to the disk"):
        kit.restore("latest", overwrite=True)
    live, copied = observe(kit.engine), kit.fs.crash(random.Random(1))
    assert observe(SnapshotKit(copied, seed=99).engine) == before
    kit.upsert(["late"], 7)
    kit.engine.checkpoint()
    expected = observe(kit.engine)
    assert expected.collections["c"].points.keys() == {"late", *live.collections["c"].points}
    assert_sound(kit, expected)


def test_the_reserve_makes_room_for_what_a_restore_publishes() -> None:
    kit = SnapshotKit(disk_reserve_bytes=1 << 20)
    kit.create("c")
    kit.upsert(["a"], 1)
    with_answers(kit)
    before_the_staged_entry(kit, lambda: kit.fs.fail_on("write", SWAP[0], errno.ENOSPC))
    assert kit.restore("latest", collection="copy")["warnings"] == []
    assert "copy" in {entry.spec.name for entry in kit.engine._keeper.current.collections}


@pytest.mark.parametrize("mode", [SyncMode.ASYNC, SyncMode.PERIODIC])
def test_a_write_between_the_record_and_the_manifest_leaves_no_hole(
    mode: SyncMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that came in after the log was synced: the manifest must not stand for it before the log does."""
    kit = SnapshotKit(sync_mode=mode)
    kit.create("c")
    kit.upsert(["a"], 1)
    kit.snapshot()
    committer = kit.engine._committer
    between_groups, cut_off = committer.between_groups, []

    def squeezed(action: Callable[[], Any]) -> Any:
        if getattr(action, "func", None) is swap_manifest:
            kit.upsert(["squeezed"], 2)
            cut_off.append(kit.engine.sequence)
        return between_groups(action)

    monkeypatch.setattr(committer, "between_groups", squeezed)
    kit.restore("latest", collection="copy")
    (sequence,) = cut_off
    for seed in range(8):
        again = SnapshotKit(kit.fs.crash(random.Random(seed)), sync_mode=mode)
        assert again.values("c") == {"a": 1.0, "squeezed": 2.0}
        assert again.values("copy") == {"a": 1.0}
        assert again.engine.sequence >= sequence
    manifest = kit.engine._keeper.current
    assert (manifest.sequence, manifest.logged_sequence) == (sequence, sequence)


def test_without_a_log_a_restore_keeps_what_was_written_before_it(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["before"], 5)
    kit.restore("latest", collection="copy", from_collection="c")
    kit.upsert(["after"], 6)
    held = kit.values()
    kit.reopen()
    del held["after"]
    assert kit.values() == held
    assert "copy" in observe(kit.engine).collections


def test_without_a_log_a_write_that_is_acknowledged_while_a_restore_is_published_stays_with_it(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    begin = Work.begin_final_phase

    def meanwhile(work: Work, phase: str) -> None:
        begin(work, phase)
        kit.upsert(["meanwhile"], 5)

    monkeypatch.setattr(Work, "begin_final_phase", meanwhile)
    kit.restore("latest", collection="copy", from_collection="c")
    held = kit.values()
    kit.reopen()
    assert "copy" in observe(kit.engine).collections
    assert kit.values() == held
    assert "meanwhile" in held


@pytest.mark.crash
def test_without_a_log_no_power_cut_keeps_a_restore_and_not_what_came_before_it(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["before"], 5)
    begun = kit.fs.ops
    kit.restore("latest", collection="copy", from_collection="c")
    restored = 0
    for index in range(begun, kit.fs.ops + 1):
        again = SnapshotKit(kit.fs.crash_at(index, random.Random(index)), seed=99)
        if "copy" in observe(again.engine).collections:
            restored += 1
            assert again.values() == kit.values()
    assert restored > 0


def test_without_a_log_writes_wait_until_the_manifest_has_the_restore(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    commit, committer, sequences = Publisher.commit, kit.engine._committer, []
    writer = threading.Thread(target=lambda: sequences.append(kit.upsert(["waiting"], 5).sequence))
    wait_for_room, waits = committer._wait_for_room, threading.Event()

    def noticed(submission: Any) -> None:
        if committer._why_wait(submission) is not None:
            waits.set()
        wait_for_room(submission)

    def meanwhile(publisher: Publisher, plan: Any) -> Any:
        writer.start()
        until(lambda: waits.is_set() or not writer.is_alive())
        return commit(publisher, plan)

    monkeypatch.setattr(committer, "_wait_for_room", noticed)
    monkeypatch.setattr(Publisher, "commit", meanwhile)
    restored = kit.restore("latest", collection="copy", from_collection="c")["sequence"]
    writer.join()
    (written,) = sequences
    assert waits.is_set()
    assert written > restored


def test_a_log_that_is_enabled_while_a_restore_holds_writes_gets_its_record(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["before"], 5)
    checkpoint = kit.engine._checkpointer.run

    def and_enable(**how: bool) -> int:
        reached = checkpoint(**how)
        monkeypatch.setattr(kit.engine._checkpointer, "run", checkpoint)
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        return reached

    monkeypatch.setattr(kit.engine._checkpointer, "run", and_enable)
    restored = kit.restore("latest", collection="copy", from_collection="c")["sequence"]
    assert restored in [each.record.sequence for each in kit.engine.wal.records()]
    expected = observe(kit.engine)
    assert_sound(kit, expected)
