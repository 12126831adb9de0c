"""Moments of which the log does not tell: what was done without it, in memory alone, or on a timeline that was left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfastd.engine.history import Ending
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import OutOfRange
from holdfastd.model import StorageKind
from tests.support.engines import CALLER, abandon, open_engine
from tests.support.replays import ReplayKit

HOUR_US = 3_600_000_000
COPY: dict[str, Any] = {"from_collection": "c", "collection": "copy", "overwrite": True}


def tick(kit: ReplayKit) -> int:
    """A time between what was done and what comes."""
    kit.clock.advance_us(2_000_000)
    now = kit.clock.now_us()
    kit.clock.advance_us(2_000_000)
    return now


def to(kit: ReplayKit, sequence: int | None = None, *, time_us: int | None = None, **options: Any) -> dict[str, Any]:
    return kit.restore("latest", ending=Ending(sequence, time_us), **{**COPY, **options})


def refused(kit: ReplayKit, sequence: int | None = None, *, time_us: int | None = None, **options: Any) -> OutOfRange:
    with pytest.raises(OutOfRange) as caught:
        to(kit, sequence, time_us=time_us, **options)
    assert caught.value.reason == "PITR_OUT_OF_WINDOW"
    return caught.value


@pytest.fixture
def kit() -> ReplayKit:
    """c with a: 1 in a snapshot of sequence 2, and a: 2 behind it."""
    kit = ReplayKit()
    kit.create("c")
    kit.upsert(["a"], 1)
    tick(kit)
    kit.snapshot()
    kit.upsert(["a"], 2)
    return kit


# Without the log ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled_again", [True, False])
def test_a_time_without_a_log_is_not_what_the_log_knew_before(kit: ReplayKit, enabled_again: bool) -> None:
    logged = kit.engine._applier.time_us
    tick(kit)
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"], 3)
    unlogged = tick(kit)
    kit.upsert(["a"], 3)
    if enabled_again:
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        behind = tick(kit)
        kit.upsert(["a"], 4)
        refused(kit, time_us=behind)
    error = refused(kit, time_us=unlogged)
    assert "what was done by then is in no log, for the log was disabled" in error.message
    assert error.hint == "the last moment before that is --to 3"
    to(kit, time_us=logged)
    assert kit.values("copy") == {"a": 2.0}


@pytest.mark.parametrize("recorded", [True, False], ids=["a WAL segment with a record", "an empty WAL segment"])
def test_a_time_without_a_log_is_refused_though_the_clock_was_set_back(kit: ReplayKit, recorded: bool) -> None:
    """The last WAL segment was begun later, by the clock, than what was done behind it."""
    kit.clock.advance_us(HOUR_US)
    kit.engine.wal.enable(WalChanges(path="elsewhere"), caller=CALLER)
    kit.clock.jump_us(-HOUR_US)
    if recorded:
        kit.upsert(["b"], 2)
    logged = kit.engine._applier.time_us
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"], 3)
    kit.snapshot()
    kit.upsert(["a"], 4)
    unlogged = kit.engine._applier.time_us
    kit.upsert(["a"], 5)
    assert "what was done by then is in no log" in refused(kit, time_us=unlogged).message
    to(kit, time_us=logged)
    assert kit.values("copy")["a"] == 2


def test_the_newest_moment_is_not_that_of_a_log_that_was_switched_off(kit: ReplayKit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.replay(collection="c", into="copy")
    assert kit.values("copy") == {"a": 2.0}
    kit.upsert(["a"], 3)
    with pytest.raises(OutOfRange, match="the log was disabled behind sequence 3"):
        kit.replay(collection="c", into="other")
    kit.replay(collection="c", into="other", to_sequence=3)
    assert kit.values("other") == {"a": 2.0}


@pytest.mark.parametrize("enabled_again", [True, False])
def test_a_snapshot_from_a_time_without_a_log_is_its_own_moment(kit: ReplayKit, enabled_again: bool) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"], 3)
    before = tick(kit)
    kit.snapshot()
    sequence, at = kit.engine.sequence, tick(kit)
    if enabled_again:
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        kit.upsert(["a"], 4)
        tick(kit)
        to(kit, kit.engine.sequence)
        assert kit.values("copy") == {"a": 4.0}
        kit.engine.collections.drop("copy", caller=CALLER)
    to(kit, time_us=at)
    assert kit.values("copy") == {"a": 3.0}
    to(kit, sequence)
    assert kit.values("copy") == {"a": 3.0}
    refused(kit, time_us=before)


# In memory ------------------------------------------------------------------------------------------------------------


def test_a_time_behind_a_snapshot_that_only_writes_to_memory_preceded(kit: ReplayKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["v"], 1, name="m")
    tick(kit)
    taken = kit.snapshot()
    at = tick(kit)
    kit.upsert(["a"], 3)
    assert to(kit, time_us=at)["chain"] == [taken["snapshot_id"]]
    assert kit.values("copy") == {"a": 2.0}


def test_a_memory_collection_that_is_dropped_after_a_restart_is_gone(kit: ReplayKit) -> None:
    """Each start gives it another id, of which no record tells."""
    for name in ("m", "n"):
        kit.create(name, storage=StorageKind.MEMORY)
    tick(kit)
    kit.snapshot()
    kit.create("o", storage=StorageKind.MEMORY)
    kit.reopen()
    kit.restart()
    kit.engine.collections.create_alias("alias", "n", caller=CALLER)
    for name in ("m", "o"):
        kit.engine.collections.drop(name, caller=CALLER)
    kit.create("m", dimensions=3)
    moment = kit.engine.sequence
    for name in ("c", "m", "n"):
        kit.engine.collections.drop(name, caller=CALLER)
    found = kit.restore("latest", ending=Ending(moment))
    assert found["collections_restored"] == ["c", "m", "n"]
    assert kit.engine.collections.stats("m").spec.dimensions == 3
    assert kit.engine.collections.aliases() == [("alias", "n")]


def test_a_memory_collection_that_is_made_on_the_way_is_empty_and_that_is_said(kit: ReplayKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["v"], 1, name="m")
    found = to(kit, kit.engine.sequence, from_collection="m")
    assert kit.values("copy") == {}
    assert found["warnings"] == ["m lives in memory, and its writes are not in the log: it is empty"]


# On another timeline --------------------------------------------------------------------------------------------------


def damaged_behind(kit: ReplayKit, value: float, directory: str = "/data/wal") -> None:
    """Start again with the log cut before the operation that wrote ``value``, and go on there."""
    kit.sync_log()
    abandon(kit.fs)
    (path,) = [f"{directory}/{name}" for name in kit.fs.listdir(directory) if name.endswith(".wal")]
    data = bytearray(kit.fs.read(path))
    at = data.index(np.full(2, value, np.float32).tobytes())
    data[at] ^= 1
    kit.put(path, bytes(data))
    kit.engine = open_engine(kit.fs, clock=kit.clock, randomness=kit.randomness, recovery="point-in-time")


def test_a_snapshot_of_a_timeline_that_was_left_is_no_moment_of_this_one(kit: ReplayKit) -> None:
    kit.upsert(["a"], 30)
    kit.upsert(["a"], 40)
    tick(kit)
    lost = kit.snapshot()
    moment = kit.engine.sequence
    damaged_behind(kit, 30)
    assert kit.engine.wal.status().timeline == 2
    while kit.engine.sequence < moment + 1:
        kit.upsert(["a"], 5)
    to(kit, moment)
    assert kit.values("copy") == {"a": 5.0}
    with pytest.raises(OutOfRange, match="history went on from sequence"):
        kit.restore(lost["snapshot_id"], ending=Ending(moment), **COPY)


# Damage ---------------------------------------------------------------------------------------------------------------


def test_damage_before_a_time_without_a_log_is_in_nobodys_way_behind_it(kit: ReplayKit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["a"], 3)
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    tick(kit)
    kit.snapshot()
    kit.upsert(["a"], 4)
    path = min(f"/data/wal/{name}" for name in kit.fs.listdir("/data/wal") if name.endswith(".wal"))
    data = bytearray(kit.fs.read(path))
    data[data.index(np.full(2, 2, np.float32).tobytes())] ^= 1
    kit.put(path, bytes(data))
    to(kit, kit.engine.sequence)
    assert kit.values("copy") == {"a": 4.0}


def test_what_segments_held_where_the_log_was_cut_is_not_what_a_snapshot_from_before_holds(kit: ReplayKit) -> None:
    """All of the WAL segment is gone; its last operation is in segments alone."""
    kit.engine.wal.enable(WalChanges(path="moved"), caller=CALLER)
    tick(kit)
    kit.snapshot()
    tick(kit)
    kit.upsert(["a"], 30)
    cut = tick(kit)
    kit.engine.checkpoint()
    damaged_behind(kit, 30, directory="/data/moved")
    assert kit.values() == {"a": 30.0}
    tick(kit)
    kit.upsert(["a"], 5)
    for name in kit.fs.listdir("/data/wal"):
        if name.endswith(".wal"):
            kit.fs.unlink(f"/data/wal/{name}")
    assert "for a recovery has cut the log between sequence 3 and 5" in refused(kit, time_us=cut).message
