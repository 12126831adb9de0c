"""Searching the log for one id, and counting all that is in it, against reading its files. Prints one JSON line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contender, data
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.ours.measured import print_measured
from benchmarks.ours.page_cache import forget, read_plainly
from benchmarks.pairs import alternate

ROUNDS = 3
PIECE = 1 << 20


@dataclass(frozen=True)
class Find:
    """Seconds of each reading of `bytes` of log out of a cold page cache; neighbours in time, one by one."""

    rows: int
    bytes: int
    grep: list[float]
    grep_read: list[float]
    stats: list[float]
    stats_read: list[float]


def _measure(rows: data.Rows, total: int, directory: Path) -> Find:
    store = Streamed(directory)
    with store.daemon:
        for start in range(0, total, contender.CHUNK):
            store.write(rows.batches(start, min(start + contender.CHUNK, total), 1_000))
        log = sorted((directory / "data" / "wal").glob("*.wal"))
        wanted = rows.take(total // 2, total // 2 + 1).ids
        read = _cold(log, lambda: read_plainly(log, PIECE))
        grep = alternate(_cold(log, lambda: _grep(store, wanted)), read, ROUNDS)
        stats = alternate(_cold(log, lambda: _stats(store, total)), read, ROUNDS)
        size = sum(file.stat().st_size for file in log)
    return Find(total, size, grep.ours, grep.other, stats.ours, stats.other)


def _grep(store: Streamed, ids: list[str]) -> None:
    if not list(store.database.wal.dump(collection=COLLECTION, ids=ids)):
        raise SystemExit(f"{ids[0]} was written and is not found in the log: the run is void")


def _stats(store: Streamed, total: int) -> None:
    found = store.database.wal.stats(collection=COLLECTION).points
    if found < total:
        raise SystemExit(f"{total} rows were written and the log counts {found}: the run is void")


def _cold(log: list[Path], work: Callable[[], object]) -> Callable[[], float]:
    """``work``, timed, after the page cache has let go of the log."""

    def timed() -> float:
        forget(log)
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return timed


if __name__ == "__main__":
    print_measured(_measure)
