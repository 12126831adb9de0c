"""Vectors lifted out of a message must be what protobuf would have read, in whatever order the fields come."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from holdfast.encoded import EncodedUpsert
from holdfast.v1 import vector_pb2
from holdfastd.rpc.batches import parse_ticketed, parse_upsert

VECTORS = bytes(range(64))


def request(vectors: bytes = b"") -> vector_pb2.UpsertRequest:
    return vector_pb2.UpsertRequest(
        collection="p", ids=["a", "b"], vectors=vectors, payloads=b"[{},null]", request_id="r"
    )


def test_vectors_in_front_are_a_view_of_the_message() -> None:
    batch = parse_upsert(EncodedUpsert(request(), [VECTORS[:16], VECTORS[16:]]).unary())
    assert isinstance(batch.vectors, memoryview)
    assert bytes(batch.vectors) == VECTORS
    assert batch.request == request()


@pytest.mark.parametrize("ticket", [0, 1, 127, 128, 1 << 40])
def test_a_ticketed_batch_keeps_its_ticket(ticket: int) -> None:
    message = parse_ticketed(EncodedUpsert(request(), [VECTORS]).streamed(ticket))
    assert (message.ticket, bytes(message.upsert.vectors)) == (ticket, VECTORS)
    assert message.upsert.request == request()


def test_fields_in_protobufs_own_order_are_read_as_well() -> None:
    assert parse_upsert(request(VECTORS).SerializeToString()).vectors == VECTORS
    whole = vector_pb2.UpsertStreamRequest(ticket=7, upsert=request(VECTORS)).SerializeToString()
    message = parse_ticketed(whole)
    assert (message.ticket, message.upsert.vectors) == (7, VECTORS)


def test_of_vectors_that_stand_twice_the_last_count() -> None:
    raw = EncodedUpsert(request(b"last"), [VECTORS]).unary()
    assert parse_upsert(raw).vectors == b"last" == vector_pb2.UpsertRequest.FromString(raw).vectors


@given(st.binary(max_size=80), st.integers(0, 200))
def test_damaged_messages_are_refused_or_read_as_protobuf_reads_them(noise: bytes, cut: int) -> None:
    for raw in (noise, EncodedUpsert(request(), [noise]).unary()[:cut]):
        try:
            expected = vector_pb2.UpsertRequest.FromString(raw)
        except DecodeError:
            with pytest.raises(DecodeError):
                parse_upsert(raw)
        else:
            assert bytes(parse_upsert(raw).vectors) == expected.vectors
    for raw in (noise, EncodedUpsert(request(), [noise]).streamed(cut)[:cut]):
        try:
            whole = vector_pb2.UpsertStreamRequest.FromString(raw)
        except DecodeError:
            with pytest.raises(DecodeError):
                parse_ticketed(raw)
        else:
            found = parse_ticketed(raw)
            assert (found.ticket, bytes(found.upsert.vectors)) == (whole.ticket, whole.upsert.vectors)
