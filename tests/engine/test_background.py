"""When memtables become segments by themselves, and what writers see while that fails (RULES 13, 26)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from holdfastd.engine import background
from holdfastd.engine import committer as committer_module
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import ResourceExhausted
from tests.support.engines import Kit
from tests.support.waiting import until

ROW_BYTES = 2 * 4 + 250 + 2
PATTERN = "*/collections/*"


@contextmanager
def running(kit: Kit) -> Iterator[Kit]:
    """The engine with its threads."""
    kit.engine.start()
    try:
        yield kit
    finally:
        kit.fs.heal()
        kit.engine.stop()


def segments(kit: Kit, name: str = "c") -> int:
    return kit.engine.collections.stats(name).segments


def alarms(kit: Kit) -> list[str]:
    return [alarm.code for alarm in kit.engine.alarms()]


def test_a_memtable_that_is_large_enough_becomes_a_segment() -> None:
    kit = Kit(memtable_bytes=10 * ROW_BYTES)
    kit.create()
    with running(kit):
        for number in range(12):
            kit.upsert([f"p{number:02d}"])
        until(lambda: segments(kit) > 0)
        assert len(kit.values()) == 12


def test_many_small_memtables_become_segments_before_writers_have_to_wait() -> None:
    kit = Kit(memtable_bytes=10 * ROW_BYTES)
    names = [f"c{number}" for number in range(8)]
    for name in names:
        kit.create(name)
    kit.engine.checkpoint()
    with running(kit):
        for number in range(9):
            for name in names:
                kit.upsert([f"p{number}"], name=name)
        until(lambda: segments(kit, "c0") > 0)


def test_a_log_that_grows_without_points_is_checkpointed(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit(laggard_bytes=2000)
    kit.create()
    kit.upsert(["a"])
    with running(kit):
        before = kit.engine._keeper.current.log_start_required
        for _ in range(60):
            kit.delete("unknown")
        until(lambda: kit.engine._keeper.current.log_start_required > before)


def test_what_a_start_has_found_in_the_log_counts_as_behind() -> None:
    kit = Kit(laggard_bytes=3000)
    kit.create()
    for _ in range(60):
        kit.delete("unknown")
    kit.reopen()
    before = kit.engine._keeper.current.log_start_required
    with running(kit):
        until(lambda: kit.engine._keeper.current.log_start_required > before)


def test_what_is_not_checkpointed_does_not_come_to_fill_the_cap_of_the_log() -> None:
    kit = Kit()
    kit.create()
    kit.engine.wal.enable(WalChanges(max_wal_bytes=2 << 20, segment_size_bytes=1 << 20), caller=Caller())
    payloads = [b'{"text":"%s"}' % Random(1).randbytes(150_000).hex().encode()]
    with running(kit):
        for number in range(6):
            kit.upsert([f"p{number}"], payloads=payloads)
        until(lambda: segments(kit) > 0)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "QUEUE_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.01)


def fill_up(kit: Kit) -> int:
    """Write until writers are refused; returns how many points were acknowledged."""
    kit.clock.step_us = 10_000  # their patience is measured by this clock
    for number in range(1000):
        try:
            kit.upsert([f"p{number:03d}"])
        except ResourceExhausted:
            return number
    raise AssertionError("memory is never full")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_while_checkpoints_fail_writers_are_refused_and_afterwards_go_on(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    impatient(monkeypatch)
    kit = Kit(memtable_bytes=10 * ROW_BYTES)
    kit.create()
    with running(kit):
        kit.fs.fail_on("create", PATTERN, code, forever=True)
        acknowledged = fill_up(kit)
        assert acknowledged >= 10
        if code == errno.EIO:
            assert acknowledged >= 28, "the budget is three memtables"
            with pytest.raises(ResourceExhausted, match="bytes of points wait to be written into segments") as caught:
                kit.upsert(["refused"])
            assert caught.value.reason == "WRITE_QUEUE_FULL"
        until(lambda: "CHECKPOINT_FAILING" in alarms(kit))
        assert len(kit.values()) == acknowledged, "reads go on"
        kit.fs.heal()
        until(lambda: succeeds(lambda: kit.upsert(["after"])))
        until(lambda: alarms(kit) == [])
        assert len(kit.values()) == acknowledged + 1


def test_a_store_that_starts_with_its_memory_full_checkpoints_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    kit = Kit(memtable_bytes=10 * ROW_BYTES)
    kit.create()
    kit.engine.start()
    kit.fs.fail_on("create", PATTERN, errno.ENOSPC, forever=True)
    acknowledged = fill_up(kit)
    kit.restart()
    kit.fs.heal()
    with running(kit):
        until(lambda: succeeds(lambda: kit.upsert(["after"])))
        assert len(kit.values()) == acknowledged + 1


def succeeds(write: Callable[[], object]) -> bool:
    try:
        write()
    except ResourceExhausted:
        return False
    return True


def test_deletes_and_drops_go_on_while_memory_waits_for_checkpoints_that_fail() -> None:
    kit = Kit(memtable_bytes=10 * ROW_BYTES)
    kit.create()
    kit.create("old")
    kit.fs.fail_on("create", "*vectors*", errno.ENOSPC, forever=True)
    written = 0
    while kit.engine._checkpoints.memory_is_full() is None:
        kit.upsert([f"p{written}"])
        written += 1
    assert kit.delete("p1").count == 1
    assert kit.engine.points.truncate("c", caller=Caller()).count == written - 1
    kit.engine.collections.drop("old", caller=Caller())
