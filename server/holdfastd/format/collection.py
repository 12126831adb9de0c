"""Collections and settings as the log writes them, to and from the nouns of the engine."""

from __future__ import annotations

import uuid

from holdfast.v1 import log_pb2

from ..model import CollectionSpec, Metric, Origin, StorageKind, SyncMode, WalSettings

_METRICS: dict[Metric, log_pb2.LoggedMetric.ValueType] = {
    Metric.COSINE: log_pb2.LOGGED_METRIC_COSINE,
    Metric.EUCLIDEAN: log_pb2.LOGGED_METRIC_EUCLIDEAN,
    Metric.DOT: log_pb2.LOGGED_METRIC_DOT,
}
_STORAGES: dict[StorageKind, log_pb2.LoggedStorage.ValueType] = {
    StorageKind.MEMORY: log_pb2.LOGGED_STORAGE_MEMORY,
    StorageKind.DISK: log_pb2.LOGGED_STORAGE_DISK,
    StorageKind.HYBRID: log_pb2.LOGGED_STORAGE_HYBRID,
}
_SYNC_MODES: dict[SyncMode, log_pb2.LoggedSyncMode.ValueType] = {
    SyncMode.FSYNC: log_pb2.LOGGED_SYNC_MODE_FSYNC,
    SyncMode.PERIODIC: log_pb2.LOGGED_SYNC_MODE_PERIODIC,
    SyncMode.ASYNC: log_pb2.LOGGED_SYNC_MODE_ASYNC,
}
_METRIC_OF = {number: metric for metric, number in _METRICS.items()}
_STORAGE_OF = {number: storage for storage, number in _STORAGES.items()}
_SYNC_MODE_OF = {number: mode for mode, number in _SYNC_MODES.items()}


def encode_collection(spec: CollectionSpec) -> log_pb2.LoggedCollection:
    """The message of ``spec``, every field of it."""
    return log_pb2.LoggedCollection(
        id=spec.id.bytes,
        name=spec.name,
        dimensions=spec.dimensions,
        metric=_METRICS[spec.metric],
        storage=_STORAGES[spec.storage],
        created_us=spec.created_us,
        created_sequence=spec.created_sequence,
        hot_tier_bytes=spec.hot_tier_bytes,
        schema_json=spec.schema_json,
        quantization=spec.quantization,
        origin=None if spec.origin is None else _encode_origin(spec.origin),
    )


def decode_collection(message: log_pb2.LoggedCollection) -> CollectionSpec:
    """The spec in ``message``. Raises ValueError with a reason for an id, metric or storage that cannot be."""
    if message.metric not in _METRIC_OF or message.storage not in _STORAGE_OF:
        raise ValueError(f"unknown metric {message.metric} or storage {message.storage}")
    return CollectionSpec(
        id=_uuid(message.id),
        name=message.name,
        dimensions=message.dimensions,
        metric=_METRIC_OF[message.metric],
        storage=_STORAGE_OF[message.storage],
        created_us=message.created_us,
        created_sequence=message.created_sequence,
        hot_tier_bytes=message.hot_tier_bytes,
        schema_json=message.schema_json,
        quantization=message.quantization,
        origin=_decode_origin(message.origin) if message.HasField("origin") else None,
    )


def encode_settings(settings: WalSettings) -> log_pb2.SettingsBody:
    """The message of ``settings``, every field of it."""
    return log_pb2.SettingsBody(
        enabled=settings.enabled,
        sync_mode=_SYNC_MODES[settings.sync_mode],
        segment_size_bytes=settings.segment_size_bytes,
        retention_us=settings.retention_us,
        flush_interval_us=settings.flush_interval_us,
        max_wal_bytes=settings.max_wal_bytes,
        path=settings.path,
    )


def decode_settings(message: log_pb2.SettingsBody) -> WalSettings:
    """The settings in ``message``. Raises ValueError for an unknown sync mode."""
    if message.sync_mode not in _SYNC_MODE_OF:
        raise ValueError(f"unknown sync mode {message.sync_mode}")
    return WalSettings(
        enabled=message.enabled,
        sync_mode=_SYNC_MODE_OF[message.sync_mode],
        segment_size_bytes=message.segment_size_bytes,
        retention_us=message.retention_us,
        flush_interval_us=message.flush_interval_us,
        max_wal_bytes=message.max_wal_bytes,
        path=message.path,
    )


def _encode_origin(origin: Origin) -> log_pb2.LoggedOrigin:
    return log_pb2.LoggedOrigin(
        store_id=origin.store_id.bytes,
        timeline=origin.timeline,
        collection_id=origin.collection_id.bytes,
        through=origin.through,
    )


def _decode_origin(message: log_pb2.LoggedOrigin) -> Origin:
    return Origin(_uuid(message.store_id), message.timeline, _uuid(message.collection_id), message.through)


def _uuid(raw: bytes) -> uuid.UUID:
    if len(raw) != 16:
        raise ValueError(f"a uuid of {len(raw)} bytes")
    return uuid.UUID(bytes=raw)
