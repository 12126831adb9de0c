"""Which ids a logged operation names."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from holdfast.v1.log_pb2 import LogOperation
from holdfastd.format.logged_ids import IdSearch, count_ids, first_ids
from holdfastd.format.operation import decode, encode, encode_upsert, hash_ids, hash_rows, row_norms
from holdfastd.model import Rows

SOME = uuid.UUID(int=7)


def upsert(ids: list[str], payloads: list[bytes | None] | None = None, vectors: object = None) -> bytes:
    """The payload of an upsert, as the writer makes it."""
    keys = [id.encode() for id in ids]
    matrix = np.ones((len(ids), 4), np.float32) if vectors is None else np.asarray(vectors, np.float32)
    given: list[bytes | None] = [None] * len(ids) if payloads is None else payloads
    rows = Rows(keys, matrix, given, hash_ids(keys), hash_rows(keys, matrix, given), row_norms(matrix))
    return b"".join(bytes(part) for part in encode_upsert(SOME, rows, b"", actor="a", request_id="r"))


def found(payload: bytes, *ids: str) -> list[str]:
    return IdSearch(ids).found(decode(payload), memoryview(payload))


@pytest.mark.parametrize("place", [0, 1, 4999, 9999])
def test_one_of_many_rows(place: int) -> None:
    ids = [f"p{number}" for number in range(10_000)]
    payload = upsert(ids)
    assert found(payload, ids[place]) == [ids[place]]
    assert found(payload, "p10000", "q", "") == []


@pytest.mark.parametrize("more", [0, 20])
def test_several_are_found_in_the_order_of_the_operation(more: int) -> None:
    payload = upsert(["a", "b", "ü" * 200, "d"])
    absent = [f"absent{number}" for number in range(more)]
    assert found(payload, "d", "ü" * 200, "a", "x", *absent) == ["a", "ü" * 200, "d"]
    assert found(payload, "x", "ü", *absent) == []


def test_what_only_looks_like_an_id_is_none() -> None:
    wire = b"\n\x05hello"
    payload = upsert(["a", "xhello"], [b'{"a":"\\n\\u0005hello"}', None], np.frombuffer((wire + b"\0" * 9) * 2, "<f4"
    ).reshape(2, 4))  # fmt: skip
    assert found(payload, "hello") == []
    marked = LogOperation(collection_id=SOME.bytes, actor=wire.decode())
    marked.delete.ids.extend(["a"])
    assert found(encode(marked), "hello") == []


def test_deletes_name_ids_and_nothing_else_does() -> None:
    message = LogOperation(collection_id=SOME.bytes)
    message.delete.ids.extend(["a", "b", "c"])
    payload = encode(message)
    assert found(payload, "c", "a") == ["a", "c"]
    assert (list(first_ids(message, 2)), count_ids(message)) == (["a", "b"], 3)
    marked = LogOperation()
    marked.mark.name = "a"
    assert found(encode(marked), "a") == []
    assert (list(first_ids(marked, 2)), count_ids(marked)) == ([], 0)


@pytest.mark.parametrize("dimensions", [0, 1, 3, 4, 5, 7, 5000])
def test_a_matrix_of_another_size_than_it_should_have_hides_no_id(dimensions: int) -> None:
    message = LogOperation(collection_id=SOME.bytes)
    message.upsert.ids.extend(["a", "hello", "b"])
    message.upsert.dimensions = dimensions
    message.upsert.vectors = np.ones((3, 4), np.float32).tobytes()
    assert found(encode(message), "hello") == ["hello"]
