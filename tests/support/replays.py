"""A store that replays, a history for it to replay, and a lost store of which the log is left."""

from __future__ import annotations

from typing import Any

from holdfastd.engine.replay import ReplayRequest
from holdfastd.model import Digest, SyncMode
from tests.support.engines import CALLER, ROOT
from tests.support.snapshots import SnapshotKit, raise_failure

WAL = f"{ROOT}/wal"


class ReplayKit(SnapshotKit):
    """A store that replays, waiting for the end."""

    def replay(self, **request: Any) -> dict[str, Any]:
        operation = self.engine.replay.start(ReplayRequest(**request), caller=CALLER)
        return raise_failure(self.engine.operations.wait(operation.id))

    def queued(self) -> int:
        """How many changes wait for the committer."""
        return len(self.engine._committer._queue)

    def digest(self, name: str = "c") -> Digest:
        return self.engine.collections.stats(name).digest


def history(sync_mode: SyncMode = SyncMode.FSYNC) -> ReplayKit:
    """A snapshot of c, then four operations on c (sequences 5 to 8) between others on d."""
    kit = ReplayKit(sync_mode=sync_mode)
    kit.create("c")
    kit.create("d")
    kit.upsert(["a", "b", "x"], 1.0, 2.0, 3.0)
    kit.upsert(["a"], name="d")
    kit.engine.start()
    kit.snapshot(collection="c")
    kit.upsert(["a"], 10.0)
    kit.upsert(["a"], 11.0, name="d")
    kit.delete("b")
    kit.upsert(["e", "f"], 5.0, 6.0)
    kit.delete("e")
    return kit


def lost_store() -> ReplayKit:
    """A store with a snapshot of everything, and changes of the catalog and of points behind it."""
    kit = ReplayKit()
    for name in ("kept", "dropped", "renewed"):
        kit.create(name)
        kit.upsert(["a", "b"], 1.0, 2.0, name=name)
    kit.engine.collections.create_alias("moved", "kept", caller=CALLER)
    kit.engine.collections.create_alias("gone", "kept", caller=CALLER)
    kit.engine.start()
    kit.snapshot()
    kit.upsert(["a", "c"], 10.0, 3.0, name="kept")
    kit.create("made", dimensions=3)
    kit.upsert(["x"], 7.0, name="made")
    kit.engine.collections.drop("dropped", caller=CALLER)
    kit.engine.collections.switch_alias("moved", "made", caller=CALLER)
    kit.engine.collections.delete_alias("gone", caller=CALLER)
    kit.engine.collections.drop("renewed", caller=CALLER)
    kit.create("renewed")
    kit.upsert(["new"], 5.0, name="renewed")
    kit.create("passing")
    kit.upsert(["p"], name="passing")
    kit.engine.collections.drop("passing", caller=CALLER)
    kit.delete("b", name="kept")
    return kit


def found_again(lost: ReplayKit, *, restore: bool = True, seed: int = 8) -> ReplayKit:
    """A new store with the lost one's log in /old, and its snapshot restored."""
    kit = ReplayKit(seed=seed)
    kit.engine.start()
    (snapshot,) = lost.engine.snapshots.list()
    kit.put("/copied.snap", lost.fs.read(snapshot.path))
    if restore:
        kit.restore("/copied.snap")
    kit.fs.mkdir("/old")
    for name in lost.fs.listdir(WAL):
        if name.endswith(".wal"):
            kit.put(f"/old/{name}", lost.fs.read(f"{WAL}/{name}"))
    for directory in ("/", "/old"):
        kit.fs.sync_dir(directory)
    return kit


def content(kit: ReplayKit) -> object:
    """Collections with what is in them, and aliases."""
    stats = kit.engine.collections.list()
    return {(s.spec.name, s.spec.dimensions, s.digest, s.vectors) for s in stats}, kit.engine.collections.aliases()


def kit_with_moments() -> ReplayKit:
    """Sequences 1 to 3 before the first snapshot, 4 and 5 before the second, 6 to 8 behind it; c is a: 1, b: 2, ..."""
    kit = ReplayKit()
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    kit.create("d")
    kit.snapshot()
    kit.clock.advance_us(2_000_000)
    kit.upsert(["a"], 10)
    kit.delete("b")
    kit.clock.advance_us(2_000_000)
    kit.snapshot(incremental=True)
    kit.clock.advance_us(2_000_000)
    kit.upsert(["e"], 5)
    kit.upsert(["x"], 1, name="d")
    kit.delete("a")
    return kit
