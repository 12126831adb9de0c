"""Durable upserts while snapshots are written one after the other, beside the same load alone. Prints a JSON line."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import holdfast
from benchmarks import contender, data, load
from benchmarks.ours.bulk import COLLECTION, Streamed, check
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
        with _clients(store.daemon.address, rows) as calls:
            alone = load.drive(calls, seconds)
            taken: list[float] = []
            with _snapshots_without_end(store, directory, taken):
                beside = load.drive(calls, seconds)
        return Beside(total, alone, beside, len(taken), sum(taken))


@contextmanager
def _clients(address: str, rows: data.Rows) -> Iterator[list[Callable[[], None]]]:
    databases = [holdfast.connect(address) for _ in range(CLIENTS)]
    try:
        yield [_client(database, rows, number) for number, database in enumerate(databases)]
    finally:
        for database in databases:
            database.close()


def _client(database: holdfast.Client, rows: data.Rows, number: int) -> Callable[[], None]:
    collection, size = database.collection(COLLECTION), UPSERTS_PER_CLIENT * ROWS_PER_UPSERT
    turn = itertools.cycle(rows.batches(number * size, (number + 1) * size, ROWS_PER_UPSERT))

    def call() -> None:
        batch = next(turn)
        check(collection.upsert(batch.ids, batch.vectors, batch.payloads))

    return call


@contextmanager
def _snapshots_without_end(store: Streamed, directory: Path, taken: list[float]) -> Iterator[None]:
    """While the block runs one full snapshot follows the other; ``taken`` gets the seconds of each."""
    over = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        try:
            while not over.is_set():
                made = store.database.snapshots.create(COLLECTION, path=str(directory / "full"))
                store.database.snapshots.delete(made.path)
                taken.append(made.duration_ms / 1e3)
        except Exception as failure:
            failed.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


if __name__ == "__main__":
    print_measured(_measure, seconds=float)
