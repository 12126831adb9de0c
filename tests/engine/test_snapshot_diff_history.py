"""Comparisons along random histories: every two moments, in either direction, against the oracle's states of them."""

from __future__ import annotations

import random

import pytest

from tests.support.diffs import SAMPLE, Life, assert_diff
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit, two_points


@pytest.mark.parametrize("seed", range(6))
def test_any_two_moments_of_a_life(seed: int) -> None:
    life = Life(random.Random(seed))
    while len(life.moments) < 4:
        life.step()
    for _ in range(4):
        life.step()
    now = observe(life.kit.engine)
    directories = set(life.kit.fs.listdir(COLLECTIONS_DIR))
    for first, then in life.moments.items():
        assert_diff(life.kit.diff(first, sample=SAMPLE), then, now)
        assert_diff(life.kit.diff("live", first, sample=SAMPLE), now, then)
        for second, later in life.moments.items():
            assert_diff(life.kit.diff(first, second, sample=SAMPLE), then, later)
    assert set(life.kit.fs.listdir(COLLECTIONS_DIR)) == directories
    assert observe(life.kit.engine) == now


def test_of_two_copies_of_a_store_neither_holds_the_other_s_moment() -> None:
    """Both have a snapshot of the same second and the same sequence, and on one of them an increment builds."""
    mine = two_points()
    theirs = SnapshotKit(mine.fs.crash(random.Random(1), "prefix"), seed=9)
    mine.upsert(["c"], 3)
    theirs.upsert(["c"], 4)
    ours, base = mine.later(), theirs.later()
    assert (ours.id, ours.record.sequence) == (base.id, base.record.sequence)
    then = observe(mine.engine)
    theirs.upsert(["d"], 5)
    increment = theirs.later(incremental=True)
    for each in (base, increment):
        mine.put(f"/theirs/{each.path.rpartition('/')[2]}", theirs.fs.read(each.path))
    found = mine.diff(ours.id, f"/theirs/{increment.id}.snap", sample=SAMPLE)
    assert_diff(found, then, observe(theirs.engine))
