"""Verifying a part at a time: slices that come to the whole, and shares that are chosen again."""

from __future__ import annotations

from typing import Any

import pytest

from holdfastd.format.snapshot import data_members
from holdfastd.format.subset import Subset, parse_subset
from holdfastd.format.verify_receipt import Standing
from tests.support.chains import filled, flip
from tests.support.snapshots import Archive, SnapshotKit

DAY_US = 24 * 3600 * 1_000_000


def many_parts(**request: Any) -> tuple[SnapshotKit, str]:
    """A snapshot with parts of different sizes; returns its id."""
    kit = SnapshotKit()
    for name in ("c", "d"):
        kit.create(name)
        for number in range(4):
            kit.upsert([f"{number}-{row}" for row in range(3 + 2 * number)], name=name)
            kit.engine.checkpoint()
    return kit, kit.snapshot(**request)["snapshot_id"]


@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("compress", [False, True])
def test_the_slices_read_everything_exactly_once_and_are_a_whole_verification(level: int, compress: bool) -> None:
    kit, id = many_parts(compress=compress)
    whole = kit.verify(id, level=level)
    members = data_members(Archive.of(kit.fs.read(whole["path"])).manifest)
    content = sum(member.size for member in members)
    always, total_rows, total_bytes = whole["bytes_read"] - content, 0, 0
    for number in range(1, 8):
        result = kit.verify(id, level=level, subset=parse_subset(f"{number}/7", 0))
        assert (result["valid"], result["subset"], result["seed"]) == (True, f"{number}/7", 0)
        total_rows += result["rows_checked"]
        total_bytes += result["bytes_read"] - always
        assert result["bytes_read"] < whole["bytes_read"]
    assert (total_rows, total_bytes) == (whole["rows_checked"], content)


def test_slices_stand_for_the_whole_once_they_are_complete() -> None:
    kit, id = many_parts()
    for number in (3, 1, 2):
        assert kit.engine.snapshots.get(id).standing is None
        kit.clock.advance_us(DAY_US)
        kit.verify(id, subset=parse_subset(f"{number}/3", 0))
    found, first = kit.engine.snapshots.get(id), kit.engine.snapshots.get(id).record.receipts[0]
    assert found.standing == Standing(2, first.time_us), "as old as its oldest slice"


@pytest.mark.parametrize("ending", ["vectors.npy", "norms.npy", "rows.npy", "ids.npy", "payloads.npy"])
def test_damage_is_found_by_exactly_one_slice(ending: str) -> None:
    kit, id = many_parts()
    flip(kit, kit.engine.snapshots.get(id).path, ending)
    found = [kit.verify(id, subset=parse_subset(f"{number}/5", 0))["valid"] for number in range(1, 6)]
    assert sorted(found) == [False, True, True, True, True]
    assert kit.engine.snapshots.get(id).state == "damaged"


def test_a_share_says_its_seed_and_is_chosen_again_by_it() -> None:
    kit, id = many_parts()
    chosen = kit.verify(id, subset=kit.engine.snapshots.subset("20%"))
    assert (chosen["subset"], chosen["seed"] > 0) == ("20%", True)
    again = kit.verify(id, subset=kit.engine.snapshots.subset("20%", chosen["seed"]))
    assert (again["bytes_read"], again["rows_checked"]) == (chosen["bytes_read"], chosen["rows_checked"])
    assert kit.engine.snapshots.get(id).standing is None
    assert [each.subset for each in kit.engine.snapshots.get(id).record.receipts] == ["20%"]


def test_slices_of_files_and_slices_of_parts_are_no_whole_together() -> None:
    """The middle of the only part lies in the second half, which nobody decoded; its files were in both halves."""
    kit = filled()
    id = kit.later().id
    assert kit.verify(id, level=3, subset=Subset(number=1, of=2))["rows_checked"] == 0
    kit.verify(id, level=2, subset=Subset(number=2, of=2))
    assert kit.engine.snapshots.get(id).standing is None
    first = kit.engine.snapshots.get(id).record.receipts[1]
    kit.verify(id, level=2, subset=Subset(number=1, of=2))
    assert kit.engine.snapshots.get(id).standing == Standing(2, first.time_us)
