"""Power cuts at every file operation of a prune, and a failure of each of them: each deletion is done or is not begun.

Nothing is listed that is not whole, nothing lies around that nobody knows, and no base goes before what builds on it.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.snapshots import Marks, PruneRequest
from holdfastd.engine.tickets import Caller
from holdfastd.errors import HoldfastError
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import BACKUPS, IDS, Recorder, Sweep, assert_goes_on, assert_tidy
from tests.support.snapshots import SECOND_US, SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

AGAIN = Caller(actor="test", request_id="prune")
RETENTION = PruneRequest(RetentionPolicy(last=1))


def kept_and_not() -> SnapshotKit:
    """A chain over two directories, one more of a single collection there, and one that is to stay."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    kit.snapshot(path=BACKUPS)
    kit.upsert(["b"], 20)
    kit.later(incremental=True)
    kit.delete("a")
    kit.later(incremental=True, path=BACKUPS, compress=True)
    kit.later(collection="c", path=BACKUPS)
    kit.later(collection="c")
    kit.later()
    kit.sync_log()
    return kit


def pruned(kit: SnapshotKit) -> dict[str, Any]:
    done = kit.engine.snapshots.prune(RETENTION, caller=AGAIN)
    return {
        "kept": [each.info.id for each in done.decisions if each.reasons],
        "going": [each.id for each in done.going],
    }


def done_by_now(kit: SnapshotKit, going: list[str], kept: list[str]) -> int:
    """How many are gone; asserts that they went in order, and that all others are there and whole."""
    assert_tidy(kit)
    ids = kit.ids()
    assert set(kept) <= set(ids)
    gone = [id for id in going if id not in ids]
    assert gone == going[: len(gone)]
    return len(gone)


def test_a_power_cut_while_snapshots_are_pruned(record_property: Recorder) -> None:
    sweep = Sweep(kept_and_not(), pruned)
    kept, going = sweep.result["kept"], sweep.result["going"]
    assert (len(kept), len(going)) == (2, 4)
    seen = set()

    def check(kit: SnapshotKit, done: bool) -> None:
        # The clock of this start begins anew, and nothing is to be from the future.
        kit.clock.advance_us(10 * SECOND_US)
        assert observe(kit.engine, IDS) == sweep.before
        gone = done_by_now(kit, going, kept)
        assert not done or gone == len(going)
        seen.add(gone)
        assert pruned(kit)["kept"] == kept, "sent again it is finished"
        assert done_by_now(kit, going, kept) == len(going)
        if sweep.now_and_then:
            assert_goes_on(kit)

    sweep.run(check, seed=21).report(record_property)
    assert seen == set(range(len(going) + 1)), "each deletion by itself"


def test_a_power_cut_while_a_snapshot_is_pinned() -> None:
    kit = kept_and_not()
    oldest = kit.ids()[-1]

    def pinned(kit: SnapshotKit) -> dict[str, Any]:
        kit.engine.snapshots.mark(oldest, Marks(pinned=True, description="keep"), caller=AGAIN)
        return {}

    sweep, seen = Sweep(kit, pinned), set()

    def check(kit: SnapshotKit, done: bool) -> None:
        record = kit.engine.snapshots.get(oldest).record
        assert (record.pinned, record.description) in ((False, ""), (True, "keep"))
        assert not done or record.pinned
        seen.add(record.pinned)
        assert_tidy(kit)

    sweep.run(check, seed=22)
    assert seen == {False, True}


def test_a_snapshot_that_is_pinned_from_the_beginning_is_never_there_without_its_pin() -> None:
    sweep = Sweep(kept_and_not(), lambda kit: kit.snapshot(pinned=True, description="keep", path=BACKUPS))
    new, seen = sweep.result["snapshot_id"], set()

    def check(kit: SnapshotKit, done: bool) -> None:
        records = [each.record for each in kit.engine.snapshots.list() if each.id == new]
        found = [(record.pinned, record.description) for record in records]
        assert found in ([], [(True, "keep")])
        assert found or not done
        seen.add(bool(found))

    sweep.run(check, seed=23)
    assert seen == {False, True}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("killed", [True, False])
def test_each_operation_of_a_prune_fails(code: int, killed: bool) -> None:
    ready = kept_and_not()
    kit = ready.twin()
    start = kit.fs.ops
    result = pruned(kit)
    raised = 0
    for step in range(kit.fs.ops - start):
        kit = ready.twin()
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            pruned(kit)
        except HoldfastError:
            raised += 1
        kit.fs.heal()
        if killed:
            kit.reopen()
            done_by_now(kit, result["going"], result["kept"])
        assert pruned(kit)["kept"] == result["kept"]
        assert done_by_now(kit, result["going"], result["kept"]) == len(result["going"])
    assert raised > 0
