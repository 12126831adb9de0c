"""A standard error or input that is closed: the same answers and exit codes, and nothing in the wrong place."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import holdfast
from tests.support.fake_server import FakeDaemon


def run(daemon: FakeDaemon, command: str, redirection: str) -> subprocess.CompletedProcess[str]:
    line = f"exec {sys.executable} -m holdfast --address {daemon.address} {command} {redirection}"
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)


FAILING = [
    ("vector get products --id nope", 4),
    ("vector count nope", 4),
    ("vector search products", 2),
    ("nonsense", 2),
    ("collection", 2),
    ("collection delete products", 2),
    ("storage snapshot restore snap-none", 4),
    ("--address unix:/nonexistent/s vector count products", 11),
]


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("redirection", ["2>&-", "2>&- <&-"])
@pytest.mark.parametrize(("command", "code"), FAILING)
def test_errors_do_not_go_to_standard_output(daemon: FakeDaemon, command: str, code: int, redirection: str) -> None:
    done = run(daemon, command, redirection)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("redirection", ["2>&-", "<&-", "2>&- <&-"])
def test_results_are_what_they_are_otherwise(daemon: FakeDaemon, redirection: str) -> None:
    done = run(daemon, "vector count products", redirection)
    assert (done.returncode, json.loads(done.stdout)["count"], done.stderr) == (0, 3, "")
    done = run(daemon, "storage snapshot create products -v", redirection)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "completed")


def test_all_three_closed_is_a_failure_like_a_closed_output(daemon: FakeDaemon, products: holdfast.Collection) -> None:
    done = run(daemon, "vector delete products --id a", "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert products.count() == 2


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "error: there is no command, and standard input, where they are read from, is closed\n"),
        ("vector insert-batch products --file - --format ndjson", "error: cannot read standard input: it is closed\n"),
        ("collection delete products", "error: this needs --confirm: there is no terminal to ask on\n"),
    ],
)
def test_what_needs_a_closed_input_says_so(daemon: FakeDaemon, command: str, words: str) -> None:
    done = run(daemon, command, "<&-")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(words)
