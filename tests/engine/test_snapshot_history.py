"""What a snapshot makes checkpoints remember: deaths that the next increment will have to report."""

from __future__ import annotations

import errno
from collections.abc import Callable
from threading import Event
from typing import Any

import numpy as np
import pytest

from holdfastd.engine.snapshots import SnapshotRequest
from holdfastd.errors import (
    FailedPrecondition,
)
from holdfastd.model import StorageKind
from tests.support.engines import CALLER
from tests.support.snapshots import SnapshotKit, raise_failure

PATIENCE_SECONDS = 60


@pytest.fixture
def kit() -> SnapshotKit:
    kit = SnapshotKit()
    kit.create("c")
    return kit


def high_water(kit: SnapshotKit) -> dict[str, int]:
    return {entry.spec.name: entry.high_water for entry in kit.engine._keeper.current.collections}


def test_collections_remember_the_newest_snapshot_that_covers_them(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"], 1)
    first = kit.snapshot(collection="c")["sequence"]
    assert high_water(kit) == {"c": first, "d": 0, "m": 0}
    kit.engine.checkpoint()
    assert high_water(kit) == {"c": first, "d": 0, "m": 0}
    kit.upsert(["a"], 2)
    second = kit.snapshot()["sequence"]
    assert high_water(kit) == {"c": second, "d": second, "m": 0}
    kit.reopen()
    assert high_water(kit)["c"] == second


def test_what_dies_while_the_first_snapshot_is_written_is_kept_for_an_increment(kit: SnapshotKit) -> None:
    """The checkpoint in between must know of the snapshot, though it is not done yet."""
    kit.upsert(["a", "b"], 1, 2)
    creating = kit.fs.create

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith(".snap.part"):
            kit.delete("a")
            kit.engine.checkpoint()
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
    kit.snapshot()
    (segment,) = kit.engine._applier.catalog.resolve("c").segments
    assert segment.ids_at(np.arange(segment.rows_count)) == [b"a", b"b"]


def while_one_is_written(kit: SnapshotKit, action: Callable[[], object], failure: type[OSError] | None) -> None:
    """Run ``action`` once, when the next snapshot is about to write its file; then let that one fail, or go on."""
    creating = kit.fs.create
    done: list[bool] = []

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith(".part") and not done:
            done.append(True)
            action()
            if failure is not None:
                raise failure(errno.EIO, "Input/output error", path)
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]


def assert_keeps_what_dies(kit: SnapshotKit, *, kept: bool) -> None:
    """Whether a checkpoint keeps the row ``a`` of the one collection, which dies now."""
    kit.delete("a")
    kit.engine.checkpoint()
    (segment,) = kit.engine._applier.catalog.resolve("c").segments
    assert segment.ids_at(np.arange(segment.rows_count)) == ([b"a", b"b"] if kept else [b"b"])


def test_a_first_snapshot_that_fails_leaves_the_history_that_another_one_needs(kit: SnapshotKit) -> None:
    kit.upsert(["a", "b"], 1, 2)
    completed: list[int] = []

    def complete_another() -> None:
        kit.upsert(["b"], 3)
        completed.append(kit.snapshot()["sequence"])

    while_one_is_written(kit, complete_another, OSError)
    with pytest.raises(FailedPrecondition, match="the snapshot was not made"):
        kit.snapshot()
    assert high_water(kit) == {"c": completed[0]}
    assert_keeps_what_dies(kit, kept=True)
    kit.engine.snapshots.delete(kit.ids()[0])
    assert high_water(kit) == {"c": 0}


def test_when_all_that_ran_at_once_have_failed_no_history_is_kept(kit: SnapshotKit) -> None:
    """The first to fail leaves it to the last, which was not the first snapshot of the collection."""
    kit.upsert(["a", "b"], 1, 2)
    creating = kit.fs.create
    second_is_there, first_has_failed = Event(), Event()
    writing: list[str] = []
    second: list[str] = []

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if not path.endswith(".part"):
            return creating(path, size, direct=direct)
        writing.append(path)
        if len(writing) > 1:
            second_is_there.set()
            assert first_has_failed.wait(PATIENCE_SECONDS)
        else:
            second.append(kit.engine.snapshots.start_create(SnapshotRequest(), caller=CALLER).id)
            assert second_is_there.wait(PATIENCE_SECONDS)
        raise OSError(errno.EIO, "Input/output error", path)

    kit.fs.create = create  # type: ignore[method-assign]
    with pytest.raises(FailedPrecondition):
        kit.snapshot()
    assert high_water(kit)["c"] > 0
    first_has_failed.set()
    with pytest.raises(FailedPrecondition):
        raise_failure(kit.engine.operations.wait(second[0]))
    assert high_water(kit) == {"c": 0}
    kit.fs.create = creating  # type: ignore[method-assign]
    assert_keeps_what_dies(kit, kept=False)


def test_a_deleted_snapshot_leaves_the_history_that_the_one_being_written_needs(kit: SnapshotKit) -> None:
    kit.upsert(["a", "b"], 1, 2)
    kit.create("d")
    kit.snapshot()
    older = kit.ids()[0]

    def delete_the_older() -> None:
        kit.engine.snapshots.delete(older)
        assert_keeps_what_dies(kit, kept=True)

    while_one_is_written(kit, delete_the_older, None)
    newer = kit.snapshot(collection="c")["sequence"]
    assert high_water(kit) == {"c": newer, "d": 0}
