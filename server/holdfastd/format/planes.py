"""Float bytes shuffled into planes before compression: bytes of like meaning stand together and compress better.

    planes := blocks × 4 × k bytes

A block holds k = rows_per_block × dimensions consecutive floats of the matrix; its first plane is the first byte of
each of them, and so on. The last block is filled up with zeros. The way back, for n rows of d dimensions:

    np.load("vectors.planes.npy").transpose(0, 2, 1).reshape(-1).view("<f4").reshape(-1, d)[:n]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..model import Float32Array

BLOCK_FLOATS = 65536
"""About as many floats make one block: small enough for a cache, large enough for the compressor's window."""


def rows_per_block(rows: int, dimensions: int) -> int:
    """How many rows one block of a matrix of this shape holds."""
    return max(1, min(rows, BLOCK_FLOATS // dimensions))


def planes_shape(rows: int, dimensions: int) -> tuple[int, int, int]:
    """(blocks, 4, k) of the planes of a matrix of ``rows`` × ``dimensions``."""
    step = rows_per_block(rows, dimensions)
    return -(-rows // step), 4, step * dimensions


def shuffle(block: Float32Array, floats: int) -> NDArray[np.uint8]:
    """(4, floats) u1: one block, filled up with zeros to ``floats``."""
    planes = np.zeros((4, floats), np.uint8)
    words = np.ascontiguousarray(block, "<f4").reshape(-1).view("<u4")
    # By halves and without strides NumPy moves many values at once, and single bytes one by one.
    for first, halves in ((0, words.astype(np.uint16)), (2, (words >> np.uint32(16)).astype(np.uint16))):
        planes[first, : block.size] = halves
        planes[first + 1, : block.size] = halves >> np.uint16(8)
    return planes


def unshuffle(planes: NDArray[np.uint8], dimensions: int) -> Float32Array:
    """(k // dimensions, dimensions) float32: the rows of one block, given as (4, k) u1."""
    words = planes[3].astype(np.dtype("<u4"))
    for plane in (planes[2], planes[1], planes[0]):
        words <<= np.uint32(8)
        words |= plane
    floats: Float32Array = words.view("<f4")
    return floats.reshape(-1, dimensions)
