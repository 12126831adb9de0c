"""What the help calls not built is what the daemon refuses as such."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast
from holdfast.cli.not_built import NOT_BUILT
from tests.rpc.process import Daemon, environment

pytestmark = [pytest.mark.e2e]

UNIMPLEMENTED = 15
LINES = {
    ("collection create", "--quantization"): "collection create q -d 2 --quantization scalar",
}
WITHOUT = [
    "collection create other -d 2",
    "storage compact c --dry-run",
    "storage mmap",
    "storage snapshot diff latest",
    "storage snapshot prune --keep-last 1 --dry-run",
    "storage snapshot restore latest --collection copy",
    "storage wal replay --collection c --to 2",
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("d")).started()
    try:
        with holdfast.connect(daemon.address) as db:
            db.collections.create("c", 2).upsert(["a"], [[1, 2]])
            db.snapshots.create("c")
        yield daemon
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def run(daemon: Daemon, directory: Path, line: str) -> subprocess.CompletedProcess[str]:
    [file] = (daemon.data / "snapshots").glob("snap-*")
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *shlex.split(line.format(file=file))],
        capture_output=True, text=True, check=False, cwd=directory,
        env=environment({"HOLDFAST_ADDRESS": daemon.address}),
    )  # fmt: skip


def test_the_lines_below_are_all_that_the_help_calls_not_built() -> None:
    assert {*LINES} == {(command, option) for command, options in NOT_BUILT.items() for option in options}


@pytest.mark.parametrize("line", LINES.values())
def test_the_daemon_refuses_it_as_not_built(daemon: Daemon, tmp_path: Path, line: str) -> None:
    done = run(daemon, tmp_path, line)
    assert (done.returncode, done.stdout) == (UNIMPLEMENTED, ""), done.stderr


@pytest.mark.parametrize("line", WITHOUT)
def test_the_same_commands_work_without_it(daemon: Daemon, tmp_path: Path, line: str) -> None:
    done = run(daemon, tmp_path, line)
    assert done.returncode == 0, done.stderr
