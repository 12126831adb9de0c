"""Collections and their figures as messages."""

from __future__ import annotations

from holdfast.v1 import collection_pb2

from ..model import CollectionStats, Origin, QuarantinedPart, StorageKind
from .convert import METRIC_OF, QUANTIZATION_OF, STORAGE_KIND_OF, timestamp


def collection_message(stats: CollectionStats) -> collection_pb2.Collection:
    """A collection with its few live figures."""
    spec = stats.spec
    return collection_pb2.Collection(
        name=spec.name,
        id=str(spec.id),
        dimensions=spec.dimensions,
        metric=METRIC_OF[spec.metric],
        storage=STORAGE_KIND_OF[spec.storage],
        quantization=QUANTIZATION_OF[spec.quantization],
        hot_tier_size_bytes=spec.hot_tier_bytes,
        schema=spec.schema_json,
        schema_problem=stats.schema_problem,
        vector_count=stats.vectors,
        size_bytes=stats.size_bytes,
        create_time=timestamp(spec.created_us),
        update_time=timestamp(stats.updated_us or spec.created_us),
        aliases=stats.aliases,
        origin=_origin_message(spec.origin),
        quarantined=map(_quarantined_message, stats.quarantined),
    )


def stats_message(stats: CollectionStats) -> collection_pb2.CollectionStats:
    """All figures of a collection."""
    spec = stats.spec
    on_disk = 0 if spec.storage is StorageKind.MEMORY else stats.size_bytes - stats.memory_bytes
    return collection_pb2.CollectionStats(
        name=spec.name,
        dimensions=spec.dimensions,
        metric=METRIC_OF[spec.metric],
        vector_count=stats.vectors,
        size_bytes=stats.size_bytes,
        digest=stats.digest.hex(),
        sequence=stats.sequence,
        segment_count=stats.segments,
        garbage_percent=round(stats.garbage_percent, 2),
        storage=collection_pb2.CollectionStorageStats(
            type=STORAGE_KIND_OF[spec.storage],
            quantization=QUANTIZATION_OF[spec.quantization],
            compression_ratio=1.0,
            cold_bytes=max(0, on_disk),
        ),
        performance=collection_pb2.CollectionPerformanceStats(
            avg_insert_time_ms=stats.avg_insert_ms, avg_search_time_ms=stats.avg_search_ms, qps=stats.qps
        ),
        memory_bytes=stats.memory_bytes,
        update_time=timestamp(stats.updated_us or spec.created_us),
        aliases=stats.aliases,
        quarantined=map(_quarantined_message, stats.quarantined),
    )


def _quarantined_message(part: QuarantinedPart) -> collection_pb2.QuarantinedSegment:
    return collection_pb2.QuarantinedSegment(
        segment_id=part.segment_id, path=part.path, row_count=part.rows, problem=part.problem
    )


def _origin_message(origin: Origin | None) -> collection_pb2.CollectionOrigin | None:
    if origin is None:
        return None
    return collection_pb2.CollectionOrigin(
        store_id=str(origin.store_id),
        timeline=origin.timeline,
        collection_id=str(origin.collection_id),
        through_sequence=origin.through,
    )
