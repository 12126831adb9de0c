"""What protobuf refuses to parse is explained by field and row."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from holdfast.v1 import vector_pb2
from holdfastd.rpc.wire import explain, first_varint

UPSERT = vector_pb2.UpsertRequest.DESCRIPTOR
STREAM = vector_pb2.UpsertStreamRequest.DESCRIPTOR


def text(number: int, value: bytes) -> bytes:
    """A field of bytes; both numbers below 16 and lengths below 128."""
    return bytes([number << 3 | 2, len(value)]) + value


def test_the_row_of_a_bad_id_is_named() -> None:
    raw = text(1, b"books") + b"".join(text(2, b"id") for _ in range(17)) + text(2, b"\xff") + text(3, b"\xff\xff")
    error = explain(UPSERT, raw)
    assert error.field == "ids[17]"
    assert error.reason == "INVALID_UTF8"


def test_a_bad_field_inside_a_message_is_named_with_its_path() -> None:
    raw = b"\x08\x05" + text(2, text(1, b"books") + text(2, b"ok") + text(2, b"\xc3"))
    assert explain(STREAM, raw).field == "upsert.ids[1]"
    assert first_varint(raw, 1) == 5


def test_a_single_field_has_no_row() -> None:
    assert explain(UPSERT, text(1, b"\x80")).field == "collection"


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (text(1, b"books") + b"\x12\x7fab", 7),
        (b"\x0a", 1),
        (b"\xff" * 11, 0),
        (b"\x0b", 0),
        (b"\x02\x00", 0),
    ],
)
def test_the_place_where_the_bytes_break_is_named(raw: bytes, offset: int) -> None:
    error = explain(UPSERT, raw)
    assert error.reason == "MALFORMED_REQUEST"
    assert error.metadata["offset"] == str(offset)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_explanation(raw: bytes) -> None:
    assert explain(STREAM, raw).message
    assert first_varint(raw, 1) >= 0


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_it_agrees_with_protobuf(ids: list[bytes]) -> None:
    raw = b"".join(text(2, id) for id in ids)
    try:
        vector_pb2.UpsertRequest.FromString(raw)
    except DecodeError:
        row = int(str(explain(UPSERT, raw).field)[4:-1])
        with pytest.raises(UnicodeDecodeError):
            ids[row].decode()
        for before in ids[:row]:
            before.decode()
