"""The life of an engine: what a stop in order leaves behind."""

from __future__ import annotations

import errno

from tests.support.engines import Kit


def test_a_stop_in_order_leaves_nothing_for_the_next_start_to_read() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a", "b"], 1.0, 2.0)
    kit.restart()
    assert kit.engine.recovery.records == 0
    assert kit.values() == {"a": 1.0, "b": 2.0}


def test_a_second_stop_without_writes_makes_no_segment() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"], 1.0)
    kit.restart()
    kit.restart()
    assert kit.engine.collections.stats("c").segments == 1


def test_a_full_disk_does_not_stand_in_the_way_of_a_stop() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a", "b"], 1.0, 2.0)
    kit.fs.fail_on("create", "*vectors.npy*", errno.ENOSPC)
    kit.restart()
    assert kit.engine.recovery.records > 0
    assert kit.values() == {"a": 1.0, "b": 2.0}


def test_a_killed_engine_reads_its_log() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"], 1.0)
    kit.reopen()
    assert kit.engine.recovery.records == 2
    assert kit.values() == {"a": 1.0}
