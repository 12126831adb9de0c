"""Ingest, kill -9, recover; bring a copy up to date in two ways; open what is sealed. Prints one JSON line.

A usual store has nearly all rows in segments when it is killed. How fast recovery applies the log is seen on a second
one, whose memtable has no end: there a checkpoint comes with each GiB of log alone.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import holdfast
from benchmarks import contender, data
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.ours.measured import print_measured

REPLAYED = "replayed"
MOMENT = "moment"
NO_END = ("--memtable-size", "16GB")
BATCH = 1_000


@dataclass(frozen=True)
class Restart:
    """Seconds of each step over `rows` rows; `empty` is the start of an empty store.

    `recovery`: the start of a usual store; `log_alone`: what recovery says that it took for `log_rows` in the log.
    """

    rows: int
    ingest: float
    empty: float
    recovery: float
    log_alone: float
    log_rows: int
    replay: float
    moment: float
    sealed: float


def _measure(rows: data.Rows, total: int, directory: Path) -> Restart:
    log_alone, log_rows = _recovery_of_log(rows, total, _made(directory / "log-alone"))
    store = Streamed(_made(directory / "usual"))
    with store.daemon as daemon:
        store.database.snapshots.create(COLLECTION)  # empty: what a replay rolls forward
        ingest = _ingest(store, rows, total)
        store.database.close()
        daemon.kill()
        recovery = daemon.start()
        _require(daemon.address, COLLECTION, total)
        replay = _replay(daemon.address, total)
        moment = _moment(daemon.address, total)
        _seal(daemon.address)
        daemon.stop()
        sealed = daemon.start()
        _require(daemon.address, COLLECTION, total)
        return Restart(total, ingest, daemon.start_seconds, recovery, log_alone, log_rows, replay, moment, sealed)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _recovery_of_log(rows: data.Rows, total: int, directory: Path) -> tuple[float, int]:
    store = Streamed(directory, NO_END)
    with store.daemon as daemon:
        _ingest(store, rows, total)
        store.database.close()
        daemon.kill()
        daemon.start()
        _require(daemon.address, COLLECTION, total)
        seconds, records = daemon.recovered()
        daemon.kill()
    shutil.rmtree(directory)
    return seconds, min(total, records * BATCH)


def _ingest(store: Streamed, rows: data.Rows, total: int) -> float:
    seconds = 0.0
    for start in range(0, total, contender.CHUNK):
        batches = rows.batches(start, min(start + contender.CHUNK, total), BATCH)
        began = time.perf_counter()
        store.write(batches)
        seconds += time.perf_counter() - began
    return seconds


def _replay(address: str, total: int) -> float:
    with holdfast.connect(address) as database:
        database.snapshots.restore("latest", collection=REPLAYED)
        began = time.perf_counter()
        database.wal.replay(collection=REPLAYED)
        seconds = time.perf_counter() - began
    _require(address, REPLAYED, total)
    return seconds


def _moment(address: str, total: int) -> float:
    """A new collection that holds the newest moment, rolled forward from the empty snapshot before it is published."""
    with holdfast.connect(address) as database:
        began = time.perf_counter()
        database.wal.replay(collection=COLLECTION, into=MOMENT)
        seconds = time.perf_counter() - began
    _require(address, MOMENT, total)
    return seconds


def _seal(address: str) -> None:
    with holdfast.connect(address) as database:
        for name in (REPLAYED, MOMENT):
            database.collections.delete(name)


def _require(address: str, collection: str, total: int) -> None:
    with holdfast.connect(address) as database:
        if (found := database.collection(collection).count()) != total:
            raise SystemExit(f"{collection} holds {found} rows where {total} were acknowledged: the run is void")


if __name__ == "__main__":
    print_measured(_measure)
