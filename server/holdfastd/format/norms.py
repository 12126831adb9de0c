"""Euclidean norms of rows, safe for every finite float32."""

from __future__ import annotations

import numpy as np

from ..model import Float32Array

_SMALLEST_EXACT = np.float32(1e-30)
"""Below this a float32 sum of squares may have lost subnormal terms."""
_LARGEST = float(np.finfo(np.float32).max)


def row_norms(vectors: Float32Array) -> Float32Array:
    """(n,) float32 norms of (n, d) finite float32 rows; a zero row has norm 0, every other row a norm above 0.

    Squares are summed in float32: a norm is off by at most d/2 + 1 roundings of 2⁻²⁴ of itself. Rows whose squares
    over- or underflow are computed in float64; a norm beyond float32 is its largest number.
    """
    # Over- and underflow are looked for right below.
    with np.errstate(over="ignore", under="ignore"):
        squares: Float32Array = np.einsum("ij,ij->i", vectors, vectors)
    norms: Float32Array = np.sqrt(squares)
    doubtful = np.flatnonzero(~((squares >= _SMALLEST_EXACT) & np.isfinite(squares)))
    if len(doubtful):
        wide = vectors[doubtful].astype(np.float64)
        exact = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        smallest = float(np.finfo(np.float32).smallest_subnormal)
        norms[doubtful] = np.where(exact > 0, np.clip(exact, smallest, _LARGEST), 0.0)
    return norms
