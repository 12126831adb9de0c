"""The histories bite: plant one fault in what takes, keeps or applies operations, and one of them comes out wrong."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfastd.engine import compaction, history, sealing, snapshot_create
from holdfastd.engine.committer import Committer
from holdfastd.engine.compaction import Compaction
from holdfastd.engine.course import Course
from holdfastd.engine.replay_log import ReplayLogs
from holdfastd.engine.replay_one import CollectionReplay
from holdfastd.engine.roll_forward import RollForward
from holdfastd.errors import HoldfastError
from tests.engine.test_chronicles import remembered
from tests.support.engines import Fatal
from tests.support.mutants import Mutant, mutate

HISTORIES = 300

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


TWICE = "collection.upsert(rows, sequence, time_us)"
MUTANTS = {
    "an increment leaves out what came right behind its base": Mutant(
        snapshot_create, "take", "> since]", "> since + 1]", seed=5
    ),
    "the end is left out": Mutant(
        ReplayLogs, "between", "record.sequence > to_sequence", "record.sequence >= to_sequence"
    ),
    "a time means what was before it": Mutant(
        history, "sequence_at_time", "record.timestamp_us > timestamp_us", "record.timestamp_us >= timestamp_us", seed=2
    ),
    "what the snapshot holds is applied again": Mutant(
        ReplayLogs, "between", "from_sequence=through + 1", "from_sequence=through", seed=2
    ),
    "the first behind the snapshot is left out": Mutant(
        ReplayLogs, "between", "from_sequence=through + 1", "from_sequence=through + 2"
    ),
    "a moment has an operation twice": Mutant(RollForward, "_apply_to_points", TWICE, f"({TWICE}, {TWICE})"),
    "a moment has operations at other times": Mutant(
        RollForward, "_apply_to_points", TWICE, "collection.upsert(rows, sequence, time_us + 1)"
    ),
    "a moment lacks deletions": Mutant(
        RollForward,
        "_apply_to_points",
        "count = collection.delete(ids, id_hashes, sequence, time_us)",
        "count = 0",
        seed=3,
    ),
    "a moment crosses a restore": Mutant(Course, "check_end", "raise _not_in_the_log(restored)", "pass", seed=2),
    "deaths while a segment is written are forgotten": Mutant(
        sealing, "_carry_over_kills", "if len(fresh):", "if False:", seed=5
    ),
    "a compaction buries nothing": Mutant(compaction, "take", "if high_water:", "if False:", seed=18),
    "a compaction drops what died behind the checkpoint": Mutant(
        compaction, "take", "(killed != 0) & (killed <= published)", "killed != 0", seed=70
    ),
    "deaths while a compaction writes are in no file": Mutant(
        Compaction, "_number", "<= entry.checkpoint_sequence:", "< 0:", seed=82
    ),
    "what a compaction replaced goes before the manifest": Mutant(
        Compaction,
        "_replace",
        "entry = self._ground.entry_of(self._collection)",
        "entry = self._ground.entry_of(self._collection); "
        "[remove_tree(self._fs, self._layout.segment_dir(self._id, each.info.id)) for each in self._group]",
        seed=4,
    ),
    "a replay has an operation twice": Mutant(
        CollectionReplay,
        "run",
        "self._send(target, change, record.sequence, actor=logged.actor, body=body)",
        "[self._send(target, change, record.sequence) for _ in range(2)]",
        seed=14,
    ),
    "time goes back with the clock": Mutant(
        Committer,
        "_commit_admitted",
        "time_us = max(self._applier.time_us, wall_us - 1)",
        "time_us = wall_us - 1",
        seed=5,
    ),
    "time stands still": Mutant(
        Committer,
        "_commit_admitted",
        "time_us = max(self._applier.time_us,",
        "time_us = max(self._applier.time_us - 1,",
        seed=5,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_history_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    assert any(map(comes_out_wrong, mutant.seeds(HISTORIES)))


def comes_out_wrong(seed: int) -> bool:
    """Whether a history, or one of its moments, is not what it should be, or is refused."""
    try:
        remembered(seed, Counter())
    except (AssertionError, HoldfastError, Fatal):
        return True
    return False
