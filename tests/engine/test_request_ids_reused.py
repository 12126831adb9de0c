"""RULES 17: a request id that another request has had is refused, before and after a crash: no answer is made up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.requests import RequestTable
from holdfastd.engine.snapshots import RestoreRequest, SnapshotRequest
from holdfastd.engine.tickets import Caller, Outcome, Submission
from holdfastd.errors import InvalidArgument
from holdfastd.format.requests import encode_requests
from holdfastd.model import Metric
from tests.support.engines import rows
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit

ASKED = Caller(actor="test", request_id="r2")
Change = Callable[[SnapshotKit], Any]


def store(fs: MemFileSystem | None = None, seed: int = 7) -> SnapshotKit:
    """A store with two collections, points and aliases."""
    kit = SnapshotKit(fs, seed=seed)
    if fs is None:
        kit.create("c")
        kit.create("d")
        kit.upsert(["a", "b"], payloads=[b'{"n":1}', b'{"n":2}'])
        kit.engine.collections.create_alias("x", "c", caller=Caller())
        kit.engine.collections.create_alias("y", "c", caller=Caller())
    return kit


@pytest.fixture
def kit() -> Iterator[SnapshotKit]:
    kit = store()
    yield kit
    kit.engine.operations.stop()


def upsert(ids: list[str], *values: float, name: str = "c", payloads: list[bytes | None] | None = None) -> Change:
    return lambda kit: kit.upsert(ids, *values, name=name, payloads=payloads, caller=ASKED)


def update(payload: bytes, *, merge: bool = False, value: float | None = None) -> Change:
    vectors = None if value is None else rows(value)
    return lambda kit: kit.engine.points.update(
        "c", ["a"], vectors=vectors, payload_block=payload, merge=merge, caller=ASKED
    )


def delete(*ids: str, name: str = "c") -> Change:
    return lambda kit: kit.delete(*ids, name=name, caller=ASKED)


def delete_where(filter_text: str, expected: int | None = None) -> Change:
    return lambda kit: kit.engine.points.delete_where("c", filter_text, caller=ASKED, expected_count=expected)


def truncate(name: str) -> Change:
    return lambda kit: kit.engine.points.truncate(name, caller=ASKED)


def create(name: str, **settings: Any) -> Change:
    return lambda kit: kit.engine.collections.create(name, 3, **settings, caller=ASKED)


def drop(name: str) -> Change:
    return lambda kit: kit.engine.collections.drop(name, caller=ASKED)


def create_alias(alias: str, name: str) -> Change:
    return lambda kit: kit.engine.collections.create_alias(alias, name, caller=ASKED)


def switch_alias(alias: str, name: str) -> Change:
    return lambda kit: kit.engine.collections.switch_alias(alias, name, caller=ASKED)


def delete_alias(alias: str) -> Change:
    return lambda kit: kit.engine.collections.delete_alias(alias, caller=ASKED)


def mark(name: str) -> Change:
    return lambda kit: kit.engine.wal.mark(name, caller=ASKED)


def snapshot(**asked: Any) -> Change:
    return lambda kit: kit.engine.operations.wait(
        kit.engine.snapshots.start_create(SnapshotRequest(**asked), caller=ASKED).id
    )


def replay(**asked: Any) -> Change:
    return lambda kit: kit.engine.operations.wait(kit.engine.replay.start(ReplayRequest(**asked), caller=ASKED).id)


PAIRS: list[tuple[Change, Change]] = [
    (upsert(["a"]), upsert(["b"])),
    (upsert(["a"], 1), upsert(["a"], 2)),
    (upsert(["a"]), upsert(["a"], payloads=[b"{}"])),
    (upsert(["a"]), upsert(["a"], name="d")),
    (upsert(["a"]), upsert(["a", "a"], 3, 1)),
    (upsert(["a"]), drop("c")),
    (upsert(["a"]), delete("a")),
    (update(b'[{"m":1}]'), update(b'[{"m":2}]')),
    (update(b'[{"m":1}]'), update(b'[{"m":1}]', merge=True)),
    (update(b"", value=1), update(b"", value=2)),
    (delete("a"), delete("b")),
    (delete("a", "b"), delete("ab")),
    (delete("a"), delete("a", name="d")),
    (delete_where("n = 1"), delete_where("n = 2")),
    (delete_where("n = 1"), delete_where("n = 1", 1)),
    (truncate("c"), truncate("d")),
    (truncate("c"), drop("d")),
    (create("new"), create("newer")),
    (create("new"), create("new", metric=Metric.DOT)),
    (drop("c"), drop("d")),
    (create_alias("z", "c"), create_alias("z", "d")),
    (switch_alias("x", "d"), switch_alias("y", "d")),
    (delete_alias("x"), delete_alias("y")),
    (mark("here"), mark("there")),
    (snapshot(), snapshot(compress=True)),
    (snapshot(collection="c"), snapshot(collection="d")),
    (replay(), replay(verify=True)),
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=range(len(PAIRS)))
@pytest.mark.parametrize("between", ["nothing", "a crash", "a checkpoint"])
def test_another_request_with_the_same_id_is_refused_and_does_nothing(
    kit: SnapshotKit, first: Change, second: Change, between: str
) -> None:
    first(kit)
    if between == "a checkpoint":
        kit.engine.checkpoint()
    if between != "nothing":
        kit.engine.operations.stop()
        kit = store(kit.fs.crash(random.Random(1)), seed=9)
    sequence = kit.engine.sequence
    with pytest.raises(InvalidArgument, match="'r2' belongs to another request") as caught:
        second(kit)
    assert (caught.value.reason, caught.value.field) == ("REQUEST_ID_REUSED", "request_id")
    assert kit.engine.sequence == sequence
    first(kit)
    assert kit.engine.sequence == sequence


def test_an_upsert_sent_again_after_its_collection_is_gone_is_told_its_answer_and_another_is_refused(
    kit: SnapshotKit,
) -> None:
    def send(value: float) -> Outcome:
        return kit.engine.points.upsert("c", ["a"], rows(value), b"", caller=ASKED)

    first = send(1)
    kit.engine.collections.drop("c", caller=Caller())
    assert send(1).sequence == first.sequence
    with pytest.raises(InvalidArgument, match="belongs to another request"):
        send(2)


def test_another_deletion_of_a_snapshot_is_refused(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.clock.advance_us(2_000_000)
    kit.snapshot()
    older, newer = sorted(kit.ids())
    first = kit.engine.snapshots.delete(older, caller=ASKED)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="belongs to another request"):
            kit.engine.snapshots.delete(newer, caller=ASKED)
        assert kit.engine.snapshots.delete(older, caller=ASKED) == first
        kit.reopen()
    assert kit.ids() == [newer]


def test_another_restore_is_refused(kit: SnapshotKit) -> None:
    kit.snapshot()
    asked = RestoreRequest("latest", collection="copy", from_collection="c")
    begun = kit.engine.snapshots.start_restore(asked, caller=ASKED)
    kit.engine.operations.wait(begun.id)
    with pytest.raises(InvalidArgument, match=f"which began the operation {begun.id}"):
        kit.engine.snapshots.start_restore(replace(asked, collection="other"), caller=ASKED)
    assert kit.engine.snapshots.start_restore(asked, caller=ASKED).id == begun.id


def test_two_requests_of_one_group_are_told_apart_and_a_third_that_repeats_the_first_waits_for_it(
    kit: SnapshotKit,
) -> None:
    def prepared(id: str) -> Submission:
        return kit.engine.points.prepare_upsert("c", [id], rows(1), b"", caller=ASKED)

    first, other, again = prepared("n"), prepared("m"), prepared("n")
    sequence = kit.engine.sequence
    kit.engine._committer._commit([first, other, again])
    with pytest.raises(InvalidArgument, match="which is being carried out"):
        other.ticket.wait(0)
    assert first.ticket.wait(0).sequence == again.ticket.wait(0).sequence == kit.engine.sequence == sequence + 1


def test_of_a_request_that_was_stored_without_a_digest_nobody_can_tell() -> None:
    table = RequestTable()
    table.remember("old", Outcome(1, 1, durable=True))
    table.remember("new", Outcome(2, 1, durable=True, request_digest=7))
    for known in (table, RequestTable.load(encode_requests(table.rows()))):
        assert known.find("old", 0, 5) is not None
        assert known.find("new", 0, 7) is not None
        assert known.find("new", 0) is not None
        with pytest.raises(InvalidArgument):
            known.find("new", 0, 5)


def test_a_batch_of_a_stream_sent_again_after_its_collection_is_gone_is_told_its_answer(kit: SnapshotKit) -> None:
    def send(value: float) -> Outcome:
        submission = kit.engine.points.prepare_upsert("c", ["a"], rows(value), b"", caller=ASKED)
        return kit.engine.points.commit(submission)

    first = send(1)
    kit.engine.collections.drop("c", caller=Caller())
    assert send(1).sequence == first.sequence
    with pytest.raises(InvalidArgument, match="belongs to another request"):
        send(2)
    kit.create("c", dimensions=3)
    assert send(1).sequence == first.sequence
    assert kit.values() == {}
