"""Records of the log as messages, and what a search for them is asked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from holdfast.v1 import common_pb2, vector_pb2, wal_pb2

from ..engine.left_out import Ranges
from ..engine.log_findings import BARE_KINDS, Finding, Wanted
from ..engine.log_names import collection_of
from ..engine.log_stats import LogStats, Tally
from ..engine.logged import decoded_by
from ..errors import InvalidArgument
from ..format.logged_ids import count_ids, first_ids
from ..format.operation import LogOperation, columns_of, decode
from ..format.record import padded_size
from .convert import timestamp
from .requests import unknown_value

MAX_FIRST_IDS = 5
MAX_SEARCHED = 1000


def wanted_of(
    request: wal_pb2.DumpWalRequest | wal_pb2.TailWalRequest, collection_id: uuid.UUID | None, name: str | None
) -> Wanted:
    """What a request looks for, in the collections that it means. Raises InvalidArgument."""
    kinds = _kinds(request.kinds)
    if isinstance(request, wal_pb2.TailWalRequest):
        _check_operations(kinds)
        return Wanted(collection_id, name, kinds=kinds)
    return Wanted(
        collection_id,
        name,
        kinds=kinds,
        ids=words_of(request.ids, "ids"),
        actors=frozenset(words_of(request.actors, "actors")),
        request_ids=frozenset(words_of(request.request_ids, "request_ids")),
    )


def _kinds(kinds: Sequence[wal_pb2.WalRecord.Kind.ValueType]) -> frozenset[str]:
    for kind in kinds:
        if not kind or kind not in wal_pb2.WalRecord.Kind.values():
            raise unknown_value("kinds", kind)
    return frozenset(wal_pb2.WalRecord.Kind.Name(kind).removeprefix("KIND_").lower() for kind in kinds)


def _check_operations(kinds: frozenset[str]) -> None:
    """Raise InvalidArgument for kinds of records that cannot be followed: a tail goes on behind a sequence."""
    for kind in sorted(kinds.intersection(BARE_KINDS.values())):
        raise InvalidArgument(
            f"kinds names {kind}: such a record is no operation and has no sequence of its own to follow",
            field="kinds",
            hint=f"look for it with `holdfast storage wal dump --kind {kind}`",
        )


def words_of(words: Sequence[str], field: str) -> tuple[str, ...]:
    """The words that a field names. Raises InvalidArgument for an empty one, and for too many."""
    if "" in words:
        raise InvalidArgument(f"{field} holds an empty text", field=field, hint="leave it out")
    _check_count(len(words), field)
    return tuple(words)


def ranges_of(ranges: Sequence[wal_pb2.SequenceRange], field: str) -> Ranges:
    """The sequences that a field names. Raises InvalidArgument for a range of none, and for too many."""
    _check_count(len(ranges), field)
    named = tuple((each.first, each.last or each.first) for each in ranges)
    for first, last in named:
        if not 0 < first <= last:
            raise InvalidArgument(
                f"{field} names sequences {first} to {last}, which are none",
                field=field,
                hint="name the lower one first",
            )
    return named


def _check_count(count: int, field: str) -> None:
    if count > MAX_SEARCHED:
        raise InvalidArgument(
            f"{field} names {count}, the limit is {MAX_SEARCHED}", field=field, hint="ask several times"
        )


def record_messages(findings: Sequence[Finding], *, points: bool) -> Iterator[list[wal_pb2.WalRecord]]:
    """Records, described, in as many messages as they need. ``points``: with these, each in a message of its own.

    Raises Corruption for a record whose checksums hold and whose parts do not fit.
    """
    if not points:
        yield [record_message(finding) for finding in findings]
        return
    for finding in findings:
        message = record_message(finding)
        _add_points(message, finding)
        yield [message]


def _add_points(message: wal_pb2.WalRecord, finding: Finding) -> None:
    operation = finding.operation
    match operation.WhichOneof("body"):
        case "upsert":
            written = decoded_by(decode, finding.record).upsert
            vectors, payloads = decoded_by(lambda _: columns_of(written), finding.record)
            matrix = common_pb2.Matrix(data=vectors, dimensions=written.dimensions)
            message.points.CopyFrom(vector_pb2.PointColumns(ids=written.ids, vectors=matrix, payloads=payloads))
        case "delete":
            message.points.CopyFrom(vector_pb2.PointColumns(ids=operation.delete.ids))
        case _:
            return


def record_message(finding: Finding) -> wal_pb2.WalRecord:
    """One record, described."""
    record, operation = finding.record, finding.operation
    message = wal_pb2.WalRecord(
        sequence=record.sequence,
        time=timestamp(record.timestamp_us),
        kind=kind_value(finding.kind),
        actor=operation.actor,
        request_id=operation.request_id,
        count=count_ids(operation),
        first_ids=finding.ids[:MAX_FIRST_IDS] or first_ids(operation, MAX_FIRST_IDS),
        size_bytes=padded_size(len(record.payload)),
        segment_path=record.path,
        offset=record.offset,
    )
    _name(message, collection_of(operation), finding.collection)
    _describe(message, operation)
    return message


def stats_message(stats: LogStats) -> wal_pb2.WalStats:
    """What was counted."""
    message = wal_pb2.WalStats(total=_tally_message(stats.total))
    for group, tally in stats.groups.items():
        counted = _tally_message(tally)
        counted.kind = kind_value(group.kind)
        _name(counted, group.collection_id, stats.names.get(group.collection_id))
        message.kinds.append(counted)
    for actor, tally in stats.actors.items():
        counted = _tally_message(tally)
        counted.actor = actor
        message.actors.append(counted)
    return message


def kind_value(kind: str) -> wal_pb2.WalRecord.Kind.ValueType:
    """The value for the name of a body."""
    return wal_pb2.WalRecord.Kind.Value(f"KIND_{kind.upper()}")


def _tally_message(tally: Tally) -> wal_pb2.WalTally:
    return wal_pb2.WalTally(
        operation_count=tally.operations,
        point_count=tally.points,
        size_bytes=tally.bytes,
        first_sequence=tally.first_sequence,
        first_time=timestamp(tally.first_us),
        last_sequence=tally.last_sequence,
        last_time=timestamp(tally.last_us),
    )


def _name(message: wal_pb2.WalRecord | wal_pb2.WalTally, collection_id: bytes | None, name: str | None) -> None:
    if collection_id:
        message.collection_id = str(uuid.UUID(bytes=collection_id))
        message.collection = name or message.collection_id


def _describe(message: wal_pb2.WalRecord, operation: LogOperation) -> None:
    """What is worth saying of operations that name no points."""
    match operation.WhichOneof("body"):
        case "create_collection":
            message.count = 1
            message.detail = operation.create_collection.collection.name
        case "put_alias":
            message.detail = operation.put_alias.alias
        case "delete_alias":
            message.detail = operation.delete_alias.alias
        case "replayed":
            message.count = operation.replayed.count
            message.detail = f"through {operation.replayed.through}"
        case "restore":
            message.count = len(operation.restore.collections)
            message.detail = operation.restore.snapshot_id
        case "mark":
            message.detail = operation.mark.name
        case _:
            pass
