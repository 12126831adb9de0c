"""Many log records checked at once: what ``record.decode_header`` says of one, said of a run, and many times faster.

Only what is beyond doubt is accepted here. Where a run stops, ``decode_header`` says what stands there instead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from .record import ALIGNMENT, HEADER_SIZE, MAX_PAYLOAD_BYTES, RECORD_MAGIC, RecordHeader

RECORD_DTYPE = np.dtype(
    [
        ("magic", "<u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("reserved", "<u2"),
        ("payload_length", "<u4"),
        ("payload_crc", "<u4"),
        ("sequence", "<u8"),
        ("previous", "<u8"),
        ("timestamp_us", "<u8"),
        ("wall_us", "<u8"),
        ("durable_offset", "<u8"),
        ("chain", "<u4"),
        ("crc", "<u4"),
    ]
)
assert RECORD_DTYPE.itemsize == HEADER_SIZE

RecordArray: TypeAlias = NDArray[np.void]
"""(n,) of RECORD_DTYPE."""

_WORDS = HEADER_SIZE // ALIGNMENT
_COVERED_BYTES = 2 * ALIGNMENT + HEADER_SIZE - 4
_COPY_BELOW = 16384
"""Copying a small slice costs less than making an array of it."""
_MAGIC_AND_LENGTH = struct.Struct("<I4xI")
_WORD = np.dtype("<u8")
_crc32c = google_crc32c.value


def _nobody(_end: int) -> None:
    """Nobody listens."""


def intact_run(
    buf: bytes | memoryview, position: int, *, salt: int, offset: int, before_checks: Callable[[int], None] = _nobody
) -> tuple[RecordArray, list[int]]:
    """The records that stand one after the other from ``buf[position]`` on, whole and intact, and their positions.

    ``position`` is a multiple of 8 and byte ``offset`` of the file salted ``salt``. Of each record the header's and the
    payload's checksum hold, its padding is zero, and its chain is the crc of the record before it in the run. Kinds and
    flags are not judged. Headers are copied; buf is not kept. ``before_checks`` is told where the run ends if all of it
    turns out to be intact.
    """
    positions, end = _walk(buf, position)
    if not positions:
        return np.empty(0, RECORD_DTYPE), []
    before_checks(end)
    words = np.frombuffer(buf, _WORD, len(buf) // ALIGNMENT)
    starts = np.array(positions, np.int64)
    heads = words[(starts // ALIGNMENT)[:, None] + np.arange(_WORDS)]
    rows = heads.view(RECORD_DTYPE).ravel()
    count = _intact_headers(heads, rows, (starts + (offset - position)).astype(_WORD), salt)
    count = _zero_paddings(words, rows[:count], starts[:count])
    count = _intact_payloads(buf, rows[:count], positions)
    return rows[:count], positions[:count]


def header_of(row: np.void) -> RecordHeader:
    """One row as the value that ``decode_header`` gives."""
    _, kind, flags, _, *rest = row.item()
    return RecordHeader(kind, flags, *rest)


def _walk(buf: bytes | memoryview, position: int) -> tuple[list[int], int]:
    """Where records would start by the word of their lengths, which nobody has checked yet, and where the last ends."""
    positions = []
    size = len(buf)
    last = size - HEADER_SIZE
    unpack = _MAGIC_AND_LENGTH.unpack_from
    while position <= last:
        magic, length = unpack(buf, position)
        end = position + HEADER_SIZE + ((length + 7) & ~7)
        if magic != RECORD_MAGIC or length > MAX_PAYLOAD_BYTES or end > size:
            break
        positions.append(position)
        position = end
    return positions, position


def _intact_headers(heads: NDArray[np.uint64], rows: RecordArray, offsets: NDArray[np.uint64], salt: int) -> int:
    """How many of the first headers have a checksum that holds and follow each other."""
    covered = np.empty((len(rows), 2 + _WORDS), _WORD)
    covered[:, 0] = salt
    covered[:, 1] = offsets
    covered[:, 2:] = heads
    raw = covered.tobytes()
    step = covered.shape[1] * ALIGNMENT
    computed = [_crc32c(raw[start : start + _COVERED_BYTES]) for start in range(0, len(raw), step)]
    good = rows["crc"] == np.array(computed, np.uint32)
    good[1:] &= rows["chain"][1:] == rows["crc"][:-1]
    return _first_false(good)


def _zero_paddings(words: NDArray[np.uint64], rows: RecordArray, starts: NDArray[np.int64]) -> int:
    lengths = rows["payload_length"].astype(np.int64)
    used = lengths & 7
    last_words = words[(starts + HEADER_SIZE + lengths - 1) // ALIGNMENT]
    stray = last_words >> (8 * used).astype(np.uint64)
    return _first_false((used == 0) | (stray == 0))


def _intact_payloads(buf: bytes | memoryview, rows: RecordArray, positions: list[int]) -> int:
    """How many of the first payloads have a checksum that holds."""
    array = np.frombuffer(buf, np.uint8)
    crcs = rows["payload_crc"].tolist()
    for index, length in enumerate(rows["payload_length"].tolist()):
        start = positions[index] + HEADER_SIZE
        piece = bytes(buf[start : start + length]) if length < _COPY_BELOW else array[start : start + length]
        if _crc32c(piece) != crcs[index]:
            return index
    return len(crcs)


def _first_false(good: NDArray[np.bool_]) -> int:
    """Index of the first False, or the length."""
    return len(good) if good.all() else int(good.argmin())
