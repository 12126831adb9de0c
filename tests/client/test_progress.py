"""Progress on a terminal."""

from __future__ import annotations

import sys

import pytest

from holdfast.cli.progress import display
from holdfast.operations import Progress

STEP = Progress("op-1", "compact", "running", "writing", 512, 1024, 0, 0, 2048, None, True)


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with display(True) as show:
        show(STEP)
        show(STEP._replace(done_bytes=1024))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "op-1" in captured.err


def test_nothing_is_shown_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with display(False) as show:
        show(STEP)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_per_phase(capsys: pytest.CaptureFixture[str]) -> None:
    with display(True) as show:
        for phase in ("writing", "writing", "publishing"):
            show(STEP._replace(phase=phase))
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["writing", "publishing"]
