"""RULES 18: a batch whose collection is dropped or replaced before its commit is resolved once more, in its place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from holdfastd.engine.tickets import Caller, Submission
from holdfastd.errors import Corruption, FailedPrecondition, InvalidArgument, NotFound
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER, Kit, rows
from tests.support.segment_damages import file_of, kit_with_two_segments, lose, start


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    kit.create()
    kit.engine.start()
    yield kit
    kit.engine.stop()


def prepare(kit: Kit, value: float, *ids: str, caller: Caller = CALLER) -> Submission:
    """One batch of a stream, on its way to the committer."""
    values = [value] * len(ids)
    return kit.engine.points.prepare_upsert("c", ids, rows(*values), b"", caller=caller)


def replace(kit: Kit, dimensions: int = 2, storage: StorageKind = StorageKind.DISK) -> None:
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create(dimensions=dimensions, storage=storage)


def send(kit: Kit, *batches: Submission) -> None:
    for batch in batches:
        kit.engine.points.commit_nowait(batch)


def test_batches_in_flight_go_to_the_collection_that_replaced_theirs_in_the_order_of_the_stream(kit: Kit) -> None:
    first, second = prepare(kit, 1.0, "a", "b"), prepare(kit, 2.0, "b", "c")
    replace(kit)
    send(kit, first, second, prepare(kit, 3.0, "c", "d"))
    outcomes = [batch.ticket.wait() for batch in (first, second)]
    kit.engine.checkpoint()
    assert kit.values() == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.0}
    assert [outcome.count for outcome in outcomes] == [2, 2]
    assert outcomes[0].sequence < outcomes[1].sequence


def test_what_went_to_the_new_collection_is_there_after_a_crash() -> None:
    kit = Kit()
    kit.create()
    batch = prepare(kit, 1.0, "a", "a", "b")
    replace(kit)
    assert kit.engine.points.commit(batch).count == 3
    digest = kit.engine.collections.stats("c").digest
    assert kit.reopen().collections.stats("c").digest == digest
    assert kit.values() == {"a": 1.0, "b": 1.0}


def test_a_batch_whose_collection_is_gone_for_good_is_not_found_and_those_behind_it_are_served(kit: Kit) -> None:
    lost = prepare(kit, 1.0, "a")
    kit.engine.collections.drop("c", caller=CALLER)
    send(kit, lost)
    with pytest.raises(NotFound) as caught:
        lost.ticket.wait()
    assert caught.value.reason == "COLLECTION_NOT_FOUND"
    kit.create()
    send(kit, found := prepare(kit, 2.0, "a"))
    assert found.ticket.wait().count == 1


def test_a_batch_that_does_not_fit_into_the_new_collection_is_refused(kit: Kit) -> None:
    batch = prepare(kit, 1.0, "a")
    replace(kit, dimensions=3)
    send(kit, batch)
    with pytest.raises(InvalidArgument) as caught:
        batch.ticket.wait()
    assert caught.value.reason == "DIMENSION_MISMATCH"
    assert kit.values() == {}


def test_a_batch_that_must_be_durable_is_refused_by_a_new_collection_in_memory(kit: Kit) -> None:
    sync = Caller(sync=True)
    durable, plain = prepare(kit, 1.0, "a", caller=sync), prepare(kit, 2.0, "b")
    replace(kit, storage=StorageKind.MEMORY)
    send(kit, durable, plain)
    with pytest.raises(FailedPrecondition) as caught:
        durable.ticket.wait()
    assert caught.value.reason == "COLLECTION_NOT_DURABLE"
    assert not plain.ticket.wait().durable
    assert kit.values() == {"b": 2.0}


def test_a_batch_for_a_collection_in_memory_is_logged_by_one_on_disk_that_replaced_it() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create(storage=StorageKind.MEMORY)
    batch = prepare(kit, 1.0, "a")
    replace(kit)
    kit.engine.points.commit(batch)
    kit.reopen()
    assert kit.values() == {"a": 1.0}


def test_streamed_inserts_are_timed_until_they_are_acknowledged(kit: Kit) -> None:
    batch = kit.engine.points.prepare_upsert("c", ["a"], np.ones((1, 2), np.float32), b"", caller=CALLER)

    def hold() -> None:
        send(kit, batch)
        kit.clock.advance_us(2_000)

    kit.engine._committer.between_groups(hold)
    batch.ticket.wait()
    kit.clock.advance_us(60_000_000)
    stats = kit.engine.collections.stats("c")
    assert 2.0 <= stats.avg_insert_ms < 60.0


def test_a_batch_is_not_taken_by_a_quarantined_collection_that_its_alias_stands_for_now() -> None:
    kit = kit_with_two_segments()
    lose(kit.fs, file_of(kit, "vectors.npy"))
    engine = start(kit)
    engine.collections.create("live", 2, caller=CALLER)
    engine.collections.create_alias("door", "live", caller=CALLER)
    submission = engine.points.prepare_upsert("door", ["n", "a"], rows(7.0, 8.0), b"", caller=CALLER)
    engine.collections.drop("live", caller=CALLER)
    engine.collections.create_alias("door", "c", caller=CALLER)
    with pytest.raises(Corruption, match="takes no writes"):
        engine.points.commit(submission)
