"""Commands about the log that meet: each finds the settings and the log as the one before has left them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from holdfastd.engine.tickets import Submission
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition, NotFound
from holdfastd.model import SyncMode
from tests.support.engines import CALLER, Kit, rows
from tests.support.waiting import until


@contextmanager
def checkpoints_held_off(kit: Kit) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Commands that begin inside meet the state of before and go on in their order; all have ended afterwards."""
    lock, entered = kit.engine._checkpointer._one_at_a_time, list[threading.Event]()
    exclusive = kit.engine._checkpointer.exclusive

    @contextmanager
    def in_order() -> Iterator[None]:
        turn = len(entered)
        mine = threading.Event()
        entered.append(mine)
        if turn:
            entered[turn - 1].wait()
        try:
            with exclusive():
                yield
        finally:
            mine.set()

    threads: list[threading.Thread] = []

    def begin(command: Callable[[], object]) -> None:
        before = len(entered)
        threads.append(threading.Thread(target=command))
        threads[-1].start()
        until(lambda: len(entered) > before)

    kit.engine._checkpointer.exclusive = in_order  # type: ignore[method-assign]
    with ExitStack() as stack:
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.enter_context(lock)
        yield begin


def test_of_two_that_change_settings_at_once_neither_loses_what_it_was_told() -> None:
    kit = Kit(sync_mode=SyncMode.PERIODIC)
    wal = kit.engine.wal
    with checkpoints_held_off(kit) as begin:
        begin(lambda: wal.enable(WalChanges(sync_mode=SyncMode.FSYNC), caller=CALLER))
        begin(lambda: wal.enable(WalChanges(retention_us=7_200_000_000), caller=CALLER))
    settings = wal.status().settings
    assert (settings.sync_mode, settings.retention_us) == (SyncMode.FSYNC, 7_200_000_000)
    assert kit.engine._committer.sync_mode is SyncMode.FSYNC


def test_a_log_that_is_switched_off_while_settings_change_begins_behind_a_checkpoint() -> None:
    kit = Kit()
    kit.create()
    wal = kit.engine.wal
    stop_logging = wal._stop_logging

    def stop_and_write(*args: object) -> None:
        stop_logging(CALLER)
        # It is committed next, behind this action: without a log, acknowledged as not durable.
        kit.engine.points.commit_nowait(between)

    wal._stop_logging = stop_and_write  # type: ignore[method-assign]
    committing = threading.Thread(target=kit.engine._committer.run)
    committing.start()
    between = kit.engine.points.prepare_upsert("c", ["between"], rows(1.0), b"", caller=CALLER)
    with checkpoints_held_off(kit) as begin:
        begin(lambda: wal.disable(caller=CALLER))
        begin(lambda: wal.enable(WalChanges(retention_us=3_600_000_000), caller=CALLER))
    assert not between.ticket.wait().durable
    assert kit.upsert(["after"]).durable
    kit.engine._committer.stop()
    committing.join()
    again = Kit(kit.fs.crash(random.Random(1)), seed=11)
    assert sorted(again.values()) == ["after", "between"]


def test_no_mark_is_made_while_the_log_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit()
    kit.create()
    committer, sequence = kit.engine._committer, kit.engine.sequence
    submit = committer.submit

    def late(submission: Submission) -> Any:
        monkeypatch.setattr(committer, "submit", submit)
        kit.engine.wal.disable(caller=CALLER)
        return submit(submission)

    monkeypatch.setattr(committer, "submit", late)
    with pytest.raises(FailedPrecondition) as caught:
        kit.engine.wal.mark("here", caller=CALLER)
    assert caught.value.reason == "WAL_DISABLED"
    assert kit.engine.sequence == sequence
    with pytest.raises(NotFound):
        kit.engine.wal.find_mark("here")


def test_a_log_that_is_disabled_while_it_is_trimmed_can_be_trimmed_when_it_is_enabled_again() -> None:
    kit = Kit()
    kit.create()
    for number in range(100):
        kit.upsert([f"p{number}"])
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    assert kit.log is not None
    assert len(kit.log.files) > 3

    def disable(kind: str, path: str) -> None:
        if kind == "unlink":
            kit.fs.on_operation = None
            kit.engine.wal.disable(caller=CALLER)

    kit.fs.on_operation = disable
    kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER)
    assert kit.log is None
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    assert [alarm.code for alarm in kit.engine.alarms() if alarm.code == "WAL_TRIM"] == []
    assert all(kit.fs.exists(file.path) for file in kit.engine.wal.status().files)
