"""The life of an engine: what a stop in order leaves behind, and who is said to have called."""

from __future__ import annotations

import errno
from typing import NoReturn

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import Unavailable
from tests.support.engines import CALLER, Kit, rows


def test_a_stop_in_order_leaves_nothing_for_the_next_start_to_read() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a", "b"], 1.0, 2.0)
    kit.restart()
    assert kit.engine.recovery.records == 0
    assert kit.values() == {"a": 1.0, "b": 2.0}


def test_a_second_stop_without_writes_makes_no_segment() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"], 1.0)
    kit.restart()
    kit.restart()
    assert kit.engine.collections.stats("c").segments == 1


def test_a_full_disk_does_not_stand_in_the_way_of_a_stop() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a", "b"], 1.0, 2.0)
    kit.fs.fail_on("create", "*vectors.npy*", errno.ENOSPC)
    kit.restart()
    assert kit.engine.recovery.records > 0
    assert kit.values() == {"a": 1.0, "b": 2.0}


def test_a_killed_engine_reads_its_log() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"], 1.0)
    kit.reopen()
    assert kit.engine.recovery.records == 2
    assert kit.values() == {"a": 1.0}


def test_writes_wait_until_the_last_of_two_holders_lets_go() -> None:
    kit = Kit()
    committer = kit.engine._committer
    with committer.writes_held("first"):
        with committer.writes_held("second"):
            pass
        assert committer._held == ["first"]
    assert committer._held == []


def test_after_a_clean_stop_without_a_log_nothing_is_written_any_more() -> None:
    kit = Kit()
    kit.create()
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"], 1.0)
    old = kit.engine
    kit.restart()
    with pytest.raises(Unavailable):
        old.points.upsert("c", ["b"], rows(2.0), b"", caller=CALLER)
    assert kit.values() == {"a": 1.0}


def test_a_checkpoint_that_fails_for_an_unforeseen_reason_raises_an_alarm_and_is_tried_again() -> None:
    kit = Kit()
    kit.create()
    checkpoints = kit.engine._checkpoints
    run, checkpoints._checkpointer.run = checkpoints._checkpointer.run, _out_of_memory  # type: ignore[method-assign]
    assert not checkpoints._try_checkpoint()
    assert "CHECKPOINT_FAILING" in {alarm.code for alarm in kit.engine.alarms()}
    checkpoints._checkpointer.run = run  # type: ignore[method-assign]
    assert checkpoints._try_checkpoint()
    assert kit.engine.alarms() == []


def test_an_unforeseen_failure_of_the_fsync_thread_is_a_failed_sync() -> None:
    kit = Kit()
    syncer = kit.engine._syncer
    syncer._tend = _out_of_memory  # type: ignore[method-assign,assignment]
    syncer.stop()
    syncer.run()
    assert kit.engine.failure is not None


def _out_of_memory(*_: object, **__: object) -> NoReturn:
    raise MemoryError


def test_before_the_first_checkpoint_status_says_that_the_whole_log_is_waiting_for_it() -> None:
    """A recovery publishes a manifest, too, but only changes of the catalog are in it."""
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    for _ in range(2):
        assert (kit.engine.status().checkpoint_sequence, kit.engine.wal.status().checkpoint_sequence) == (0, 0)
        kit.reopen()
    reached = kit.engine.checkpoint()
    kit.upsert(["b"])
    kit.reopen()
    assert kit.engine.status().checkpoint_sequence == kit.engine.wal.status().checkpoint_sequence == reached


def test_a_caller_may_be_named() -> None:
    kit = Kit()
    kit.create(caller=Caller(actor="somebody"))
    logged = next(iter(kit.engine.wal.records())).logged
    assert logged.actor == "somebody"
