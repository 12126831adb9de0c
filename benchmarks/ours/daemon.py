"""A holdfastd process of this checkout: started, watched, stopped or killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import grpc

from benchmarks import process

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SOURCES = (str(REPOSITORY / "server"), str(REPOSITORY / "client"))
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
START_LIMIT_SECONDS = 300.0
STOP_LIMIT_SECONDS = 120.0
SAMPLE_SECONDS = 0.02


class Daemon:
    """Serves `directory`/data on `directory`/holdfast.sock. A start begins with the process and ends with SERVING.

    `options` are given to holdfastd beside these two places.
    """

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self._directory = directory
        self._options = options
        self._log = directory / "holdfastd.log"
        self._peak = 0
        self.address = f"unix://{directory / 'holdfast.sock'}"
        self.start_seconds = self.start()

    def start(self) -> float:
        """Starts the process; returns the seconds until its health says SERVING. Raises SystemExit if it gives up."""
        path, data = self._directory / "holdfast.sock", self._directory / "data"
        command = [sys.executable, "-m", "holdfastd", "--data-dir", str(data), "--socket", str(path), *self._options]
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
        self._await_serving(path, began + START_LIMIT_SECONDS)
        taken = time.perf_counter() - began
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        return taken

    def stop(self) -> float:
        """SIGTERM; returns the seconds until the process has ended."""
        began = time.perf_counter()
        self._process.terminate()
        if code := self._process.wait(STOP_LIMIT_SECONDS):
            raise SystemExit(f"holdfastd ended with code {code} after SIGTERM\n{self._log_tail()}")
        return time.perf_counter() - began

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def recovered(self) -> tuple[float, int]:
        """Of the last start, by the daemon's own word: what recovery took, in seconds, and the records it applied."""
        said = self._log.read_text(errors="replace")
        (records, milliseconds) = re.findall(r"recovered_records=(\d+) .*recovery_ms=([0-9.]+)", said)[-1]
        return float(milliseconds) / 1e3, int(records)

    def bytes_written(self) -> int:
        """Bytes that the running process has sent to the disk."""
        return process.bytes_written(self._process.pid)

    def memory_peak(self) -> int:
        """Largest anonymous memory in bytes since the last call, sampled every 20 ms."""
        now = process.anonymous_memory(self._process.pid)
        peak, self._peak = max(self._peak, now), now
        return peak

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()

    def _await_serving(self, path: Path, limit: float) -> None:
        while not _listening(path):
            self._check_alive(limit)
            time.sleep(0.002)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH)
            while check(b"", wait_for_ready=True, timeout=START_LIMIT_SECONDS) != SERVING:
                self._check_alive(limit)
                time.sleep(0.002)

    def _check_alive(self, limit: float) -> None:
        if (code := self._process.poll()) is not None:
            raise SystemExit(f"holdfastd ended with code {code} before it served\n{self._log_tail()}")
        if time.perf_counter() > limit:
            self.kill()
            raise SystemExit(f"holdfastd did not serve within {START_LIMIT_SECONDS:.0f} s\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]

    def _watch(self, watched: subprocess.Popen[bytes]) -> None:
        while watched.poll() is None:
            try:
                self._peak = max(self._peak, process.anonymous_memory(watched.pid))
            except (FileNotFoundError, ProcessLookupError, LookupError):
                return
            time.sleep(SAMPLE_SECONDS)


def environment() -> dict[str, str]:
    """The caller's environment with this checkout's packages in front."""
    inherited = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([*SOURCES, *([inherited] if inherited else [])])}


def _listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True
