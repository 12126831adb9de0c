"""Power cuts at every file operation of a restore to a moment, and a failure of each of them."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine.history import Ending
from holdfastd.model import SyncMode
from tests.support.engines import CALLER
from tests.support.snapshot_sweeps import BACKUPS, Recorder, Sweep, failing, prepared, sweep_restore
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

EVERY = int(os.environ.get("HOLDFAST_CRASH_EVERY", "7"))
"""Of what has many operations, all are swept by a soak only."""


def followed(mode: SyncMode = SyncMode.FSYNC) -> SnapshotKit:
    """A chain of two snapshots, more behind it up to the mark, and then everything different."""
    kit = prepared(mode)
    kit.create("passing")
    kit.upsert(["p"], name="passing")
    kit.snapshot(incremental=True, path=BACKUPS)
    kit.clock.advance_us(1_000_000)
    kit.upsert(["a", "c"], 1000, 30)
    kit.engine.collections.drop("passing", caller=CALLER)
    kit.create("new")
    kit.upsert(["p", "q"], name="new")
    kit.delete("d")
    kit.upsert(["c"], 31)
    kit.engine.wal.mark("wanted", caller=CALLER)
    kit.upsert(["b", "z"], 5, 6)
    kit.delete("a", "b")
    kit.engine.checkpoint()
    kit.sync_log()
    return kit


def restore(kit: SnapshotKit, *, without: int = 0, **request: Any) -> dict[str, Any]:
    """Restore to the mark, with memtables of two rows, so that some are sealed on the way.

    ``without``: leave out the operation that many before the mark.
    """
    moments = kit.engine.snapshots.moments
    config = replace(moments._context.config, memtable_bytes=500)
    moments._context = replace(moments._context, config=config)
    marked = kit.engine.wal.find_mark("wanted").sequence
    left_out = ((marked - without, marked - without),) if without else ()
    return kit.restore("latest", ending=Ending(marked), left_out=left_out, **request)


EVERYTHING: dict[str, Any] = {"overwrite": True}
COPY: dict[str, Any] = {"collection": "copy", "from_collection": "c", "verify": True}
MENDED: dict[str, Any] = {**COPY, "without": 2}
"""Without the deletion of one point."""


@pytest.mark.parametrize(
    ("request_", "mode"),
    [(EVERYTHING, SyncMode.FSYNC), (COPY, SyncMode.ASYNC), (COPY, None), (MENDED, SyncMode.FSYNC)],
    ids=["everything", "another name, async", "another name, no log", "without a deletion"],
)
def test_a_power_cut_while_a_moment_is_restored(
    request_: dict[str, Any], mode: SyncMode | None, record_property: Recorder
) -> None:
    kit = followed(mode or SyncMode.FSYNC)
    if mode is None:
        kit.engine.wal.disable(caller=CALLER)
        kit.engine.checkpoint()
    sweep = Sweep(kit, lambda kit: restore(kit, **request_), draws=1, every=EVERY)
    assert len(sweep.result["chain"]) == 2
    assert sweep.result["operations_replayed"] >= (2 if request_ is MENDED else 3)
    sweep_restore(sweep, 13, record_property)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_restore_to_a_moment_fails(code: int) -> None:
    failing(lambda kit: restore(kit, collection="copy", from_collection="c"), code, followed, every=EVERY)
