"""Operations as payloads of the log, upserts above all."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.v1 import log_pb2
from holdfast.v1.log_pb2 import LogOperation, UpsertBody
from holdfastd.errors import UnsupportedFormat
from holdfastd.format.operation import (
    decode,
    encode,
    encode_upsert,
    hash_ids,
    hash_rows,
    ids_of,
    join_payloads,
    row_norms,
    rows_of,
    split_payloads,
)
from holdfastd.model import Rows
from tests.format.flips import bit_flips

COLLECTION = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
IDS = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
PAYLOADS = st.none() | st.sampled_from([b"{}", b'{"a": 1}', b'{"text": "' + b"again and " * 30 + b'"}'])
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def make_rows(ids: list[bytes], vectors: np.ndarray, payloads: list[bytes | None]) -> Rows:
    return Rows(ids, vectors, payloads, hash_ids(ids), hash_rows(ids, vectors, payloads), row_norms(vectors))


@st.composite
def batches(draw: st.DrawFn) -> Rows:
    ids = [id_.encode() for id_ in draw(st.lists(IDS, min_size=1, max_size=6, unique=True))]
    size = draw(st.integers(1, 4))
    floats = draw(st.lists(FLOATS, min_size=size * len(ids), max_size=size * len(ids)))
    payloads = draw(st.lists(PAYLOADS, min_size=len(ids), max_size=len(ids)))
    return make_rows(ids, np.array(floats, np.float32).reshape(len(ids), size), payloads)


EXAMPLE = make_rows([b"a", "größer".encode()], np.array([[1, 2, 3], [-0.0, 5, 6]], np.float32), [b'{"n": 1}', None])


def logged(rows: Rows, block: bytes | None = None) -> bytes:
    block = join_payloads(rows.payloads) if block is None else block
    return b"".join(encode_upsert(COLLECTION, rows, block, actor="me", request_id="r-1"))


def assert_same(left: Rows, right: Rows) -> None:
    assert (left.ids, left.payloads) == (right.ids, right.payloads)
    for name in ("vectors", "id_hashes", "hashes", "norms"):
        mine, other = getattr(left, name), getattr(right, name)
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
        assert mine.tobytes() == other.tobytes(), name


@given(batches())
def test_an_upsert_comes_back_from_the_log_as_it_was(rows: Rows) -> None:
    operation = decode(logged(rows))
    assert (operation.collection_id, operation.actor, operation.request_id) == (COLLECTION.bytes, "me", "r-1")
    assert_same(rows_of(operation.upsert), rows)


@given(batches())
def test_the_parts_are_what_protobuf_itself_would_have_written(rows: Rows) -> None:
    data = logged(rows)
    assert encode(decode(data)) == data


def test_nothing_of_the_matrix_is_copied_and_it_comes_last() -> None:
    parts = encode_upsert(COLLECTION, EXAMPLE, b"", actor="", request_id="")
    assert np.shares_memory(np.frombuffer(parts[-1], np.uint8), EXAMPLE.vectors)
    assert isinstance(parts[-1], memoryview)
    assert parts[-1].readonly
    assert bytes(parts[-1]) == EXAMPLE.vectors.tobytes()


def test_vectors_have_the_last_field_on_the_wire_for_ever() -> None:
    fields = UpsertBody.DESCRIPTOR.fields
    assert max(fields, key=lambda field: field.number).name == "vectors"
    assert fields[-1].number == 15
    assert max(LogOperation.DESCRIPTOR.fields_by_name[name].number for name in ("actor", "request_id")) < 10


def test_the_payloads_keep_the_spelling_of_the_block() -> None:
    operation = decode(logged(EXAMPLE, b'[ {"n":  1},null ]'))
    assert rows_of(operation.upsert).payloads == [b'{"n":  1}', None]


def test_a_block_is_put_together_where_none_is_at_hand() -> None:
    assert logged(EXAMPLE, b"") == logged(EXAMPLE)
    assert decode(logged(EXAMPLE, b"")).upsert.payloads == b'[{"n": 1},null]'


def test_payloads_are_compressed_exactly_where_that_makes_them_smaller() -> None:
    text = b'{"text": "' + b"again and " * 30 + b'"}'
    noise = b'{"x": "%s"}' % np.random.default_rng(1).bytes(400).hex().encode()
    for payload, codec in [
        (b"{}", log_pb2.PAYLOAD_CODEC_RAW),
        (text, log_pb2.PAYLOAD_CODEC_SNAPPY),
        (noise, log_pb2.PAYLOAD_CODEC_RAW),
    ]:
        rows = make_rows([b"a"], np.ones((1, 2), np.float32), [payload])
        upsert = decode(logged(rows)).upsert
        assert upsert.payload_codec == codec
        assert len(upsert.payloads) <= len(payload) + 2
        assert rows_of(upsert).payloads == [payload]
    nothing = decode(logged(make_rows([b"a"], np.ones((1, 2), np.float32), [None]))).upsert
    assert (nothing.payloads, nothing.payload_codec) == (b"", log_pb2.PAYLOAD_CODEC_UNSPECIFIED)


def test_a_replayed_upsert_says_what_it_repeats() -> None:
    parts = encode_upsert(COLLECTION, EXAMPLE, b"", actor="", request_id="", origin_sequence=77)
    assert decode(b"".join(parts)).origin_sequence == 77


def test_big_numbers_of_rows_cross_every_length_of_varint() -> None:
    for count in (1, 5, 40, 700):
        ids = [f"id-{row}".encode() for row in range(count)]
        rows = make_rows(ids, np.arange(count * 8, dtype=np.float32).reshape(count, 8), [None] * count)
        assert_same(rows_of(decode(logged(rows)).upsert), rows)


BODIES = [
    LogOperation(collection_id=COLLECTION.bytes, delete=log_pb2.DeleteBody(ids=["a", "ö"])),
    LogOperation(collection_id=COLLECTION.bytes, truncate=log_pb2.TruncateBody()),
    LogOperation(mark=log_pb2.MarkBody(name="before-migration")),
    LogOperation(collection_id=COLLECTION.bytes, replayed=log_pb2.ReplayedBody(through=9, count=2)),
    LogOperation(checkpoint=log_pb2.CheckpointBody(collection_ids=[COLLECTION.bytes], sequence=8)),
]


@pytest.mark.parametrize("operation", BODIES, ids=lambda operation: operation.WhichOneof("body"))
def test_every_other_operation_comes_back(operation: LogOperation) -> None:
    assert decode(memoryview(encode(operation))) == operation


def test_numbers_of_bodies_never_change() -> None:
    bodies = {field.name: field.number for field in LogOperation.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert list(bodies.items()) == [
        ("upsert", 10),
        ("delete", 11),
        ("truncate", 12),
        ("create_collection", 13),
        ("drop_collection", 14),
        ("put_alias", 15),
        ("delete_alias", 16),
        ("restore", 17),
        ("mark", 18),
        ("replayed", 19),
        ("checkpoint", 20),
        ("settings", 21),
    ]


def test_the_log_imports_nothing_of_the_api() -> None:
    assert [file.name for file in log_pb2.DESCRIPTOR.dependencies] == []


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x0a\x05abc", b"hello"])
def test_what_is_no_operation_is_refused_with_a_reason(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"LogOperation|empty"):
        decode(payload)


def test_a_collection_id_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="collection id of 3 bytes"):
        decode(encode(LogOperation(collection_id=b"abc", truncate=log_pb2.TruncateBody())))


def test_a_body_of_the_future_is_not_damage() -> None:
    with pytest.raises(UnsupportedFormat, match="does not know"):
        decode(b"\xf2\x07\x00")  # field 126, empty


def body(**changes: object) -> UpsertBody:
    upsert = UpsertBody.FromString(decode(logged(EXAMPLE)).upsert.SerializeToString())
    for name, value in changes.items():
        if name == "ids":
            del upsert.ids[:]
            upsert.ids.extend(value)
        else:
            setattr(upsert, name, value)
    return upsert


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": []}, "without ids"),
        ({"ids": ["a", ""]}, "ids have 1 to 512 bytes"),
        ({"ids": ["a", "x" * 513]}, "ids have 1 to 512 bytes"),
        ({"ids": ["a"]}, "24 bytes of vectors for 1 ids"),
        ({"dimensions": 0}, "of 0 dimensions"),
        ({"dimensions": 70_000, "vectors": bytes(560_000)}, "of 70000 dimensions"),
        ({"vectors": bytes(23)}, "23 bytes of vectors"),
        ({"row_hashes": bytes(31)}, "31 bytes of row hashes"),
        ({"payload_codec": 0}, "without a codec"),
        ({"payloads": b"[1,2]"}, "neither a JSON object"),
        ({"payloads": b"[{}]"}, "1 items for 2 ids"),
        ({"payload_codec": 2, "payloads": b"\xff\xff\xff\xff\x0f"}, "claims to hold 4294967295"),
        ({"payload_codec": 2, "payloads": b"\xff\xff\xff\xff\xff\xff"}, "claims to hold"),
        ({"payload_codec": 2, "payloads": b"\x05\x10abc"}, "damaged Snappy"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_a_reason(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(body(**changes))


def test_the_ids_of_a_delete_are_those_of_upserts() -> None:
    assert ids_of(["a", "größer", "x" * 512]) == [b"a", "größer".encode(), b"x" * 512]
    assert ids_of([]) == []
    for impossible in ("", "x" * 513):
        with pytest.raises(ValueError, match="ids have 1 to 512 bytes"):
            ids_of(["a", impossible])


def test_a_codec_of_the_future_is_not_damage() -> None:
    with pytest.raises(UnsupportedFormat, match="codec 7"):
        rows_of(body(payload_codec=7))


def read(payload: bytes) -> None:
    """What recovery does with a payload; only the two documented exceptions may come out of it."""
    try:
        operation = decode(payload)
        if operation.WhichOneof("body") == "upsert":
            rows = rows_of(operation.upsert)
            assert len(rows.ids) == len(rows.vectors) == len(rows.payloads) == len(rows.hashes)
    except (ValueError, UnsupportedFormat):
        return


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(payload: bytes) -> None:
    read(payload)


@pytest.mark.parametrize("block", [b"", b'[{"text": "' + b"again and " * 10 + b'"},null]'], ids=["raw", "snappy"])
def test_no_bit_flip_and_no_cut_raises_anything_else(block: bytes) -> None:
    rows = make_rows(EXAMPLE.ids, EXAMPLE.vectors, split_payloads(block, 2))
    payload = logged(rows, block)
    for _, damaged in bit_flips(payload):
        read(damaged)
    for size in range(len(payload)):
        read(payload[:size])
