"""One row per RPC from many clients of one daemon, each with a connection of its own. Prints one JSON line."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import holdfast
from benchmarks import data, load
from benchmarks.ours.bulk import COLLECTION, check
from benchmarks.ours.daemon import Daemon

ROWS_PER_CLIENT = 500


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    rows = data.load(options.data)
    with Daemon(options.work) as daemon:
        print(json.dumps(asdict(_drive(daemon.address, rows, options.clients, options.seconds))), flush=True)


def _drive(address: str, rows: data.Rows, clients: int, seconds: float) -> load.Load:
    databases = [holdfast.connect(address) for _ in range(clients)]
    databases[0].collections.create(COLLECTION, dimensions=data.DIMENSIONS, metric="cosine", storage="disk")
    try:
        return load.drive([_client(database, rows, number) for number, database in enumerate(databases)], seconds)
    finally:
        for database in databases:
            database.close()


def _client(database: holdfast.Client, rows: data.Rows, number: int) -> Callable[[], None]:
    collection = database.collection(COLLECTION)
    own = rows.batches(number * ROWS_PER_CLIENT, (number + 1) * ROWS_PER_CLIENT, 1)
    turn = itertools.cycle(own)

    def call() -> None:
        batch = next(turn)
        check(collection.upsert(batch.ids, batch.vectors, batch.payloads))

    return call


if __name__ == "__main__":
    main()
