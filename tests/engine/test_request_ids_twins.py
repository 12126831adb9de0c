"""RULES 17: a request sent again before its answer is there joins the first, and each is told no more than is true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfastd.engine.tickets import Caller, KeptIn, Outcome, Submission
from holdfastd.errors import EngineFailed, FailedPrecondition
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER, Kit, rows


def prepared(kit: Kit, *, sync: bool = False) -> Submission:
    """The same request each time."""
    caller = Caller(actor="test", request_id="r1", sync=sync)
    return kit.engine.points.prepare_upsert("c", ["a"], rows(1), b"", caller=caller)


def sync_what_waits(kit: Kit) -> None:
    """What the fsync thread does."""
    kit.engine._syncer.stop()
    kit.engine._syncer.run()


@pytest.mark.parametrize(
    ("storage", "reason"), [(StorageKind.DISK, "WAL_DISABLED"), (StorageKind.MEMORY, "COLLECTION_NOT_DURABLE")]
)
def test_a_twin_that_asks_for_what_the_first_cannot_have_fails_alone(storage: StorageKind, reason: str) -> None:
    kit = Kit()
    kit.create(storage=storage)
    if storage is StorageKind.DISK:
        kit.engine.wal.disable(caller=CALLER)
    first, twin = prepared(kit), prepared(kit, sync=True)
    kit.engine._committer._commit([first, twin])
    sync_what_waits(kit)
    assert not first.ticket.wait(0).durable
    with pytest.raises(FailedPrecondition) as caught:
        twin.ticket.wait(0)
    assert caught.value.reason == reason
    assert kit.versions() == {"a": 1}


def test_a_twin_that_asks_for_more_gets_it_where_there_is_a_log() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    first, twin = prepared(kit), prepared(kit, sync=True)
    kit.engine._committer._commit([first, twin])
    sync_what_waits(kit)
    assert first.ticket.wait(0) == twin.ticket.wait(0)
    assert first.ticket.wait(0).durable


def test_what_has_no_record_is_never_called_durable_by_the_fsync_thread() -> None:
    kit = Kit()
    kit.create(storage=StorageKind.MEMORY)
    submission = prepared(kit)
    kit.engine._syncer.wait_for_sync(submission, Outcome(5, 1, durable=False, kept_in=KeptIn.NOTHING))
    sync_what_waits(kit)
    assert not submission.ticket.wait(0).durable


@pytest.mark.parametrize("heir", [None, StorageKind.MEMORY])
def test_a_batch_that_is_sent_again_to_be_synced_is_so_whatever_has_become_of_its_collection(
    heir: StorageKind | None,
) -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    first = prepared(kit)
    kit.engine._committer._commit([first])
    kit.engine.collections.drop("c", caller=CALLER)
    if heir is not None:
        kit.create(storage=heir)
    again = prepared(kit, sync=True)
    kit.engine._committer._commit([again])
    sync_what_waits(kit)
    answer = again.ticket.wait(0)
    assert (answer.sequence, answer.durable) == (first.ticket.wait(0).sequence, True)
    assert kit.log is not None
    assert kit.log.synced_sequence >= answer.sequence


def test_so_is_a_deletion_and_an_update() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.upsert(["a", "b"])
    caller, other = Caller(request_id="r1"), Caller(request_id="r2")

    def update(caller: Caller) -> Outcome:
        return kit.engine.points.update("c", ["b"], vectors=rows(9), payload_block=b"", merge=False, caller=caller)

    told = [kit.delete("a", caller=caller), update(other)]
    kit.delete("b")
    sequence = kit.engine.sequence
    again = [kit.delete("a", caller=replace(caller, sync=True)), update(replace(other, sync=True))]
    assert [each.sequence for each in again] == [each.sequence for each in told]
    assert [each.durable for each in (*told, *again)] == [False, False, True, True]
    assert kit.log is not None
    assert kit.log.synced_sequence == kit.engine.sequence == sequence


def test_a_sync_that_fails_for_a_request_sent_again_is_final() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.upsert(["a"])
    kit.delete("a", caller=Caller(request_id="r1"))
    kit.fs.fail_on("sync", "*/wal/*")
    with pytest.raises(EngineFailed):
        kit.delete("a", caller=Caller(request_id="r1", sync=True))
    with pytest.raises(EngineFailed):
        kit.upsert(["b"])
