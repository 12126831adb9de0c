"""Chains end: a full snapshot is made in the place of one increment too many, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfastd.engine import snapshot_chain, snapshot_policy
from holdfastd.engine.snapshot_chain import MAX_LINKS
from holdfastd.engine.snapshot_info import READY, SnapshotInfo
from holdfastd.engine.snapshot_policy import WORTH_BYTES, too_long
from holdfastd.errors import InvalidArgument
from holdfastd.storage.registry import SnapshotRecord
from tests.support.snapshots import SnapshotKit


def links(*sizes: int) -> list[SnapshotInfo]:
    """A chain of files of these sizes, base first."""
    record = SnapshotRecord(
        "", "", "", 0, "", 1, 0, size_bytes=0, uncompressed_bytes=0, compressed=False, everything=True, members=()
    )
    return [
        SnapshotInfo(replace(record, id=f"snap-{number}", size_bytes=size), "", READY)
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "max_links", "max_percent", "said"),
    [
        ([10], 1, 0, "has 1 links, and --snapshot-max-links is 1"),
        ([10], 2, 0, None),
        ([10, 1], 2, 0, "chain of snap-1 has 2 links"),
        ([10] * 500, 0, 0, None),
        ([10] * (MAX_LINKS - 1), 0, 0, None),
        ([10] * MAX_LINKS, 0, 0, "a longer one could not be restored"),
        ([WORTH_BYTES, WORTH_BYTES], 0, 100, None),
        ([WORTH_BYTES, WORTH_BYTES, 1], 0, 100, f"take {WORTH_BYTES + 1} bytes, its full snapshot {WORTH_BYTES}, and"),
        ([WORTH_BYTES, WORTH_BYTES, 1], 0, 101, None),
        ([WORTH_BYTES, WORTH_BYTES, 1], 0, 0, None),
        ([4 * WORTH_BYTES, WORTH_BYTES], 0, 24, "--snapshot-max-increment-percent is 24"),
        ([10, WORTH_BYTES - 1], 0, 1, None),
    ],
)
def test_a_chain_is_long_enough_by_its_links_or_by_what_they_take(
    sizes: list[int], max_links: int, max_percent: int, said: str | None
) -> None:
    found = too_long(links(*sizes), max_links=max_links, max_percent=max_percent)
    assert (found is None) == (said is None)
    assert said is None or said in (found or "")


def test_a_full_snapshot_begins_a_new_chain_and_says_why() -> None:
    kit = SnapshotKit(snapshot_max_links=3)
    kit.create("c")
    made = []
    kit.upsert(["first"], 1)
    kit.later()
    for number in range(5):
        kit.upsert([f"row {number}"], number + 1)
        kit.clock.advance_us(1_000_000)
        planned = kit.snapshot(incremental=True, validate_only=True)
        made.append(kit.snapshot(incremental=True))
        assert planned["type"] == made[-1]["type"]
        assert planned["warnings"] == made[-1]["warnings"]
    assert [each["type"] for each in made] == ["incremental", "incremental", "full", "incremental", "incremental"]
    (warning,) = made[2]["warnings"]
    assert warning == (
        f"this is a full snapshot, with which a new chain begins: the chain of {made[1]['snapshot_id']} has 3 links, "
        "and --snapshot-max-links is 3"
    )
    assert "base_id" not in made[2]
    assert made[3]["base_id"] == made[2]["snapshot_id"]
    assert all(each["warnings"] == [] for each in made if each["type"] == "incremental")
    kit.restore(made[1]["snapshot_id"], collection="old")
    assert len(kit.values("old")) == 3


def test_whoever_names_the_base_means_it() -> None:
    kit = SnapshotKit(snapshot_max_links=1)
    kit.create("c")
    kit.upsert(["a"], 1)
    full = kit.later()
    assert kit.later(incremental=True, base_id=full.id).record.base_id == full.id
    assert kit.later(incremental=True).record.type == "full"


@pytest.mark.parametrize("named", [False, True])
def test_no_chain_is_made_that_nobody_would_restore(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no limit is set, an increment every five minutes is there after a month."""
    for module in (snapshot_chain, snapshot_policy):
        monkeypatch.setattr(module, "MAX_LINKS", 3)
    kit = SnapshotKit(snapshot_max_links=0)
    kit.create("c")
    last = kit.later()
    for number in range(2):
        kit.upsert([f"row {number}"], number + 1)
        last = kit.later(incremental=True)
    if named:
        with pytest.raises(InvalidArgument, match="its chain has 3 links, and a longer one could not be restored"):
            kit.snapshot(incremental=True, base_id=last.id)
        return
    made = kit.later(incremental=True)
    assert made.record.type == "full"
    for each in (last, made):
        kit.restore(each.id, collection="copy", from_collection="c", overwrite=True)
        assert kit.values("copy") == kit.values()


def test_a_consolidated_chain_is_short_again() -> None:
    kit = SnapshotKit(snapshot_max_links=2)
    kit.create("c")
    kit.upsert(["a"], 1)
    full = kit.later()
    kit.upsert(["b"], 2)
    one = kit.later(incremental=True)
    kit.consolidate(full.id)
    kit.upsert(["d"], 4)
    assert kit.later(incremental=True).record.base_id == one.id
