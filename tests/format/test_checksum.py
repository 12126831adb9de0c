"""CRC-32C, over whatever form bytes travel in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.format.checksum import crc32c


def test_it_is_castagnoli() -> None:
    assert crc32c(b"123456789") == 0xE306_9283
    assert crc32c(bytes(32)) == 0x8A91_36AA


@given(st.binary(), st.binary(), st.binary())
def test_parts_count_as_if_joined(a: bytes, b: bytes, c: bytes) -> None:
    whole = crc32c(a + b + c)
    assert crc32c(a, memoryview(b), bytearray(c)) == whole
    assert crc32c(c, crc=crc32c(a, np.frombuffer(b, np.uint8))) == whole


@pytest.mark.parametrize("writable", [False, True])
def test_a_matrix_is_taken_as_it_is(writable: bool) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    matrix.flags.writeable = writable
    assert crc32c(matrix.data) == crc32c(matrix.tobytes())
