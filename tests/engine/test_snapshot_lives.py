"""Whatever a store and its snapshots have lived through, each of them brings back what the store was."""

from __future__ import annotations

import random

import pytest

from tests.support.chain_lives import ChainLife


@pytest.mark.parametrize("seed", range(4))
def test_every_snapshot_of_a_life_brings_back_its_moment(seed: int) -> None:
    life = ChainLife(random.Random(seed)).run(120)
    assert min(life.consolidated, life.compacted) > 0
