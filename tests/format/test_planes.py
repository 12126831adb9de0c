"""Shuffling floats into planes, and the way back that README.txt tells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.format.planes import BLOCK_FLOATS, planes_shape, rows_per_block, shuffle, unshuffle

SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 40))


def planes_of(matrix: np.ndarray) -> np.ndarray:
    shape = planes_shape(*matrix.shape)
    step = rows_per_block(*matrix.shape)
    blocks = [shuffle(matrix[start : start + step], shape[2]) for start in range(0, len(matrix), step)]
    planes = np.stack(blocks)
    assert planes.shape == shape
    return planes


@given(SHAPES, st.integers(0, 2**32))
def test_what_is_shuffled_comes_back_both_ways(shape: tuple[int, int], seed: int) -> None:
    matrix = np.random.default_rng(seed).integers(0, 256, (shape[0], shape[1] * 4), np.uint8).view("<f4")
    planes = planes_of(matrix)
    ours = np.concatenate([unshuffle(block, shape[1]) for block in planes])[: shape[0]]
    told = planes.transpose(0, 2, 1).reshape(-1).view("<f4").reshape(-1, shape[1])[: shape[0]]
    assert ours.tobytes() == told.tobytes() == matrix.tobytes()


@pytest.mark.parametrize("rows", [1, BLOCK_FLOATS // 3, BLOCK_FLOATS // 3 + 1, BLOCK_FLOATS])
def test_blocks_hold_whole_rows_and_the_last_is_filled_with_zeros(rows: int) -> None:
    matrix = np.full((rows, 3), 1.5, np.float32)
    planes = planes_of(matrix)
    assert planes.shape[2] <= BLOCK_FLOATS
    assert planes.shape[2] % 3 == 0
    assert np.count_nonzero(planes[:, 3]) == rows * 3, "the last byte of 1.5 is not zero, the filling is"


def test_a_row_longer_than_a_block_is_a_block() -> None:
    assert planes_shape(5, BLOCK_FLOATS + 1) == (5, 4, BLOCK_FLOATS + 1)
