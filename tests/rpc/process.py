"""The daemon as a process of its own, for tests of its life."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.sources import ROOT

LIMIT_SECONDS = 60.0


class Daemon:
    """``python -m holdfastd`` on a data directory and a socket below ``directory``."""

    def __init__(self, directory: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.socket = directory / "s"
        self.data = directory / "data"
        self._log = directory / "log"
        given = ["--data-dir", str(self.data), "--socket", str(self.socket), *arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "holdfastd", *given], env=environment(env or {}), stderr=log, cwd=directory
            )

    @property
    def address(self) -> str:
        return f"unix:{self.socket}"

    @property
    def log(self) -> str:
        """Everything that was logged, over all starts in this directory."""
        return self._log.read_text(encoding="utf-8")

    def started(self) -> Daemon:
        """Wait until it accepts connections."""
        end = time.monotonic() + LIMIT_SECONDS
        while not self._accepts():
            assert self.process.poll() is None, f"exit code {self.process.returncode}: {self.log}"
            assert time.monotonic() < end, self.log
            time.sleep(0.01)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_SECONDS)

    def ended(self) -> int:
        """Wait for it to end by itself; the exit code."""
        return self.process.wait(LIMIT_SECONDS)

    def kill(self) -> None:
        """End it now, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.socket)) == 0


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without its settings for a daemon, with this checkout's packages in front."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST")}
    packages = [str(ROOT / "server"), str(ROOT / "client"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(packages), **more}
