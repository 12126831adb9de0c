"""``db.wal``: settings of the write-ahead log, replay, marks, and reading it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

from holdfast.checks import text, text_or_none, texts, whole_number
from holdfast.connection import Connection, new_request_id, request_id_of
from holdfast.documents import Document, duration, timestamp
from holdfast.enums import from_word, to_word
from holdfast.errors import InvalidArgument, Unavailable, Unimplemented
from holdfast.history import Moment, duration_message, history_point
from holdfast.operations import OnProgress, Operation, run_operation
from holdfast.paths import AnyPath, path_text, working_directory

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.v1 import common_pb2, wal_pb2


_TAIL_PATIENCE_SECONDS = 60.0


class RecordsWanted(TypedDict, total=False):
    """Which records of a log ``dump`` and ``stats`` are about; what is left out asks for nothing.

    path: the directory of another log; start, to (inclusive) and before: the range; collection: a name that it has or
    had, or a uuid; kinds: such as ``"delete"``; ids: of points that they write or delete; actors, request_ids: whose; a
    request id that ends with ``*`` stands for all that begin so.
    """

    path: AnyPath | None
    start: Moment | None
    to: Moment | None
    before: Moment | None
    collection: str | None
    kinds: Sequence[str]
    ids: Sequence[str]
    actors: Sequence[str]
    request_ids: Sequence[str]


class Wal:
    """The log of a store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def enable(
        self,
        *,
        path: AnyPath | None = None,
        sync_mode: str | None = None,
        segment_size: int | str | None = None,
        retention: str | timedelta | float | None = None,
        flush_interval: str | timedelta | float | None = None,
        max_size: int | str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> Document:
        """Enable the log or change its settings; what is None keeps its value. Durable on return.

        sync_mode: fsync, periodic, async; segment_size: bytes or ``"64MB"`` (here MB means MiB); retention and
        flush_interval: ``"24h"``, a timedelta, or seconds; max_size: what the log may grow to for the sake of
        retention, as segment_size.
        """
        from holdfast.v1 import common_pb2, wal_pb2

        request = wal_pb2.EnableWalRequest(
            path=None if path is None else path_text(path),
            working_directory=working_directory(self._connection, path),
            sync_mode=from_word(common_pb2.SyncMode, sync_mode, "SYNC_MODE_", "sync mode"),
            segment_size_bytes=_size(segment_size, "segment_size"),
            retention=duration_message(retention, "retention"),
            flush_interval=duration_message(flush_interval, "flush_interval"),
            max_size_bytes=_size(max_size, "max_size"),
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.wal.EnableWal, request)
        return Document(settings_document(response.status), warnings=list(response.warnings))

    def disable(self, *, validate_only: bool = False, request_id: str | None = None) -> Document:
        """Disable the log: from then on writes are durable only with the next checkpoint."""
        from holdfast.v1 import wal_pb2

        request = wal_pb2.DisableWalRequest(validate_only=validate_only, request_id=request_id_of(request_id))
        response = self._connection.call(self._connection.wal.DisableWal, request)
        return Document(settings_document(response.status), warnings=list(response.warnings))

    def status(self) -> Document:
        """Settings, position, the window of point-in-time recovery and why it begins where it does, and the marks."""
        from holdfast.v1 import wal_pb2

        response = self._connection.call(self._connection.wal.GetWalStatus, wal_pb2.GetWalStatusRequest())
        return Document(status_document(response.status), marks=[_mark(mark) for mark in response.marks])

    @overload
    def replay(
        self, *, path: AnyPath | None = ..., start: Moment | None = ..., to: Moment | None = ...,
        before: Moment | None = ..., collection: str | None = ..., into: str | None = ..., verify: bool = ...,
        skip: Sequence[int | tuple[int, int]] = ..., skip_request_ids: Sequence[str] = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def replay(
        self, *, path: AnyPath | None = ..., start: Moment | None = ..., to: Moment | None = ...,
        before: Moment | None = ..., collection: str | None = ..., into: str | None = ..., verify: bool = ...,
        skip: Sequence[int | tuple[int, int]] = ..., skip_request_ids: Sequence[str] = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def replay(
        self,
        *,
        path: AnyPath | None = None,
        start: Moment | None = None,
        to: Moment | None = None,
        before: Moment | None = None,
        collection: str | None = None,
        into: str | None = None,
        verify: bool = False,
        skip: Sequence[int | tuple[int, int]] = (),
        skip_request_ids: Sequence[str] = (),
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Roll restored collections forward along the history of their origin; idempotent.

        start and to are inclusive, before is not: a time, a sequence or a mark. into: make a new collection of this
        name that holds the moment asked for. A live collection has nothing to replay: a success, with a warning.
        skip, skip_request_ids: with into, changes of points that it is to be without, by sequence, range of sequences
        (inclusive) or request id (one that ends with ``*``: all that begin so); FailedPrecondition where something
        since depends on them.
        """
        from holdfast.v1 import wal_pb2

        request = wal_pb2.ReplayWalRequest(
            path=path_text(path),
            working_directory=working_directory(self._connection, path),
            start=history_point(start, "start"),
            to=history_point(to, "to"),
            before=history_point(before, "before"),
            collection=text_or_none(collection, "collection"),
            into=into or "",
            verify=verify,
            validate_only=validate_only,
            request_id=request_id_of(request_id),
            skip=[_range(each) for each in skip],
            skip_request_ids=_one_or_more(skip_request_ids, "skip_request_ids"),
        )
        method = self._connection.wal.ReplayWal
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    @overload
    def verify(
        self, *, path: AnyPath | None = ..., wait: Literal[True] = ..., on_progress: OnProgress | None = ...
    ) -> Document: ...
    @overload
    def verify(
        self, *, path: AnyPath | None = ..., wait: bool, on_progress: OnProgress | None = ...
    ) -> Document | Operation: ...
    def verify(
        self, *, path: AnyPath | None = None, wait: bool = True, on_progress: OnProgress | None = None
    ) -> Document | Operation:
        """Read the log against every checksum and link. Damage is a result: ``valid`` False, ``problems``."""
        from holdfast.v1 import wal_pb2

        request = wal_pb2.VerifyWalRequest(
            path=path_text(path),
            working_directory=working_directory(self._connection, path),
            request_id=new_request_id(),
        )
        method = self._connection.wal.VerifyWal
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    def dump(
        self,
        *,
        limit: int | None = None,
        points: bool = False,
        on_warning: Callable[[str], None] | None = None,
        **wanted: Unpack[RecordsWanted],
    ) -> Iterator[Document]:
        """The records of a range, oldest first, streamed. Corruption at damage, after the records before it.

        wanted: see `RecordsWanted`; only those are shown that meet all of what is given. The daemon looks for them:
        only what it finds travels. points: with the points that were written, ids, vectors and payloads, and with the
        ids of those that were deleted. on_warning: called with each reason why something may be missing, such as a time
        in which the log was disabled.
        """
        request = self._dump_request(wanted)
        request.limit = 0 if limit is None else whole_number(limit, "limit", 1)
        request.include_points = points
        for response in self._connection.stream(self._connection.wal.DumpWal, request):
            yield from (record_document(record, points=points) for record in response.records)
            if on_warning is not None:
                for warning in response.warnings:
                    on_warning(warning)

    def stats(self, **wanted: Unpack[RecordsWanted]) -> Document:
        """What ``dump`` would show, counted: operations, points and bytes in all, by collection and kind, by actor.

        ``warnings``: why something may be missing, as ``dump`` has it.
        """
        request = self._dump_request(wanted)
        request.stats = True
        warnings: list[str] = []
        for response in self._connection.stream(self._connection.wal.DumpWal, request):
            warnings += response.warnings
            if response.HasField("stats"):
                return Document(stats_document(response.stats), warnings=warnings)
        raise Unimplemented("the daemon did not count: it is older than this client", hint="update holdfastd")

    def _dump_request(self, wanted: RecordsWanted) -> wal_pb2.DumpWalRequest:
        from holdfast.v1 import wal_pb2

        unknown = sorted(wanted.keys() - RecordsWanted.__annotations__.keys())
        if unknown:
            raise TypeError(f"there is no argument {unknown[0]!r}")
        path = wanted.get("path")
        return wal_pb2.DumpWalRequest(
            path=path_text(path),
            working_directory=working_directory(self._connection, path),
            start=history_point(wanted.get("start"), "start"),
            to=history_point(wanted.get("to"), "to"),
            before=history_point(wanted.get("before"), "before"),
            collection=text_or_none(wanted.get("collection"), "collection"),
            kinds=_kinds(wanted.get("kinds", ())),
            ids=_one_or_more(wanted.get("ids", ()), "ids"),
            actors=_one_or_more(wanted.get("actors", ()), "actors"),
            request_ids=_one_or_more(wanted.get("request_ids", ()), "request_ids"),
        )

    def tail(
        self,
        *,
        start: Moment | None = None,
        collection: str | None = None,
        kinds: Sequence[str] = (),
        points: bool = False,
        on_warning: Callable[[str], None] | None = None,
    ) -> Iterator[Document]:
        """Follow the log: records as they are synced, from ``start`` or from now, until the iterator is closed.

        Each comes once. A daemon that goes away meanwhile is waited for, a minute at most, and asked again from where
        it was. To go on another time: ``start`` = the sequence behind that of the last record. points and on_warning:
        as in `dump`.
        """
        from holdfast.v1 import wal_pb2

        request = wal_pb2.TailWalRequest(
            start=history_point(start, "start"),
            collection=text_or_none(collection, "collection"),
            kinds=_kinds(kinds),
            include_points=points,
        )
        waits_until: float | None = None
        while True:
            answered = False
            try:
                for response in self._connection.stream(self._connection.wal.TailWal, request):
                    answered = True
                    _go_on_behind(request, response)
                    if on_warning is not None:
                        for warning in response.warnings:
                            on_warning(warning)
                    yield from (record_document(record, points=points) for record in response.records)
            except Unavailable:
                if answered:
                    waits_until = self._connection.now() + _TAIL_PATIENCE_SECONDS
                elif waits_until is None or self._connection.now() > waits_until:
                    raise
            else:
                return

    def mark(self, name: str, *, request_id: str | None = None) -> Document:
        """Name the present moment as a restore point; on the disk on return."""
        from holdfast.v1 import wal_pb2

        request = wal_pb2.CreateMarkRequest(name=text(name, "name"), request_id=request_id_of(request_id))
        response = self._connection.call(self._connection.wal.CreateMark, request)
        return Document(_mark(response.mark), durable=response.durable, status="created")


def _go_on_behind(request: wal_pb2.TailWalRequest, response: wal_pb2.TailWalResponse) -> None:
    """Make ``request`` ask for what comes behind ``response``."""
    if response.records:
        request.start.sequence = response.records[-1].sequence + 1
    elif not request.HasField("start"):
        request.start.sequence = response.durable_sequence + 1


def settings_document(status: wal_pb2.WalStatus) -> Document:
    """The log as ``wal enable`` and ``wal disable`` answer."""
    from holdfast.v1 import common_pb2, wal_pb2

    return Document(
        wal_enabled=status.enabled,
        path=status.path,
        sync_mode=to_word(common_pb2.SyncMode, status.sync_mode, "SYNC_MODE_"),
        segment_size_bytes=status.segment_size_bytes,
        retention=duration(status.retention),
        status=to_word(wal_pb2.WalStatus.State, status.state, "STATE_"),
        flush_interval=duration(status.flush_interval),
        max_size_bytes=status.max_size_bytes,
    )


def status_document(status: wal_pb2.WalStatus) -> Document:
    """The log as ``wal status`` shows it."""
    window = status.pitr_window
    return Document(
        settings_document(status),
        timeline=status.timeline,
        first_sequence=status.first_sequence,
        last_sequence=status.last_sequence,
        durable_sequence=status.durable_sequence,
        pending_checkpoint_sequence=status.pending_checkpoint_sequence,
        segments=status.segment_count,
        size_bytes=status.size_bytes,
        directories=list(status.directories),
        pitr_window=Document(
            available=window.available,
            earliest_sequence=window.earliest_sequence,
            latest_sequence=window.latest_sequence,
            earliest_time=timestamp(window.earliest_time),
            latest_time=timestamp(window.latest_time),
            reason=window.reason,
        ),
    )


def record_document(record: wal_pb2.WalRecord, *, points: bool = False) -> Document:
    """One record of the log as ``wal dump`` and ``wal tail`` show it. ``points``: with what it did to which points.

    Raises Unimplemented where these were asked for and did not come.
    """
    from holdfast.v1 import wal_pb2

    document = Document(
        sequence=record.sequence,
        time=timestamp(record.time),
        kind=to_word(wal_pb2.WalRecord.Kind, record.kind, "KIND_"),
        collection=record.collection or None,
        count=record.count,
        size_bytes=record.size_bytes,
        actor=record.actor,
        request_id=record.request_id or None,
        first_ids=list(record.first_ids),
        detail=record.detail or None,
        collection_id=record.collection_id or None,
        segment_path=record.segment_path,
        offset=record.offset,
    )
    return Document(document, points=_points(record)) if points else document


def _points(record: wal_pb2.WalRecord) -> list[Document] | None:
    """The points of an upsert, the ids of a delete; None for a record that names none."""
    from holdfast.payloads import decode_payloads
    from holdfast.v1 import wal_pb2
    from holdfast.vectors import decode_matrix

    kinds = wal_pb2.WalRecord.Kind
    if record.kind not in (kinds.KIND_UPSERT, kinds.KIND_DELETE):
        return None
    if not record.HasField("points"):
        raise Unimplemented("the daemon sent no points: it is older than this client", hint="update holdfastd")
    columns = record.points
    ids = columns.ids
    if record.kind == kinds.KIND_DELETE:
        return [Document(id=id) for id in ids]
    vectors = decode_matrix(columns.vectors.data, len(ids))
    payloads = decode_payloads(columns.payloads, len(ids))
    return [Document(id=id, vector=v, payload=p) for id, v, p in zip(ids, vectors, payloads, strict=True)]


def stats_document(stats: wal_pb2.WalStats) -> Document:
    """What a range of the log consists of, as ``wal dump --stats`` shows it."""
    from holdfast.v1 import wal_pb2

    kinds = wal_pb2.WalRecord.Kind
    return Document(
        _tally(stats.total),
        by_collection=[
            Document(
                collection=each.collection or None,
                kind=to_word(kinds, each.kind, "KIND_"),
                **_tally(each),
                collection_id=each.collection_id or None,
            )
            for each in stats.kinds
        ],
        by_actor=[Document(actor=each.actor, **_tally(each)) for each in stats.actors],
    )


def _tally(tally: wal_pb2.WalTally) -> Document:
    return Document(
        operations=tally.operation_count,
        points=tally.point_count,
        size_bytes=tally.size_bytes,
        first_sequence=tally.first_sequence,
        first_time=timestamp(tally.first_time),
        last_sequence=tally.last_sequence,
        last_time=timestamp(tally.last_time),
    )


def _mark(mark: common_pb2.Mark) -> Document:
    return Document(name=mark.name, sequence=mark.sequence, time=timestamp(mark.time))


def _one_or_more(words: Sequence[str], name: str) -> Sequence[str]:
    """The words, or the one; never the letters of one."""
    return texts([words] if isinstance(words, str) else words, name)


def _range(skip: int | tuple[int, int]) -> wal_pb2.SequenceRange:
    from holdfast.v1 import wal_pb2

    first, last = skip if isinstance(skip, tuple) else (skip, skip)
    return wal_pb2.SequenceRange(first=whole_number(first, "skip", 1), last=whole_number(last, "skip", 1))


def _kinds(kinds: Sequence[str]) -> list[wal_pb2.WalRecord.Kind.ValueType]:
    from holdfast.v1 import wal_pb2

    return [from_word(wal_pb2.WalRecord.Kind, kind, "KIND_", "kind of record") for kind in kinds]


def _size(size: int | str | None, name: str) -> int | None:
    from holdfast.units import parse_size

    try:
        return parse_size(size, binary=True) if isinstance(size, str) else size
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}", reason="BAD_SIZE") from None
