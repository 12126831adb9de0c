"""What waits in memory is counted as it changes, and the count is the sum over all collections."""

from __future__ import annotations

from holdfastd.engine.unsealed import Unsealed
from holdfastd.model import StorageKind
from tests.support.engines import CALLER, Kit


def counted(kit: Kit) -> tuple[int, int, int]:
    unsealed = kit.engine._applier.unsealed
    return unsealed.total, unsealed.growing, unsealed.largest


def summed(kit: Kit) -> tuple[int, int, int]:
    """The same, by looking at every collection."""
    anew = Unsealed()
    anew.recount(kit.engine._applier.catalog.collections.values())
    return anew.total, anew.growing, anew.largest


def test_writes_checkpoints_and_drops_keep_the_count_true() -> None:
    kit = Kit()
    for name in ("a", "b"):
        kit.create(name)
        kit.upsert(["x", "y"], name=name)
        kit.upsert(["x"], name=name)
        assert counted(kit) == summed(kit)
    total, growing, largest = counted(kit)
    assert total == growing == 2 * largest > 0
    kit.engine.collections.drop("a", caller=CALLER)
    assert counted(kit) == summed(kit) == (largest, largest, largest)
    kit.engine.checkpoint()
    assert counted(kit) == summed(kit) == (0, 0, 0)
    kit.upsert(["z"], name="b")
    kit.reopen()
    assert counted(kit) == summed(kit) != (0, 0, 0)


def test_what_lives_in_memory_waits_for_no_segment() -> None:
    kit = Kit()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["x"], name="m")
    assert counted(kit) == (0, 0, 0)
