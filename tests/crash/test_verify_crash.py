"""Power cuts and failures all along a verification: all of its receipts are there, or none; nothing else is left."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from tests.support.oracle import observe
from tests.support.snapshot_sweeps import IDS, Recorder, Sweep, assert_tidy, failing, prepared
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

Known = list[tuple[str, str, list[tuple[int, bool, str]]]]


def a_chain() -> SnapshotKit:
    """A full snapshot and an increment, both compressed, verified once, and a store that has moved on."""
    kit = prepared()
    kit.snapshot(incremental=True, compress=True)
    kit.verify("latest", level=2)
    kit.clock.advance_us(1_000_000)
    kit.upsert(["z"], 9)
    kit.sync_log()
    return kit


def damaged() -> SnapshotKit:
    """The same, with a byte of the full snapshot's file changed that only its rows and checksums tell."""
    kit = a_chain()
    path = kit.engine.snapshots.list()[1].path
    kit.fs.damage(path, kit.fs.size(path) // 2, b"X")
    return kit


def drill(kit: SnapshotKit) -> dict[str, Any]:
    return kit.verify(kit.ids()[0], level=4)


def known(kit: SnapshotKit) -> Known:
    """What the registry knows of each snapshot's verifications."""
    return [
        (info.id, info.record.damage, [(each.level, each.valid, each.subset) for each in info.record.receipts])
        for info in kit.engine.snapshots.list()
    ]


def levels(found: Known) -> list[list[int]]:
    return [[level for level, _, _ in receipts] for _, _, receipts in found]


def test_a_power_cut_while_a_chain_is_verified_by_a_restore(record_property: Recorder) -> None:
    kit = a_chain()
    before = known(kit)
    sweep = Sweep(kit, drill, draws=1, every=int(os.environ.get("HOLDFAST_CRASH_EVERY", "3")))
    after = known(kit)
    assert (levels(before), levels(after)) == ([[2], [2]], [[4], [3]])
    assert sweep.after == sweep.before
    assert sweep.end - sweep.start > 80, "it was put together"
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        found = known(kit)
        assert found in (before, after)
        assert not done or found == after
        outcomes[found == after] += 1
        assert_tidy(kit)

    sweep.run(check, seed=71).report(record_property)
    assert min(outcomes) > 0


def test_a_power_cut_at_every_step_of_writing_the_receipts(record_property: Recorder) -> None:
    kit = a_chain()
    before = known(kit)
    sweep = Sweep(kit, lambda kit: kit.verify(kit.ids()[0], level=3), draws=3)
    after = known(kit)
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        found = known(kit)
        assert found in (before, after)
        assert not done or found == after
        outcomes[found == after] += 1
        assert observe(kit.engine, IDS) == sweep.before

    sweep.run(check, seed=72).report(record_property)
    assert min(outcomes) > 0


def test_a_power_cut_while_damage_is_noted() -> None:
    kit = damaged()
    before = known(kit)
    sweep = Sweep(kit, lambda kit: kit.verify(kit.ids()[0], level=3), draws=3)
    after = known(kit)
    assert [bool(damage) for _, damage, _ in after] == [False, True]

    def check(kit: SnapshotKit, done: bool) -> None:
        found = known(kit)
        assert found in (before, after)
        assert not done or found == after

    sweep.run(check, seed=73)


def test_a_power_cut_while_a_verified_snapshot_is_deleted() -> None:
    """Its receipts go in the step in which it is forgotten."""
    kit = a_chain()
    top, base = kit.ids()
    sweep = Sweep(kit, lambda kit: {"id": kit.engine.snapshots.delete(top).id}, draws=3)

    def check(kit: SnapshotKit, done: bool) -> None:
        found = {id: receipts for id, _, receipts in known(kit)}
        assert found.keys() in ({top, base}, {base})
        assert all(receipts for receipts in found.values())
        assert not done or top not in found

    sweep.run(check, seed=74)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_file_operation_of_a_verification(code: int) -> None:
    failing(drill, code, a_chain, every=int(os.environ.get("HOLDFAST_CRASH_EVERY", "9")))
