"""A reader of single points beside scans of data that is not in memory, and beside the same scans when it is. Prints a
JSON line.

Before each round the daemon is started anew with its segments dropped from the page cache: pages that a process has
mapped are not dropped.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import holdfast
from benchmarks import contender, data, load
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.ours.measured import print_measured
from benchmarks.ours.page_cache import forget, read_plainly

WARM = "warm"
WARM_ROWS = 1_000
SCATTERED = 1_000
ROUNDS = 3
PIECE = 4 << 20
K = 10


@dataclass(frozen=True)
class Beside:
    """`reads` of one point while scans went on for `seconds` in all; latencies in seconds."""

    reads: int
    p50: float
    p99: float
    longest: float
    seconds: float


@dataclass(frozen=True)
class Cold:
    """The reader alone, beside searches and gets of scattered points of `rows` rows, both cold and warm.

    `machine`: how late a thread wakes that only sleeps as long as one read takes, beside plain reading of the same
    files, without a daemon.
    """

    rows: int
    alone: load.Load
    machine: Beside
    search_cold: Beside
    search_warm: Beside
    get_cold: Beside
    get_warm: Beside


def _measure(rows: data.Rows, total: int, directory: Path, *, seconds: float) -> Cold:
    store = Streamed(directory)
    with store.daemon:
        for start in range(0, total, contender.CHUNK):
            store.write(rows.batches(start, min(start + contender.CHUNK, total), 1_000))
        few = rows.take(0, WARM_ROWS)
        store.database.collections.create(WARM, dimensions=data.DIMENSIONS, metric="cosine", storage="disk")
        store.database.collection(WARM).upsert(few.ids, few.vectors, few.payloads)
        with holdfast.connect(store.daemon.address) as database:
            alone = load.drive([_reader(database, few.ids)], seconds)
        searches = _rounds(store, directory, few.ids, lambda db: _search(db, rows))
        gets = _rounds(store, directory, few.ids, lambda db: _get(db, rows, total))
        store.daemon.stop()
        return Cold(total, alone, _machine(directory / "data" / "collections", alone.p50), *searches, *gets)


def _rounds(
    store: Streamed, directory: Path, ids: list[str], scan: Callable[[holdfast.Client], None]
) -> tuple[Beside, Beside]:
    """The reader beside a scan of cold data, and beside the same one behind it, round after round."""
    cold: list[list[float]] = []
    warm: list[list[float]] = []
    seconds = [0.0, 0.0]
    for _ in range(ROUNDS):
        store.daemon.stop()
        forget(_files(directory / "data" / "collections"))
        store.daemon.start()
        with holdfast.connect(store.daemon.address) as database, holdfast.connect(store.daemon.address) as other:
            read = _reader(other, ids)
            for _ in range(2 * len(ids)):
                read()
            for number, kept in enumerate((cold, warm)):
                taken, lasted = _beside(read, lambda database=database: scan(database))  # type: ignore[misc]
                kept.append(taken)
                seconds[number] += lasted
    return _summed(cold, seconds[0]), _summed(warm, seconds[1])


def _machine(directory: Path, seconds: float) -> Beside:
    late: list[list[float]] = []
    lasted, files = 0.0, _files(directory)
    for _ in range(ROUNDS):
        forget(files)
        taken, more = _beside(lambda: time.sleep(seconds), lambda: read_plainly(files, PIECE))
        late.append([each - seconds for each in taken])
        lasted += more
    return _summed(late, lasted)


def _beside(read: Callable[[], object], scan: Callable[[], None]) -> tuple[list[float], float]:
    """How long each read took that began while the scan went on, and how long that did."""
    over, taken = threading.Event(), list[float]()

    def reading() -> None:
        while not over.is_set():
            began = time.perf_counter()
            read()
            taken.append(time.perf_counter() - began)

    thread = threading.Thread(target=reading)
    thread.start()
    began = time.perf_counter()
    scan()
    lasted = time.perf_counter() - began
    over.set()
    thread.join()
    return taken, lasted


def _summed(rounds: list[list[float]], seconds: float) -> Beside:
    taken = sorted(each for one in rounds for each in one)
    return Beside(len(taken), taken[len(taken) // 2], taken[len(taken) * 99 // 100], taken[-1], seconds)


def _reader(database: holdfast.Client, ids: list[str]) -> Callable[[], object]:
    collection, turn = database.collection(WARM), itertools.cycle(ids)
    return lambda: collection.get([next(turn)])


def _search(database: holdfast.Client, rows: data.Rows) -> None:
    query = rows.take(contender.UNSEEN, contender.UNSEEN + 1).vectors[0]
    database.collection(COLLECTION).search(query, k=K, exact=True)


def _get(database: holdfast.Client, rows: data.Rows, total: int) -> None:
    """Points from all over the collection, none next to another."""
    step = max(1, total // SCATTERED)
    ids = [rows.take(at, at + 1).ids[0] for at in range(0, total, step)]
    if len(database.collection(COLLECTION).get(ids)) != len(ids):
        raise SystemExit("not every row is there: the run is void")


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


if __name__ == "__main__":
    print_measured(_measure, seconds=float)
