"""The dry run of a restore tells what would come and go, which is what the restore then does; it touches nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from holdfastd.engine import snapshot_foretold
from holdfastd.errors import Corruption
from tests.support.chains import HOURLY, chained, filled
from tests.support.diffs import Life, assert_rows
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.segment_damages import file_of, kit_with_two_segments, lose, start
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


def foretold(kit: SnapshotKit, snapshot: str, **request: Any) -> dict[str, Any]:
    """The dry run's result; the store is what it was, and so are its directories."""
    before, names, ops = observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR), kit.engine.sequence
    found = kit.restore(snapshot, overwrite=True, validate_only=True, **request)
    assert (observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR), kit.engine.sequence) == (before, names, ops)
    assert found["status"] == "planned"
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_the_restore_does(seed: int) -> None:
    life = Life(random.Random(100 + seed))
    while len(life.moments) < 3:
        life.step()
    for _ in range(5):
        life.step()
    kit = life.kit
    for snapshot, then in life.moments.items():
        before = observe(kit.engine)
        found = foretold(kit, snapshot)
        replaced = sorted(before.collections.keys() & then.collections.keys())
        assert [each["collection"] for each in found["changes"]] == replaced == found["collections_overwritten"]
        kit.restore(snapshot, overwrite=True)
        after = observe(kit.engine)
        for each in found["changes"]:
            name = each["collection"]
            sampled = {key: value[:3] if key.endswith("_ids") else value for key, value in each.items()}
            assert_rows(sampled, before.collections[name], after.collections[name])


def test_nothing_would_change(kit: SnapshotKit) -> None:
    made = kit.later()
    (entry,) = foretold(kit, made.id)["changes"]
    assert (entry["change"], entry["unchanged"], entry["added"] + entry["removed"] + entry["changed"]) == ("none", 4, 0)


def test_under_another_name_it_is_that_one_that_is_compared(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(["a", "q"], 1, 9, name="d")
    made = kit.later(collection="c")
    found = foretold(kit, made.id, collection="d")
    (entry,) = found["changes"]
    assert (entry["collection"], entry["added"], entry["removed"], entry["payload_changed"]) == ("d", 3, 1, 1)
    assert "matched by their ids" in entry["notes"][0]
    assert foretold(kit, made.id, collection="new")["changes"] == []


def test_of_a_chain_elsewhere_it_tells_as_well(kit: SnapshotKit) -> None:
    full, _, last = chained(kit, compress=True)
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("c")
    kit.upsert(["a", "new"], 10, 1)
    content = kit.fs.read(full.path)
    kit.fs.unlink(full.path)
    kit.put(f"/usb/{full.id}.gz", content)
    (entry,) = foretold(kit, last.path, base_path="/usb")["changes"]
    assert last.path.startswith(HOURLY)
    assert (entry["added_ids"], entry["removed_ids"], entry["payload_changed_ids"]) == (["b", "d", "e"], ["new"], ["a"])


def test_what_takes_long_to_read_is_left_to_the_comparison(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("c")
    monkeypatch.setattr(snapshot_foretold, "QUICK_BYTES", 10)
    found = foretold(kit, made.id)
    assert found["changes"] == []
    assert found["warnings"] == [
        f"c would change; how, takes reading the snapshot: holdfast storage snapshot diff live {made.id}"
    ]


def test_what_cannot_be_read_now_can_be_replaced_all_the_same() -> None:
    kit = kit_with_two_segments()
    made = kit.later()
    lose(kit.fs, file_of(kit, "vectors.npy"))
    start(kit)
    found = kit.restore(made.id, overwrite=True, validate_only=True)
    assert [each["collection"] for each in found["changes"]] == ["other"]
    assert found["collections_overwritten"] == ["c", "other"]
    assert "is quarantined, so what a restore would change cannot be told" in found["warnings"][0]


def test_damage_that_is_met_on_the_way_is_told(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("c")
    kit.fs.damage(made.path, made.record.size_bytes // 2, b"\xff" * 8)
    before = kit.fs.listdir(COLLECTIONS_DIR)
    with pytest.raises(Corruption):
        kit.restore(made.id, overwrite=True, validate_only=True)
    assert kit.fs.listdir(COLLECTIONS_DIR) == before
