"""The directory on the disk under test: fresh for every run, gone afterwards, and never a file system in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WARM_UP_BYTES = 2_000_000_000
PIECE = 4 << 20
IN_MEMORY = ("tmpfs", "ramfs", "overlay")


@dataclass(frozen=True)
class Mount:
    """Where a path lies."""

    point: str
    kind: str
    device: str


@contextmanager
def fresh(root: Path) -> Iterator[Path]:
    """An empty directory under `root`, on a disk with nothing left to write back from earlier runs."""
    os.sync()
    directory = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=root))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
        os.sync()


def mount_of(path: Path) -> Mount:
    """The mount that holds `path`, by the kernel's own list."""
    wanted = str(path.resolve())
    found = Mount("", "", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, point, kind = line.split()[:3]
        inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found.point):
            found = Mount(point, kind, device)
    return found


def require_disk(root: Path) -> None:
    """Raises SystemExit where a sync would cost nothing and every figure would lie."""
    mount = mount_of(root)
    if mount.kind in IN_MEMORY:
        raise SystemExit(
            f"error: {root} is on {mount.kind}, where syncing costs nothing\nhint: give --work a directory on a disk"
        )


def warm_up(root: Path, size: int = WARM_UP_BYTES) -> float:
    """Writes `size` bytes and syncs, which uses up a rented disk's burst allowance. Returns bytes per second."""
    piece = os.urandom(PIECE)
    with fresh(root) as directory:
        began = time.perf_counter()
        with (directory / "warm-up").open("wb", buffering=0) as file:
            for _ in range(0, size, PIECE):
                file.write(piece)
            os.fsync(file.fileno())
        return size / (time.perf_counter() - began)
