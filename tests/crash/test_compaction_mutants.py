"""The tests of compaction bite: plant one fault in what drops rows, carries kills or names files, and one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from holdfastd.engine import compaction, compactions
from holdfastd.engine.collection import Collection, alive_rows
from holdfastd.engine.compaction import Compaction
from holdfastd.engine.compaction_rows import CarriedKills
from holdfastd.errors import HoldfastError
from holdfastd.storage import id_index, segment_merge
from holdfastd.storage.id_index import IdIndex
from holdfastd.storage.kills import Kills
from holdfastd.storage.segment_merge import Taken
from tests.crash.test_compaction_crash import (
    CompactionSweep,
    Meanwhile,
    aggressive,
    assert_an_increment_gives_back,
    assert_whole,
)
from tests.engine import test_compaction as alone
from tests.engine import test_compaction_rules as rules
from tests.engine import test_compaction_snapshots as backed_up
from tests.support.compactions import IDS, three_segments, while_compacting, worn
from tests.support.engines import Fatal
from tests.support.mutants import Mutant, mutate
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

Test = Callable[[pytest.MonkeyPatch], None]


def swept(_: pytest.MonkeyPatch) -> None:
    """A power cut at each operation, and a start from either manifest."""
    sweep = CompactionSweep(worn(), aggressive, draws=1)

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        assert_whole(kit)

    sweep.run(check, seed=41)


def meanwhile(_: pytest.MonkeyPatch) -> None:
    """Writes and checkpoints in the middle of it, and a kill at the end."""
    kit = worn()
    Meanwhile().action(kit)
    before = observe(kit.engine)
    kit.reopen()
    assert observe(kit.engine) == before
    assert_whole(kit)


def counted_by_the_log(_: pytest.MonkeyPatch) -> None:
    rules.test_what_died_behind_the_checkpoint_stays_for_the_log_to_kill_it(three_segments())


def late(monkeypatch: pytest.MonkeyPatch) -> None:
    alone.test_kills_between_the_manifest_and_the_readers_are_carried_over(three_segments(), monkeypatch)


def late_in_a_group_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = worn()
    update = kit.engine._keeper.update

    def too_late(change: Callable[..., object]) -> object:
        done = update(change)
        monkeypatch.setattr(kit.engine._keeper, "update", update)
        kit.delete(IDS[1])
        kit.upsert([IDS[2], IDS[12]], 2, 12)
        return done

    monkeypatch.setattr(kit.engine._keeper, "update", too_late)
    while_compacting(kit)
    before = observe(kit.engine)
    assert IDS[1] not in before.collections["c"].points
    kit.reopen()
    assert observe(kit.engine) == before


def an_increment(_: pytest.MonkeyPatch) -> None:
    kit = worn()
    kit.delete(IDS[3])
    kit.compact("c", aggressive=True)
    assert_an_increment_gives_back(kit)


def three_rounds(_: pytest.MonkeyPatch) -> None:
    backed_up.test_an_increment_tells_of_what_compaction_has_dropped(three_segments(), 3)


def spent(_: pytest.MonkeyPatch) -> None:
    backed_up.test_tombstones_go_once_a_newer_snapshot_is_there(three_segments())


def compared(_: pytest.MonkeyPatch) -> None:
    backed_up.test_a_comparison_tells_the_same_before_and_after(three_segments())


def with_one_between(_: pytest.MonkeyPatch) -> None:
    """What is due stands on both sides of what is not."""
    kit = SnapshotKit()
    kit.create("c")
    for some in (IDS[:5], IDS[5:10], IDS[10:15]):
        kit.upsert(some)
        kit.engine.checkpoint()
    kit.delete(*IDS[:4], *IDS[10:14])
    before = observe(kit.engine)
    kit.compact("c", threshold_percent=50)
    assert observe(kit.engine) == before


def one_run(_: pytest.MonkeyPatch) -> None:
    alone.test_aggressive_leaves_one_segment_and_one_run(three_segments())


def paged(_: pytest.MonkeyPatch) -> None:
    rules.test_pages_come_in_the_order_of_writes(three_segments(), 0)


def held_off(monkeypatch: pytest.MonkeyPatch) -> None:
    rules.test_checkpoints_are_held_off_while_it_publishes(three_segments(), monkeypatch)


def damaged(_: pytest.MonkeyPatch) -> None:
    rules.test_damage_of_any_file_is_told_and_not_copied(three_segments(), "ids")


def damaged_vectors(_: pytest.MonkeyPatch) -> None:
    rules.test_damage_of_any_file_is_told_and_not_copied(three_segments(), "vectors")


def without_a_manifest(_: pytest.MonkeyPatch) -> None:
    rules.test_without_room_for_the_manifest_it_leaves_everything_as_it_was(three_segments())


def with_one_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    rules.test_a_checkpoint_that_waits_for_one_that_fails_keeps_what_it_writes(three_segments(), monkeypatch)


def measured(_: pytest.MonkeyPatch) -> None:
    alone.test_what_it_says_is_what_the_disk_says(three_segments())


def late_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    rules.test_without_room_for_the_second_manifest_a_checkpoint_removes_what_is_old(three_segments(), monkeypatch)


def without_those_written_again(collection: Collection, taken: Taken) -> Taken:
    """What would be buried by who believes that tombstones are for ids that are gone."""
    ids = taken.segment.ids_at(taken.buried)
    alive = {id for segment in collection.segments for id in segment.ids_at(alive_rows(segment))}
    return replace(taken, buried=taken.buried[[number for number, id in enumerate(ids) if id not in alive]])


@dataclass(frozen=True)
class Broken(Mutant):
    """``test`` has to notice it."""

    test: Test


SECOND = "self._ground.keeper.update(lambda manifest: manifest)"
FIRST = "self._ground.keeper.update(lambda manifest: self._renamed(manifest, successor))"
REMOVAL = "[remove_tree(self._fs, self._layout.segment_dir(self._id, each.info.id)) for each in self._group]"
HERE = "__import__('tests.crash.test_compaction_mutants', fromlist=['x'])"
MUTANTS = {
    "rows that died behind the checkpoint are dropped": Broken(
        compaction, "take", "(killed != 0) & (killed <= published)", "killed != 0", counted_by_the_log
    ),
    "nothing is buried": Broken(compaction, "take", "if high_water:", "if False:", an_increment),
    "tombstones from before are forgotten": Broken(
        compaction, "take", "if table is not None and high_water else", "if False else", an_increment
    ),
    "those from before are forgotten, three times": Broken(
        compaction, "take", "if table is not None and high_water else", "if False else", three_rounds
    ),
    "tombstones stay for ever": Broken(
        compaction, "take", "table.killed_after(entry.high_water)", "table.killed_after(0)", spent
    ),
    "the last one that a snapshot asks for is left out": Broken(
        compaction, "take", "(killed > high_water)", "(killed > high_water + np.uint64(1))", an_increment
    ),
    "tombstones of rows that were written again are left out": Broken(
        Compaction,
        "run",
        "take(segment, entry) for",
        f"{HERE}.without_those_written_again(self._collection, take(segment, entry)) for",
        an_increment,
    ),
    "a tombstone has the sequence of its row": Broken(
        segment_merge, "_tombstones_of", "killed[rows],", "facts['sequence'],", an_increment
    ),
    "a comparison does not see tombstones": Broken(
        segment_merge, "_tombstones_of", 'np.ascontiguousarray(facts["sequence"])', "killed[rows]", compared
    ),
    "kills that come late are forgotten": Broken(CarriedKills, "since", "in recorded", "in []", late),
    "nobody listens for kills": Broken(
        Compaction, "_replace", "self._ground.committer.between_groups(carried.begin)", "pass", late
    ),
    "kills of the last moment are not recorded": Broken(
        Kills, "add", "recorded.append((rows, sequences))", "pass", late
    ),
    "late kills hit other rows": Broken(
        CarriedKills, "since", "np.searchsorted(each.rows, rows) + start", "rows + start", late_in_a_group_of_two
    ),
    "late kills hit rows of the first segment": Broken(
        CarriedKills,
        "since",
        "np.searchsorted(each.rows, rows) + start",
        "np.searchsorted(each.rows, rows)",
        late_in_a_group_of_two,
    ),
    "kills hit other rows": Broken(CarriedKills, "known", "dead + start", "each.rows[dead] + start", meanwhile),
    "kills hit rows of the first segment": Broken(CarriedKills, "known", "dead + start", "dead", meanwhile),
    "kills that a checkpoint has reached are in no file": Broken(
        Compaction, "_number", "<= entry.checkpoint_sequence:", "< 0:", meanwhile
    ),
    "a file has kills behind the checkpoint": Broken(
        Compaction,
        "_number",
        "self._layout, entry.checkpoint_sequence",
        "self._layout, self._ground.applier.sequence",
        meanwhile,
    ),
    "no file of kills is named": Broken(
        Compaction, "_number", "named = replace(named, kills=kills)", "pass", meanwhile
    ),
    "a number is given twice": Broken(Compaction, "_number", "ordinal + 1", "ordinal", meanwhile),
    "the index lacks the other segments": Broken(
        Compaction, "_number", "{ordinal, *self._left}", "{ordinal}", meanwhile
    ),
    "the index forgets nothing": Broken(IdIndex, "as_one_run", "sources, live, pace", "sources, None, pace", one_run),
    "the index's names are not synced": Broken(
        id_index, "_write", "fs.sync_dir(layout.ids_dir(collection_id))", "pass", swept
    ),
    "names in the new segment are not synced": Broken(
        compaction, "name_segment", "fs.sync_dir(directory)", "pass", swept
    ),
    "the new segment's name is not synced": Broken(
        compaction, "name_segment", "fs.sync_dir(layout.collection_dir(collection_id))", "pass", swept
    ),
    "old files go before the manifest": Broken(Compaction, "_replace", FIRST, f"{REMOVAL}; {FIRST}", swept),
    "the manifest before still names old files": Broken(Compaction, "_clean", SECOND, "pass", swept),
    "old files are forgotten where the manifest has no room": Broken(
        Compaction, "_clean", "self._ground.checkpointer.leave(path)", "pass", late_removal
    ),
    "old files stay": Broken(Compaction, "_clean", "remove_tree(self._fs, path)", "pass", measured),
    "readers get it before the manifest": Broken(
        Compaction, "_replace", FIRST, f"self._install(successor, carried); {FIRST}", late
    ),
    "it stands behind all others": Broken(Compaction, "_renamed", "kept[at:at]", "kept[len(kept):]", paged),
    "readers have it in front of all others": Broken(
        Compaction,
        "_install",
        "(*collection.segments[:at], *new, *collection.segments[at + len(self._group) :])",
        "(*new, *collection.segments[:at], *collection.segments[at + len(self._group) :])",
        paged,
    ),
    "what are no neighbours becomes one": Broken(
        compactions,
        "groups",
        "for start, end in _runs(due.tolist()):\n        out += _fitting(weighed[start:end])",
        "out += _fitting([each for each, mark in zip(weighed, due) if mark])",
        with_one_between,
    ),
    "checkpoints go on while it publishes": Broken(
        Compaction, "run", "self._ground.checkpointer.exclusive(), ", "", held_off
    ),
    "checkpoints go on before it is given up": Broken(
        Compaction,
        "run",
        "self._ground.checkpointer.exclusive(), self._given_up_on_failure():",
        "self._given_up_on_failure(), self._ground.checkpointer.exclusive():",
        with_one_waiting,
    ),
    "damage is copied": Broken(Compaction, "_write", "prove(each.segment, self._pace)", "pass", damaged),
    "damaged vectors are copied": Broken(
        segment_merge,
        "_vectors",
        "each.segment.checked(names.VECTORS)",
        "each.segment.checked(names.VECTORS) if False else [vectors.view(np.uint8).reshape(-1), bytes(header)]",
        damaged_vectors,
    ),
    "what was begun is left": Broken(
        Compaction, "_give_up", "for path in self._begun:", "for path in ():", without_a_manifest
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_test_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    with pytest.raises((AssertionError, HoldfastError, LookupError, OSError, ValueError, Fatal, pytest.fail.Exception)):
        mutant.test(monkeypatch)


@pytest.mark.parametrize(
    "test", dict.fromkeys(mutant.test for mutant in MUTANTS.values()), ids=lambda test: test.__name__
)
def test_without_a_fault_it_passes(test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    test(monkeypatch)
