"""Runs one contender in a process and a directory of its own and reads its JSON line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import workplace
from benchmarks.ours.daemon import REPOSITORY, environment
from benchmarks.peers import environment as peers

PEERS = {"RocksDB": "rocksdb", "SQLite": "sqlite", "Qdrant Edge": "qdrant_edge", "LanceDB": "lancedb"}


class RunFailed(Exception):
    """A contender ended without a result; the text says which and why."""


@dataclass(frozen=True)
class Runner:
    """Where contenders run and which rows they get."""

    root: Path
    data: Path | None

    def peer(self, name: str, *arguments: str) -> dict[str, Any]:
        """One run of a peer, in the peers' environment."""
        python = peers.ensure(REPOSITORY)
        return self._run([str(python), "-m", f"benchmarks.peers.{PEERS[name]}", *arguments], dict(os.environ))

    def ours(self, module: str, *arguments: str) -> dict[str, Any]:
        """One run of a module of benchmarks/ours, in this environment."""
        return self._run([sys.executable, "-m", f"benchmarks.ours.{module}", *arguments], environment())

    def _run(self, command: list[str], variables: dict[str, str]) -> dict[str, Any]:
        with workplace.fresh(self.root) as directory:
            where = ["--work", str(directory), *(["--data", str(self.data)] if self.data else [])]
            done = subprocess.run([*command, *where], cwd=REPOSITORY, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise RunFailed(f"{command[2]} ended with code {done.returncode}: {_last_line(done.stderr)}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
