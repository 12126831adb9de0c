"""A store with dead rows to compact, and what happens while they are compacted."""

from __future__ import annotations

from collections.abc import Callable

from holdfastd.engine.collection import Collection
from holdfastd.engine.compaction import Compaction, Rewritten
from tests.support.snapshots import SnapshotKit

IDS = [f"id-{number}" for number in range(20)]


def three_segments() -> SnapshotKit:
    """Three segments: twenty points, five of them written anew, two of those deleted."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(IDS, payloads=[b'{"n":1}', None] * 10)
    kit.engine.checkpoint()
    kit.upsert(IDS[:5], *range(100, 105))
    kit.engine.checkpoint()
    kit.upsert(["later"], 7)
    kit.delete(*IDS[:2])
    kit.engine.checkpoint()
    return kit


def collection_of(kit: SnapshotKit, name: str = "c") -> Collection:
    """The collection as the engine has it."""
    return kit.engine._applier.catalog.resolve(name)


def rows_in_segments(kit: SnapshotKit, name: str = "c") -> list[int]:
    """Of each segment its rows, dead ones included."""
    return [segment.rows_count for segment in collection_of(kit, name).segments]


def while_compacting(kit: SnapshotKit, *steps: Callable[[], object], name: str = "c") -> Rewritten | None:
    """Compact all segments of a collection into one; each step happens at one piece that is read or written."""
    left = list(steps)

    def pace(count: int) -> None:
        if left:
            left.pop(0)()

    collection = collection_of(kit, name)
    ground = kit.engine.compactions._ground
    done = Compaction(ground, collection, collection.segments, pace).run()
    assert not left, "a step did not happen"
    return done
