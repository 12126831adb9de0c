"""DumpWal that looks for something, or counts, over a real socket and the real engine, its files in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable

import grpc
import pytest

from holdfast.v1 import collection_pb2, common_pb2, operation_pb2, vector_pb2, wal_pb2
from holdfastd.format.described import LEAST_BYTES
from tests.rpc.calls import batch, failing
from tests.rpc.wires import Wire

Point = common_pb2.HistoryPoint


def dump(wire: Wire, **more: object) -> list[wal_pb2.WalRecord]:
    request = wal_pb2.DumpWalRequest(**more)  # type: ignore[arg-type]
    return [record for answer in wire.wal.DumpWal(request) for record in answer.records]


def test_operations_are_found_by_what_they_are(wire: Wire) -> None:
    wire.vectors.Upsert(batch([f"p{number}" for number in range(1000)], request_id="second"))
    wire.vectors.Upsert(batch(["b"], request_id="third"))
    (found,) = dump(wire, ids=["p999", "p7", "absent"])
    assert (found.sequence, found.count, list(found.first_ids)) == (3, 1000, ["p7", "p999"])
    assert [r.sequence for r in dump(wire, ids=["b"], collection="books")] == [2, 4]
    assert [r.sequence for r in dump(wire, request_ids=["first", "third"])] == [2, 4]
    assert [r.sequence for r in dump(wire, request_ids=["first", "third"], limit=1)] == [2]
    assert [r.sequence for r in dump(wire, actors=["unix"], start=Point(sequence=3))] == [3, 4]
    assert dump(wire, actors=["nobody"]) == []


def test_a_collection_that_is_gone_is_found_by_its_name(wire: Wire) -> None:
    wire.collections.DeleteCollection(collection_pb2.DeleteCollectionRequest(name="books"))
    assert [r.sequence for r in dump(wire, collection="books")] == [1, 2, 3]
    (dropped,) = dump(wire, collection="books", start=Point(sequence=3))
    assert (dropped.kind, dropped.collection) == (wal_pb2.WalRecord.KIND_DROP_COLLECTION, "books")
    assert [r.sequence for r in dump(wire, collection=dropped.collection_id)] == [1, 2, 3]
    back = wal_pb2.ReplayWalRequest(
        collection=dropped.collection, into="books-before", before=Point(sequence=dropped.sequence)
    )
    assert wire.ended(wire.wal.ReplayWal(back)).replay.operations_replayed == 2
    assert wire.vectors.Count(vector_pb2.CountRequest(collection="books-before")).count == 2


def replayed(records: Iterable[wal_pb2.WalRecord]) -> dict[str, tuple[bytes, bytes]]:
    """What another program has that does what a stream of records tells: vectors and payloads by id."""
    points: dict[str, tuple[bytes, bytes]] = {}
    for record in records:
        columns, width = record.points, record.points.vectors.dimensions * 4
        if record.kind == wal_pb2.WalRecord.KIND_UPSERT:
            vectors, payloads = columns.vectors.data, json.loads(columns.payloads or b"[]")
            for row, id in enumerate(columns.ids):
                payload = json.dumps(payloads[row]).encode() if payloads else b"null"
                points[id] = (vectors[row * width : row * width + width], payload)
        for id in columns.ids if record.kind == wal_pb2.WalRecord.KIND_DELETE else ():
            points.pop(id, None)
        if record.kind == wal_pb2.WalRecord.KIND_TRUNCATE:
            points.clear()
    return points


def test_with_points_the_records_are_all_that_another_program_needs(wire: Wire) -> None:
    payloads = json.dumps(
        [{"n": number, "text": "of some length, so that it is compressed " * 9} for number in range(50)]
    )
    wire.vectors.Upsert(batch([f"p{n}" for n in range(50)], payloads=payloads.encode()))
    wire.vectors.Delete(vector_pb2.DeleteRequest(collection="books", ids=["p3", "p4", "absent"]))
    wire.vectors.Upsert(batch(["p3"]))
    tail = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(sequence=1), include_points=True))
    streamed = [next(iter(tail)) for _ in range(5)]
    tail.cancel()
    records = dump(wire, include_points=True)
    assert [record for each in streamed for record in each.records] == records
    assert [len(each.points.ids) for each in records] == [0, 2, 50, 3, 1]
    there = wire.vectors.Get(vector_pb2.GetRequest(collection="books", ids=[f"p{n}" for n in range(50)] + ["a", "b"]))
    columns, width = there.points, there.points.vectors.dimensions * 4
    assert len(columns.ids) == 51
    assert replayed(records) == {
        id: (columns.vectors.data[row * width : row * width + width], json.dumps(payload).encode())
        for row, (id, payload) in enumerate(zip(columns.ids, json.loads(columns.payloads), strict=True))
    }
    assert not any(each.HasField("points") for each in dump(wire))


def test_a_large_upsert_comes_with_its_vectors_and_is_counted_without_them(wire: Wire) -> None:
    ids = [f"p{number}" for number in range(5000)]
    sequence = wire.vectors.Upsert(batch(ids)).sequence
    (record,) = dump(wire, include_points=True, start=Point(sequence=sequence))
    assert record.size_bytes > LEAST_BYTES
    assert replayed([record]).keys() == set(ids)
    assert record.points.vectors.data == batch(ids).vectors
    assert record.count == len(ids)


def test_stats_have_no_points(wire: Wire) -> None:
    refused = failing(lambda: list(wire.wal.DumpWal(wal_pb2.DumpWalRequest(stats=True, include_points=True))))
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, "include_points")


def test_records_that_are_no_operations_and_the_gap_between_them(wire: Wire) -> None:
    log = wire.kit.log
    assert log is not None
    log.marker()
    wire.wal.DisableWal(wal_pb2.DisableWalRequest())
    wire.vectors.Upsert(batch(["unlogged"]))
    wire.wal.EnableWal(wal_pb2.EnableWalRequest())
    wire.vectors.Upsert(batch(["c"]))
    record = wal_pb2.WalRecord
    assert [(r.sequence, r.kind) for r in dump(wire, start=Point(sequence=2))] == [
        (2, record.KIND_UPSERT), (2, record.KIND_CLOSED), (4, record.KIND_UPSERT),
    ]  # fmt: skip
    for kind in (record.KIND_MARKER, record.KIND_CLOSED):
        (found,) = dump(wire, kinds=[kind])
        assert (found.sequence, found.kind, found.actor, found.count) == (2, kind, "", 0)
        failure = failing(lambda kind=kind: list(wire.wal.TailWal(wal_pb2.TailWalRequest(kinds=[kind]))))  # type: ignore[misc]
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "has no sequence of its own to follow" in failure.text
    for answers in (
        wire.wal.DumpWal(wal_pb2.DumpWalRequest(ids=["nobody"])),
        wire.wal.DumpWal(wal_pb2.DumpWalRequest(stats=True)),
    ):
        warnings = [warning for answer in answers for warning in answer.warnings]
        assert warnings == ["the log was disabled between sequence 2 and 4: what was done meanwhile is not in it"]
    assert failing(lambda: dump(wire, kinds=[0])).code is grpc.StatusCode.INVALID_ARGUMENT
    for begin, missing in ((1, True), (3, True), (4, False)):
        tail = wire.wal.TailWal(wal_pb2.TailWalRequest(start=Point(sequence=begin)))
        if missing:
            assert list(next(iter(tail)).warnings) == warnings
        assert [each.sequence for each in next(iter(tail)).records] == [s for s in (1, 2, 4) if s >= begin]
        tail.cancel()


def test_records_are_counted_by_what_they_do_and_by_actor(wire: Wire) -> None:
    wire.vectors.Upsert(batch(["c"]))
    *signs, last = wire.wal.DumpWal(wal_pb2.DumpWalRequest(stats=True))
    assert [(list(sign.records), sign.HasField("stats")) for sign in signs] == [([], False)]
    records, stats = dump(wire), last.stats
    assert (stats.total.operation_count, stats.total.point_count) == (3, 3)
    assert stats.total.size_bytes == sum(record.size_bytes for record in records)
    assert (stats.total.first_time, stats.total.last_time) == (records[0].time, records[-1].time)
    created, written = stats.kinds
    assert (created.kind, created.collection) == (wal_pb2.WalRecord.KIND_CREATE_COLLECTION, "books")
    assert (written.kind, written.collection_id) == (wal_pb2.WalRecord.KIND_UPSERT, records[0].collection_id)
    assert (written.operation_count, written.point_count) == (2, 3)
    assert (written.first_sequence, written.last_sequence) == (2, 3)
    assert sum(each.operation_count for each in stats.actors) == 3
    *_, empty = wire.wal.DumpWal(wal_pb2.DumpWalRequest(stats=True, actors=["nobody"]))
    assert empty.stats == wal_pb2.WalStats(total=wal_pb2.WalTally())


def test_the_records_before_damage_come_before_the_error(wire: Wire) -> None:
    for id in ("c", "d"):
        wire.vectors.Upsert(batch([id]))
    third = dump(wire)[2]
    wire.kit.fs.damage(third.segment_path, third.offset + 70, b"\xee")
    seen: list[int] = []

    def read(**more: object) -> None:
        request = wal_pb2.DumpWalRequest(**more)  # type: ignore[arg-type]
        for answer in wire.wal.DumpWal(request):
            seen.extend(record.sequence for record in answer.records)

    failure = failing(read)
    assert (failure.code, seen) == (grpc.StatusCode.DATA_LOSS, [1, 2])
    assert failure.info.metadata["offset"] == str(third.offset)
    assert failing(lambda: read(stats=True)).code is grpc.StatusCode.DATA_LOSS
    seen.clear()
    read(limit=2)
    assert seen == [1, 2]


def test_what_is_skipped_never_happened(wire: Wire) -> None:
    wire.vectors.Upsert(batch(["bad", "worse"], request_id="second"))
    wire.vectors.Upsert(batch(["c"], request_id="third"))
    found = [record.sequence for record in dump(wire, request_ids=["second"])]

    def replay(**more: object) -> operation_pb2.Operation:
        request = wal_pb2.ReplayWalRequest(collection="books", **more)  # type: ignore[arg-type]
        return wire.ended(wire.wal.ReplayWal(request))

    by_sequence = [wal_pb2.SequenceRange(first=sequence) for sequence in found]
    for number, skip in enumerate(({"skip": by_sequence}, {"skip_request_ids": ["second"]})):
        done = replay(into=f"mended{number}", **skip).replay
        assert (done.operations_replayed, done.operations_skipped) == (3, 1)
        assert wire.vectors.Count(vector_pb2.CountRequest(collection=f"mended{number}")).count == 3
    wire.vectors.Upsert(batch(["worse"]))
    refused = replay(into="mended2", skip=by_sequence)
    assert refused.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "1 point of what is left out was written or deleted again since: worse (sequence " in refused.error.message


@pytest.mark.parametrize(
    "more",
    [
        {"skip": [wal_pb2.SequenceRange(first=2)]},
        {"into": "mended", "skip": [wal_pb2.SequenceRange()]},
        {"into": "mended", "skip": [wal_pb2.SequenceRange(last=2)]},
        {"into": "mended", "skip": [wal_pb2.SequenceRange(first=3, last=2)]},
        {"into": "mended", "skip": [wal_pb2.SequenceRange(first=3)] * 1001},
        {"into": "mended", "skip_request_ids": [""]},
        {"skip_request_ids": ["first"]},
    ],
)
def test_what_cannot_be_skipped(wire: Wire, more: dict[str, object]) -> None:
    request = wal_pb2.ReplayWalRequest(collection="books", **more)  # type: ignore[arg-type]
    assert failing(lambda: wire.wal.ReplayWal(request)).code is grpc.StatusCode.INVALID_ARGUMENT
