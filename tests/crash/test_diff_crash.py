"""Power cuts and failures along a comparison that reads two chains: nothing is changed, and nothing is left of it."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from tests.support.oracle import observe
from tests.support.snapshot_sweeps import IDS, Recorder, Sweep, assert_tidy, failing, prepared
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def two_full() -> SnapshotKit:
    """Two full snapshots that differ in every way, the newer one an increment's base, and a store that has moved on."""
    kit = prepared()
    kit.delete("b")
    kit.snapshot()
    kit.clock.advance_us(1_000_000)
    kit.upsert(["c"], 30, payloads=[b'{"n":3}'])
    kit.snapshot(incremental=True, compress=True)
    kit.engine.checkpoint()
    kit.upsert(["z"], 9)
    kit.sync_log()
    return kit


def compare(kit: SnapshotKit) -> dict[str, Any]:
    newest, _, oldest = kit.ids()
    return kit.diff(oldest, newest)


def test_a_power_cut_while_snapshots_are_compared(record_property: Recorder) -> None:
    sweep = Sweep(two_full(), compare, draws=1, every=int(os.environ.get("HOLDFAST_CRASH_EVERY", "8")))
    assert sweep.after == sweep.before
    assert sweep.end - sweep.start > 100, "both were put together"

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        assert_tidy(kit)

    sweep.run(check, seed=61).report(record_property)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_file_operation_of_a_comparison(code: int) -> None:
    failing(compare, code, two_full, every=int(os.environ.get("HOLDFAST_CRASH_EVERY", "20")))
