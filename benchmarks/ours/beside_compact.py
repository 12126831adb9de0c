"""Durable upserts, then searches, while one compaction follows the other, beside the same load alone. Prints a JSON
line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contender, data, load
from benchmarks.ours.beside import CLIENTS, ROWS_PER_UPSERT, upserting_clients
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.ours.endless import going_on
from benchmarks.ours.measured import print_measured

K = 10


@dataclass(frozen=True)
class BesideCompact:
    """Each load alone and beside `compactions` of `rows` rows, which took `seconds`."""

    rows: int
    upserts_alone: load.Load
    upserts_beside: load.Load
    searches_alone: load.Load
    searches_beside: load.Load
    compactions: int
    seconds: float


def _measure(rows: data.Rows, total: int, directory: Path, *, seconds: float) -> BesideCompact:
    store = Streamed(directory)
    with store.daemon:
        for start in range(0, total, contender.CHUNK):
            store.write(rows.batches(start, min(start + contender.CHUNK, total), 1_000))
        taken: list[float] = []
        # All rows in turns: a compaction begins with a checkpoint, behind which none is in memory any more.
        turns = total // (CLIENTS * ROWS_PER_UPSERT)
        with upserting_clients(store.daemon.address, rows, turns) as calls:
            upserts = _alone_and_beside(store, rows, calls, seconds, taken)
            searching = [_search(store, rows)]
            searches = _alone_and_beside(store, rows, searching, seconds, taken)
        return BesideCompact(total, *upserts, *searches, len(taken), sum(taken))


def _alone_and_beside(
    store: Streamed, rows: data.Rows, calls: list[Callable[[], None]], seconds: float, taken: list[float]
) -> tuple[load.Load, load.Load]:
    alone = load.drive(calls, seconds)
    with going_on(lambda: _compact(store, rows), taken):
        return alone, load.drive(calls, seconds)


def _compact(store: Streamed, rows: data.Rows) -> float:
    """Seconds of writing the whole collection anew; a row written before makes sure that there is something to drop."""
    one = rows.take(0, 1)
    store.collection.upsert(one.ids, one.vectors, one.payloads)
    return float(store.database.storage.compact(COLLECTION, aggressive=True).duration_ms) / 1e3


def _search(store: Streamed, rows: data.Rows) -> Callable[[], None]:
    query = rows.take(contender.UNSEEN, contender.UNSEEN + 1).vectors[0]

    def call() -> None:
        store.search(query, K)

    return call


if __name__ == "__main__":
    print_measured(_measure, seconds=float)
