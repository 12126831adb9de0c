"""Compactions of a collection in which a third of the rows has died, each beside `cp` of what is left and a sync.
Prints one JSON line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contender, data
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.ours.measured import print_measured

ROUNDS = 3


@dataclass(frozen=True)
class Round:
    """Seconds of a compaction and of copying what is left, bytes before and after."""

    compact: float
    copy: float
    before: int
    after: int


@dataclass(frozen=True)
class Compact:
    """Of `rows` rows a third dies before each round; what all of them took of the daemon's memory."""

    rows: int
    rounds: list[Round]
    memory_before: int
    memory_peak: int


def _measure(rows: data.Rows, total: int, directory: Path) -> Compact:
    store = Streamed(directory)
    with store.daemon:
        for start in range(0, total, contender.CHUNK):
            store.write(rows.batches(start, min(start + contender.CHUNK, total), 1_000))
        memory_before, alive = store.memory(), list(range(total))
        rounds = []
        for _ in range(ROUNDS):
            _delete(store, rows, alive[::3])
            alive = [row for place, row in enumerate(alive) if place % 3]
            rounds.append(_round(store, directory, len(alive)))
        return Compact(total, rounds, memory_before, store.memory())


def _round(store: Streamed, directory: Path, alive: int) -> Round:
    done = store.database.storage.compact(COLLECTION, aggressive=True)
    stats = store.collection.stats()
    if stats.vectors != alive or stats.garbage_percent:
        raise SystemExit(f"{alive} rows live, and after a compaction there are {stats}: the run is void")
    (collection,) = (directory / "data" / "collections").iterdir()
    return Round(done.duration_ms / 1e3, _copy(collection, directory), done.before_size_bytes, done.after_size_bytes)


def _delete(store: Streamed, rows: data.Rows, dying: list[int]) -> None:
    for start in range(0, len(dying), 10_000):
        store.collection.delete([rows.take(row, row + 1).ids[0] for row in dying[start : start + 10_000]])


def _copy(collection: Path, directory: Path) -> float:
    """`cp` of the files that a compaction has left, and a sync of the copies."""
    target = directory / "copy"
    began = time.perf_counter()
    subprocess.run(["cp", "-r", "--reflink=never", str(collection), str(target)], check=True)
    for path in target.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    seconds = time.perf_counter() - began
    shutil.rmtree(target)
    return seconds


if __name__ == "__main__":
    print_measured(_measure)
