"""Standard output that cannot be written: an error, never a traceback, and never a success."""

from __future__ import annotations

import subprocess
import sys

import pytest

import holdfast
from tests.support.fake_server import FakeDaemon

FULL = "error: standard output cannot be written: No space left on device"
COMMANDS = [
    "storage snapshot list",
    "storage snapshot list --format table",
    "vector get products --id a",
    "vector export products --file - --format ndjson",
    "storage wal dump",
    "storage wal grep --op upsert",
    "--version",
    "--help",
    "vector search --help",
]


def run(daemon: FakeDaemon, command: str, redirection: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    line = f"exec {sys.executable} -m holdfast --address {daemon.address} {command} {redirection}"
    return subprocess.run(["/bin/sh", "-c", line], input=stdin, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_an_error(daemon: FakeDaemon, command: str) -> None:
    daemon.log(1, 1, "products", ["a"])
    done = run(daemon, command, "> /dev/full")
    assert done.stderr.splitlines()[0] == FULL
    assert (done.returncode, done.stderr.count("error:"), "Traceback" in done.stderr) == (1, 1, False)


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("command", COMMANDS[:5])
def test_a_closed_output_is_an_error(daemon: FakeDaemon, command: str) -> None:
    daemon.log(1, 1, "products", ["a"])
    done = run(daemon, command, ">&-")
    assert done.stderr.splitlines()[0] == "error: standard output cannot be written: it is closed"
    assert done.returncode == 1


def test_what_was_done_stays_done(daemon: FakeDaemon, products: holdfast.Collection) -> None:
    done = run(daemon, "vector delete products --id a", "> /dev/full")
    assert done.returncode == 1
    assert "hint: what the command did stays done" in done.stderr
    assert products.count() == 2


@pytest.mark.usefixtures("products")
def test_each_line_of_a_script_says_that_its_output_is_lost(daemon: FakeDaemon) -> None:
    done = run(daemon, "", "> /dev/full", stdin="vector count products\nhelp\nvector count products\n")
    assert done.returncode == 1
    assert done.stderr.count(FULL) >= 1
    assert "Traceback" not in done.stderr
