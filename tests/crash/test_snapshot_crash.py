"""Power cuts at every file operation of a snapshot and of a restore, and a failure of each of them.

After any of them the next start finds the store exactly as it was before or as it is after, lists no snapshot that is
not whole, and leaves nothing lying around. What was reported as done is there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine.snapshots import Marks
from holdfastd.errors import CommitUnknown, HoldfastError
from holdfastd.model import SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import StoreState, observe
from tests.support.snapshot_sweeps import (
    BACKUPS,
    IDS,
    Action,
    Recorder,
    Sweep,
    assert_goes_on,
    assert_tidy,
    failing,
    once_more,
    prepared,
    sweep_creation,
    sweep_restore,
)
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

CREATE: list[tuple[str, dict[str, Any]]] = [
    ("default directory", {}),
    ("compressed elsewhere", {"path": BACKUPS, "compress": True}),
]


@pytest.mark.parametrize("request_", [row[1] for row in CREATE], ids=[row[0] for row in CREATE])
@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC])
def test_a_power_cut_while_a_snapshot_is_created(
    request_: dict[str, Any], mode: SyncMode, record_property: Recorder
) -> None:
    sweep = Sweep(prepared(mode), lambda kit: kit.snapshot(**request_))
    assert sweep.end - sweep.start > 20
    sweep_creation(sweep, 1, record_property)


def behind_memory() -> SnapshotKit:
    """The last writes went to memory: no log holds their sequences."""
    kit = prepared()
    kit.upsert(["y", "z"], 1, 2, name="m")
    return kit


def without_log() -> SnapshotKit:
    """The last writes are in no log, and no checkpoint has reached them."""
    kit = prepared()
    kit.engine.wal.disable(caller=CALLER)
    kit.engine.checkpoint()
    kit.upsert(["a", "late"], 7, 8)
    kit.delete("b")
    return kit


@pytest.mark.parametrize("prepare", [behind_memory, without_log])
def test_a_snapshot_of_what_no_log_holds_never_outlives_it(prepare: Callable[[], SnapshotKit]) -> None:
    sweep = Sweep(prepare(), lambda kit: kit.snapshot())
    new = sweep.result["snapshot_id"]
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        published = kit.ids()[0] == new
        outcomes[published] += 1
        assert published or not done
        if published:
            assert observe(kit.engine, IDS) == sweep.before
            assert kit.engine.sequence >= sweep.result["sequence"], "the next write would take its sequence again"
        assert_tidy(kit)
        if len(sweep.seen) % 25 == 0:
            assert_goes_on(kit)

    sweep.run(check, seed=5)
    assert min(outcomes) > 0


RESTORE: list[tuple[str, dict[str, Any]]] = [
    ("everything", {"overwrite": True}),
    ("another name", {"collection": "copy", "from_collection": "c", "verify": True}),
]


@pytest.mark.parametrize("request_", [row[1] for row in RESTORE], ids=[row[0] for row in RESTORE])
@pytest.mark.parametrize("mode", [SyncMode.FSYNC, SyncMode.ASYNC, None], ids=["fsync", "async", "no log"])
def test_a_power_cut_while_a_snapshot_is_restored(
    request_: dict[str, Any], mode: SyncMode | None, record_property: Recorder
) -> None:
    kit = prepared(mode or SyncMode.FSYNC)
    if mode is None:
        kit.engine.wal.disable(caller=CALLER)
        kit.engine.checkpoint()
    sweep = Sweep(kit, lambda kit: kit.restore("latest", **request_))
    assert sweep.end - sweep.start > 60
    sweep_restore(sweep, 2, record_property)


LATER: list[tuple[str, Action]] = [
    ("snapshot", lambda kit: kit.snapshot()),
    ("restore", lambda kit: kit.restore("latest", collection="copy", from_collection="c")),
]


@pytest.mark.parametrize("action", [row[1] for row in LATER], ids=[row[0] for row in LATER])
def test_what_is_published_never_outlives_a_write_before_it(action: Action) -> None:
    """In `async` a power cut may take writes, but always the last ones: never one before a snapshot or a restore."""
    kit = prepared(SyncMode.ASYNC)
    kit.upsert(["unsynced"], 5)
    assert kit.engine.durable_sequence < kit.engine.sequence
    sweep = Sweep(kit, action)
    lost, kept = [0, 0], [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        published = len(kit.ids()) == 2 or "copy" in observe(kit.engine).collections
        written = "unsynced" in kit.values()
        (kept if written else lost)[published] += 1
        assert written or not published
        assert published or not done
        assert not published or kit.engine.sequence >= sweep.result["sequence"]

    sweep.run(check, seed=4)
    assert lost[0] > 0
    assert min(kept) > 0


def test_a_power_cut_while_a_snapshot_is_deleted() -> None:
    kit = prepared()
    (id,) = kit.ids()
    sweep = Sweep(kit, lambda kit: {"id": kit.engine.snapshots.delete(id).id})
    outcomes = [0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        ids = kit.ids()
        assert ids in ([], [id])
        assert not done or ids == []
        assert_tidy(kit)
        outcomes[bool(ids)] += 1

    sweep.run(check, seed=3)
    assert min(outcomes) > 0


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_snapshot_fails(code: int) -> None:
    failing(lambda kit: kit.snapshot(path=BACKUPS), code)


@pytest.mark.parametrize("logging", [True, False], ids=["log", "no log"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_restore_fails(code: int, logging: bool) -> None:
    """Called done or not: a kill, or a checkpoint and a stop, and what was acknowledged is there."""
    ready = with_answers(logging=logging)
    count = operations_of(restore_over, answering(ready))
    unknown = 0
    for step in range(count):
        publishing = step > count - PUBLISHING
        if not publishing and step % 2 != logging:
            # Nothing is logged yet: the other half of the staging fails in the other store.
            continue
        for stops in (False, True) if publishing else (step % 4 < 2,):
            kit = answering(ready)
            before = observe(kit.engine, IDS)
            kit.fs.fail_at(kit.fs.ops + step, code)
            try:
                restore_over(kit)
            except CommitUnknown:
                unknown += 1
                allowed = [before, observe(kit.engine, IDS)]
            except HoldfastError:
                allowed = [before]
            else:
                allowed = [observe(kit.engine, IDS)]
                assert allowed != [before]
            kit.fs.heal()
            if stops and kit.engine.failure is None:
                allowed = [checkpointed(kit)]
                kit.restart()
            else:
                kit.reopen()
            assert observe(kit.engine, IDS) in [state.restarted() for state in allowed], step
            assert_tidy(kit)
            if step % 20 == 0:
                assert_goes_on(kit)
    assert unknown > 0


def deleted(kit: SnapshotKit) -> dict[str, Any]:
    return {"id": kit.engine.snapshots.delete(kit.ids()[0]).id}


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_deletion_fails(code: int) -> None:
    """It is there and whole, or it is gone; sent again it is finished."""

    def settle(kit: SnapshotKit) -> None:
        assert_tidy(kit)
        for _ in kit.ids():
            deleted(kit)
        assert kit.ids() == []
        assert_tidy(kit)

    failing(deleted, code, settle=settle)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_each_operation_of_a_pin_fails(code: int) -> None:
    def pinned(kit: SnapshotKit) -> dict[str, Any]:
        kit.engine.snapshots.mark(kit.ids()[0], Marks(pinned=True, description="keep"), caller=CALLER)
        return {}

    def settle(kit: SnapshotKit) -> None:
        record = kit.engine.snapshots.list()[0].record
        assert (record.pinned, record.description) in ((False, ""), (True, "keep"))
        assert_tidy(kit)

    failing(pinned, code, settle=settle)


PUBLISHING = 60
"""File operations from the record of a restore to its end, at most."""


def restore_over(kit: SnapshotKit) -> dict[str, Any]:
    return kit.restore("latest", overwrite=True)


def with_answers(*, logging: bool) -> SnapshotKit:
    """The prepared store, with a request id to be remembered; without a log, everything is in segments."""
    kit = prepared()
    kit.upsert(["r"], 5, caller=replace(CALLER, request_id="r"))
    if not logging:
        kit.engine.wal.disable(caller=CALLER)
        kit.engine.checkpoint()
    return kit


def answering(ready: SnapshotKit) -> SnapshotKit:
    """One more such store."""
    kit = once_more(ready)
    if kit.log is None:
        kit.engine.checkpoint()
    return kit


def operations_of(action: Action, kit: SnapshotKit) -> int:
    start = kit.fs.ops
    action(kit)
    return kit.fs.ops - start


def checkpointed(kit: SnapshotKit) -> StoreState:
    """Two more writes, one of them to what was restored, and a checkpoint of it all."""
    kit.upsert(["late"], 9)
    kit.delete("a")
    kit.engine.checkpoint()
    return observe(kit.engine, IDS)
