"""A store that replays, and a history for it to replay."""

from __future__ import annotations

from typing import Any

from holdfastd.engine.replay import ReplayRequest
from holdfastd.model import Digest, SyncMode
from tests.support.engines import CALLER
from tests.support.snapshots import SnapshotKit, raise_failure


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
