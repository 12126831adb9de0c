"""Power cuts at every file operation with which found snapshots become known, and a failure of each of them.

All that a look into a directory finds is known after it, or nothing of it; the files themselves are never touched.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.support.engines import ROOT
from tests.support.left_over import files_below
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import (
    BACKUPS,
    IDS,
    Recorder,
    Sweep,
    assert_goes_on,
    assert_nothing_left,
    assert_tidy,
    prepared,
)
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def forgotten() -> SnapshotKit:
    """A chain of three over two directories, of which a registry that was lost knows nothing; one link has moved."""
    kit = prepared()
    kit.later(incremental=True, path=BACKUPS)
    kit.upsert(["c"], 30)
    last = kit.later(incremental=True, compress=True)
    kit.put(f"{BACKUPS}/{last.path.rpartition('/')[2]}", kit.fs.read(last.path))
    kit.fs.unlink(last.path)
    kit.fs.unlink(f"{ROOT}/REGISTRY.json")
    for directory in (ROOT, BACKUPS, f"{ROOT}/snapshots"):
        kit.fs.sync_dir(directory)
    kit.reopen()
    kit.sync_log()
    return kit


def looked(kit: SnapshotKit) -> dict[str, Any]:
    listing = kit.engine.snapshots.listing(BACKUPS)
    return {"ids": [info.id for info in listing.snapshots], "warnings": listing.warnings}


def all_known(kit: SnapshotKit, ids: list[str]) -> None:
    """After another look everything is known for good, whole, and of the right chain."""
    assert looked(kit) == {"ids": ids, "warnings": []}
    kit.engine.snapshots.list()
    kit.reopen()
    chain = kit.engine.snapshots.list()
    assert [info.id for info in chain][:2] == ids
    assert [info.dependents for info in chain] == [(), (chain[0].id,), (chain[1].id,)]
    assert_tidy(kit)


def test_a_power_cut_while_found_snapshots_are_adopted(record_property: Recorder) -> None:
    kit = forgotten()
    sweep = Sweep(kit, looked, draws=8, strangers=frozenset(files_below(kit.fs, BACKUPS)))
    ids = sweep.result["ids"]
    assert len(ids) == 2
    assert sweep.before == sweep.after
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        known = [id for id in kit.ids() if id in ids]
        assert known in ([], ids)
        assert not done or known == ids
        outcomes[known == ids] += 1
        all_known(kit, ids)
        if sweep.now_and_then:
            assert_goes_on(kit)

    sweep.run(check, seed=81).report(record_property)
    assert min(outcomes) > 0


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_an_adoption_fails(code: int) -> None:
    """What cannot be written down is listed all the same, and that is said."""
    ready = forgotten()
    kit = ready.twin()
    start = kit.fs.ops
    ids = looked(kit)["ids"]
    said = 0
    for step in range(kit.fs.ops - start):
        kit = ready.twin()
        before = observe(kit.engine, IDS)
        kit.fs.fail_at(kit.fs.ops + step, code)
        found = looked(kit)
        assert found["ids"] == ids
        said += any("what was found is not kept in it" in each for each in found["warnings"])
        kit.fs.heal()
        kit.reopen()
        assert observe(kit.engine, IDS) == before.restarted()
        assert_nothing_left(kit, frozenset(files_below(kit.fs, BACKUPS)))
        all_known(kit, ids)
    assert said > 0
