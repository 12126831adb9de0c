"""WalService: the log's settings, replay, reading it, marks."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from holdfast.v1 import operation_pb2, wal_pb2
from holdfast.v1.wal_pb2_grpc import WalServiceServicer

from ..engine.operations import Work
from ..engine.replay import ReplayRequest
from ..engine.wal_control import LoggedOperation, WalChanges
from ..errors import InvalidArgument
from ..storage.clock import Clock
from .convert import SYNC_MODES, chosen, microseconds_of
from .convert_operations import operation_message
from .convert_wal import (
    check_order,
    collection_of,
    end_of,
    kind_of,
    mark_message,
    record_message,
    start_of,
    status_message,
    verify_document,
)
from .draining import Draining
from .plans import started_or_planned
from .requests import Callers, Paths, unknown_value

if TYPE_CHECKING:
    from ..engine.engine import Engine

RECORDS_PER_MESSAGE = 256
TAIL_POLL_SECONDS = 0.05
_HIDDEN = frozenset([wal_pb2.WalRecord.KIND_MARKER])


class WalService(WalServiceServicer):
    """See the module. Handlers run in worker threads and block until the engine has answered."""

    def __init__(self, engine: Engine, callers: Callers, paths: Paths, clock: Clock, draining: Draining) -> None:
        self._engine = engine
        self._wal = engine.wal
        self._callers = callers
        self._paths = paths
        self._clock = clock
        self._draining = draining

    def EnableWal(self, request: wal_pb2.EnableWalRequest, context: grpc.ServicerContext) -> wal_pb2.EnableWalResponse:
        was_logging = self._wal.status().state != "disabled"
        changes = WalChanges(
            path=self._paths.resolve(request.path, request.working_directory, context),
            sync_mode=chosen(SYNC_MODES, request.sync_mode, "sync_mode"),
            segment_size_bytes=request.segment_size_bytes if request.HasField("segment_size_bytes") else None,
            retention_us=microseconds_of(request.retention, "retention") if request.HasField("retention") else None,
            flush_interval_us=microseconds_of(request.flush_interval, "flush_interval")
            if request.HasField("flush_interval")
            else None,
            max_wal_bytes=request.max_size_bytes if request.HasField("max_size_bytes") else None,
        )
        caller = self._callers.of(context, request.request_id)
        status = self._wal.enable(changes, caller=caller, validate_only=request.validate_only)
        warnings = [] if was_logging else ["point-in-time recovery does not reach back beyond this moment"]
        return wal_pb2.EnableWalResponse(status=status_message(status), warnings=warnings)

    def DisableWal(
        self, request: wal_pb2.DisableWalRequest, context: grpc.ServicerContext
    ) -> wal_pb2.DisableWalResponse:
        warnings = [
            "writes from now on are durable only with the next checkpoint",
            "point-in-time recovery will not reach across the time without a log",
        ]
        caller = self._callers.of(context, request.request_id)
        status = self._wal.disable(caller=caller, validate_only=request.validate_only)
        return wal_pb2.DisableWalResponse(status=status_message(status), warnings=warnings)

    def GetWalStatus(
        self, request: wal_pb2.GetWalStatusRequest, context: grpc.ServicerContext
    ) -> wal_pb2.GetWalStatusResponse:
        status = self._wal.status()
        return wal_pb2.GetWalStatusResponse(status=status_message(status), marks=map(mark_message, status.marks))

    def ReplayWal(self, request: wal_pb2.ReplayWalRequest, context: grpc.ServicerContext) -> operation_pb2.Operation:
        start, end = start_of(request, self._wal), end_of(request, self._wal)
        asked = ReplayRequest(
            path=self._paths.resolve(request.path, request.working_directory, context),
            from_sequence=start.sequence,
            from_us=start.time_us,
            to_sequence=end.sequence,
            to_us=end.time_us,
            verify=request.verify,
            collection=request.collection or None,
            into=request.into or None,
            validate_only=request.validate_only,
        )
        operation = self._engine.replay.start(asked, caller=self._callers.of(context, request.request_id))
        return started_or_planned(self._engine.operations, operation, planned=request.validate_only)

    def VerifyWal(self, request: wal_pb2.VerifyWalRequest, context: grpc.ServicerContext) -> operation_pb2.Operation:
        path = self._paths.resolve(request.path, request.working_directory, context)
        caller = self._callers.of(context, request.request_id)
        started_ns = self._clock.monotonic_ns()

        def verify(work: Work) -> dict[str, Any]:
            work.report(phase="reading")
            document = verify_document(self._wal.verify(path), path or self._wal.status().path)
            return {**document, "duration_ms": (self._clock.monotonic_ns() - started_ns) // 1_000_000}

        operation = self._engine.operations.start(
            "verify_wal",
            verify,
            request={"path": path},
            request_id=caller.request_id,
            request_digest=caller.asking("verify wal", path).request_digest,
            actor=caller.actor,
        )
        return operation_message(operation)

    def DumpWal(
        self, request: wal_pb2.DumpWalRequest, context: grpc.ServicerContext
    ) -> Iterator[wal_pb2.DumpWalResponse]:
        if request.limit < 0:
            raise InvalidArgument(f"limit is {request.limit}, it cannot be negative", field="limit")
        start, end = start_of(request, self._wal), end_of(request, self._wal)
        check_order(request, start, end)
        records = self._wal.records(
            from_sequence=start.sequence or 0,
            to_sequence=end.sequence,
            from_us=start.time_us,
            to_us=end.time_us,
            path=self._paths.resolve(request.path, request.working_directory, context),
        )
        chosen_records = self._chosen(records, request)
        left = request.limit or None
        for messages in _in_runs(chosen_records, left):
            if not self._draining.goes_on(context):
                return
            yield wal_pb2.DumpWalResponse(records=messages)

    def TailWal(
        self, request: wal_pb2.TailWalRequest, context: grpc.ServicerContext
    ) -> Iterator[wal_pb2.TailWalResponse]:
        durable = self._engine.durable_sequence
        begin = start_of(request, self._wal)
        from_us = begin.time_us
        absent = begin.sequence is None and from_us is None
        position = durable if absent else max(0, (begin.sequence or 0) - 1)
        greeted = False
        while self._draining.goes_on(context):
            durable = self._engine.durable_sequence
            if durable > position:
                # A time says nothing of a sequence: from the oldest record on, wherever the log begins.
                first = position + 1 if from_us is None or position else 0
                records = self._wal.records(from_sequence=first, to_sequence=durable, from_us=from_us)
                for messages in _in_runs(self._chosen(records, request), None):
                    yield wal_pb2.TailWalResponse(records=messages, durable_sequence=durable)
                    greeted = True
                position = durable
            if not greeted:
                yield wal_pb2.TailWalResponse(durable_sequence=durable)
                greeted = True
            self._clock.sleep(TAIL_POLL_SECONDS)

    def CreateMark(
        self, request: wal_pb2.CreateMarkRequest, context: grpc.ServicerContext
    ) -> wal_pb2.CreateMarkResponse:
        mark = self._wal.mark(request.name, caller=self._callers.of(context, request.request_id, sync=True))
        return wal_pb2.CreateMarkResponse(mark=mark_message(mark), durable=True)

    def _chosen(
        self,
        records: Iterable[LoggedOperation],
        request: wal_pb2.DumpWalRequest | wal_pb2.TailWalRequest,
    ) -> Iterator[wal_pb2.WalRecord]:
        """The records that a request wants to see, described."""
        names = {each.spec.id: each.spec.name for each in self._engine.collections.list()}
        only = _wanted_collection(request.collection, self._engine) if request.collection else None
        kinds = frozenset(request.kinds)
        for kind in kinds:
            if kind not in wal_pb2.WalRecord.Kind.values():
                raise unknown_value("kinds", kind)
        for each in records:
            kind = kind_of(each)
            if (kind not in kinds) if kinds else (kind in _HIDDEN):
                continue
            if only is None or collection_of(each.logged.change) == only:
                yield record_message(each, names)


def _wanted_collection(name: str, engine: Engine) -> uuid.UUID:
    try:
        return uuid.UUID(name)
    except ValueError:
        return engine.collections.stats(name).spec.id


def _in_runs(records: Iterable[wal_pb2.WalRecord], limit: int | None) -> Iterator[list[wal_pb2.WalRecord]]:
    run: list[wal_pb2.WalRecord] = []
    for count, record in enumerate(records, 1):
        run.append(record)
        if len(run) == RECORDS_PER_MESSAGE:
            yield run
            run = []
        if count == limit:
            break
    if run:
        yield run
