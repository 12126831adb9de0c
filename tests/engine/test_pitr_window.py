"""The window that ``wal status`` shows: what it promises can be brought back, and it promises no more."""

from __future__ import annotations

import pytest

from holdfastd.engine.history import Ending
from holdfastd.engine.pitr_window import PitrWindow, pitr_window
from holdfastd.engine.unlogged import Ends
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import OutOfRange
from tests.support.engines import CALLER
from tests.support.replays import ReplayKit


@pytest.fixture
def kit() -> ReplayKit:
    """Of c, two points through sequence 2."""
    kit = ReplayKit()
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    kit.engine.start()
    return kit


def window(kit: ReplayKit) -> PitrWindow:
    return kit.engine.snapshots.window(kit.engine.wal.status().files)


def check(kit: ReplayKit) -> None:
    """Its first moment can be brought back along the log, and the one before it cannot."""
    first = window(kit).sequence
    kit.restore("latest", ending=Ending(first), collection="in-time", from_collection="c")
    with pytest.raises(OutOfRange) as caught:
        kit.restore("latest", ending=Ending(first - 1), collection="too-early", from_collection="c")
    assert caught.value.metadata["earliest_sequence"] == str(first)


def trim(kit: ReplayKit) -> None:
    """Let the log begin later."""
    kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER)
    for _ in range(200):
        kit.upsert(["a", "b"])
    kit.clock.advance_us(2_000_000)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    assert kit.engine.wal.status().first_sequence > 3


def disabled_for(kit: ReplayKit, *ids: str) -> None:
    """Write points while the log is disabled."""
    kit.engine.wal.disable(caller=CALLER)
    for id in ids:
        kit.upsert([id])
    kit.engine.wal.enable(WalChanges(), caller=CALLER)


def test_a_log_from_the_beginning_on_needs_no_snapshot(kit: ReplayKit) -> None:
    assert window(kit).reason == "the store was created then"
    assert (window(kit).sequence, window(kit).available) == (1, True)
    kit.replay(collection="c", into="copy", to_sequence=1)


def test_without_a_snapshot_a_trimmed_log_leads_nowhere(kit: ReplayKit) -> None:
    trim(kit)
    begins = kit.engine.wal.status().first_sequence
    assert window(kit) == PitrWindow(
        0,
        0,
        f"the log before sequence {begins} is trimmed, and no whole snapshot is there that it leads on from: make one: "
        "holdfast storage snapshot create",
    )


def test_behind_a_trimmed_log_it_begins_with_a_snapshot(kit: ReplayKit) -> None:
    trim(kit)
    begins = kit.engine.wal.status().first_sequence
    kit.upsert(["c"])
    kit.snapshot()
    kit.upsert(["d"])
    kit.later()
    (newest, oldest), found = kit.engine.snapshots.list(), window(kit)
    assert (found.sequence, found.time_us) == (oldest.record.sequence, oldest.record.created_us)
    assert found.reason == (
        f"{oldest.id} is the oldest whole snapshot that the log leads on from: the log before sequence {begins} is "
        "trimmed"
    )
    check(kit)
    kit.fs.unlink(oldest.path)
    assert window(kit).sequence == newest.record.sequence


def test_where_there_are_snapshots_of_a_part_alone_it_says_of_which(kit: ReplayKit) -> None:
    trim(kit)
    kit.snapshot(collection="c")
    assert " (of c alone) is the oldest" in window(kit).reason
    kit.clock.advance_us(2_000_000)
    kit.upsert(["d"])
    kit.snapshot()
    assert window(kit).sequence == kit.engine.sequence


def test_nothing_leads_across_a_time_in_which_something_was_done_without_a_log(kit: ReplayKit) -> None:
    kit.snapshot()
    kit.clock.advance_us(2_000_000)
    disabled_for(kit, "unlogged")
    kit.upsert(["logged"])
    assert window(kit).reason.startswith("the log was disabled before sequence 4, and no whole snapshot is there")
    kit.snapshot()
    kit.restart()
    kit.engine.start()
    assert window(kit).sequence == 4
    check(kit)


def test_a_time_without_a_log_in_which_nothing_was_done_is_no_gap(kit: ReplayKit) -> None:
    kit.snapshot()
    before = window(kit)
    disabled_for(kit)
    kit.upsert(["logged"])
    assert window(kit) == before
    kit.restart()
    kit.engine.start()
    assert window(kit) == before
    kit.restore("latest", ending=Ending(3), collection="in-time", from_collection="c")
    assert kit.values("in-time")["logged"] == 1.0


def test_a_snapshot_of_a_timeline_that_was_left_does_not_count(kit: ReplayKit) -> None:
    trim(kit)
    kit.snapshot()
    manifest, status = kit.engine.snapshots._context.keeper.current, kit.engine.wal.status()
    assert window(kit).available
    left = manifest.leaving_timeline(manifest.sequence - 100)
    assert not pitr_window(status.files, left, kit.engine.snapshots.known(), Ends(kit.fs)).available


def test_without_a_log_there_is_none(kit: ReplayKit) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    assert window(kit) == PitrWindow(0, 0, "the log is disabled")
