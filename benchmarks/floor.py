"""What the machine itself allows: durable appends, sequential writing, an empty RPC."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import echo, load, workplace

SMALL = 4 << 10
LARGE = 1_600_000
SEQUENTIAL = 1 << 20


@dataclass(frozen=True)
class Appends:
    """Appends of one size, each followed by fdatasync; latencies in seconds."""

    size: int
    rate: float
    p50: float
    p99: float


def appends(root: Path, size: int, seconds: float) -> Appends:
    """Appends to a preallocated file, as a write-ahead log does, for `seconds`."""
    record = os.urandom(size)
    taken: list[float] = []
    with workplace.fresh(root) as directory:
        descriptor = os.open(directory / "log", os.O_CREAT | os.O_WRONLY)
        os.posix_fallocate(descriptor, 0, 1 << 30)
        os.fsync(descriptor)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            os.pwrite(descriptor, record, len(taken) * size % (1 << 30))
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
        os.close(descriptor)
    taken_sorted = sorted(taken)
    middle, late = taken_sorted[len(taken) // 2], taken_sorted[len(taken) * 99 // 100]
    return Appends(size, len(taken) / sum(taken), middle, late)


def sequential(root: Path, size: int) -> float:
    """Bytes per second of writing `size` bytes to a new file, one fdatasync at the end."""
    piece = os.urandom(SEQUENTIAL)
    with workplace.fresh(root) as directory:
        descriptor = os.open(directory / "file", os.O_CREAT | os.O_WRONLY)
        began = time.perf_counter()
        for _ in range(0, size, SEQUENTIAL):
            os.write(descriptor, piece)
        os.fdatasync(descriptor)
        taken = time.perf_counter() - began
        os.close(descriptor)
    return size / taken


def empty_rpc(root: Path, clients: int, seconds: float) -> load.Load:
    """Empty calls to a server in a process of its own."""
    with workplace.fresh(root) as directory, echo.server(directory / "echo.sock") as address:
        return echo.drive(address, clients, seconds)
