"""A disk that is really full, below the real daemon: nothing acknowledged is lost, deletes work, writing goes on.

Needs the right to mount; skipped, visibly, where there is none.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon

SIZE = "48m"
DIMENSIONS = 64
BATCH = 200
PATIENCE_SECONDS = 60.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()}")


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    else:
        image = tmp_path / "image"
        run("truncate", "-s", SIZE, str(image))
        run("mkfs.ext4", "-q", "-m", "0", str(image))
        run("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


class Store:
    """A daemon on a small disk, a client, and what was acknowledged."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.rng = np.random.default_rng(1)
        self.known: dict[str, set[str]] = {}
        self.start()

    def start(self) -> None:
        self.daemon = Daemon(self.disk, "--disk-reserve", "2MB", "--memtable-size", "4MB").started()
        self.db = holdfast.connect(self.daemon.address)

    def stop(self, number: int) -> int:
        self.db.close()
        return self.daemon.stop(number)

    def create(self, name: str) -> None:
        self.db.collections.create(name, dimensions=DIMENSIONS, metric="dot", storage="disk")
        self.known[name] = set()

    def upsert(self, name: str) -> None:
        """One batch; raises what the daemon answers."""
        number = len(self.known[name])
        ids = [f"{name}-{number + n}" for n in range(BATCH)]
        vectors = self.rng.random((BATCH, DIMENSIONS), np.float32)
        self.db.collection(name).upsert(ids, vectors)
        self.known[name].update(ids)

    def fill(self, name: str) -> None:
        """Write until the disk is full, and stays so."""
        refused = 0
        for _ in range(2000):
            try:
                self.upsert(name)
                refused = 0
            except holdfast.ResourceExhausted:
                refused += 1
                if refused >= 20 and self.status["status"] == "full":
                    return
                time.sleep(0.05)
        raise AssertionError("the disk is never full")

    @property
    def status(self) -> dict[str, object]:
        return dict(self.db.storage.status())

    @property
    def alarms(self) -> list[object]:
        return [alarm["code"] for alarm in self.db.storage.alarms()]

    def check(self) -> None:
        """All that was acknowledged is there, and nothing else."""
        for name, ids in self.known.items():
            collection = self.db.collection(name)
            assert collection.count() == len(ids)
            sample = sorted(ids)[:: max(1, len(ids) // 50)]
            assert {record.id for record in collection.get(sample)} == set(sample)

    def until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert time.monotonic() < end, (self.status, self.alarms, self.daemon.log)
            time.sleep(0.1)

    def writes(self, name: str) -> bool:
        try:
            self.upsert(name)
        except holdfast.ResourceExhausted:
            return False
        return True


@pytest.fixture
def store(disk: Path) -> Iterator[Store]:
    store = Store(disk)
    yield store
    store.daemon.kill()


def test_a_full_disk_refuses_writes_serves_reads_and_deletes_and_passes(store: Store) -> None:
    for name in ("keep", "large"):
        store.create(name)
    store.upsert("keep")
    assert store.status["disk_reserve_bytes"] == 2 << 20
    store.fill("large")
    assert "DISK_FULL" in store.alarms
    store.check()

    gone = sorted(store.known["large"])[:BATCH]
    store.db.collection("large").delete(gone)
    store.known["large"].difference_update(gone)
    store.check()

    # A stop in order, and a kill, on a disk without room: nothing is lost, and the next start is as full.
    assert store.stop(signal.SIGTERM) == 0
    store.start()
    store.check()
    store.fill("large")
    store.stop(signal.SIGKILL)
    store.start()
    store.check()

    store.db.collections.delete("large")
    del store.known["large"]
    store.until(lambda: store.status["status"] == "serving" and store.writes("keep"))
    store.until(lambda: "DISK_FULL" not in store.alarms)
    assert store.status["disk_reserve_bytes"] == 2 << 20
    store.check()
    assert store.stop(signal.SIGTERM) == 0
