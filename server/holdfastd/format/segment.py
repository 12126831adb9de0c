"""The files of a sealed segment: row types of its npy files, and segment.json, which lists and checksums them.

    vectors.npy       (n, d) float32          norms.npy     (n,) float32
    rows.npy          (n,) ROW_DTYPE          ids.npy       (bytes,) uint8, UTF-8 ids back to back
    payloads.npy      (bytes,) uint8, JSON    kills-<S>.npy (k,) KILL_DTYPE
    tombstones.npy    (t,) TOMBSTONE_DTYPE, tombstone-rows.npy (t,) TOMBSTONE_ROW_DTYPE, ids in tombstone-ids.npy
    segment.json      SegmentInfo

Every number is little-endian. Kills files are written after the segment and are not in segment.json. The three files of
tombstones are there where there are any.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np

from .document import decode_document, encode_document

SEGMENT_VERSION = 1

ROW_DTYPE = np.dtype(
    [
        ("sequence", "<u8"),
        ("time_us", "<u8"),
        ("hash_high", "<u8"),
        ("hash_low", "<u8"),
        ("id_offset", "<u8"),
        ("payload_offset", "<u8"),
        ("payload_length", "<u4"),
        ("id_length", "<u2"),
        ("flags", "<u2"),
        ("version", "<u4"),
        ("reserved", "<u4"),
    ]
)
"""Everything about a row but its vector: 64 bytes, one cache line, so that a cold look costs one fault."""
ROW_HAS_PAYLOAD = 1
"""Bit of ``flags``: tells an absent payload from an empty one."""

KILL_DTYPE = np.dtype([("row", "<u4"), ("reserved", "<u4"), ("sequence", "<u8")])
"""A row of this segment superseded or deleted by the operation ``sequence``; ascending rows."""

TOMBSTONE_DTYPE = np.dtype(
    [
        ("id_hash", "<u8"),
        ("sequence", "<u8"),
        ("id_offset", "<u8"),
        ("id_length", "<u2"),
        ("reserved", "<u2"),
        ("reserved_2", "<u4"),
    ]
)
"""The id of a row that is not there any more, and the operation that had killed it."""
TOMBSTONE_ROW_DTYPE = np.dtype([("sequence", "<u8"), ("hash_high", "<u8"), ("hash_low", "<u8")])
"""What else an increment asks of a row that compaction dropped: since when it was there, and its row hash."""

RUN_HASH_DTYPE = np.dtype("<u8")
"""``<run>-hash.npy`` of the id index: XXH3-64 of ids, ascending."""
RUN_ROW_DTYPE = np.dtype([("segment", "<u4"), ("row", "<u4")])
"""``<run>-rows.npy`` of the id index: where the id with the hash at the same place stands (segment ordinal, row)."""

_MAX_U32 = (1 << 32) - 1
_MAX_U64 = (1 << 64) - 1

assert ROW_DTYPE.itemsize == 64
assert KILL_DTYPE.itemsize == 16
assert TOMBSTONE_DTYPE.itemsize == 32
assert TOMBSTONE_ROW_DTYPE.itemsize == 24
assert RUN_ROW_DTYPE.itemsize == 8


@dataclass(frozen=True, slots=True)
class FileInfo:
    """Size in bytes and CRC-32C of a whole file."""

    size: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What segment.json says. ``ordinal`` names the segment in the id index; sequences are inclusive."""

    id: uuid.UUID
    collection_id: uuid.UUID
    ordinal: int
    rows: int
    dimensions: int
    first_sequence: int
    last_sequence: int
    files: dict[str, FileInfo]
    format_version: int = SEGMENT_VERSION

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(info.size for info in self.files.values())


def encode_segment_info(info: SegmentInfo) -> bytes:
    """The bytes of segment.json."""
    return encode_document("segment", info)


def decode_segment_info(data: bytes) -> SegmentInfo:
    """The contents of segment.json.

    Raises ValueError with a reason when it is damaged, UnsupportedFormat when it is intact and newer.
    """
    info = decode_document("segment", data, SegmentInfo, SEGMENT_VERSION)
    if not (0 <= info.ordinal <= _MAX_U32 and 0 <= info.rows <= _MAX_U32 and info.dimensions > 0):
        raise ValueError("segment: ordinal, rows or dimensions out of range")
    if not 0 <= info.first_sequence <= info.last_sequence <= _MAX_U64:
        raise ValueError(f"segment: sequences from {info.first_sequence} to {info.last_sequence}")
    for name, file in info.files.items():
        check_component(name)
        if not (0 <= file.size <= _MAX_U64 and 0 <= file.crc32c <= _MAX_U32):
            raise ValueError(f"segment: size or checksum of {name} out of range")
    return info


def check_component(name: str) -> None:
    """ValueError unless ``name`` can only be a file inside its own directory."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a plain file name")
