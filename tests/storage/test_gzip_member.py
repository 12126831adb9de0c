"""One gzip member: any gunzip reads it, whatever lies beside whatever, and what nothing is gained on is stored."""

from __future__ import annotations

import gzip
import subprocess

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.format.planes import planes_shape, rows_per_block, shuffle
from holdfastd.storage.gzip_member import SECTION_BYTES, compress

KINDS = {
    "noise": lambda size, seed: np.random.default_rng(seed).bytes(size),
    "zeros": lambda size, seed: bytes(size),
    "text": lambda size, seed: (b"the store of row %d, " % seed * (size // 15 + 1))[:size],
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 5 * SECTION_BYTES), st.integers(0, 99)), max_size=8
    )
)
def test_any_gunzip_reads_it_back(parts: list[tuple[str, int, int]]) -> None:
    data = b"".join(KINDS[kind](size, seed) for kind, size, seed in parts)
    member = compress(data)
    assert gzip.decompress(member) == data
    assert compress(data) == member, "the same for the same data"


def test_the_gunzip_of_the_system_reads_it_too() -> None:
    data = KINDS["text"](300_000, 1) + KINDS["noise"](300_000, 2) + KINDS["zeros"](9, 0)
    assert subprocess.run(["gzip", "-dc"], input=compress(data), capture_output=True, check=True).stdout == data


def test_noise_costs_a_header_for_each_block_and_no_more() -> None:
    noise = KINDS["noise"](4 << 20, 3)
    assert len(compress(noise)) <= len(noise) * 1.0002


def test_text_and_zeros_are_compressed_as_if_they_stood_alone() -> None:
    for kind in ("text", "zeros"):
        data = KINDS[kind](1 << 20, 4)
        assert len(compress(data)) < len(data) / 50


def test_planes_of_floats_take_less_than_in_one_block() -> None:
    vectors = np.random.default_rng(5).normal(size=(2_000, 384)).astype(np.float32)
    rows = rows_per_block(*vectors.shape)
    floats = planes_shape(*vectors.shape)[2]
    blocks = [shuffle(vectors[start : start + rows], floats).tobytes() for start in range(0, len(vectors), rows)]
    data = b"".join(blocks)
    assert len(compress(data)) < len(data) * 0.9
    assert len(compress(data)) < len(gzip.compress(data, 6))


def test_a_buffer_of_any_kind_is_taken_and_may_be_small() -> None:
    for size in (0, 1, SECTION_BYTES - 1, SECTION_BYTES, SECTION_BYTES + 1, 2 * SECTION_BYTES):
        data = KINDS["noise"](size, 6)
        for form in (data, bytearray(data), memoryview(data)):
            assert gzip.decompress(compress(form)) == data
