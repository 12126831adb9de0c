"""Snapshots and restores beside `cp` and a sync, verifications beside plain reading, compressed snapshots beside
`gzip -1`, an increment after 1 % of the rows changed. Prints one JSON line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import contender, data
from benchmarks.ours.bulk import COLLECTION, Streamed
from benchmarks.ours.measured import print_measured
from benchmarks.pairs import alternate

ROUNDS = 3
RESTORED = "restored"
HALF = "half"
HALF_ROWS = 50_000
"""Rows whose values float16 holds exactly: as many embeddings are, and they compress far better."""


@dataclass(frozen=True)
class Snapshot:
    """Seconds of each step over `rows` rows, and bytes.

    Neighbours in time, one by one, are `full` and `copy`, `restore` and `restore_copy`, and `verify` (every checksum)
    and `read` (of the same file, from the disk). `verify_rows` decodes every row besides.
    """

    rows: int
    changed: int
    ingest: float
    full: list[float]
    copy: list[float]
    full_bytes: int
    restore: list[float]
    restore_copy: list[float]
    compressed: float
    gzip: float
    compressed_bytes: int
    gzip_bytes: int
    half_share: float
    verify: list[float]
    read: list[float]
    verify_rows: float
    increment: float
    increment_bytes: int
    restore_chain: float
    memory_before: int
    memory_peak: int


def _measure(rows: data.Rows, total: int, directory: Path) -> Snapshot:
    store = Streamed(directory)
    snapshots = store.database.snapshots
    with store.daemon:
        ingest = _ingest(store, rows, total)
        memory_before = store.memory()
        base = snapshots.create(COLLECTION, path=str(directory / "base"))
        full = alternate(lambda: _full(store, directory)[0], lambda: _copy(base.path, directory), ROUNDS)
        compressed, compressed_bytes = _full(store, directory, compress=True)
        gzip, gzip_bytes = _gzip(base.path, directory)
        readings = alternate(lambda: _verify(store, base.snapshot_id, 2), lambda: _read(base.path), ROUNDS)
        verify_rows = _verify(store, base.snapshot_id, 3)
        restore = alternate(lambda: _restore(store, base.snapshot_id), lambda: _copy(base.path, directory), ROUNDS)
        changed = _change(store, rows, total)
        made = snapshots.create(COLLECTION, path=str(directory / "hourly"), incremental=True, base=base.snapshot_id)
        if made.vectors != changed:
            raise SystemExit(f"the increment holds {made.vectors} rows where {changed} changed: the run is void")
        return Snapshot(
            rows=total,
            changed=changed,
            ingest=ingest,
            full=full.ours,
            copy=full.other,
            full_bytes=base.size_bytes,
            restore=restore.ours,
            restore_copy=restore.other,
            compressed=compressed,
            gzip=gzip,
            compressed_bytes=compressed_bytes,
            gzip_bytes=gzip_bytes,
            half_share=_half_share(store, rows, directory),
            increment=made.duration_ms / 1e3,
            verify=readings.ours,
            read=readings.other,
            verify_rows=verify_rows,
            increment_bytes=made.size_bytes,
            restore_chain=_restore(store, made.snapshot_id),
            memory_before=memory_before,
            memory_peak=store.memory(),
        )


def _ingest(store: Streamed, rows: data.Rows, total: int) -> float:
    seconds = 0.0
    for start in range(0, total, contender.CHUNK):
        batches = rows.batches(start, min(start + contender.CHUNK, total), 1_000)
        seconds += _seconds(lambda batches=batches: store.write(batches))  # type: ignore[misc]
    return seconds


def _full(store: Streamed, directory: Path, *, compress: bool = False) -> tuple[float, int]:
    """Seconds and bytes of a full snapshot, which is deleted again outside of the clock."""
    made = store.database.snapshots.create(COLLECTION, path=str(directory / "full"), compress=compress)
    store.database.snapshots.delete(made.path)
    return made.duration_ms / 1e3, made.size_bytes


def _copy(path: str, directory: Path) -> float:
    """`cp` of as many bytes out of the page cache, and a sync of the copy."""
    target = directory / "copy"
    _read_once(path)
    began = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", path, str(target)], check=True)
    _sync(target)
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def _gzip(path: str, directory: Path) -> tuple[float, int]:
    """Seconds and bytes of `gzip -1` of a plain snapshot out of the page cache, and a sync of the result."""
    target = directory / "copy.gz"
    _read_once(path)
    began = time.perf_counter()
    with target.open("wb") as out:
        subprocess.run(["gzip", "-1", "-c", path], stdout=out, check=True)
    _sync(target)
    seconds, size = time.perf_counter() - began, target.stat().st_size
    target.unlink()
    return seconds, size


def _read_once(path: str) -> None:
    with Path(path).open("rb") as source, Path(os.devnull).open("wb") as nowhere:
        shutil.copyfileobj(source, nowhere)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


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
    ids: list[str] = []
    payloads: list[data.Payload] = []
    for row in range(0, total, 100):
        old = rows.take(row, row + 1)
        ids += old.ids
        payloads += old.payloads
    fresh = rows.take(contender.UNSEEN, contender.UNSEEN + len(ids)).vectors
    cuts = range(0, len(ids), 1_000)
    store.write([data.Batch(ids[i : i + 1_000], fresh[i : i + 1_000], payloads[i : i + 1_000]) for i in cuts])
    return len(ids)


def _half_share(store: Streamed, rows: data.Rows, directory: Path) -> float:
    """What `--compress` leaves of rows whose vectors were made in float16: bytes by bytes."""
    collections = store.database.collections
    collections.create(HALF, dimensions=data.DIMENSIONS, metric="cosine", storage="disk")
    half = [
        data.Batch(batch.ids, batch.vectors.astype(np.float16).astype(np.float32), batch.payloads)
        for batch in rows.batches(0, HALF_ROWS, 1_000)
    ]
    for _ in store.database.collection(HALF).upsert_stream(iter(half)):
        pass
    sizes = [
        store.database.snapshots.create(HALF, path=str(directory / HALF), compress=compress).size_bytes
        for compress in (True, False)
    ]
    collections.delete(HALF)
    return sizes[0] / sizes[1]


def _restore(store: Streamed, snapshot: str) -> float:
    """Restore beside the original; what is restored must be what the collection was."""
    database = store.database
    restored = database.snapshots.restore(snapshot, collection=RESTORED)
    found = database.collection(RESTORED).stats().digest
    (wanted,) = (member.digest for member in database.snapshots.get(snapshot).members)
    if found != wanted:
        raise SystemExit(f"{snapshot} was restored to digest {found}, it was made of {wanted}: the run is void")
    database.collections.delete(RESTORED)
    return restored.duration_ms / 1e3


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    print_measured(_measure)
