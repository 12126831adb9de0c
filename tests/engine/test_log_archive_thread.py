"""When rounds come: at once, each interval, at a rotation, after a failure; and how long a stop waits for the last."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from holdfastd.engine import log_archive_thread
from holdfastd.engine.log_archive_thread import ArchiveThread

LONG = 3600.0


class Rounds:
    """In the place of an archiver: counts its rounds, and does in each what a test wants."""

    directory = "/archive"

    def __init__(self, pause: float = LONG, rotated: Callable[[], bool] = lambda: False) -> None:
        self.pause_seconds = pause
        self.has_rotated = rotated
        self.count = 0
        self.released = False
        self.hurried = False
        self.changed = threading.Condition()
        self.within: Callable[[], object] = lambda: None

    def round(self) -> None:
        self.within()
        with self.changed:
            self.count += 1
            self.changed.notify_all()

    def hurry(self) -> None:
        self.hurried = True

    def release(self) -> None:
        self.released = True

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count >= count, 60)


def started(rounds: Rounds, last_round_seconds: float = 60.0) -> ArchiveThread:
    thread = ArchiveThread(rounds, last_round_seconds)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_the_first_round_comes_at_once_and_the_last_one_at_the_end() -> None:
    rounds = Rounds()
    thread = started(rounds)
    rounds.wait_for(1)
    assert not rounds.hurried
    thread.finish()
    assert rounds.count == 2
    assert rounds.released
    assert rounds.hurried


def test_rounds_come_when_their_pause_is_over() -> None:
    rounds = Rounds(pause=0.001)
    thread = started(rounds)
    rounds.wait_for(5)
    thread.finish()


def test_a_rotation_is_not_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_archive_thread, "GLANCE_SECONDS", 0.001)
    rotated = threading.Event()
    rounds = Rounds(rotated=rotated.is_set)
    thread = started(rounds)
    rounds.wait_for(1)
    rotated.set()
    rounds.wait_for(4)
    thread.finish()


def test_a_store_that_is_stopped_without_threads_makes_its_last_round_itself() -> None:
    rounds = Rounds()
    ArchiveThread(rounds).finish()  # type: ignore[arg-type]
    assert rounds.count == 1
    assert rounds.released


def test_a_stop_does_not_wait_for_an_archive_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    answers = threading.Event()
    rounds = Rounds()
    rounds.within = lambda: answers.wait(60)
    thread = started(rounds, last_round_seconds=0.01)
    with caplog.at_level(logging.WARNING):
        thread.finish()
    assert "the end of the log is not archived" in caplog.text
    assert rounds.count == 0
    answers.set()
    rounds.wait_for(2)
