"""A whole run that recovers from too few power cuts fails; a part of it is only told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT

CONFIGURATION = "[pytest]\ntestpaths = tests\n"
SWEEP = """
def test_a_sweep(record_property):
    record_property("crash_states", {states})
    record_property("distinct_states", {distinct})

def test_another_sweep(record_property):
    record_property("crash_states", 1)

def test_something_else():
    assert {holds}
"""
ENOUGH = {"states": 99_999, "distinct": 10_000}

pytestmark = pytest.mark.timeout(300)


def run(tmp_path: Path, *arguments: str, states: int, distinct: int, holds: bool = True) -> tuple[int, str]:
    """A run over one small file of tests, and what it prints."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    (tmp_path / "tests" / "test_it.py").write_text(SWEEP.format(states=states, distinct=distinct, holds=holds))
    plugins = ("xdist", "tests.support.crash_count", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *(word for name in plugins for word in ("-p", name)), *arguments]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in [name for name in environment if name.startswith("PYTEST_XDIST")]:
        del environment[name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_whole_run_with_enough_states(tmp_path: Path) -> None:
    code, output = run(tmp_path, "-n", "2", **ENOUGH)
    assert "power cuts: 100,000 crash states, 10,000 of them distinct" in output
    assert code == 0, output


@pytest.mark.parametrize(
    ("states", "distinct", "error"),
    [
        (99_998, 10_000, "a whole run needs 100,000 crash states, this one has 99,999"),
        (99_999, 9_999, "a whole run needs 10,000 of them distinct, this one has 9,999"),
        (0, 0, "a whole run needs 100,000 crash states, this one has 1"),
    ],
)
def test_a_whole_run_with_too_few(tmp_path: Path, states: int, distinct: int, error: str) -> None:
    code, output = run(tmp_path, "-n", "2" if distinct == 9_999 else "0", states=states, distinct=distinct)
    assert f"error: {error}" in output
    assert code == 1, output


@pytest.mark.parametrize(
    "arguments", [["tests/test_it.py"], ["-k", "sweep"], ["--deselect", "tests/test_it.py::test_something_else"]]
)
def test_a_part_is_only_told(tmp_path: Path, arguments: list[str]) -> None:
    code, output = run(tmp_path, *arguments, states=5, distinct=3)
    assert "power cuts: 6 crash states, 3 of them distinct" in output
    assert code == 0, output


def test_a_run_that_was_broken_off_says_only_why(tmp_path: Path) -> None:
    code, output = run(tmp_path, "-x", **ENOUGH, holds=False)
    assert "a whole run needs" not in output
    assert code == 1, output
