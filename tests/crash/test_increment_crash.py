"""Power cuts at every file operation of an increment, of the restore and of the consolidation of a chain, and a failure
of each of them."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from holdfastd.model import SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import (
    BACKUPS,
    IDS,
    Recorder,
    Sweep,
    assert_goes_on,
    assert_tidy,
    failing,
    prepared,
    sweep_creation,
    sweep_restore,
)
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def changed(mode: SyncMode = SyncMode.FSYNC) -> SnapshotKit:
    """Since the full snapshot: rows written anew in a segment and in memory, one gone, one back, a new collection."""
    kit = prepared(mode)
    kit.delete("b")
    kit.engine.checkpoint()
    kit.upsert(["c"], 30)
    kit.create("new")
    kit.upsert(["p"], 1, name="new")
    kit.sync_log()
    return kit


def chained(mode: SyncMode = SyncMode.FSYNC) -> SnapshotKit:
    """A full snapshot, an increment on it elsewhere, one more beside it, and then everything different."""
    kit = changed(mode)
    kit.snapshot(incremental=True, path=BACKUPS)
    kit.clock.advance_us(1_000_000)
    kit.upsert(["a"], 1000)
    kit.delete("d", "c")
    kit.snapshot(incremental=True, compress=True)
    kit.clock.advance_us(1_000_000)
    kit.upsert(["b", "z"], 5, 6)
    kit.engine.checkpoint()
    kit.sync_log()
    return kit


@pytest.mark.parametrize("request_", [{}, {"path": BACKUPS, "compress": True}], ids=["plain", "gz"])
@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC])
def test_a_power_cut_while_an_increment_is_created(
    request_: dict[str, Any], mode: SyncMode, record_property: Recorder
) -> None:
    sweep = Sweep(changed(mode), lambda kit: kit.snapshot(incremental=True, **request_))

    def goes_on(kit: SnapshotKit) -> None:
        """The next one builds on whatever there is now."""
        newest = kit.ids()[0]
        kit.clock.advance_us(5_000_000)
        kit.upsert(["e"], 9)
        assert kit.snapshot(incremental=True)["base_id"] == newest
        kit.restore("latest", from_collection="c", collection="other")
        assert kit.values("other") == kit.values()
        assert_goes_on(kit)

    sweep_creation(sweep, 11, record_property, goes_on)


EVERY = int(os.environ.get("HOLDFAST_CRASH_EVERY", "3"))
"""Of what has many operations, all are swept by a soak only."""
EVERYTHING: dict[str, Any] = {"overwrite": True}
COPY: dict[str, Any] = {"collection": "copy", "from_collection": "c", "verify": True}


@pytest.mark.parametrize(
    ("request_", "mode"),
    [(EVERYTHING, SyncMode.FSYNC), (COPY, SyncMode.ASYNC), (COPY, None)],
    ids=["everything", "another name, async", "another name, no log"],
)
def test_a_power_cut_while_a_chain_is_restored(
    request_: dict[str, Any], mode: SyncMode | None, record_property: Recorder
) -> None:
    kit = chained(mode or SyncMode.FSYNC)
    if mode is None:
        kit.engine.wal.disable(caller=CALLER)
        kit.engine.checkpoint()
    # Its operations are many, and most are those of the restore of a full one, which is swept one by one.
    sweep = Sweep(kit, lambda kit: kit.restore("latest", **request_), draws=1, every=EVERY)
    assert len(sweep.result["chain"]) == 3
    sweep_restore(sweep, 12, record_property)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_an_increment_fails(code: int) -> None:
    failing(lambda kit: kit.snapshot(path=BACKUPS, incremental=True), code, changed)


def test_each_operation_of_the_restore_of_a_chain_fails() -> None:
    failing(lambda kit: kit.restore("latest", collection="copy", from_collection="c"), errno.EIO, chained, every=EVERY)


def based() -> SnapshotKit:
    """Three links, the middle one elsewhere: what is changed in them and gone from them, and rows of no snapshot."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["a", "b", "c"], 1, 2, 3, payloads=[b'{"n":1}', None, b"{}"])
    kit.snapshot(compress=True)
    kit.upsert(["b", "d"], 20, 4)
    kit.delete("c")
    kit.later(incremental=True, path=BACKUPS)
    kit.upsert(["a"], 10)
    kit.delete("b")
    kit.later(incremental=True)
    kit.upsert(["z"], 26)
    kit.sync_log()
    kit.clock.advance_us(1_000_000)
    return kit


def consolidated(kit: SnapshotKit) -> dict[str, Any]:
    """The full snapshot goes, and the increment on it, itself a base, takes its place."""
    return kit.consolidate(kit.ids()[-1])


def finished(kit: SnapshotKit) -> None:
    """What a failure, a kill or a power cut leaves of three links; then the command is sent again."""
    top, middle, *bottom = kit.engine.snapshots.list()
    is_full = middle.record.type == "full"
    assert is_full or bottom, "it went while it was needed"
    assert_tidy(kit)
    if kit.fs.ops % 10 == 0:
        if kit.ids()[2:]:
            consolidated(kit)
        assert [each.record.type for each in kit.engine.snapshots.list()] == ["incremental", "full"]
        for id, values in ((top.id, {"a": 10.0, "d": 4.0}), (middle.id, {"a": 1.0, "b": 20.0, "d": 4.0})):
            kit.restore(id, collection="copy", overwrite=True, verify=True)
            assert kit.values("copy") == values
        kit.engine.collections.drop("copy", caller=CALLER)


def test_a_power_cut_while_a_chain_is_consolidated(record_property: Recorder) -> None:
    # It writes no log: one mode stands for all.
    sweep = Sweep(based(), consolidated, draws=1, every=EVERY)
    assert len(sweep.result["rewritten"]) == 1
    outcomes: set[tuple[bool, int]] = set()

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        found = kit.engine.snapshots.list()
        outcomes.add((found[1].record.type == "full", len(found)))
        assert not done or len(found) == 2
        finished(kit)

    sweep.run(check, seed=13).report(record_property)
    assert outcomes >= {(False, 3), (True, 2)}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_consolidation_fails(code: int) -> None:
    failing(consolidated, code, based, every=2 * EVERY if EVERY > 1 else 1, settle=finished)
