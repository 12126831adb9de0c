"""Durable upserts while snapshots are written one after the other, beside the same load alone. Prints a JSON line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import holdfast
from benchmarks import contender, data, load
from benchmarks.ours.bulk import COLLECTION, Streamed, check
from benchmarks.ours.endless import going_on
from benchmarks.ours.measured import print_measured

CLIENTS = 4
ROWS_PER_UPSERT = 10
UPSERTS_PER_CLIENT = 200


@dataclass(frozen=True)
class Beside:
    """The load alone and beside `snapshots` full snapshots of `rows` rows, which took `busy` seconds of its time."""

    rows: int
    alone: load.Load
    beside: load.Load
    snapshots: int
    busy: float


def _measure(rows: data.Rows, total: int, directory: Path, *, seconds: float) -> Beside:
    store = Streamed(directory)
    with store.daemon:
        for start in range(0, total, contender.CHUNK):
            store.write(rows.batches(start, min(start + contender.CHUNK, total), 1_000))
        with upserting_clients(store.daemon.address, rows) as calls:
            alone = load.drive(calls, seconds)
            taken: list[float] = []
            with going_on(lambda: _snapshot(store, directory), taken):
                beside = load.drive(calls, seconds)
        return Beside(total, alone, beside, len(taken), sum(taken))


@contextmanager
def upserting_clients(
    address: str, rows: data.Rows, upserts: int = UPSERTS_PER_CLIENT
) -> Iterator[list[Callable[[], None]]]:
    """One call per client: a durable upsert of a few rows. Each has so many of them, of the first rows, in turns."""
    databases = [holdfast.connect(address) for _ in range(CLIENTS)]
    try:
        yield [_client(database, rows, number, upserts) for number, database in enumerate(databases)]
    finally:
        for database in databases:
            database.close()


def _client(database: holdfast.Client, rows: data.Rows, number: int, upserts: int) -> Callable[[], None]:
    collection, size = database.collection(COLLECTION), upserts * ROWS_PER_UPSERT
    turn = itertools.cycle(rows.batches(number * size, (number + 1) * size, ROWS_PER_UPSERT))

    def call() -> None:
        batch = next(turn)
        check(collection.upsert(batch.ids, batch.vectors, batch.payloads))

    return call


def _snapshot(store: Streamed, directory: Path) -> float:
    """Seconds of a full snapshot, which is deleted again."""
    made = store.database.snapshots.create(COLLECTION, path=str(directory / "full"))
    store.database.snapshots.delete(made.path)
    return float(made.duration_ms) / 1e3


if __name__ == "__main__":
    print_measured(_measure, seconds=float)
