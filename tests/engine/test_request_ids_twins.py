"""RULES 17: a request sent again before its answer is there joins the first, and each is told no more than is true."""

from __future__ import annotations

import pytest

from holdfastd.engine.tickets import Caller, Outcome, Submission
from holdfastd.errors import FailedPrecondition
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
    kit.engine._syncer.wait_for_sync(submission, Outcome(5, 1, durable=False))
    sync_what_waits(kit)
    assert not submission.ticket.wait(0).durable
