"""Euclidean norms of rows, safe for every finite float32."""

from __future__ import annotations

import numpy as np

from ..model import Float32Array

_SMALLEST_EXACT = np.float32(1e-30)
"""Below this a float32 sum of squares may have lost subnormal terms."""
_LARGEST = float(np.finfo(np.float32).max)


def row_norms(vectors: Float32Array) -> Float32Array:
    """(n,) float32 norms of (n, d) float32 rows; a zero row has norm 0, every other finite row a norm above 0.

    Rows whose squares over- or underflow are computed in float64; a norm beyond float32 is its largest number. A row
    that is not finite has the norm nan: whoever needs the norms learns from them whether the rows can be stored.
    """
    squares: Float32Array = np.einsum("ij,ij->i", vectors, vectors)
    norms: Float32Array = np.sqrt(squares)
    # False for a nan, too.
    if len(squares) == 1:
        if _SMALLEST_EXACT <= squares[0] < np.inf:
            return norms
    elif not len(squares) or (squares.min() >= _SMALLEST_EXACT and squares.max() < np.inf):
        return norms
    doubtful = np.flatnonzero(~((squares >= _SMALLEST_EXACT) & (squares < np.inf)))
    wide = vectors[doubtful].astype(np.float64)
    exact = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    clipped = np.where(exact > 0, np.clip(exact, smallest, _LARGEST), 0.0)
    norms[doubtful] = np.where(np.isfinite(exact), clipped, np.nan)
    return norms
