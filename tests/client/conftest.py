"""Fixtures of the client's tests: a daemon of dicts in this process, a connection to it, and the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.cli.main import run
from holdfast.cli.state import Connector, State
from tests.support.fake_server import FakeDaemon


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDaemon]:
    socket = tmp_path_factory.mktemp("d") / "s"  # short: a socket's path has 107 bytes at most
    with FakeDaemon(str(socket)) as running:
        yield running


@pytest.fixture
def db(daemon: FakeDaemon) -> Iterator[holdfast.Client]:
    with holdfast.connect(daemon.address) as client:
        yield client


@pytest.fixture
def products(db: holdfast.Client) -> holdfast.Collection:
    """A collection of three points in two dimensions."""
    collection = db.collections.create("products", 2)
    collection.upsert(["a", "b", "c"], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [{"n": 1}, None, {"n": 3, "kind": "x"}])
    return collection


@dataclass
class Outcome:
    """What one command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one command line in this process against the daemon."""

    def call(*arguments: str, stdin: str | bytes | None = None) -> Outcome:
        state = State(connector=Connector(address=daemon.address))
        capsys.readouterr()
        code = run_with_stdin(arguments, state, stdin)
        state.connector.close()
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def run_with_stdin(arguments: Sequence[str], state: State, stdin: str | bytes | None) -> int:
    if stdin is None:
        return run(arguments, state)
    import io

    data = stdin.encode() if isinstance(stdin, str) else stdin
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(data))
    try:
        return run(arguments, state)
    finally:
        sys.stdin = before


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Write a file and return its path."""

    def make(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return make
