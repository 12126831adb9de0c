"""SIGKILL under load, again and again: in every sync mode all that was acknowledged is there after the next start.

The oracles are the clients' own (tests/support/torture.py). The kill is aimed: into a snapshot that is being written,
into a checkpoint, into a change of the catalog, and anywhere; each round proves that it hit a daemon at work.
`make soak` goes on for minutes.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import holdfast
from tests.rpc.process import Daemon
from tests.support.torture import WIDE, Architect, Compactor, Photographer, PointWriter, Streamer, Tormentor

SECONDS = float(os.environ.get("HOLDFAST_KILL9_SECONDS", "0"))
"""How long each mode is tortured at least; every aim is taken at least once."""
PATIENCE_SECONDS = 120.0
ACKNOWLEDGED_EACH_ROUND = 3
"""By every client, before it may be killed: so many answers prove that it was served."""

pytestmark = [pytest.mark.e2e, pytest.mark.crash, pytest.mark.timeout(int(900 + 3 * SECONDS))]


class Scene:
    """A daemon, and the clients that load it."""

    def __init__(self, directory: Path, mode: str) -> None:
        self.directory = directory
        self.mode = mode
        self.rng = random.Random(mode)
        self.photographer = Photographer(f"{mode} photographer")
        self.architect = Architect(f"{mode} architect")
        writers = [PointWriter(f"{mode}-writer-{number}") for number in range(2)]
        others = Streamer(f"{mode}-stream"), self.architect, self.photographer, Compactor(f"{mode} compactor")
        self.clients: list[Tormentor] = [*writers, *others]
        self.daemon = self.start()

    def start(self) -> Daemon:
        return Daemon(self.directory, "--memtable-size", "1MB").started()

    @contextmanager
    def load(self) -> Iterator[None]:
        """All clients at once, until the daemon has died."""
        before = [client.acknowledgements for client in self.clients]
        threads = [threading.Thread(target=client.run, args=(self.daemon.address,)) for client in self.clients]
        for thread in threads:
            thread.start()
        self.wait(
            lambda: all(
                client.acknowledgements >= count + ACKNOWLEDGED_EACH_ROUND
                for client, count in zip(self.clients, before, strict=True)
            )
        )
        yield
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a client did not notice that the daemon is gone"

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            problems = [client.problem for client in self.clients if client.problem]
            assert not problems, problems
            assert self.daemon.process.poll() is None, self.daemon.log
            assert time.monotonic() < end, "nothing happens any more"
            time.sleep(0.0005)

    # Where to strike.

    def anywhere(self) -> None:
        time.sleep(self.rng.uniform(0.0, 0.2))

    def into_a_snapshot(self) -> None:
        self.wait(lambda: any(self.daemon.data.glob("snapshots/*.part")))

    def into_a_checkpoint(self) -> None:
        """A checkpoint under way has written files of a segment, and not yet the one that describes it."""
        folders = self.daemon.data / "collections"
        self.wait(
            lambda: any((file.parent / "segment.json").exists() is False for file in folders.glob("*/*/vectors.npy"))
        )

    def into_a_change_of_the_catalog(self) -> None:
        self.wait(lambda: self.architect.busy and self.architect.acknowledged != self.architect.pending)

    AIMS = (anywhere, into_a_snapshot, into_a_checkpoint, into_a_change_of_the_catalog)

    def check(self) -> None:
        """The next start shows what was acknowledged, and leaves nothing half-done behind."""
        assert [client.problem for client in self.clients if client.problem] == []
        assert [client.name for client in self.clients if not client.interrupted] == [], "the kill did not hit them"
        self.daemon = self.start()
        with holdfast.connect(self.daemon.address) as db:
            assert list(self.daemon.data.glob("snapshots/*.part")) == []
            for client in self.clients:
                client.check(db)
            assert db.wal.status().sync_mode == self.mode
            assert db.storage.status().status == "serving"
            assert {operation.state for operation in db.operations.list()} <= {"succeeded", "interrupted"}

    def check_recovery(self) -> None:
        """The last snapshot, rolled forward from the log, is what is there."""
        with holdfast.connect(self.daemon.address) as db:
            assert db.wal.verify().valid
            db.snapshots.restore("latest", collection="copy")
            db.wal.replay(collection="copy")
            assert db.collection("copy").stats().digest == db.collection("bulk").stats().digest
            assert db.collection("bulk").stats().segments > 0, "no checkpoint was ever finished"


@pytest.mark.parametrize("mode", ["fsync", "periodic", "async"])
def test_nothing_acknowledged_is_lost_when_the_daemon_is_killed(mode: str, tmp_path: Path) -> None:
    scene = Scene(tmp_path, mode)
    end = time.monotonic() + SECONDS
    try:
        with holdfast.connect(scene.daemon.address) as db:
            db.wal.enable(sync_mode=mode)
            db.collections.create("points", 2)
            db.collections.create("bulk", WIDE)
        for number, aim in enumerate(itertools.cycle(Scene.AIMS)):
            if number >= len(Scene.AIMS) and time.monotonic() >= end:
                break
            with scene.load():
                aim(scene)
            scene.check()
        scene.check_recovery()
        assert scene.daemon.stop() == 0
    finally:
        scene.daemon.kill()
