"""Batches on their way in: the vectors are taken out of the message's bytes without being copied.

protobuf copies a matrix twice before NumPy sees it. A client that puts the vectors first (field order is free in
protobuf) spares both: they are looked at where they arrived, and only the rest of the message is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.v1 import vector_pb2

_VECTORS_TAG = vector_pb2.UpsertRequest.VECTORS_FIELD_NUMBER << 3 | 2
_TICKET_TAG = vector_pb2.UpsertStreamRequest.TICKET_FIELD_NUMBER << 3
_UPSERT_TAG = vector_pb2.UpsertStreamRequest.UPSERT_FIELD_NUMBER << 3 | 2


@dataclass(frozen=True, slots=True)
class UpsertBatch:
    """An UpsertRequest. ``vectors`` may be a view of the bytes that arrived, which it keeps alive."""

    request: vector_pb2.UpsertRequest
    vectors: bytes | memoryview


@dataclass(frozen=True, slots=True)
class TicketedBatch:
    """An UpsertStreamRequest."""

    ticket: int
    upsert: UpsertBatch


def parse_upsert(raw: bytes) -> UpsertBatch:
    """An UpsertRequest. Raises DecodeError."""
    return _batch(memoryview(raw), raw)


def parse_ticketed(raw: bytes) -> TicketedBatch:
    """An UpsertStreamRequest. Raises DecodeError."""
    view = memoryview(raw)
    ticket, position = 0, 0
    if raw[:1] == bytes([_TICKET_TAG]):
        ticket, position = _varint(view, 1)
    if position < len(view) and view[position] == _UPSERT_TAG:
        size, start = _varint(view, position + 1)
        if start + size == len(view) and size and view[start] == _VECTORS_TAG:
            return TicketedBatch(ticket, _batch(view[start:], None))
    message = vector_pb2.UpsertStreamRequest.FromString(raw)
    return TicketedBatch(message.ticket, UpsertBatch(message.upsert, message.upsert.vectors))


def _batch(view: memoryview, raw: bytes | None) -> UpsertBatch:
    lifted: memoryview | None = None
    if len(view) and view[0] == _VECTORS_TAG:
        size, start = _varint(view, 1)
        if start and start + size <= len(view):
            lifted, view, raw = view[start : start + size], view[start + size :], None
    request = vector_pb2.UpsertRequest.FromString(bytes(view) if raw is None else raw)
    # Of a field that stands twice, protobuf takes the last.
    return UpsertBatch(request, request.vectors or lifted or b"")


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """The varint at ``position`` and where it ends; (0, 0) where there is none, which leaves it to protobuf."""
    value = shift = 0
    for offset in range(position, min(position + 10, len(view))):
        byte = view[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    return 0, 0
