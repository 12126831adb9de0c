"""A store to restore in, a moment before a restore publishes, and what has to hold after one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.oracle import StoreState, observe
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit


def with_rows() -> SnapshotKit:
    """One collection with rows in a segment and in a memtable, some dead."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["a", "b", "gone"], 1, 2, 3, payloads=[b'{"n":1}', None, b"{}"])
    kit.engine.checkpoint()
    kit.upsert(["b", "d"], 20, 4, payloads=[b'{"n":2}', None])
    kit.delete("gone")
    return kit


def directories(kit: SnapshotKit) -> list[str]:
    return kit.fs.listdir(COLLECTIONS_DIR)


def assert_sound(kit: SnapshotKit, expected: StoreState) -> None:
    """The store is as expected, now and after a restart, and goes on; nothing else lies around."""
    assert observe(kit.engine) == expected
    kit.reopen()
    assert observe(kit.engine) == expected.restarted()
    alive = {str(stats.spec.id) for stats in kit.engine.collections.list()}
    assert set(directories(kit)) <= alive
    before = kit.engine.sequence
    kit.create("more")
    kit.upsert(["x"], 1, name="more")
    assert kit.engine.sequence == before + 2
    kit.engine.checkpoint()
    kit.reopen()
    assert kit.values("more") == {"x": 1.0}


def before_the_staged_entry(kit: SnapshotKit, action: Callable[[], object]) -> None:
    """Run ``action`` once, when a restore is about to write the last file of its staging."""
    creating = kit.fs.create
    done: list[bool] = []

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith("staged.json") and not done:
            done.append(True)
            action()
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
