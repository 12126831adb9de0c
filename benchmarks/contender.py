"""How a bulk contender is run: a process that stores rows batch by batch and prints one JSON line."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from benchmarks import data

CHUNK = 100_000
NEAREST = 10
UNSEEN = 1_000_000_000


class Contender(Protocol):
    """A store under test. `durable` says in words what an acknowledged batch survives."""

    name: str
    version: str
    durable: str

    def write(self, batches: list[data.Batch]) -> None:
        """Stores the batches; returns when the last one is acknowledged."""

    def count(self) -> int:
        """Rows stored, by the store's own account."""

    def bytes_written(self) -> int:
        """Bytes that the storing process has sent to the disk so far."""

    def memory(self) -> int:
        """Largest anonymous memory, in bytes, that the storing process had since the last call."""

    def close(self) -> None:
        """Ends the store in an orderly way."""


@runtime_checkable
class Searcher(Protocol):
    """A contender that also finds neighbours."""

    def search(self, query: data.Matrix, k: int) -> list[str]:
        """The store's own ids of the k nearest rows, nearest first."""

    def key(self, row: str) -> str:
        """The store's own id of a row."""


@dataclass(frozen=True)
class Searches:
    """Single queries for the ten nearest, in turn; seconds, and the share of the true ten that was found."""

    queries: int
    p50: float
    p99: float
    recall: float


@dataclass(frozen=True)
class Bulk:
    """One run: `chunks` are rows per second of each chunk of up to 100,000 rows.

    `memory` is the peak in bytes while each of them was written, `memory_before` the one before the first.
    """

    name: str
    version: str
    durable: str
    rows: int
    batch: int
    seconds: float
    rate: float
    chunks: list[float]
    written_per_row: float
    memory_before: int
    memory: list[int]
    search: Searches | None


def run(start: Callable[[Path], Contender]) -> None:
    """Parses the command line, runs the contender and prints its line. Fails if a row is missing afterwards."""
    options = _options()
    rows = data.load(options.data)
    contender = start(options.work)
    try:
        print(json.dumps(asdict(_measure(contender, rows, options))), flush=True)
    finally:
        contender.close()


def _measure(contender: Contender, rows: data.Rows, options: argparse.Namespace) -> Bulk:
    total: int = options.rows
    before, written = contender.memory(), contender.bytes_written()
    seconds: list[float] = []
    chunks: list[float] = []
    memory: list[int] = []
    for start in range(0, total, CHUNK):
        stop = min(start + CHUNK, total)
        batches = rows.batches(start, stop, options.batch)
        began = time.perf_counter()
        contender.write(batches)
        seconds.append(time.perf_counter() - began)
        chunks.append((stop - start) / seconds[-1])
        memory.append(contender.memory())
    per_row = (contender.bytes_written() - written) / total
    if (stored := contender.count()) != total:
        raise SystemExit(f"{contender.name} acknowledged {total} rows but holds {stored}: the run is void")
    return Bulk(
        name=contender.name,
        version=contender.version,
        durable=contender.durable,
        rows=total,
        batch=options.batch,
        seconds=sum(seconds),
        rate=total / sum(seconds),
        chunks=chunks,
        written_per_row=per_row,
        memory_before=before,
        memory=memory,
        search=_search(contender, rows, total, options.queries) if options.queries else None,
    )


def _search(contender: Contender, rows: data.Rows, total: int, count: int) -> Searches:
    if not isinstance(contender, Searcher):
        raise SystemExit(f"{contender.name} keeps rows but does not search them; run it without --queries")
    queries = rows.take(UNSEEN, UNSEEN + count).vectors
    truth = _nearest(rows, total, queries)
    taken, found = [], 0
    for query, nearest in zip(queries, truth, strict=True):
        began = time.perf_counter()
        hits = contender.search(query, NEAREST)
        taken.append(time.perf_counter() - began)
        found += len({contender.key(row) for row in nearest} & set(hits))
    taken.sort()
    return Searches(count, taken[count // 2], taken[count * 99 // 100], found / (count * NEAREST))


def _nearest(rows: data.Rows, total: int, queries: data.Matrix) -> list[list[str]]:
    whole = rows.take(0, total)
    best = np.argpartition(queries @ whole.vectors.T, -NEAREST, axis=1)[:, -NEAREST:]
    return [[whole.ids[row] for row in line] for line in best]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--queries", type=int, default=0, help="single searches after the writing")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory on the disk under test")
    parser.add_argument("--data", type=Path)
    return parser.parse_args()
