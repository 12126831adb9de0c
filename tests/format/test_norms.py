"""Norms of every finite row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from holdfastd.format.norms import row_norms

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=FINITE))
def test_norms_agree_with_float64(vectors: np.ndarray) -> None:
    norms = row_norms(vectors)
    assert norms.dtype == np.float32
    exact = np.minimum(np.linalg.norm(vectors.astype(np.float64), axis=1), LARGEST)
    np.testing.assert_allclose(norms, exact, rtol=2e-6, atol=SMALLEST)
    assert ((norms > 0) == vectors.any(axis=1)).all()


@pytest.mark.parametrize(
    ("row", "norm"),
    [
        ([0.0, -0.0], 0.0),
        ([3e20, 4e20], 5e20),
        ([3e-30, 4e-30], 5e-30),
        ([SMALLEST, 0.0], SMALLEST),
        ([LARGEST, LARGEST], LARGEST),
    ],
)
def test_no_finite_row_over_or_underflows(row: list[float], norm: float) -> None:
    ordinary = [3.0, 4.0]
    norms = row_norms(np.array([ordinary, row, ordinary], np.float32))
    assert norms.tolist() == pytest.approx([5.0, norm, 5.0], rel=1e-6, abs=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_row_that_is_not_finite_has_no_norm(bad: float) -> None:
    norms = row_norms(np.array([[3.0, 4.0], [1.0, bad], [LARGEST, LARGEST]], np.float32))
    assert np.isnan(norms).tolist() == [False, True, False]


def test_no_rows() -> None:
    assert row_norms(np.zeros((0, 3), np.float32)).shape == (0,)


def test_reading_vectors_from_bytes_gives_the_same_norms_as_writing_them() -> None:
    vectors = np.random.default_rng(1).standard_normal((50, 33)).astype(np.float32)
    again = np.frombuffer(vectors.tobytes(), "<f4").reshape(50, 33)
    assert (row_norms(vectors) == row_norms(again)).all()
