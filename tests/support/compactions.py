"""Compactions in tests: steps that happen in the middle of one, and stores with segments that are worth one."""

from __future__ import annotations

from collections.abc import Callable

from holdfastd.engine.collection import Collection
from holdfastd.engine.compaction import Compaction, Rewritten
from holdfastd.errors import FailedPrecondition
from holdfastd.model import SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit

IDS = [f"id-{number}" for number in range(20)]


def collection_of(kit: SnapshotKit, name: str = "c") -> Collection:
    """The engine's own."""
    return kit.engine._applier.catalog.resolve(name)


def rows_in_segments(kit: SnapshotKit, name: str = "c") -> list[int]:
    """How many rows each segment has, dead ones included."""
    return [segment.rows_count for segment in collection_of(kit, name).segments]


def tombstones_in_segments(kit: SnapshotKit, name: str = "c") -> int:
    """How many tombstones all segments have."""
    return sum(len(segment.tombstones or ()) for segment in collection_of(kit, name).segments)


def while_compacting(
    kit: SnapshotKit, *steps: Callable[[], object], name: str = "c", index_anew: bool = False
) -> Rewritten | None:
    """Compact all segments of a collection into one; each step happens at one piece that is read or written."""
    left = list(steps)

    def pace(count: int) -> None:
        if left:
            left.pop(0)()

    collection = collection_of(kit, name)
    ground = kit.engine.compactions._ground
    done = Compaction(ground, collection, collection.segments, pace, index_anew=index_anew).run()
    assert not left, "a step did not happen"
    return done


def assert_an_increment_gives_back(kit: SnapshotKit, name: str = "c") -> None:
    """An increment on what there is brings back the store as it is now, wherever it may have to."""
    expected = observe(kit.engine)
    try:
        made = kit.later(incremental=True)
    except FailedPrecondition as error:
        refusal = error
    else:
        assert made.record.base_id, "a full one tells nothing of what is gone"
        kit.engine.points.truncate(name, caller=CALLER)
        kit.upsert(["stranger"], 1, name=name)
        kit.restore(made.id, overwrite=True, verify=True)
        assert observe(kit.engine) == expected
        return
    assert refusal.reason == "NO_BASE"
    assert kit.ids() == [], refusal.message


def three_segments() -> SnapshotKit:
    """Twenty points, five of them written anew, two of those deleted."""
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


def worn(mode: SyncMode = SyncMode.FSYNC, *, logging: bool = True) -> SnapshotKit:
    """Three segments with dead rows, tombstones among them; what died before the snapshot, behind it, and just now.

    The last checkpoint has reached everything, and so has the one before it.
    """
    kit = SnapshotKit(sync_mode=mode)
    kit.create("c")
    kit.upsert(IDS, payloads=[b'{"n":1}', None] * 10)
    kit.engine.checkpoint()
    kit.upsert(IDS[:3], *range(100, 103))
    kit.delete(IDS[15])
    kit.later()
    kit.delete(*IDS[:2])
    kit.upsert(IDS[3:5], *range(103, 105))
    kit.compact("c", aggressive=True)
    kit.upsert([*IDS[1:3], "new", "short"], 201, 202, 1, 2)
    kit.delete(IDS[5], "short")
    kit.engine.checkpoint()
    kit.upsert([IDS[2], IDS[6], "newer"], 302, 306, 3)
    kit.delete(IDS[7], "new")
    return settled(kit, logging=logging)


def vanishing() -> SnapshotKit:
    """Of two segments nothing is to stay, and no snapshot asks for anything."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(IDS)
    kit.engine.checkpoint()
    kit.upsert(IDS[:4], *range(100, 104))
    kit.engine.checkpoint()
    kit.delete(*IDS)
    return settled(kit)


def buried() -> SnapshotKit:
    """Of two segments nothing is to stay but tombstones, and in a third there are some already."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(IDS)
    kit.later()
    kit.delete(IDS[0])
    kit.compact("c", aggressive=True)
    kit.upsert(IDS[:4], *range(100, 104))
    kit.engine.checkpoint()
    kit.engine.points.truncate("c", caller=CALLER)
    return settled(kit)


def settled(kit: SnapshotKit, *, logging: bool = True) -> SnapshotKit:
    """With all of it in segments, by this manifest and by the one before; ``logging``: go on with a log."""
    if not logging:
        kit.engine.wal.disable(caller=CALLER)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    return kit
