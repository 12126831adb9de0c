"""One gzip member: what a compressor gains something on is deflated, what looks random is stored as it is.

Of embeddings, three bytes of four are mantissas, in planes of their own: no compressor gains on them, each loses time,
and the codes that it fits to both kinds together serve neither. A deflate stream is a series of blocks (RFC 1951), each
stored or compressed by itself, so the two kinds are told apart in sections and any gunzip reads the result.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from isal import isal_zlib

from .files import Buffer

LEVEL = 1
"""Of isal: level 0 finds less, level 3 takes twice the time for a fraction of a percent."""
SECTION_BYTES = 4096
"""Told apart by itself; small against the 64 KiB that a plane has in one block of vectors."""
_EVERY = 32
"""One byte out of so many is looked at."""
_LOOKED_AT = SECTION_BYTES // _EVERY
_EXPECTED = _LOOKED_AT + _LOOKED_AT * (_LOOKED_AT - 1) / 256
"""The sum of the squared counts of the values of random bytes: 191.5, with a standard deviation of 11."""
_LOOKS_RANDOM = _EXPECTED + 4.5 * np.sqrt(2 * _LOOKED_AT * (_LOOKED_AT - 1) / 256)
"""Text has 1,000 or more, exponents 3,000; one random section in thousands is above it, and deflated for nothing."""
_LARGEST_STORED = 65_535
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Deflate, no flags, no time, no hint, an unknown operating system: the same for the same data."""
_LAST_BLOCK = b"\x03\0"
"""A compressed block that holds nothing and says that it is the last."""


def compress(data: Buffer) -> bytes:
    """One gzip member; the same for the same data. Releases the GIL for most of it."""
    view = memoryview(data).cast("B")
    out: list[Buffer] = [_HEADER]
    for start, end, random in _runs(view):
        out += _stored(view[start:end]) if random else _deflated(view[start:end])
    out += [_LAST_BLOCK, struct.pack("<II", isal_zlib.crc32(view), len(view) & 0xFFFFFFFF)]
    return b"".join(out)


def _runs(data: memoryview) -> Iterator[tuple[int, int, bool]]:
    """Start and end of the longest runs of sections of one kind, and whether they look random."""
    sections = len(data) // SECTION_BYTES
    if not sections:
        yield 0, len(data), False
        return
    random = _look_random(data, sections)
    edges = [0, *(np.flatnonzero(np.diff(random)) + 1).tolist(), sections]
    for first, last in pairwise(edges):
        end = len(data) if last == sections else last * SECTION_BYTES
        yield first * SECTION_BYTES, end, bool(random[first])


def _look_random(data: memoryview, sections: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(sections,) bool: whether the values of a section's bytes are as even as those of random ones."""
    looked_at = np.frombuffer(data, np.uint8, sections * SECTION_BYTES).reshape(sections, SECTION_BYTES)[:, ::_EVERY]
    values = (np.arange(sections, dtype=np.int64)[:, None] << 8) + looked_at
    counts = np.bincount(values.reshape(-1), minlength=sections << 8).reshape(sections, 256)
    uneven: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.einsum("ij,ij->i", counts, counts) <= _LOOKS_RANDOM
    return uneven


def _stored(data: memoryview) -> Iterator[Buffer]:
    for start in range(0, len(data), _LARGEST_STORED):
        piece = data[start : start + _LARGEST_STORED]
        yield struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF)
        yield piece


def _deflated(data: memoryview) -> Iterator[Buffer]:
    compressor = isal_zlib.compressobj(LEVEL, wbits=-15)
    yield compressor.compress(data)
    # To the end of a byte, with no block said to be the last.
    yield compressor.flush(isal_zlib.Z_FULL_FLUSH)
