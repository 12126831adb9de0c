"""What a command costs a shell: help, and one call on the socket."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.ours.daemon import Daemon, environment
from benchmarks.pairs import Pairs, alternate

BARE = [sys.executable, "-c", "pass"]
ENTRY = "import sys; from holdfast.cli import main; sys.exit(main())"


def help_text(pairs: int) -> Pairs[float]:
    """Seconds of `holdfast --help` beside the bare interpreter."""
    return alternate(lambda: _seconds([*command(), "--help"]), lambda: _seconds(BARE), pairs)


def one_command(directory: Path, pairs: int) -> Pairs[float]:
    """Seconds of `holdfast storage status` on the socket beside the bare interpreter."""
    with Daemon(directory) as daemon:
        status = [*command(), "--address", daemon.address, "storage", "status"]
        return alternate(lambda: _seconds(status), lambda: _seconds(BARE), pairs)


def command() -> list[str]:
    """The installed console script of this environment, or else the same entry point of this checkout."""
    script = Path(sys.executable).with_name("holdfast")
    return [str(script)] if script.exists() else [sys.executable, "-c", ENTRY]


def _seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment())
    taken = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[-3:])} ended with code {done.returncode}: {done.stderr[-300:].strip()}")
    return taken
