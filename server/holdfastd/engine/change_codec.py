"""Changes to and from the log's message, the payload of a record (proto/holdfast/v1/log.proto)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.v1 import log_pb2
from holdfast.v1.log_pb2 import LogOperation

from ..format import operation as codec
from ..format.collection import (
    decode_catalog_origin,
    decode_collection,
    encode_catalog_origin,
    encode_collection,
)
from ..format.payloads import join_payloads
from ..model import Digest, Sequence64
from .changes import (
    Change,
    CreateCollection,
    DeleteAlias,
    DeleteIds,
    DropCollection,
    PutAlias,
    Replayed,
    Restore,
    RestoredCollection,
    SetMark,
    Truncate,
    UpsertRows,
)


@dataclass(frozen=True, slots=True)
class Logged:
    """What a record says: who asked for which change. ``change`` is None for a body that changes no state here.

    ``rows_left_out``: of an upsert, the rows sent that others of the same request superseded.
    """

    change: Change | None
    actor: str
    request_id: str
    origin_sequence: Sequence64
    rows_left_out: int = 0
    request_digest: int = 0


def encode_change(
    change: Change,
    *,
    actor: str = "",
    request_id: str = "",
    request_digest: int = 0,
    origin_sequence: int = 0,
    payload_block: bytes | None = None,
    rows_left_out: int = 0,
    body: bytes | None = None,
) -> Sequence[bytes | memoryview]:
    """The parts of the payload that says ``change``.

    ``payload_block``: an upsert's payloads as they came, if known. ``body``: all of an upsert as another log has it.
    """
    if isinstance(change, UpsertRows) and body is not None:
        return codec.encode_upsert_again(change.collection_id, body, actor=actor, origin_sequence=origin_sequence)
    if isinstance(change, UpsertRows):
        block = join_payloads(change.rows.payloads) if payload_block is None else payload_block
        return codec.encode_upsert(
            change.collection_id,
            change.rows,
            block,
            actor=actor,
            request_id=request_id,
            request_digest=request_digest,
            origin_sequence=origin_sequence,
            rows_left_out=rows_left_out,
        )
    message = LogOperation(
        actor=actor, request_id=request_id, origin_sequence=origin_sequence, request_digest=request_digest
    )
    _fill(message, change)
    return [codec.encode(message)]


def _fill(message: LogOperation, change: Change) -> None:
    match change:
        case DeleteIds(collection_id, ids, _):
            message.collection_id = collection_id.bytes
            message.delete.ids.extend(id.decode() for id in ids)
        case Truncate(collection_id):
            message.collection_id = collection_id.bytes
            message.truncate.SetInParent()
        case CreateCollection(spec):
            message.collection_id = spec.id.bytes
            message.create_collection.collection.CopyFrom(encode_collection(spec))
        case DropCollection(collection_id, name):
            message.collection_id = collection_id.bytes
            message.drop_collection.SetInParent()
            message.drop_collection.name = name
        case PutAlias(alias, collection_id):
            message.collection_id = collection_id.bytes
            message.put_alias.alias = alias
        case DeleteAlias(alias):
            message.delete_alias.alias = alias
        case Restore(collections, snapshot_id, catalog):
            message.restore.snapshot_id = snapshot_id
            if catalog is not None:
                message.restore.catalog.CopyFrom(encode_catalog_origin(catalog))
            message.restore.sequence = max((c.spec.origin.through for c in collections if c.spec.origin), default=0)
            message.restore.collections.extend(map(_encode_restored, collections))
        case Replayed(collection_id, through, count, timeline):
            message.collection_id = collection_id.bytes
            message.replayed.through = through
            message.replayed.count = count
            message.replayed.timeline = timeline
        case SetMark(name):
            message.mark.name = name
        case UpsertRows():
            raise AssertionError("an upsert is encoded in parts")


def decode_change(payload: bytes | memoryview) -> Logged:
    """What ``payload`` says. Raises ValueError when the bytes are no operation, UnsupportedFormat for a future one."""
    message = codec.decode(payload)
    change = _change_of(message)
    # No field of a body that is not there: looking at it would make it.
    left_out = message.upsert.rows_left_out if isinstance(change, UpsertRows) else 0
    return Logged(change, message.actor, message.request_id, message.origin_sequence, left_out, message.request_digest)


def _change_of(message: LogOperation) -> Change | None:
    match message.WhichOneof("body"):
        case "upsert":
            return UpsertRows(_collection(message), codec.rows_of(message.upsert))
        case "delete":
            ids = codec.ids_of(message.delete.ids)
            return DeleteIds(_collection(message), ids, codec.hash_ids(ids))
        case "truncate":
            return Truncate(_collection(message))
        case "create_collection":
            return CreateCollection(decode_collection(message.create_collection.collection))
        case "drop_collection":
            return DropCollection(_collection(message), message.drop_collection.name)
        case "put_alias":
            return PutAlias(message.put_alias.alias, _collection(message))
        case "delete_alias":
            return DeleteAlias(message.delete_alias.alias)
        case "restore":
            body = message.restore
            restored = tuple(map(_decode_restored, body.collections))
            catalog = decode_catalog_origin(body.catalog) if body.HasField("catalog") else None
            return Restore(restored, body.snapshot_id, catalog)
        case "replayed":
            done = message.replayed
            return Replayed(_collection(message), done.through, done.count, done.timeline)
        case "mark":
            return SetMark(message.mark.name)
        case _:
            return None


def _collection(message: LogOperation) -> uuid.UUID:
    if len(message.collection_id) != 16:
        raise ValueError("the operation names no collection")
    return uuid.UUID(bytes=message.collection_id)


def _encode_restored(restored: RestoredCollection) -> log_pb2.RestoredCollection:
    return log_pb2.RestoredCollection(
        collection=encode_collection(restored.spec),
        staging=str(restored.spec.id),
        digest=restored.digest.high.to_bytes(8, "big") + restored.digest.low.to_bytes(8, "big"),
        count=restored.count,
        overwrite=restored.replaces is not None,
        replaced_collection_id=b"" if restored.replaces is None else restored.replaces.bytes,
        aliases=restored.aliases,
    )


def _decode_restored(message: log_pb2.RestoredCollection) -> RestoredCollection:
    if len(message.digest) != 16 or len(message.replaced_collection_id) not in (0, 16):
        raise ValueError("a restored collection with a digest or an id of the wrong size")
    replaced = message.replaced_collection_id
    return RestoredCollection(
        spec=decode_collection(message.collection),
        digest=Digest(int.from_bytes(message.digest[:8], "big"), int.from_bytes(message.digest[8:], "big")),
        count=message.count,
        replaces=uuid.UUID(bytes=replaced) if replaced else None,
        aliases=tuple(message.aliases),
    )
