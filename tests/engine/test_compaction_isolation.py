"""Writers, readers, checkpoints, snapshots and compactions at once, on real files: whoever wrote reads what it wrote.

Each writer has points of its own, so it knows what any read has to find of them, at every moment and after a restart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from holdfastd.engine.compactions import CompactRequest
from holdfastd.engine.engine import Engine
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.operations import Operation
from holdfastd.engine.snapshots import PruneRequest, RestoreRequest, SnapshotRequest
from holdfastd.errors import FailedPrecondition
from holdfastd.model import Record
from tests.engine.test_isolation import DIMENSIONS, SECONDS, Crowd, open_store, view_step, write_step
from tests.support.engines import CALLER
from tests.support.snapshots import raise_failure

WRITERS = 2
POINTS = 60


@dataclass
class Writer:
    """One thread that writes and deletes its own points, and reads them back in every way there is.

    ``there``: of each the number that its vector is filled with, and its version.
    """

    engine: Engine
    name: str
    there: dict[str, tuple[float, int]] = field(default_factory=dict)
    number: float = 0.0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.name)
        self.ids = [f"{self.name}-{number}" for number in range(POINTS)]

    def step(self) -> None:
        ids = self.rng.sample(self.ids, self.rng.randint(1, 20))
        self.number += 1.0
        if self.rng.random() < 0.3:
            self.engine.points.delete_ids("c", ids, caller=CALLER)
            self.there = {id: row for id, row in self.there.items() if id not in ids}
        else:
            vectors = np.full((len(ids), DIMENSIONS), self.number, np.float32)
            self.engine.points.upsert("c", ids, vectors, b"", caller=CALLER)
            self.there |= {id: (self.number, self.there.get(id, (0.0, 0))[1] + 1) for id in ids}
        self.look()

    def look(self) -> None:
        points = self.engine.points
        self.holds(points.get("c", self.ids))
        kind = self.rng.choice(("export", "scroll", "search", "by id"))
        if kind == "export":
            self.holds([record for batch in points.export("c") for record in batch])
        elif kind == "search":
            query = np.ones((1, DIMENSIONS), np.float32)
            self.holds([hit.record for hit in points.search("c", query, k=1000, vectors=True)[0]])
        else:
            order = "id" if kind == "by id" else "timestamp"
            self.holds(points.reading("c").scroll(order=order, limit=1000, vectors=True))

    def holds(self, records: list[Record]) -> None:
        """Of its own points exactly those that are there are among them, each once and as it was written last."""
        mine = [record for record in records if record.id.startswith(f"{self.name}-")]
        found = {record.id: (float(record.vector[-1]), record.version) for record in mine if record.vector is not None}
        assert found == self.there
        assert len(mine) == len(found)


def finished(engine: Engine, operation: Operation) -> dict[str, object]:
    return raise_failure(engine.operations.wait(operation.id))


def compact_step(engine: Engine) -> Callable[[], None]:
    rng = random.Random("compactions")

    def step() -> None:
        request = CompactRequest(rng.choice((None, "c")), rng.choice((0.0, 20.0, 60.0)), rng.random() < 0.4)
        finished(engine, engine.compactions.start(request, caller=CALLER))

    return step


def background_step(engine: Engine) -> Callable[[], None]:
    def step() -> None:
        assert engine._compaction_thread.look(), "a compaction was refused"

    return step


def snapshot_step(engine: Engine) -> Callable[[], None]:
    rng = random.Random("snapshots")

    def step() -> None:
        request = SnapshotRequest(incremental=rng.random() < 0.8)
        try:
            finished(engine, engine.snapshots.start_create(request, caller=CALLER))
        except FailedPrecondition as error:
            assert error.reason == "NO_BASE"  # noqa: PT017
            finished(engine, engine.snapshots.start_create(SnapshotRequest(), caller=CALLER))
        if rng.random() < 0.2:
            engine.snapshots.prune(PruneRequest(RetentionPolicy(last=2)), caller=CALLER)

    return step


def test_nothing_that_was_acknowledged_is_missing(tmp_path: Path) -> None:
    engine = open_store(tmp_path / "data")
    engine.collections.create("c", DIMENSIONS, caller=CALLER)
    engine.start()
    writers = [Writer(engine, f"w{number}") for number in range(WRITERS)]
    try:
        crowd = Crowd()
        for writer in writers:
            crowd.add(writer.name, writer.step)
        # All points of a group at once, for views that have to be one moment.
        crowd.add("group", write_step(engine, 0))
        crowd.add("views", view_step(engine))
        crowd.add("checkpoints", lambda: engine.checkpoint() and None)
        crowd.add("compactions", compact_step(engine))
        crowd.add("background", background_step(engine))
        crowd.add("snapshots", snapshot_step(engine))
        crowd.run(SECONDS)
        increment = finished(engine, engine.snapshots.start_create(SnapshotRequest(incremental=True), caller=CALLER))
        before = engine.collections.stats("c")
    finally:
        engine.stop()
    again = open_store(tmp_path / "data")
    try:
        after = again.collections.stats("c")
        assert (after.vectors, after.digest) == (before.vectors, before.digest)
        for writer in writers:
            writer.engine = again
            for _ in range(8):
                writer.look()
        request = RestoreRequest(str(increment["snapshot_id"]), collection="copy", from_collection="c", verify=True)
        finished(again, again.snapshots.start_restore(request, caller=CALLER))
        copy = again.collections.stats("copy")
        assert (copy.vectors, copy.digest) == (before.vectors, before.digest)
    finally:
        again.stop()
