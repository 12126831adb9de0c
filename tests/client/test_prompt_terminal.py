"""The prompt on a terminal, as a person has it: Tab completes, lines are kept over sessions, Ctrl-C and Ctrl-D do."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import holdfast
from tests.support.fake_server import FakeDaemon
from tests.support.terminal import END, ENTER, INTERRUPT, TAB, UP, Terminal

EMPTY = "holdfast>"

Prompt = Callable[[Path], Terminal]


@pytest.fixture
def prompt(daemon: FakeDaemon) -> Prompt:
    """Starts `holdfast` on a terminal, with a home."""

    def start(home: Path) -> Terminal:
        environment = {
            "HOME": str(home),
            "PATH": os.environ.get("PATH", os.defpath),
            "HOLDFAST_ADDRESS": daemon.address,
        }
        return Terminal([sys.executable, "-m", "holdfast"], environment)

    return start


def test_tab_completes_commands_and_names(prompt: Prompt, products: holdfast.Collection, tmp_path: Path) -> None:
    with prompt(tmp_path) as terminal:
        terminal.wait_for_line(EMPTY)
        terminal.type("/collection inf" + TAB)
        terminal.wait_for_line(f"{EMPTY} /collection info")
        terminal.type("pro" + TAB)
        terminal.wait_for_line(f"{EMPTY} /collection info products")
        terminal.type(ENTER)
        terminal.wait_for('"dimensions": 2')
        terminal.wait_for_line(EMPTY)


def test_the_menu_of_several_candidates_is_left_by_a_key(
    prompt: Prompt, products: holdfast.Collection, tmp_path: Path
) -> None:
    with prompt(tmp_path) as terminal:
        terminal.wait_for_line(EMPTY)
        terminal.type("/collection " + TAB)
        terminal.wait_for("Show a collection")
        terminal.type("list" + ENTER)
        terminal.wait_for('"total": 1')
        terminal.wait_for_line(EMPTY)


def test_ctrl_c_throws_the_line_away_and_ctrl_d_leaves(prompt: Prompt, tmp_path: Path) -> None:
    with prompt(tmp_path) as terminal:
        terminal.wait_for_line(EMPTY)
        terminal.type("half a line")
        terminal.wait_for_line(f"{EMPTY} half a line")
        terminal.type(INTERRUPT)
        terminal.wait_for_line(EMPTY)
        terminal.type(END)
        assert terminal.exit_code() == 0


def test_lines_are_kept_over_sessions_for_their_user_alone(prompt: Prompt, tmp_path: Path) -> None:
    with prompt(tmp_path) as first:
        first.wait_for_line(EMPTY)
        first.type("/collection list" + ENTER)
        first.wait_for('"total": 0')
        first.wait_for_line(EMPTY)
        first.type("/quit" + ENTER)
        assert first.exit_code() == 0
    history = tmp_path / ".local" / "state" / "holdfast" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    with prompt(tmp_path) as second:
        second.wait_for_line(EMPTY)
        second.type(UP)
        second.wait_for_line(f"{EMPTY} /quit")
        second.type(UP)
        second.wait_for_line(f"{EMPTY} /collection list")
        second.type(ENTER)
        second.wait_for('"total": 0')


def test_a_home_that_can_keep_no_history_costs_nothing_else(prompt: Prompt, tmp_path: Path) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()
    with prompt(no_directory) as terminal:
        terminal.wait_for_line(EMPTY)
        terminal.type("/collection list" + ENTER)
        terminal.wait_for('"total": 0')
        terminal.wait_for_line(EMPTY)
        terminal.type(UP)
        terminal.wait_for_line(f"{EMPTY} /collection list")
        terminal.type(INTERRUPT)
        terminal.wait_for_line(EMPTY)
        terminal.type(END)
        assert terminal.exit_code() == 0
