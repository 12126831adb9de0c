"""A large upsert is described without its matrix; whatever else looks like one changes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import pytest

from holdfast.v1.log_pb2 import LogOperation
from holdfastd.errors import UnsupportedFormat
from holdfastd.format.described import LEAST_BYTES, described, upsert_body
from holdfastd.format.operation import (
    decode,
    encode,
    encode_upsert,
    encode_upsert_again,
    hash_ids,
    hash_rows,
    row_norms,
    varint,
)
from holdfastd.model import Rows

SOME = uuid.UUID(int=7)
OTHER = uuid.UUID(int=8)
TAG = b"z"
"""Of a matrix: field 15, bytes."""


def upsert(count: int, dimensions: int, *, actor: str = "a", request_id: str = "r", payload: bytes = b"") -> bytes:
    """The payload of an upsert, as the writer makes it."""
    keys = [f"z{number}zz" for number in range(count)]
    ids = [key.encode() for key in keys]
    matrix = np.random.default_rng(count).random((count, dimensions), np.float32)
    given: list[bytes | None] = [payload or b'{"z":"zz"}'] * count
    rows = Rows(ids, matrix, given, hash_ids(ids), hash_rows(ids, matrix, given), row_norms(matrix))
    return b"".join(bytes(part) for part in encode_upsert(SOME, rows, b"", actor=actor, request_id=request_id))


def without_matrix(operation: LogOperation) -> LogOperation:
    operation.upsert.ClearField("vectors")
    return operation


@pytest.mark.parametrize(("count", "dimensions"), [(1, 65_536), (50, 400), (3000, 8), (10_000, 64), (40, 60_000)])
def test_it_is_all_of_it_but_the_matrix(count: int, dimensions: int) -> None:
    payload = upsert(count, dimensions)
    operation, head = described(memoryview(payload))
    assert operation == without_matrix(decode(payload))
    assert decode(head) == operation
    assert len(payload) - len(head) >= 4 * count * dimensions


def test_what_is_small_or_no_upsert_is_decoded_as_it_is() -> None:
    deleted = LogOperation(collection_id=SOME.bytes)
    deleted.delete.ids.extend([f"z{number}" for number in range(LEAST_BYTES)])
    for payload in (upsert(3, 4), encode(deleted)):
        operation, head = described(payload)
        assert operation == decode(payload)
        assert head == payload


def reaching(payload_length: int, place: int) -> bytes:
    """What looks like a matrix that begins at ``place`` and reaches to the end of so many bytes."""
    for size in range(1, 6):
        length = varint(payload_length - place - 1 - size)
        if len(length) == size:
            return TAG + length
    raise AssertionError


@pytest.mark.parametrize("many", [1, 3, 40])
def test_what_looks_like_a_matrix_inside_of_something_else_is_none(many: int) -> None:
    payload = bytearray(upsert(2, 20_000, actor="x" * 500))
    start = payload.index(b"x" * 500)
    hashes = payload.index(decode(bytes(payload)).upsert.row_hashes)
    for place in [hashes + 3, *range(start, start + 10 * (many - 1), 10)]:
        planted = reaching(len(payload), place)
        payload[place : place + len(planted)] = planted if place >= hashes else b"z" * len(planted)
    operation, _ = described(bytes(payload))
    assert operation == without_matrix(decode(bytes(payload)))


def test_more_of_that_than_is_tried_is_decoded_whole() -> None:
    message = LogOperation(collection_id=SOME.bytes)
    message.upsert.ids.append("a")
    message.upsert.payloads = bytes(1000)
    message.upsert.dimensions = 1 << 15
    message.upsert.vectors = bytes(4 << 15)
    payload = bytearray(encode(message))
    start = payload.index(bytes(1000))
    for place in range(start, start + 900, 9):
        planted = reaching(len(payload), place)
        payload[place : place + len(planted)] = planted
    operation, head = described(bytes(payload))
    assert operation == decode(bytes(payload))
    assert head == payload


def outcome(work: Callable[[bytes], LogOperation], payload: bytes) -> LogOperation | str:
    """What comes out without the matrix, or why nothing does."""
    try:
        return without_matrix(work(payload))
    except (ValueError, UnsupportedFormat) as error:
        return f"{type(error)} {error}"


@pytest.mark.parametrize("seed", range(40))
def test_what_is_damaged_is_told_and_read_as_it_is_by_decoding_all_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payload = bytearray(upsert(100, 300))
    head = len(payload) - 4 * 100 * 300
    for place in rng.integers(0, head if seed % 4 else 80, 1 + seed % 3).tolist():
        payload[place] = int(rng.integers(256))
    assert outcome(lambda damaged: described(damaged)[0], bytes(payload)) == outcome(decode, bytes(payload))


@pytest.mark.parametrize(("count", "dimensions"), [(1, 1), (3, 4), (50, 400)])
def test_an_upsert_is_logged_again_as_it_stands(count: int, dimensions: int) -> None:
    payload = upsert(count, dimensions, actor="before", request_id="r")
    body = upsert_body(memoryview(payload))
    assert body is not None
    again = encode_upsert_again(OTHER, bytes(body), actor="now", origin_sequence=7)
    expected = LogOperation(collection_id=OTHER.bytes, actor="now", origin_sequence=7)
    expected.upsert.CopyFrom(decode(payload).upsert)
    assert decode(b"".join(bytes(part) for part in again)) == expected


def test_no_other_operation_has_the_body_of_an_upsert() -> None:
    deleted = LogOperation(collection_id=SOME.bytes)
    deleted.delete.ids.append("a")
    behind = upsert(3, 4) + LogOperation(request_id="behind it").SerializeToString()
    assert [upsert_body(memoryview(payload)) for payload in (encode(deleted), behind, b"")] == [None] * 3
