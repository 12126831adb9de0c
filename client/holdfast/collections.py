"""``db.collections``: create, describe, list and drop collections, and their aliases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from holdfast.checks import UINT32_MAX, text, whole_number
from holdfast.connection import Connection, request_id_of
from holdfast.documents import Document, Documents, timestamp
from holdfast.enums import from_word, to_word
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.aliases import Aliases
    from holdfast.collection import Collection
    from holdfast.v1 import collection_pb2


class Collections:
    """The collections of a store. Every change is logged and on the disk when the call returns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def aliases(self) -> Aliases:
        """Second names of collections."""
        from holdfast.aliases import Aliases

        return Aliases(self._connection)

    def create(
        self,
        name: str,
        dimensions: int,
        metric: str = "cosine",
        storage: str = "disk",
        *,
        quantization: str = "none",
        hot_tier_size: int | str | None = None,
        schema: str | Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Collection:
        """Create an empty collection and return a handle on it.

        metric: cosine, euclidean, dot; storage: memory, disk, hybrid; hot_tier_size: bytes or ``"10GB"``, hybrid only;
        schema: fields of the payload with their types, such as ``{"price": "number", "author.name": "string"}``, as a
        dict or as JSON; payloads that contradict are refused. AlreadyExists if the name is taken.
        """
        from holdfast.collection import Collection

        self.create_described(
            name,
            dimensions,
            metric,
            storage,
            quantization=quantization,
            hot_tier_size=hot_tier_size,
            schema=schema,
            request_id=request_id,
        )
        return Collection(self._connection, name)

    def create_described(
        self,
        name: str,
        dimensions: int,
        metric: str = "cosine",
        storage: str = "disk",
        *,
        quantization: str = "none",
        hot_tier_size: int | str | None = None,
        schema: str | Mapping[str, Any] | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Document:
        """As `create`, but returns the new collection's description, with `warnings` where there are any."""
        from holdfast.units import parse_size
        from holdfast.v1 import collection_pb2, common_pb2

        size = parse_size(hot_tier_size) if isinstance(hot_tier_size, str) else hot_tier_size or 0
        request = collection_pb2.CreateCollectionRequest(
            name=text(name, "name"),
            dimensions=whole_number(dimensions, "dimensions", 1, UINT32_MAX),
            metric=from_word(common_pb2.Metric, metric, "METRIC_", "metric"),
            storage=from_word(common_pb2.StorageKind, storage, "STORAGE_KIND_", "kind of storage"),
            quantization=from_word(common_pb2.Quantization, quantization, "QUANTIZATION_", "quantization"),
            hot_tier_size_bytes=whole_number(size, "hot_tier_size"),
            schema=schema if isinstance(schema, str) else "" if schema is None else json.dumps(schema),
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.collections.CreateCollection, request)
        described = collection_document(response.collection)
        return Document(described, warnings=list(response.warnings)) if response.warnings else described

    def get(self, name: str) -> Document:
        """Describe one collection, by name or alias. NotFound if there is none."""
        from holdfast.v1 import collection_pb2

        request = collection_pb2.GetCollectionRequest(name=name)
        return collection_document(
            self._connection.call(self._connection.collections.GetCollection, request).collection
        )

    def exists(self, name: str) -> bool:
        """Whether there is a collection, or an alias, of this name."""
        try:
            self.get(name)
        except NotFound:
            return False
        return True

    def stats(self, name: str) -> Document:
        """Figures of one collection: digest, sizes, segments, speed."""
        from holdfast.v1 import collection_pb2

        request = collection_pb2.GetCollectionStatsRequest(name=name)
        return stats_document(self._connection.call(self._connection.collections.GetCollectionStats, request).stats)

    def list(self, *, detailed: bool = False) -> Documents:
        """All collections by name; ``detailed`` adds the figures of `stats`."""
        return [
            Document(document, stats=stats) if detailed else document
            for document, stats in self._pages(detailed=detailed)
        ]

    def _pages(self, *, detailed: bool) -> Iterator[tuple[Document, Document | None]]:
        from holdfast.v1 import collection_pb2

        token = ""
        while True:
            request = collection_pb2.ListCollectionsRequest(page_size=1000, page_token=token, detailed=detailed)
            page = self._connection.call(self._connection.collections.ListCollections, request)
            figures = [stats_document(stats) for stats in page.stats] if detailed else [None] * len(page.collections)
            yield from zip(map(collection_document, page.collections), figures, strict=True)
            token = page.next_page_token
            if not token:
                return

    def delete(
        self,
        name: str,
        *,
        expected_id: str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> Document:
        """Drop a collection with its points and aliases; files of snapshots stay. Says how many points went."""
        from holdfast.v1 import collection_pb2

        request = collection_pb2.DeleteCollectionRequest(
            name=name,
            expected_id=expected_id or "",
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.collections.DeleteCollection, request)
        return Document(
            name=response.name,
            vectors_deleted=response.deleted_count,
            status="validated" if validate_only else "deleted",
            aliases_deleted=list(response.aliases),
            sequence=response.sequence,
            durable=response.durable,
        )


def collection_document(message: collection_pb2.Collection) -> Document:
    """A collection as ``collection info`` and ``collection list`` show it."""
    from holdfast.v1 import common_pb2

    document = Document(
        name=message.name,
        dimensions=message.dimensions,
        metric=to_word(common_pb2.Metric, message.metric, "METRIC_"),
        storage=to_word(common_pb2.StorageKind, message.storage, "STORAGE_KIND_"),
        vectors=message.vector_count,
        indexes=message.index_count,
        size_bytes=message.size_bytes,
        created_at=timestamp(message.create_time, whole_seconds=True),
        updated_at=timestamp(message.update_time, whole_seconds=True),
        id=message.id,
        quantization=to_word(common_pb2.Quantization, message.quantization, "QUANTIZATION_"),
        hot_tier_size_bytes=message.hot_tier_size_bytes,
        schema=message.schema or None,
        schema_problem=message.schema_problem or None,
        aliases=list(message.aliases),
        origin=None,
        quarantined=_quarantined(message.quarantined),
    )
    if message.HasField("origin"):
        document["origin"] = Document(
            store_id=message.origin.store_id,
            timeline=message.origin.timeline,
            collection_id=message.origin.collection_id,
            through_sequence=message.origin.through_sequence,
        )
    return document


def stats_document(message: collection_pb2.CollectionStats) -> Document:
    """The figures of ``collection stats``."""
    from holdfast.v1 import common_pb2

    return Document(
        name=message.name,
        dimensions=message.dimensions,
        metric=to_word(common_pb2.Metric, message.metric, "METRIC_"),
        vectors=message.vector_count,
        size_bytes=message.size_bytes,
        digest=message.digest,
        sequence=message.sequence,
        segments=message.segment_count,
        garbage_percent=message.garbage_percent,
        indexes=[
            Document(name=index.name, type=index.type, vectors=index.vector_count, size_bytes=index.size_bytes)
            for index in message.indexes
        ],
        storage=Document(
            type=to_word(common_pb2.StorageKind, message.storage.type, "STORAGE_KIND_"),
            quantization=to_word(common_pb2.Quantization, message.storage.quantization, "QUANTIZATION_"),
            compression_ratio=message.storage.compression_ratio,
            hot_bytes=message.storage.hot_bytes,
            cold_bytes=message.storage.cold_bytes,
        ),
        performance=Document(
            avg_insert_time_ms=message.performance.avg_insert_time_ms,
            avg_search_time_ms=message.performance.avg_search_time_ms,
            qps=message.performance.qps,
        ),
        memory_bytes=message.memory_bytes,
        updated_at=timestamp(message.update_time),
        aliases=list(message.aliases),
        quarantined=_quarantined(message.quarantined),
    )


def _quarantined(segments: Iterable[collection_pb2.QuarantinedSegment]) -> list[Document]:
    return [
        Document(segment_id=segment.segment_id, path=segment.path, rows=segment.row_count, problem=segment.problem)
        for segment in segments
    ]
