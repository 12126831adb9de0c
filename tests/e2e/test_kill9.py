"""SIGKILL under load, again and again: in every sync mode all that was acknowledged is there after the next start.

The oracle lives outside: each writer owns its ids, notes what it is about to send before it sends it, and what was
acknowledged after the reply. After a start, every id shows the last acknowledged write or the one that was in flight.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import holdfast
from tests.rpc.process import Daemon

SECONDS = float(os.environ.get("HOLDFAST_KILL9_SECONDS", "4"))
"""How long each mode is tortured; the last round is finished."""
WRITERS = 3
IDS_EACH = 8

pytestmark = [pytest.mark.e2e, pytest.mark.crash]


@dataclass
class Writer:
    """One client and its oracle: per id the acknowledged value (None: deleted or never written) and what is pending."""

    number: int
    rng: random.Random
    acknowledged: dict[str, float | None] = field(default_factory=dict)
    pending: dict[str, float | None] = field(default_factory=dict)
    sequence: int = 0
    acknowledgements: int = 0
    value: float = 0.0
    problem: str | None = None

    def __post_init__(self) -> None:
        self.acknowledged = {f"w{self.number}-{index}": None for index in range(IDS_EACH)}

    def write_until_it_breaks(self, address: str) -> None:
        """Write and delete in small batches until the daemon is gone."""
        try:
            with holdfast.connect(address) as db:
                points = db.collection("points")
                while True:
                    self.step(points)
        except (holdfast.Unavailable, holdfast.Cancelled):
            return
        except holdfast.HoldfastError as error:
            self.problem = f"{type(error).__name__}: {error}"

    def step(self, points: holdfast.Collection) -> None:
        ids = self.rng.sample(sorted(self.acknowledged), k=self.rng.randint(1, 3))
        if self.rng.random() < 0.25:
            self.pending = dict.fromkeys(ids)
            result = points.delete(ids)
        else:
            self.value += 1.0
            self.pending = dict.fromkeys(ids, self.value)
            result = points.upsert(ids, [[self.value, 1.0]] * len(ids), [{"value": self.value}] * len(ids))
        # A deletion that found nothing to delete is no operation and has no sequence.
        if result.sequence or result.count:
            if result.sequence <= self.sequence:
                self.problem = f"{result} after sequence {self.sequence} was acknowledged, for {self.pending}"
            self.sequence = result.sequence
        self.acknowledged.update(self.pending)
        self.acknowledgements += 1
        self.pending = {}

    def check(self, points: holdfast.Collection) -> None:
        """Compare what is there with the oracle, and take over how the write in flight ended."""
        assert self.problem is None
        found: dict[str, float | None] = dict.fromkeys(self.acknowledged)
        for record in points.get(sorted(self.acknowledged)):
            assert record.vector is not None
            assert record.payload == {"value": record.vector[0]}, "vector and payload of different writes"
            found[record.id] = record.vector[0]
        without = {**self.acknowledged}
        with_it = {**self.acknowledged, **self.pending}
        assert found in (without, with_it), f"{found} is neither {without} nor, with the write in flight, {with_it}"
        self.acknowledged, self.pending = found, {}


@pytest.mark.parametrize("mode", ["fsync", "periodic", "async"])
@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_when_the_daemon_is_killed(mode: str, tmp_path: Path) -> None:
    rng = random.Random(mode)
    writers = [Writer(number, random.Random(f"{mode} {number}")) for number in range(WRITERS)]
    end = time.monotonic() + SECONDS
    daemon = Daemon(tmp_path).started()
    kills = 0
    try:
        with holdfast.connect(daemon.address) as db:
            db.wal.enable(sync_mode=mode)
            db.collections.create("points", dimensions=2)
        while time.monotonic() < end or not kills:
            torture(daemon, writers, rng.uniform(0.1, 0.5))
            kills += 1
            daemon = Daemon(tmp_path).started()
            with holdfast.connect(daemon.address) as db:
                points = db.collection("points")
                for writer in writers:
                    writer.check(points)
                alive = sum(value is not None for writer in writers for value in writer.acknowledged.values())
                assert points.count() == alive
                assert db.wal.status()["sync_mode"] == mode
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    assert sum(writer.acknowledgements for writer in writers) > 20 * kills, "too little was written to prove anything"


def torture(daemon: Daemon, writers: list[Writer], seconds: float) -> None:
    """Let them write for a while, then kill the daemon in the midst of it."""
    threads = [threading.Thread(target=writer.write_until_it_breaks, args=(daemon.address,)) for writer in writers]
    before = sum(writer.acknowledgements for writer in writers)
    for thread in threads:
        thread.start()
    while sum(writer.acknowledgements for writer in writers) < before + 20:
        time.sleep(0.01)
        assert daemon.process.poll() is None, daemon.log
    time.sleep(seconds)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    for thread in threads:
        thread.join()
