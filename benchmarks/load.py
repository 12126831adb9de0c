"""Many clients calling at once for a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

WARM_UP_SECONDS = 0.3


@dataclass(frozen=True)
class Load:
    """Calls per second of all clients together; latencies in seconds."""

    clients: int
    calls: int
    rate: float
    p50: float
    p99: float


def drive(calls: list[Callable[[], object]], seconds: float) -> Load:
    """Runs each callable over and over in a thread of its own, one per client. Raises what a client raised."""
    taken: list[list[float]] = [[] for _ in calls]
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(calls))
    threads = [
        threading.Thread(target=_client, args=(c, t, seconds, barrier, failures))
        for c, t in zip(calls, taken, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    latencies = sorted(latency for one in taken for latency in one)
    count = len(latencies)
    return Load(len(calls), count, count / seconds, latencies[count // 2], latencies[count * 99 // 100])


def _client(
    call: Callable[[], object],
    taken: list[float],
    seconds: float,
    barrier: threading.Barrier,
    failures: list[BaseException],
) -> None:
    try:
        barrier.wait()
        start = time.perf_counter() + WARM_UP_SECONDS
        end = start + seconds
        while (began := time.perf_counter()) < end:
            call()
            if start <= began and (finished := time.perf_counter()) <= end:
                taken.append(finished - began)
    except Exception as failure:
        failures.append(failure)
