"""The payload of a record: a ``LogOperation`` (proto/holdfast/v1/log.proto) and the points of an upsert in it.

Hashing, norms and payload blocks are re-exported, so that whoever builds an operation finds all of it here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import numpy as np
import snappy
from google.protobuf.message import DecodeError

from holdfast.v1 import log_pb2
from holdfast.v1.log_pb2 import LogOperation, UpsertBody

from ..errors import InvalidArgument, UnsupportedFormat
from ..model import Rows
from .hashing import digest_sums, hash_ids, hash_rows, hashes_from_bytes, hashes_to_bytes
from .norms import row_norms
from .payloads import join_payloads, split_payloads

__all__ = [
    "LogOperation",
    "UpsertBody",
    "columns_of",
    "decode",
    "digest_sums",
    "encode",
    "encode_upsert",
    "encode_upsert_again",
    "hash_ids",
    "hash_rows",
    "ids_of",
    "join_payloads",
    "row_norms",
    "rows_of",
    "split_payloads",
    "varint",
]

_MAX_DIMENSIONS = 65_536
_MAX_ID_BYTES = 512
_LEAST_WORTH_COMPRESSING = 64
_SNAPPY_LARGEST_RATIO = 22
"""A Snappy copy of 3 bytes yields at most 64: whoever claims more is not Snappy, and gets no memory."""

_ROW_HASH_BYTES = 16
_UPSERT_TAG = LogOperation.UPSERT_FIELD_NUMBER << 3 | 2
_VECTORS_TAG = UpsertBody.VECTORS_FIELD_NUMBER << 3 | 2


def encode(operation: LogOperation) -> bytes:
    """The bytes of any operation."""
    return operation.SerializeToString()


def encode_upsert(
    collection_id: uuid.UUID,
    rows: Rows,
    payload_block: bytes,
    *,
    actor: str,
    request_id: str,
    request_digest: int = 0,
    origin_sequence: int = 0,
    rows_left_out: int = 0,
) -> list[bytes | memoryview]:
    """The parts whose concatenation is the ``LogOperation`` that writes ``rows``.

    ``payload_block`` is the JSON array of exactly these rows' payloads as it came; where it is empty, one is put
    together from ``rows``. ``origin_sequence`` is the operation that a replay repeats, or 0; ``rows_left_out`` counts
    the request's rows that later ones of the same id superseded. The last part is a read-only view of ``rows.vectors``:
    nothing of the matrix is copied, so it must not change until the record is written.
    """
    vectors = np.ascontiguousarray(rows.vectors, np.dtype("<f4")).reshape(-1).view(np.uint8).data.toreadonly()
    body = UpsertBody(
        ids=[id_.decode() for id_ in rows.ids],
        row_hashes=hashes_to_bytes(rows.hashes),
        dimensions=rows.vectors.shape[1],
        rows_left_out=rows_left_out,
    )
    _set_payloads(body, payload_block or join_payloads(rows.payloads))
    inner = body.SerializeToString() + varint(_VECTORS_TAG) + varint(len(vectors))
    operation = LogOperation(
        collection_id=collection_id.bytes,
        actor=actor,
        request_id=request_id,
        origin_sequence=origin_sequence,
        request_digest=request_digest,
    )
    return [_upsert_head(operation, len(inner) + len(vectors)) + inner, vectors]


def encode_upsert_again(
    collection_id: uuid.UUID, body: bytes, *, actor: str, origin_sequence: int
) -> list[bytes | memoryview]:
    """The parts of the operation that writes to this collection what an ``UpsertBody`` of another log says."""
    operation = LogOperation(collection_id=collection_id.bytes, actor=actor, origin_sequence=origin_sequence)
    return [_upsert_head(operation, len(body)), body]


def _upsert_head(operation: LogOperation, body_bytes: int) -> bytes:
    """What stands in front of a body of so many bytes."""
    return operation.SerializeToString() + varint(_UPSERT_TAG) + varint(body_bytes)


def _set_payloads(body: UpsertBody, block: bytes) -> None:
    if not block:
        return
    body.payload_codec, body.payloads = log_pb2.PAYLOAD_CODEC_RAW, block
    if len(block) >= _LEAST_WORTH_COMPRESSING:
        packed: bytes = snappy.compress(block)
        if len(packed) < len(block):
            body.payload_codec, body.payloads = log_pb2.PAYLOAD_CODEC_SNAPPY, packed


def varint(value: int) -> bytes:
    """A number as the wire has it: seven bits a byte, the low ones first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(payload: bytes | memoryview) -> LogOperation:
    """The operation in ``payload`` (all records of one sequence joined), with its outer fields checked.

    Raises ValueError with a reason when the bytes are no operation, UnsupportedFormat when they are one of the future.
    """
    try:
        operation = LogOperation.FromString(payload)  # type: ignore[arg-type]
    except DecodeError as error:
        raise ValueError(f"not a LogOperation: {error}") from None
    if len(operation.collection_id) not in (0, 16):
        raise ValueError(f"collection id of {len(operation.collection_id)} bytes instead of 16 or none")
    if operation.WhichOneof("body") is None:
        if not payload:
            raise ValueError("empty payload")
        raise UnsupportedFormat(
            "the log holds an operation that this version does not know",
            hint="start the newer holdfastd that wrote this log",
        )
    return operation


def rows_of(upsert: UpsertBody) -> Rows:
    """The rows of a logged upsert, with the hashes that were logged; id hashes and norms are computed again.

    ``vectors`` is a read-only view of the message's bytes. Raises ValueError with a reason when the parts do not fit.
    """
    ids = ids_of(upsert.ids)
    count, dimensions, matrix, hashes = len(ids), upsert.dimensions, upsert.vectors, upsert.row_hashes
    if not count:
        raise ValueError("an upsert without ids")
    if not 0 < dimensions <= _MAX_DIMENSIONS or len(matrix) != count * dimensions * 4:
        raise ValueError(f"{len(matrix)} bytes of vectors for {count} ids of {dimensions} dimensions")
    if len(hashes) != count * _ROW_HASH_BYTES:
        raise ValueError(f"{len(hashes)} bytes of row hashes for {count} ids")
    vectors = np.frombuffer(matrix, np.dtype("<f4")).reshape(count, dimensions)
    payloads = _logged_payloads(upsert, count)
    return Rows(ids, vectors, payloads, hash_ids(ids), hashes_from_bytes(hashes), row_norms(vectors))


def columns_of(upsert: UpsertBody) -> tuple[bytes, bytes]:
    """The matrix of a logged upsert and the JSON array of its payloads, empty where no row has one, as they were given.

    Raises ValueError with a reason when the parts do not fit.
    """
    count = len(upsert.ids)
    if len(upsert.vectors) != count * upsert.dimensions * 4:
        raise ValueError(f"{len(upsert.vectors)} bytes of vectors for {count} ids of {upsert.dimensions} dimensions")
    return upsert.vectors, _unpack(upsert.payloads, upsert.payload_codec)


def _logged_payloads(upsert: UpsertBody, count: int) -> list[bytes | None]:
    try:
        return split_payloads(_unpack(upsert.payloads, upsert.payload_codec), count)
    except InvalidArgument as error:
        raise ValueError(error.message) from None


def _unpack(stored: bytes, codec: int) -> bytes:
    if not stored or codec == log_pb2.PAYLOAD_CODEC_RAW:
        return stored
    if codec == log_pb2.PAYLOAD_CODEC_SNAPPY:
        return _unsnap(stored)
    if codec == log_pb2.PAYLOAD_CODEC_UNSPECIFIED:
        raise ValueError("a payload block without a codec")
    raise UnsupportedFormat(
        f"the log holds payloads in codec {codec}, which this version does not know",
        hint="start the newer holdfastd that wrote this log",
    )


def _unsnap(stored: bytes) -> bytes:
    claimed = _leading_varint(stored)
    if claimed > len(stored) * _SNAPPY_LARGEST_RATIO:
        raise ValueError(f"a Snappy block of {len(stored)} bytes claims to hold {claimed}")
    try:
        return bytes(snappy.uncompress(stored))
    except snappy.UncompressError as error:
        raise ValueError(f"damaged Snappy block: {error}") from None


def _leading_varint(data: bytes) -> int:
    value = 0
    for index, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            break
    return value


def ids_of(ids: Iterable[str]) -> list[bytes]:
    """The ids of a logged delete. Raises ValueError for one that no upsert could have written."""
    keys = [id_.encode() for id_ in ids]
    if not all(keys) or max(map(len, keys), default=0) > _MAX_ID_BYTES:
        raise ValueError(f"ids have 1 to {_MAX_ID_BYTES} bytes")
    return keys
