"""StorageService: status, memory mapping, compaction, alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import grpc

from holdfast.v1 import common_pb2, operation_pb2, storage_pb2
from holdfast.v1.storage_pb2_grpc import StorageServiceServicer

from .. import __version__
from ..engine.compactions import CompactRequest
from ..engine.mmap_control import MmapChanges
from ..engine.snapshot_info import READY
from ..errors import Unimplemented
from ..model import Alarm
from ..storage.clock import Clock
from .convert import duration, timestamp
from .convert_mmap import advice_of, mmap_message
from .convert_snapshots import snapshot_message
from .convert_wal import status_message
from .plans import started_or_planned
from .requests import Callers

if TYPE_CHECKING:
    from ..engine.engine import Engine

_STATES: Mapping[str, storage_pb2.StorageStatus.State.ValueType] = {
    "serving": storage_pb2.StorageStatus.STATE_SERVING,
    "full": storage_pb2.StorageStatus.STATE_FULL,
    "read_only": storage_pb2.StorageStatus.STATE_READ_ONLY,
}
_SEVERITIES: Mapping[str, storage_pb2.Alarm.Severity.ValueType] = {
    "warning": storage_pb2.Alarm.SEVERITY_WARNING,
    "critical": storage_pb2.Alarm.SEVERITY_CRITICAL,
}


class StorageService(StorageServiceServicer):
    """See the module. It answers in every state of the engine."""

    def __init__(self, engine: Engine, callers: Callers, clock: Clock) -> None:
        self._engine = engine
        self._callers = callers
        self._clock = clock

    def GetStatus(
        self, request: storage_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> storage_pb2.GetStatusResponse:
        engine, now_us = self._engine, self._clock.now_us()
        store, alarms, log = engine.status(), engine.alarms(), engine.wal.status()
        return storage_pb2.GetStatusResponse(
            status=storage_pb2.StorageStatus(
                version=__version__,
                store_id=str(store.store_id),
                timeline=store.timeline,
                state=_STATES[store.state],
                uptime=duration(max(0, now_us - store.started_us)),
                data_dir=store.data_dir,
                sequence=store.sequence,
                durable_sequence=store.durable_sequence,
                collection_count=store.collections,
                vector_count=store.vectors,
                disk_bytes=store.segment_bytes + store.wal_bytes,
                disk_free_bytes=store.free_bytes,
                disk_reserve_bytes=store.reserve_bytes,
                memory_bytes=store.memory_bytes,
                wal=status_message(log, engine.snapshots.window(log.files)),
                mmap=mmap_message(engine.mmap.status()),
                last_snapshot=_last_snapshot(engine),
                alarms=_alarm_messages(alarms),
                running_operation_count=sum(not each.state.final for each in engine.operations.list()),
                server_time=timestamp(now_us),
                health=_health(alarms),
            )
        )

    def ConfigureMmap(
        self, request: storage_pb2.ConfigureMmapRequest, context: grpc.ServicerContext
    ) -> storage_pb2.ConfigureMmapResponse:
        changes = MmapChanges(
            enabled=request.enable if request.HasField("enable") else None,
            advise=advice_of(request.advise_mode),
            populate=request.populate if request.HasField("populate") else None,
        )
        status = self._engine.mmap.configure(
            changes,
            collection=request.collection or None,
            caller=self._callers.of(context, request.request_id),
            validate_only=request.validate_only,
            go_on=context.is_active,
        )
        return storage_pb2.ConfigureMmapResponse(status=mmap_message(status), populated_bytes=status.populated_bytes)

    def Compact(self, request: storage_pb2.CompactRequest, context: grpc.ServicerContext) -> operation_pb2.Operation:
        default = CompactRequest()
        asked = CompactRequest(
            collection=request.collection or None,
            threshold_percent=(
                request.threshold_percent if request.HasField("threshold_percent") else default.threshold_percent
            ),
            aggressive=request.aggressive,
            validate_only=request.validate_only,
        )
        engine, caller = self._engine, self._callers.of(context, request.request_id)
        operation = engine.compactions.start(asked, caller=caller)
        return started_or_planned(engine.operations, operation, planned=request.validate_only)

    def GetTiers(
        self, request: storage_pb2.GetTiersRequest, context: grpc.ServicerContext
    ) -> storage_pb2.GetTiersResponse:
        raise Unimplemented(
            "this daemon has no hot tiers: hybrid collections are stored like disk ones",
            reason="TIERING_NOT_SUPPORTED",
            hint="the page cache holds what is read often: see resident bytes in `holdfast storage status`",
        )

    def ListAlarms(
        self, request: storage_pb2.ListAlarmsRequest, context: grpc.ServicerContext
    ) -> storage_pb2.ListAlarmsResponse:
        return storage_pb2.ListAlarmsResponse(alarms=_alarm_messages(self._engine.alarms()))


def _last_snapshot(engine: Engine) -> common_pb2.Snapshot | None:
    """The newest complete one that this store has made."""
    whole = (info for info in engine.snapshots.list() if info.state == READY and not info.foreign)
    newest = next(whole, None)
    return None if newest is None else snapshot_message(newest)


def _health(alarms: list[Alarm]) -> storage_pb2.StorageStatus.Health.ValueType:
    """The worst of the alarms as a colour."""
    if any(alarm.severity == "critical" for alarm in alarms):
        return storage_pb2.StorageStatus.HEALTH_RED
    return storage_pb2.StorageStatus.HEALTH_AMBER if alarms else storage_pb2.StorageStatus.HEALTH_GREEN


def _alarm_messages(alarms: list[Alarm]) -> list[storage_pb2.Alarm]:
    """The most severe first, then the oldest."""
    ordered = sorted(alarms, key=lambda alarm: (-_SEVERITIES[alarm.severity], alarm.since_us))
    return [
        storage_pb2.Alarm(
            severity=_SEVERITIES[alarm.severity],
            code=alarm.code,
            message=alarm.message,
            hint=alarm.hint,
            since_time=timestamp(alarm.since_us),
        )
        for alarm in ordered
    ]
