"""Full snapshots beside `cp` and a sync, verifications beside plain reading, restores, an increment after 1 % of the
rows changed. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import contender, data
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.pairs import alternate

ROUNDS = 3
RESTORED = "restored"


@dataclass(frozen=True)
class Snapshot:
    """Seconds of each step over `rows` rows, and bytes. Neighbours in time, one by one, are `full` and `copy`, and
    `verify` (every checksum) and `read` (of the same file, from the disk). `verify_rows` decodes every row besides.
    """

    rows: int
    changed: int
    ingest: float
    full: list[float]
    copy: list[float]
    full_bytes: int
    verify: list[float]
    read: list[float]
    verify_rows: float
    restore: float
    increment: float
    increment_bytes: int
    restore_chain: float


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    print(json.dumps(asdict(_measure(data.load(options.data), options.rows, options.work))), flush=True)


def _measure(rows: data.Rows, total: int, directory: Path) -> Snapshot:
    store = Streamed(directory)
    snapshots = store.database.snapshots
    with store.daemon:
        batches = rows.batches(0, total, 1_000)
        ingest = _seconds(lambda: store.write(batches))
        base = snapshots.create(COLLECTION, path=str(directory / "base"))
        pairs = alternate(lambda: _full(store, directory), lambda: _copy(base.path, directory), ROUNDS)
        readings = alternate(lambda: _verify(store, base.snapshot_id, 2), lambda: _read(base.path), ROUNDS)
        verify_rows = _verify(store, base.snapshot_id, 3)
        restore = _restore(store, base.snapshot_id)
        changed = _change(store, rows, total)
        began = time.perf_counter()
        made = snapshots.create(COLLECTION, path=str(directory / "hourly"), incremental=True, base=base.snapshot_id)
        increment = time.perf_counter() - began
        if made.vectors != changed:
            raise SystemExit(f"the increment holds {made.vectors} rows where {changed} changed: the run is void")
        return Snapshot(
            rows=total,
            changed=changed,
            ingest=ingest,
            full=pairs.ours,
            copy=pairs.other,
            full_bytes=base.size_bytes,
            verify=readings.ours,
            read=readings.other,
            verify_rows=verify_rows,
            restore=restore,
            increment=increment,
            increment_bytes=made.size_bytes,
            restore_chain=_restore(store, made.snapshot_id),
        )


def _full(store: Streamed, directory: Path) -> float:
    """A full snapshot; it is deleted again outside of the clock."""
    place = directory / "full"
    seconds = _seconds(lambda: store.database.snapshots.create(COLLECTION, path=str(place)))
    (file,) = place.iterdir()
    store.database.snapshots.delete(str(file))
    return seconds


def _copy(path: str, directory: Path) -> float:
    """`cp` of as many bytes out of the page cache, and a sync of the copy."""
    target = directory / "copy"
    with Path(path).open("rb") as source, Path(os.devnull).open("wb") as nowhere:
        shutil.copyfileobj(source, nowhere)
    began = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", path, str(target)], check=True)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    seconds = time.perf_counter() - began
    os.close(descriptor)
    target.unlink()
    return seconds


def _verify(store: Streamed, snapshot: str, level: int) -> float:
    """A verification, which lets the page cache forget the file first; everything has to be right."""
    began = time.perf_counter()
    result = store.database.snapshots.verify(snapshot, level=level)
    seconds = time.perf_counter() - began
    if not result.valid or result.bytes_read < result.size_bytes // 2:
        raise SystemExit(f"{snapshot} was not verified at level {level}: the run is void")
    return seconds


def _read(path: str) -> float:
    """Plain reading of the same bytes from the disk, a MiB at a time."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    while os.read(descriptor, 1 << 20):
        pass
    seconds = time.perf_counter() - began
    os.close(descriptor)
    return seconds


def _change(store: Streamed, rows: data.Rows, total: int) -> int:
    """Give 1 % of the rows, spread over all of them, other vectors; returns how many."""
    whole = rows.take(0, total)
    chosen = range(0, total, 100)
    fresh = rows.take(contender.UNSEEN, contender.UNSEEN + len(chosen)).vectors
    store.write([data.Batch([whole.ids[i] for i in chosen], fresh, [whole.payloads[i] for i in chosen])])
    return len(chosen)


def _restore(store: Streamed, snapshot: str) -> float:
    """Restore beside the original; what is restored must be the collection as it is now."""
    database = store.database
    seconds = _seconds(lambda: database.snapshots.restore(snapshot, collection=RESTORED))
    found, wanted = database.collection(RESTORED).stats().digest, database.collection(COLLECTION).stats().digest
    if found != wanted:
        raise SystemExit(f"{snapshot} was restored to digest {found}, the collection has {wanted}: the run is void")
    database.collections.delete(RESTORED)
    return seconds


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
