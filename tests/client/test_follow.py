"""Ctrl-C while long work is watched: the first detaches, a second one cancels."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import holdfast
from holdfast.cli import follow
from holdfast.cli.progress import describe
from holdfast.cli.state import State
from holdfast.operations import Operation, Progress
from tests.support.fake_server import FakeDaemon


@pytest.fixture
def operation(db: holdfast.Client, monkeypatch: pytest.MonkeyPatch) -> Operation:
    """Running work, whose watch is interrupted after the first message."""
    started = db.storage.compact(wait=False)
    assert isinstance(started, Operation)
    watch = Operation.watch

    def interrupted(self: Operation) -> Iterator[Progress]:
        yield next(watch(self))
        raise KeyboardInterrupt

    monkeypatch.setattr(Operation, "watch", interrupted)
    return started


def test_the_first_ctrl_c_leaves_the_work_running_and_says_how_to_come_back(
    operation: Operation, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(follow.time, "sleep", slept.append)
    state = State()
    assert follow.follow(state, operation) is None
    assert state.exit_code == 130
    assert slept == [2.0]
    assert f"follow it with: holdfast operation watch {operation.id}" in capsys.readouterr().err
    assert not daemon.cancelled.is_set()


@pytest.mark.parametrize(
    ("refused", "words"), [(False, "is being cancelled"), (True, "is not cancelled: it is in its final phase")]
)
def test_a_second_one_cancels_it(
    operation: Operation,
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refused: bool,
    words: str,
) -> None:
    def press_again(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow.time, "sleep", press_again)
    if refused:
        daemon.fail_next("CancelOperation", grpc.StatusCode.FAILED_PRECONDITION, "it is in its final phase")
    state = State()
    assert follow.follow(state, operation) is None
    assert state.exit_code == 130
    assert words in capsys.readouterr().err
    assert daemon.cancelled.is_set() is not refused


def test_signals_of_a_terminal_do_the_same(daemon: FakeDaemon) -> None:
    daemon.step_seconds = 60.0
    command = [sys.executable, "-m", "holdfast", "--address", daemon.address, "storage", "compact", "-v"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "op-1: preparing" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert "operation op-1 continues" in process.stderr.readline()
    assert "press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "operation op-1 is being cancelled\n")
    assert daemon.cancelled.is_set()


def test_ctrl_c_elsewhere_is_one_line(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, cli: Any) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.storage.Storage.status", interrupt)
    outcome = cli("storage", "status")
    assert (outcome.code, outcome.err) == (130, "error: interrupted\n")


def test_a_closed_pipe_is_no_error(daemon: FakeDaemon, db: holdfast.Client) -> None:
    for n in range(300):
        daemon.log(1, n, "c", ["x" * 300])
    command = [sys.executable, "-m", "holdfast", "--address", daemon.address, "storage", "wal", "dump"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


def test_progress_in_words() -> None:
    from datetime import timedelta

    progress = Progress("op-1", "compact", "running", "writing", 512, 1024, 5, 10, 2048, timedelta(seconds=6), True)
    assert describe(progress) == "writing  50 %  512 B/1.0 KiB  5/10 vectors  2.0 KiB/s  ETA 6s"
    assert describe(Progress("op-1", "compact", "pending", "", 0, 0, 0, 0, 0, None, True)) == "pending"
