"""An operation's beginning and end: on the disk before anybody is told, or whoever is told hears that it is not."""

from __future__ import annotations

import errno
import random
import threading
from typing import Any

import grpc
import pytest

from holdfastd.engine import operations
from holdfastd.engine.operations import Operation, OperationState, Work
from holdfastd.errors import HoldfastError, NotFound
from holdfastd.rpc.convert_operations import operation_message
from tests.support.engines import ROOT, Kit
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit
from tests.support.waiting import until

FILES = f"{ROOT}/operations/*"


def ended(kit: Kit, *, fails: bool = False, code: int = errno.EIO, times: int = 1) -> Operation:
    """An operation during which the disk begins to refuse what is written of operations."""

    def run(work: Work) -> dict[str, Any]:
        kit.fs.fail_on("write", FILES, code, times=times)
        if fails:
            raise NotFound("there is no such thing", reason="COLLECTION_NOT_FOUND")
        return {"status": "completed", "warnings": ["first"]}

    operation = kit.engine.operations.wait(kit.engine.operations.start("verify", run, request={}).id)
    kit.fs.heal()
    return operation


def after_a_restart(kit: Kit, operation: Operation) -> OperationState:
    kit.reopen()
    return kit.engine.operations.get(operation.id).state


def test_the_end_that_a_killed_daemon_had_not_synced_is_durable_before_it_is_told() -> None:
    """Killed between the rename and the sync of the directory: the next start tells its end, and so do later ones."""
    kit = Kit()
    operation = kit.engine.operations.start("verify", lambda _: {"status": "completed", "warnings": []}, request={})
    kit.engine.operations.wait(operation.id)
    states = set()
    for cut in range(kit.fs.ops + 1):
        killed = Kit(kit.fs.killed_at(cut))
        told = {each.id: each.state for each in killed.engine.operations.list()}
        later = Kit(MemFileSystem(killed.fs.crash_disk_at(killed.fs.ops, random.Random(1), "nothing")))
        assert {each.id: each.state for each in later.engine.operations.list()} == told
        states |= {*told.values()}
    assert states == {OperationState.SUCCEEDED, OperationState.INTERRUPTED}


@pytest.mark.parametrize("kind", ["snapshot", "restore", "verify", "replay"])
def test_one_that_was_at_work_when_the_power_went_is_marked_at_the_start(kind: str) -> None:
    kit, left = Kit(), []

    def run(work: Work) -> dict[str, Any]:
        left.append(kit.fs.crash(random.Random(1)))
        return {"status": "completed", "warnings": []}

    done = kit.engine.operations.start("verify", lambda _: {"status": "completed", "warnings": []}, request={})
    kit.engine.operations.wait(done.id)
    operation = kit.engine.operations.wait(kit.engine.operations.start(kind, run, request={}).id)
    assert operation.state is OperationState.SUCCEEDED
    for fs in (left[0], left[0].crash(random.Random(2))):
        found = Kit(fs).engine.operations.get(operation.id)
        assert (found.kind, found.state, found.result) == (kind, OperationState.INTERRUPTED, None)
        assert operation_message(found).error.code == grpc.StatusCode.ABORTED.value[0]
        assert "OPERATION_INTERRUPTED" in str(operation_message(found).error)
        fs.locked.clear()


def test_a_success_that_is_not_on_the_disk_says_so() -> None:
    kit = Kit()
    operation = ended(kit)
    assert operation.state is OperationState.SUCCEEDED
    assert operation.result is not None
    first, second = operation.result["warnings"]
    assert first == "first"
    assert "after a restart it may be listed as interrupted" in second
    assert after_a_restart(kit, operation) is OperationState.INTERRUPTED


def test_so_does_a_failure() -> None:
    kit = Kit()
    operation = ended(kit, fails=True)
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error.message.startswith("there is no such thing; how operation")
    assert after_a_restart(kit, operation) is OperationState.INTERRUPTED


def test_on_a_full_disk_the_reserve_keeps_it() -> None:
    kit = Kit(disk_reserve_bytes=1 << 20)
    operation = ended(kit, code=errno.ENOSPC)
    assert operation.result == {"status": "completed", "warnings": ["first"]}
    assert after_a_restart(kit, operation) is OperationState.SUCCEEDED


@pytest.mark.crash
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_whatever_fails_a_snapshot_that_was_told_of_is_listed_as_it_was_told(code: int) -> None:
    kit = SnapshotKit()
    kit.create("c")
    start = kit.fs.ops
    kit.snapshot()
    warned = 0
    for step in range(kit.fs.ops - start):
        again = SnapshotKit()
        again.create("c")
        again.fs.fail_at(again.fs.ops + step, code)
        told = finished(again)
        again.fs.heal()
        if told is None:
            continue
        said = told.error.message if told.error is not None else " ".join((told.result or {})["warnings"])
        again.reopen()
        listed = again.engine.operations.get(told.id)
        if "listed as interrupted" in said:
            warned += listed.state is OperationState.INTERRUPTED
            assert listed.state in (OperationState.INTERRUPTED, told.state)
        else:
            assert (listed.state, listed.result, listed.error) == (told.state, told.result, told.error)
    assert warned > 0


def finished(kit: SnapshotKit) -> Operation | None:
    """The one operation at its end; None where it could not be begun."""
    try:
        kit.snapshot()
    except HoldfastError:
        if not kit.engine.operations.list():
            return None
    (operation,) = kit.engine.operations.list()
    return operation


# The beginning.


def nothing(work: Work) -> dict[str, Any]:
    return {"status": "completed"}


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_one_that_cannot_be_forgotten_keeps_none_from_running(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(operations, "MAX_KEPT", 2)
    kit = Kit()
    registry = kit.engine.operations
    first, second = (registry.wait(registry.start("verify", nothing, request={}).id) for _ in range(2))
    kit.fs.fail_on("unlink", FILES, code)
    third = registry.start("verify", nothing, request={}, request_id="job")
    assert registry.start("verify", nothing, request={}, request_id="job").id == third.id
    assert registry.wait(third.id).state is OperationState.SUCCEEDED
    assert first in registry.list(), "its file is there"
    registry.wait(registry.start("verify", nothing, request={}).id)
    assert {first.id, second.id}.isdisjoint(each.id for each in registry.list())


def test_long_answers_are_forgotten_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand comparisons that name a thousand ids each would fill the memory, and every start would read them."""
    monkeypatch.setattr(operations, "MAX_KEPT_BYTES", 100_000)
    kit = Kit()
    for again in range(2):
        for number in range(5):
            answer = {"ids": [f"{again}-{number}"] * 5000}
            begun = kit.engine.operations.start("diff", lambda work, answer=answer: answer, request={})
            assert kit.engine.operations.wait(begun.id).result == answer
            kept = kit.engine.operations.list()
            assert begun.id in {each.id for each in kept}
            assert len(kept) <= 4
            assert len(kit.fs.listdir(f"{ROOT}/operations")) == len(kept)
        kit.reopen()


def test_nobody_is_told_of_one_whose_beginning_could_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit()
    registry, told = kit.engine.operations, list[Operation]()
    twin = threading.Thread(
        target=lambda: told.append(registry.start("verify", nothing, request={}, request_id="job")), daemon=True
    )
    save, outcome = registry._save, threading.Event()

    def refused(operation: Operation) -> None:
        monkeypatch.setattr(registry, "_save", save)
        twin.start()
        # Either it waits for this one to be decided, or it has been told of it already.
        until(lambda: registry._starting.locked() or bool(told))
        assert registry.begun("job") is None
        assert registry.list() == []
        outcome.set()
        raise OSError(errno.EIO, "the disk refuses")

    monkeypatch.setattr(registry, "_save", refused)
    with pytest.raises(HoldfastError):
        registry.start("verify", nothing, request={}, request_id="job")
    twin.join()
    assert outcome.is_set()
    assert registry.wait(told[0].id).state is OperationState.SUCCEEDED


def test_one_whose_beginning_was_refused_is_not_found_by_a_start_in_place_of_its_twin() -> None:
    kit = Kit()
    registry = kit.engine.operations
    kit.fs.fail_on("sync_dir", f"{ROOT}/operations")
    with pytest.raises(HoldfastError):
        registry.start("verify", nothing, request={}, request_id="job")
    carried_out = registry.wait(registry.start("verify", nothing, request={}, request_id="job").id)
    kit.reopen()
    assert [each.id for each in kit.engine.operations.list()] == [carried_out.id]
    assert kit.engine.operations.begun("job") == carried_out
