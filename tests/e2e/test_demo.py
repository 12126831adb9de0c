"""``make demo`` as a test: the tour ends well, as README.md says, and badly when a claim does not hold."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import documents
from tests.support.sources import ROOT

DEMO = ROOT / "examples" / "demo.py"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TWO_MINUTES = 120
"""What a tour may take once everything is installed."""


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tour_ends_well_and_shows_what_the_readme_says(tmp_path: Path) -> None:
    documents.programs(tmp_path / "bin")
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "server"), str(ROOT / "client"), os.environ.get("PYTHONPATH", "")]),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path) if len(str(tmp_path)) < 60 else "/tmp",
    }
    command = [sys.executable, str(DEMO)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=TWO_MINUTES)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    promised = re.findall(r"^ *✓ .*", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(promised) >= 5
    assert [line for line in promised if line not in done.stdout.splitlines()] == []
    assert list(tmp_path.glob("holdfast-demo-*")) == []


def test_a_claim_that_does_not_hold_ends_the_tour(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    demo._path_with_our_programs = lambda: os.defpath
    demo.take_the_tour = lambda tour: tour.check("two is two", 2, 3)
    assert demo.main() == 1
    assert "two is two: expected 3, found 2" in capsys.readouterr().err


def test_a_command_that_fails_ends_the_tour(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    demo._path_with_our_programs = lambda: os.defpath
    demo.take_the_tour = lambda tour: tour.run("false")
    assert demo.main() == 1
    assert "`false` ended with exit code 1" in capsys.readouterr().err


def test_a_daemon_that_does_not_start_ends_the_tour(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("holdfast", "holdfastd"):
        (tmp_path / name).write_text("#!/bin/sh\necho no such disk >&2\nexit 74\n")
        (tmp_path / name).chmod(0o755)
    demo._path_with_our_programs = lambda: f"{tmp_path}{os.pathsep}{os.defpath}"
    assert demo.main() == 1
    assert "no such disk" in capsys.readouterr().err


def test_a_machine_without_holdfast_is_told_what_to_do(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demo.main() == 1
    assert "holdfast is not installed; run `make demo`" in capsys.readouterr().err
