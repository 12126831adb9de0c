"""Row hashes, id hashes and the digest, against a reference written from FORMAT.md."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.format.hashing import digest_sums, hash_ids, hash_rows, hashes_from_bytes, hashes_to_bytes

IDS = st.binary(min_size=1, max_size=40)
PAYLOADS = st.none() | st.binary(min_size=2, max_size=60)
ROWS = st.lists(st.tuples(IDS, PAYLOADS, st.lists(st.floats(width=32), min_size=3, max_size=3)), max_size=8)


def by_the_book(id_: bytes, row: np.ndarray, payload: bytes | None) -> tuple[int, int]:
    """The row hash as FORMAT.md defines it."""
    image = struct.pack("<I", len(id_)) + id_ + row.astype("<f4").tobytes()
    image += b"\0" if payload is None else b"\1" + payload
    whole = xxhash.xxh3_128_intdigest(image)
    return whole >> 64, whole & (1 << 64) - 1


@given(ROWS)
def test_hashes_are_what_the_format_says(rows: list[tuple[bytes, bytes | None, list[float]]]) -> None:
    ids, payloads = [row[0] for row in rows], [row[1] for row in rows]
    vectors = np.array([row[2] for row in rows], np.float32).reshape(len(rows), 3)
    expected = [by_the_book(*row) for row in zip(ids, vectors, payloads, strict=True)]
    hashes = hash_rows(ids, vectors, payloads)
    assert hashes.dtype == np.uint64
    assert [tuple(row) for row in hashes.tolist()] == expected
    assert hash_ids(ids).tolist() == [xxhash.xxh3_64_intdigest(id_) for id_ in ids]
    assert (hashes_from_bytes(hashes_to_bytes(hashes)) == hashes).all()
    assert digest_sums(hashes) == tuple(sum(half) % 2**64 for half in zip((0, 0), *expected, strict=True))


def test_the_hashes_are_fixed_for_ever() -> None:
    assert hash_ids([b"id"]).tolist() == [0xD2A4_4DFE_8653_BA83]
    hashes = hash_rows([b"id", b"id"], np.array([[1, -0.0], [1, 0.0]], np.float32), [b"{}", None])
    assert hashes_to_bytes(hashes).hex() == (
        "3b0ebcb4097ea74b4bbdfc6da66defa1"  # with payload
        "b87b25664e1d90f3f3ad0d06c7df4b44"
    )


def one(id_: bytes, row: list[float], payload: bytes | None) -> bytes:
    return hashes_to_bytes(hash_rows([id_], np.array([row], np.float32), [payload]))


def test_rows_that_differ_in_anything_differ_in_their_hash() -> None:
    images = [
        one(b"a", [0.0], None),
        one(b"a", [-0.0], None),
        one(b"b", [0.0], None),
        one(b"a", [0.0], b"{}"),
        one(b"a", [0.0], b"{ }"),
        one(b"a\0", [0.0], None),
        one(b"a", [0.0, 0.0], None),
    ]
    assert len(set(images)) == len(images)


def test_rows_of_a_larger_matrix_hash_alike() -> None:
    wide = np.random.default_rng(5).standard_normal((6, 8)).astype(np.float32)
    ids = [b"a", b"b", b"c"]
    strided = wide[::2, ::2]
    assert (hash_rows(ids, strided, [None] * 3) == hash_rows(ids, strided.copy(), [None] * 3)).all()
    wide.flags.writeable = False
    assert (hash_rows(ids, wide[:3], [None] * 3) == hash_rows(ids, wide[:3].copy(), [None] * 3)).all()


@pytest.mark.parametrize(("ids", "payloads"), [([b"a"], [None] * 2), ([b"a", b"b"], [None])])
def test_unequal_lengths_are_refused(ids: list[bytes], payloads: list[None]) -> None:
    with pytest.raises(ValueError, match="2 vectors"):
        hash_rows(ids, np.zeros((2, 3), np.float32), payloads)


def test_sums_wrap_and_do_not_depend_on_order() -> None:
    hashes = np.array([[2**64 - 1, 5], [3, 2**63], [7, 2**63]], np.uint64)
    assert digest_sums(hashes) == digest_sums(hashes[::-1]) == (9, 5)
