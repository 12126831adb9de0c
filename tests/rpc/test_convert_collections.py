"""Figures of a collection as people and scripts read them."""

from __future__ import annotations

import uuid

from holdfastd.model import CollectionSpec, CollectionStats, Digest
from holdfastd.rpc.convert_collections import stats_message


def test_the_share_of_garbage_has_two_decimals() -> None:
    spec = CollectionSpec(uuid.UUID(int=1), "c", 2)
    stats = CollectionStats(spec, 2, 0, Digest(), 3, 1, garbage_percent=100.0 / 3, updated_us=0)
    assert stats_message(stats).garbage_percent == 33.33
