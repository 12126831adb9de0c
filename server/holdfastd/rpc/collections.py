"""CollectionService: collections, aliases, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from holdfast.v1 import collection_pb2
from holdfast.v1.collection_pb2_grpc import CollectionServiceServicer

from ..errors import InvalidArgument
from ..model import StorageKind
from .convert import METRICS, QUANTIZATIONS, STORAGE_KINDS, chosen
from .convert_collections import collection_message, stats_message
from .requests import Callers, page_by_key, refuse

if TYPE_CHECKING:
    from ..engine.engine import Engine

_NO_HOT_TIER = "this daemon has no hot tier yet: the collection is stored and served like one of the kind disk"


class CollectionService(CollectionServiceServicer):
    """See the module. Handlers run in worker threads and block until the engine has answered."""

    def __init__(self, engine: Engine, callers: Callers) -> None:
        self._engine = engine
        self._collections = engine.collections
        self._callers = callers

    def CreateCollection(
        self, request: collection_pb2.CreateCollectionRequest, context: grpc.ServicerContext
    ) -> collection_pb2.CreateCollectionResponse:
        quantization = chosen(QUANTIZATIONS, request.quantization, "quantization")
        refuse("quantization", quantization != "none")
        storage = chosen(STORAGE_KINDS, request.storage, "storage")
        if request.hot_tier_size_bytes and (request.hot_tier_size_bytes < 0 or storage is not StorageKind.HYBRID):
            raise InvalidArgument(
                f"hot_tier_size_bytes is {request.hot_tier_size_bytes} for a collection of the kind {storage}",
                field="hot_tier_size_bytes",
                hint="only a hybrid collection has a hot tier; leave it out for the others",
            )
        stats = self._collections.create(
            request.name,
            request.dimensions,
            metric=chosen(METRICS, request.metric, "metric"),
            storage=storage,
            hot_tier_bytes=request.hot_tier_size_bytes,
            quantization=quantization,
            schema_json=request.schema,
            caller=self._callers.of(context, request.request_id),
            validate_only=request.validate_only,
        )
        described = collection_message(stats)
        if request.validate_only:
            for field in ("id", "create_time", "update_time"):
                described.ClearField(field)
        sequence = 0 if request.validate_only else stats.spec.created_sequence
        return collection_pb2.CreateCollectionResponse(
            collection=described,
            sequence=sequence,
            durable=self._is_durable(sequence),
            warnings=[_NO_HOT_TIER] if storage is StorageKind.HYBRID else (),
        )

    def GetCollection(
        self, request: collection_pb2.GetCollectionRequest, context: grpc.ServicerContext
    ) -> collection_pb2.GetCollectionResponse:
        return collection_pb2.GetCollectionResponse(
            collection=collection_message(self._collections.stats(request.name))
        )

    def ListCollections(
        self, request: collection_pb2.ListCollectionsRequest, context: grpc.ServicerContext
    ) -> collection_pb2.ListCollectionsResponse:
        entries = self._collections.list()
        page, token = page_by_key(entries, lambda each: each.spec.name, request.page_size, request.page_token)
        return collection_pb2.ListCollectionsResponse(
            collections=map(collection_message, page),
            next_page_token=token,
            total_count=len(entries),
            stats=map(stats_message, page) if request.detailed else (),
        )

    def DeleteCollection(
        self, request: collection_pb2.DeleteCollectionRequest, context: grpc.ServicerContext
    ) -> collection_pb2.DeleteCollectionResponse:
        dropped = self._collections.drop(
            request.name,
            caller=self._callers.of(context, request.request_id),
            validate_only=request.validate_only,
            expected_id=request.expected_id or None,
        )
        sequence = dropped.outcome.sequence
        return collection_pb2.DeleteCollectionResponse(
            name=request.name,
            deleted_count=dropped.outcome.count,
            aliases=dropped.aliases,
            sequence=sequence,
            durable=self._is_durable(sequence),
        )

    def GetCollectionStats(
        self, request: collection_pb2.GetCollectionStatsRequest, context: grpc.ServicerContext
    ) -> collection_pb2.GetCollectionStatsResponse:
        return collection_pb2.GetCollectionStatsResponse(stats=stats_message(self._collections.stats(request.name)))

    def CreateAlias(
        self, request: collection_pb2.CreateAliasRequest, context: grpc.ServicerContext
    ) -> collection_pb2.CreateAliasResponse:
        caller = self._callers.of(context, request.request_id)
        sequence = self._collections.create_alias(request.alias, request.collection, caller=caller).outcome.sequence
        return collection_pb2.CreateAliasResponse(
            alias=collection_pb2.Alias(alias=request.alias, collection=request.collection),
            sequence=sequence,
            durable=self._is_durable(sequence),
        )

    def SwitchAlias(
        self, request: collection_pb2.SwitchAliasRequest, context: grpc.ServicerContext
    ) -> collection_pb2.SwitchAliasResponse:
        caller = self._callers.of(context, request.request_id)
        changed = self._collections.switch_alias(
            request.alias, request.collection, caller=caller, validate_only=request.validate_only
        )
        sequence = changed.outcome.sequence if changed.before != request.collection else 0
        return collection_pb2.SwitchAliasResponse(
            alias=request.alias,
            old_collection=changed.before,
            new_collection=request.collection,
            sequence=sequence,
            durable=self._is_durable(sequence),
        )

    def DeleteAlias(
        self, request: collection_pb2.DeleteAliasRequest, context: grpc.ServicerContext
    ) -> collection_pb2.DeleteAliasResponse:
        caller = self._callers.of(context, request.request_id)
        changed = self._collections.delete_alias(request.alias, caller=caller, validate_only=request.validate_only)
        sequence = changed.outcome.sequence
        return collection_pb2.DeleteAliasResponse(
            alias=collection_pb2.Alias(alias=request.alias, collection=changed.before),
            sequence=sequence,
            durable=self._is_durable(sequence),
        )

    def ListAliases(
        self, request: collection_pb2.ListAliasesRequest, context: grpc.ServicerContext
    ) -> collection_pb2.ListAliasesResponse:
        entries = self._collections.aliases()
        if request.collection:
            name = self._collections.stats(request.collection).spec.name
            entries = [entry for entry in entries if entry[1] == name]
        page, token = page_by_key(entries, lambda entry: entry[0], request.page_size, request.page_token)
        return collection_pb2.ListAliasesResponse(
            aliases=[collection_pb2.Alias(alias=alias, collection=target) for alias, target in page],
            next_page_token=token,
            total_count=len(entries),
        )

    def _is_durable(self, sequence: int) -> bool:
        return bool(sequence) and self._engine.durable_sequence >= sequence
