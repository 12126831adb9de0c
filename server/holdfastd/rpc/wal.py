"""WalService: the log's settings, replay, reading it, marks."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc

from holdfast.v1 import operation_pb2, wal_pb2
from holdfast.v1.wal_pb2_grpc import WalServiceServicer

from ..engine.log_findings import Range, Run
from ..engine.log_names import LogNames
from ..engine.log_search import LogSearch
from ..engine.log_stats import LogStats
from ..engine.operations import Work
from ..engine.replay import ReplayRequest
from ..engine.wal_control import WalChanges, WalStatus
from ..errors import InvalidArgument, NotFound
from ..storage.clock import Clock
from ..storage.names import check_collection_name
from .convert import SYNC_MODES, chosen, microseconds_of
from .convert_archive_prune import archive_prune_of
from .convert_log_archive import archive_message, shipped_document
from .convert_operations import operation_message
from .convert_records import ranges_of, record_messages, stats_message, wanted_of, words_of
from .convert_wal import (
    check_order,
    end_of,
    mark_message,
    start_of,
    status_message,
    verify_document,
)
from .draining import Draining
from .plans import started_or_planned
from .requests import Callers, Paths

if TYPE_CHECKING:
    from ..engine.engine import Engine

TAIL_POLL_SECONDS = 0.05


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
        message = self._status_message(self._wal.enable(changes, caller=caller, validate_only=request.validate_only))
        warnings = []
        if not (was_logging or message.pitr_window.available):
            warnings.append(
                "point-in-time recovery begins with the next snapshot: make one with `holdfast storage snapshot create`"
            )
        return wal_pb2.EnableWalResponse(status=message, warnings=warnings)

    def DisableWal(
        self, request: wal_pb2.DisableWalRequest, context: grpc.ServicerContext
    ) -> wal_pb2.DisableWalResponse:
        warnings = [
            "writes from now on are durable only with the next checkpoint",
            "point-in-time recovery will not reach across the time without a log",
        ]
        caller = self._callers.of(context, request.request_id)
        status = self._wal.disable(caller=caller, validate_only=request.validate_only)
        return wal_pb2.DisableWalResponse(status=self._status_message(status), warnings=warnings)

    def GetWalStatus(
        self, request: wal_pb2.GetWalStatusRequest, context: grpc.ServicerContext
    ) -> wal_pb2.GetWalStatusResponse:
        status = self._wal.status()
        return wal_pb2.GetWalStatusResponse(status=self._status_message(status), marks=map(mark_message, status.marks))

    def ReplayWal(self, request: wal_pb2.ReplayWalRequest, context: grpc.ServicerContext) -> operation_pb2.Operation:
        path = self._paths.resolve(request.path, request.working_directory, context, objects=True)
        start, end = start_of(request, self._wal, path), end_of(request, self._wal, path)
        asked = ReplayRequest(
            path=path,
            from_sequence=start.sequence,
            from_us=start.time_us,
            to_sequence=end.sequence,
            to_us=end.time_us,
            verify=request.verify,
            collection=request.collection or None,
            into=request.into or None,
            validate_only=request.validate_only,
            skip=ranges_of(request.skip, "skip"),
            skip_request_ids=words_of(request.skip_request_ids, "skip_request_ids"),
        )
        operation = self._engine.replay.start(asked, caller=self._callers.of(context, request.request_id))
        return started_or_planned(self._engine.operations, operation, planned=request.validate_only)

    def VerifyWal(self, request: wal_pb2.VerifyWalRequest, context: grpc.ServicerContext) -> operation_pb2.Operation:
        path = self._paths.resolve(request.path, request.working_directory, context, objects=True)
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
        path = self._paths.resolve(request.path, request.working_directory, context, objects=True)
        start, end = start_of(request, self._wal, path), end_of(request, self._wal, path)
        check_order(request, start, end)
        if request.stats and request.limit:
            raise InvalidArgument("stats count every record of a range", field="limit", hint="leave limit out")
        if request.stats and request.include_points:
            raise InvalidArgument("stats show no record", field="include_points", hint="leave one of the two out")
        where = Range(
            from_sequence=start.sequence or 0,
            to_sequence=end.sequence,
            from_us=start.time_us,
            to_us=end.time_us,
            path=path,
        )
        runs = self._search(request, live=False).runs(where)
        yield from self._counted(runs, context) if request.stats else self._shown(runs, request, context)

    def _shown(
        self, runs: Iterator[Run], request: wal_pb2.DumpWalRequest, context: grpc.ServicerContext
    ) -> Iterator[wal_pb2.DumpWalResponse]:
        left = request.limit or sys.maxsize
        for run in runs:
            if not self._draining.goes_on(context):
                return
            found = run.findings[:left]
            for records in record_messages(found, points=request.include_points):
                yield wal_pb2.DumpWalResponse(records=records, through_sequence=run.through)
            if run.warnings or not found:
                yield wal_pb2.DumpWalResponse(through_sequence=run.through, warnings=run.warnings)
            left -= len(found)
            if not left:
                return

    def _counted(self, runs: Iterator[Run], context: grpc.ServicerContext) -> Iterator[wal_pb2.DumpWalResponse]:
        stats = LogStats()
        for run in runs:
            if not self._draining.goes_on(context):
                return
            stats.add_all(run.findings)
            yield wal_pb2.DumpWalResponse(through_sequence=run.through, warnings=run.warnings)
        yield wal_pb2.DumpWalResponse(stats=stats_message(stats))

    def TailWal(
        self, request: wal_pb2.TailWalRequest, context: grpc.ServicerContext
    ) -> Iterator[wal_pb2.TailWalResponse]:
        durable = self._engine.durable_sequence
        begin, search = start_of(request, self._wal), self._search(request, live=True)
        from_us = begin.time_us
        absent = begin.sequence is None and from_us is None
        position = durable if absent else max(0, (begin.sequence or 0) - 1)
        greeted = position > durable
        if greeted:
            yield wal_pb2.TailWalResponse(durable_sequence=durable, warnings=[_not_there_yet(position + 1, durable)])
        while self._draining.goes_on(context):
            durable = self._engine.durable_sequence
            if durable > position:
                warnings = [str(gap) for gap in self._wal.unlogged() if position < gap.first - 1 <= durable]
                if warnings:
                    yield wal_pb2.TailWalResponse(durable_sequence=durable, warnings=warnings)
                    greeted = True
                # A time says nothing of a sequence: from the oldest record on, wherever the log begins.
                first = position + 1 if from_us is None or position else 0
                where = Range(from_sequence=first, to_sequence=durable, from_us=from_us)
                for run in search.runs(where):
                    for records in record_messages(run.findings, points=request.include_points):
                        if records:
                            yield wal_pb2.TailWalResponse(records=records, durable_sequence=durable)
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

    def GetArchiveStatus(
        self, request: wal_pb2.GetArchiveStatusRequest, context: grpc.ServicerContext
    ) -> wal_pb2.GetArchiveStatusResponse:
        return wal_pb2.GetArchiveStatusResponse(status=archive_message(self._engine.archiving.status()))

    def FlushArchive(
        self, request: wal_pb2.FlushArchiveRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        archiving = self._engine.archiving
        archiving.check_on()
        caller = self._callers.of(context, request.request_id)

        def flush(work: Work) -> dict[str, Any]:
            work.report(phase="archiving")
            return shipped_document(archiving.flush())

        operation = self._engine.operations.start(
            "flush_archive",
            flush,
            request={},
            request_id=caller.request_id,
            request_digest=caller.asking("flush archive").request_digest,
            actor=caller.actor,
        )
        return operation_message(operation)

    def PruneArchive(
        self, request: wal_pb2.PruneArchiveRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        asked, operations = archive_prune_of(request), self._engine.operations
        caller = self._callers.of(context, request.request_id)
        operation = self._engine.archiving.start_prune(asked, operations, caller=caller)
        return started_or_planned(operations, operation, planned=asked.validate_only)

    def _status_message(self, status: WalStatus) -> wal_pb2.WalStatus:
        return status_message(status, self._engine.snapshots.window(status.files))

    def _search(self, request: wal_pb2.DumpWalRequest | wal_pb2.TailWalRequest, *, live: bool) -> LogSearch:
        """The search that a request asks for. ``live``: of what comes. Raises InvalidArgument, then also NotFound."""
        specs = [each.spec for each in self._engine.collections.list()]
        name = request.collection or None
        collection_id = None
        if name is not None:
            with suppress(ValueError):
                collection_id, name = uuid.UUID(name), None
        if name is not None and all(spec.name != name for spec in specs):
            check_collection_name(name, field="collection")
            try:
                # An alias: of what it points to now.
                collection_id = self._engine.collections.stats(name).spec.id
            except NotFound:
                if live:
                    raise
        wanted = wanted_of(request, collection_id, name)
        return LogSearch(self._wal, wanted, LogNames(specs), look_around=not live, bare=not live)


def _not_there_yet(first: int, durable: int) -> str:
    """What whoever follows the log from a sequence that nobody can have seen is to be told."""
    return (
        f"the log ends with sequence {durable}: nothing is shown before sequence {first} is written. If you have seen "
        "later ones, they were of another store, or of a history that is gone: begin anew, from an export"
    )
