"""``db.storage``: the store at a glance, alarms, memory mapping, compaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from holdfast.connection import Connection, request_id_of
from holdfast.documents import Document, Documents, timestamp
from holdfast.enums import from_word, to_word
from holdfast.operations import OnProgress, Operation, run_operation
from holdfast.snapshot_documents import snapshot_document
from holdfast.wal import status_document

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from holdfast.v1 import storage_pb2

_MMAP_SECONDS = 3600.0
"""Reading maps in takes as long as the disk needs for them."""


class Storage:
    """The store as a whole."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self) -> Document:
        """The store at a glance; answers in every state, also when the store is read-only."""
        from holdfast.v1 import storage_pb2

        response = self._connection.call(self._connection.storage.GetStatus, storage_pb2.GetStatusRequest())
        return status_of(response.status)

    def alarms(self) -> Documents:
        """Conditions that an operator should know of, most severe first."""
        from holdfast.v1 import storage_pb2

        response = self._connection.call(self._connection.storage.ListAlarms, storage_pb2.ListAlarmsRequest())
        return [alarm_document(alarm) for alarm in response.alarms]

    def mmap(
        self,
        *,
        enable: bool | None = None,
        advise: str | None = None,
        populate: bool | None = None,
        collection: str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> Document:
        """Change how segments are read, or only show it; what is None keeps its value. Durable on return.

        enable: through memory maps, or by reads into memory; advise: how far the kernel reads ahead, normal, random or
        sequential; populate: read maps in, now and whenever they are made. Without a ``collection`` the change is one
        of all collections, and ends what they have of their own for what it names. ``populated_bytes`` of the result
        says how much was read in; with a large store that may take minutes.
        """
        from holdfast.v1 import storage_pb2

        request = storage_pb2.ConfigureMmapRequest(
            enable=enable,
            advise_mode=from_word(storage_pb2.MmapAdvice, advise, "MMAP_ADVICE_", "kind of advice"),
            populate=populate,
            validate_only=validate_only,
            request_id=request_id_of(request_id),
            collection=collection or "",
        )
        response = self._connection.call(self._connection.storage.ConfigureMmap, request, timeout=_MMAP_SECONDS)
        return Document(mmap_document(response.status), populated_bytes=response.populated_bytes)

    @overload
    def compact(
        self, collection: str | None = ..., *, aggressive: bool = ..., threshold: float | None = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def compact(
        self, collection: str | None = ..., *, aggressive: bool = ..., threshold: float | None = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def compact(
        self,
        collection: str | None = None,
        *,
        aggressive: bool = False,
        threshold: float | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Rewrite segments to drop dead rows, and merge many small ones; reads and writes go on.

        ``threshold``: of a segment's rows, in percent, how many have to be dead; 20 by default. ``aggressive``: drop
        all that are dead, whatever the threshold, and leave as few segments as there can be. Durable when it is done.
        """
        from holdfast.v1 import storage_pb2

        request = storage_pb2.CompactRequest(
            collection=collection or "",
            aggressive=aggressive,
            threshold_percent=threshold,
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        method = self._connection.storage.Compact
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)


def status_of(status: storage_pb2.StorageStatus) -> Document:
    """The store at a glance as ``storage status`` shows it."""
    from holdfast.v1 import storage_pb2

    return Document(
        status=to_word(storage_pb2.StorageStatus.State, status.state, "STATE_"),
        health=to_word(storage_pb2.StorageStatus.Health, status.health, "HEALTH_"),
        version=status.version,
        store_id=status.store_id,
        timeline=status.timeline,
        uptime=_whole_seconds(status.uptime),
        data_dir=status.data_dir,
        sequence=status.sequence,
        durable_sequence=status.durable_sequence,
        collections=status.collection_count,
        vectors=status.vector_count,
        disk_bytes=status.disk_bytes,
        disk_free_bytes=status.disk_free_bytes,
        disk_reserve_bytes=status.disk_reserve_bytes,
        memory_bytes=status.memory_bytes,
        wal=status_document(status.wal),
        mmap=mmap_document(status.mmap),
        last_snapshot=snapshot_document(status.last_snapshot) if status.HasField("last_snapshot") else None,
        alarms=[alarm_document(alarm) for alarm in status.alarms],
        running_operations=status.running_operation_count,
        server_time=timestamp(status.server_time),
    )


def mmap_document(status: storage_pb2.MmapStatus) -> Document:
    """How segments are read, as ``storage mmap`` answers."""
    from holdfast.v1 import storage_pb2

    return Document(
        mmap_enabled=status.mmap_enabled,
        advise_mode=to_word(storage_pb2.MmapAdvice, status.advise_mode, "MMAP_ADVICE_"),
        populate=status.populate,
        total_mapped_bytes=status.total_mapped_bytes,
        resident_bytes=status.resident_bytes,
        pinned_bytes=status.pinned_bytes,
        collections=[_collection_mmap(each) for each in status.collections],
    )


def _collection_mmap(status: storage_pb2.CollectionMmap) -> Document:
    from holdfast.v1 import storage_pb2

    return Document(
        collection=status.collection,
        own_settings=status.own_settings,
        mmap_enabled=status.mmap_enabled,
        advise_mode=to_word(storage_pb2.MmapAdvice, status.advise_mode, "MMAP_ADVICE_"),
        populate=status.populate,
        mapped_bytes=status.mapped_bytes,
        resident_bytes=status.resident_bytes,
        pinned_bytes=status.pinned_bytes,
    )


def alarm_document(alarm: storage_pb2.Alarm) -> Document:
    """One alarm as ``storage alarms`` shows it."""
    from holdfast.v1 import storage_pb2

    return Document(
        severity=to_word(storage_pb2.Alarm.Severity, alarm.severity, "SEVERITY_"),
        code=alarm.code,
        message=alarm.message,
        hint=alarm.hint or None,
        since=timestamp(alarm.since_time),
    )


def _whole_seconds(uptime: Duration) -> str:
    from datetime import timedelta

    from holdfast.units import format_duration

    return format_duration(timedelta(seconds=uptime.seconds))
