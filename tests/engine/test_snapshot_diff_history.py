"""Comparisons along random histories: every two moments, in either direction, against the oracle's states of them."""

from __future__ import annotations

import random

import pytest

from tests.support.diffs import SAMPLE, Life, assert_diff
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR


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
