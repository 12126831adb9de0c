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
    planes[:, : block.size] = np.ascontiguousarray(block, "<f4").reshape(-1).view(np.uint8).reshape(-1, 4).T
    return planes


def unshuffle(planes: NDArray[np.uint8], dimensions: int) -> Float32Array:
    """(k // dimensions, dimensions) float32: the rows of one block, given as (4, k) u1."""
    floats: Float32Array = np.ascontiguousarray(planes.T).reshape(-1).view("<f4")
    return floats.reshape(-1, dimensions)
