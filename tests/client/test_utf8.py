"""Bytes that are no UTF-8, and places that are set to write something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from tests.rpc.process import environment
from tests.support.fake_server import FakeDaemon

LATIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def run(
    daemon: FakeDaemon, directory: Path, *arguments: str | bytes, given: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", "--address", daemon.address, *arguments],
        input=given, capture_output=True, check=False, timeout=60, cwd=directory,
        env=environment({"LC_ALL": "C.UTF-8", **environ}),
    )  # fmt: skip


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize(
    "line",
    [
        [b"vector", b"get", b"products", b"--id", b"\xff"],
        [b"vector", b"count", b"products", b"--filter", b"a = '\xff'"],
        [b"collection", b"info", b"\xff"],
        [b"storage", b"snapshot", b"create", b"--path", b"/\xff"],
        [b"operation", b"cancel", b"\xff"],
    ],
)
def test_an_argument_that_is_not_utf8_is_wrong_usage(daemon: FakeDaemon, tmp_path: Path, line: list[bytes]) -> None:
    done = run(daemon, tmp_path, *line)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"UTF-8" in done.stderr


def test_a_line_of_standard_input_that_is_not_utf8_is_wrong_usage(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = run(daemon, tmp_path, given=b"/collection info \xff\n")
    assert (done.returncode, b"UTF-8" in done.stderr) == (2, True)


@pytest.mark.usefixtures("products")
def test_a_file_of_this_machine_may_have_any_name(daemon: FakeDaemon, tmp_path: Path) -> None:
    name = b"out\xff.ndjson"
    done = run(daemon, tmp_path, "vector", "export", "products", "--file", name)
    assert (done.returncode, done.stderr) == (0, b"")
    assert name in done.stdout
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [name]


def test_results_are_utf8_whatever_the_locale(
    daemon: FakeDaemon, products: holdfast.Collection, tmp_path: Path
) -> None:
    products.upsert(["ü"], [[1.0, 0.0]], [{"sign": "𝄞"}])
    done = run(daemon, tmp_path, "vector", "scroll", "products", **LATIN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["vectors"][-1] == {"id": "ü", "payload": {"sign": "𝄞"}}
    done = run(daemon, tmp_path, given="/vector get products --id ü\n".encode(), **LATIN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["payload"] == {"sign": "𝄞"}
