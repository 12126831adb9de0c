"""A batch on its way out: the request as the wire has it, put together with a single copy of the vectors.

protobuf would copy the matrix three times: into the request, into the stream's message, and out of it. Here it is
joined, once, in front of the other fields, where the daemon can take it out of the message without copying it at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2

_VECTORS_TAG = b"\x1a"  # field 3 of UpsertRequest, length-delimited
_TICKET_TAG = b"\x08"  # field 1 of UpsertStreamRequest, varint
_UPSERT_TAG = b"\x12"  # field 2 of UpsertStreamRequest, length-delimited


@dataclass(frozen=True, slots=True)
class EncodedUpsert:
    """``head``: the request without its vectors. ``vectors``: their buffers in order, each one of contiguous bytes.

    The buffers are read when the batch is encoded, and not afterwards.
    """

    head: vector_pb2.UpsertRequest
    vectors: list[bytes | memoryview[Any]]

    def unary(self) -> bytes:
        """An UpsertRequest."""
        return b"".join(self._parts())

    def streamed(self, ticket: int) -> bytes:
        """An UpsertStreamRequest."""
        parts = self._parts()
        size = sum(map(len, parts))
        return b"".join([_TICKET_TAG, _varint(ticket), _UPSERT_TAG, _varint(size), *parts])

    def _parts(self) -> list[bytes | memoryview[Any]]:
        head = self.head.SerializeToString()
        return [_VECTORS_TAG, _varint(sum(map(len, self.vectors))), *self.vectors, head]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
