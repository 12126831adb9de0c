"""Random histories: whatever moment is asked for, it is exactly what the store was then, or is refused for a reason.

Writes, deletes, drops, aliases, compactions, snapshots in chains, restores, clocks set forth and back, a log that is
moved and switched off, kills and power cuts in the middle of any of it; then moments by sequence and by time, of
everything and of one collection, restored and replayed, once and again. `make soak` has other histories in every run,
and thousands.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from holdfastd.model import SyncMode
from tests.support.chronicle_moments import Asking
from tests.support.chronicles import Chronicle

HISTORIES = int(os.environ.get("HOLDFAST_HISTORIES", "200"))
STEPS = int(os.environ.get("HOLDFAST_HISTORY_STEPS", "20"))
SHARDS = 2
QUESTIONS = 4
MODES = (SyncMode.FSYNC, SyncMode.PERIODIC, SyncMode.ASYNC)
FIRST = random.SystemRandom().randrange(1 << 40) if "HOLDFAST_HISTORIES" in os.environ else 0
WANTED = {
    "full",
    "incremental",
    "consolidated",
    "cut off",
    "lost power",
    "jumped",
    "gap",
    "went back",
    "reached",
    "one reached",
    "refused",
    "renewed",
    "restore cut off",
    "replayed twice",
    "replay cut off",
    "compacted",
    "compacted meanwhile",
}


def remembered(seed: int, tally: Counter[str]) -> None:
    """One history, and some of its moments."""
    chronicle = Chronicle(random.Random(seed), MODES[seed % len(MODES)], tally).live(STEPS)
    for number in range(QUESTIONS):
        Asking(chronicle, number).ask()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_moment_of_a_history_is_what_it_was(shard: int, record_property: Callable[[str, object], None]) -> None:
    tally: Counter[str] = Counter()
    for seed in range(FIRST + shard, FIRST + HISTORIES, SHARDS):
        try:
            remembered(seed, tally)
        except BaseException as error:
            error.add_note(f"the history of seed {seed}, in {MODES[seed % len(MODES)]}, {STEPS} steps long")
            raise
    record_property("histories", len(range(shard, HISTORIES, SHARDS)))
    assert {each for each, count in tally.items() if count} >= WANTED, (
        "histories in which nothing happens prove nothing"
    )
