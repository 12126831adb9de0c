"""The framing of one log record: a header of 64 bytes with a checksum of its own, then the payload, padded to 8 bytes.

    record  := header payload padding
    header  := magic:u32 kind:u8 flags:u8 reserved:u16 payload_length:u32 payload_crc:u32 sequence:u64 previous:u64
               timestamp_us:u64 wall_us:u64 durable_offset:u64 chain:u32 crc:u32                      (little-endian)
    padding := 0..7 zero bytes, so that the next header is 8-aligned in the file

``crc`` covers the file's salt, the header's offset in the file and the 60 bytes before it, so that nothing a client
sends, and no record of another file or place, can pass for a header here. ``chain`` is the crc of the header before.
Zero bytes are never a header: preallocated space reads as the end of the log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import google_crc32c
import numpy as np

from ..errors import UnsupportedFormat
from .outcome import Damaged, Incomplete

__all__ = [
    "ALIGNMENT",
    "HEADER_SIZE",
    "MAX_PAYLOAD_BYTES",
    "RECORD_MAGIC",
    "Damaged",
    "Incomplete",
    "RecordFlag",
    "RecordHeader",
    "RecordKind",
    "decode_header",
    "encode_header",
    "find_headers",
    "padded_size",
]

HEADER_SIZE = 64
ALIGNMENT = 8
MAX_PAYLOAD_BYTES = (1 << 31) - (1 << 16)
"""Largest payload of one record; larger operations continue in further records of the same sequence."""

RECORD_MAGIC = 0xFFC1_4648
"""``HF`` and two bytes that make the word a NaN and not UTF-8: text and aligned finite floats never contain it."""


class RecordKind(IntEnum):
    """What a record is. Values are on disk: never change or reuse one. Zero is invalid."""

    OPERATION = 1
    """The payload is a ``LogOperation``, or a part of one."""
    MARKER = 2
    """No payload; only its ``durable_offset`` matters."""
    CLOSED = 3
    """No payload; logging was disabled after this record."""


class RecordFlag(IntFlag):
    """Bits of ``flags``. Values are on disk: never change or reuse one."""

    LAST = 1
    """The last record of its operation; records without it are continued by the next record of the same sequence."""


_KINDS = frozenset(int(kind) for kind in RecordKind)
_FLAGS = int(RecordFlag.LAST)

# Salt and offset are covered by the checksum but not stored.
_COVERED = struct.Struct("<QQIBBHIIQQQQQI")
_STORED = struct.Struct("<IBBHIIQQQQQII")
_CRC = struct.Struct("<I")
_PLACE = struct.Struct("<QQ")
assert _STORED.size == HEADER_SIZE
assert _COVERED.size == _PLACE.size + HEADER_SIZE - _CRC.size

_pack_covered = _COVERED.pack
_pack_crc = _CRC.pack
_crc32c = google_crc32c.value
_ZERO_HEADER = bytes(HEADER_SIZE)


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """One decoded header. Offsets and lengths in bytes, times in microseconds since the epoch.

    ``timestamp_us`` strictly increases over the log, ``wall_us`` is the clock as it stood. ``previous`` is the
    sequence of the operation logged before. Everything below ``durable_offset`` of this file was durable when the
    record was written.
    """

    kind: int
    flags: int
    payload_length: int
    payload_crc: int
    sequence: int
    previous: int
    timestamp_us: int
    wall_us: int
    durable_offset: int
    chain: int
    crc: int

    @property
    def is_last(self) -> bool:
        """Whether this record ends its operation."""
        return bool(self.flags & RecordFlag.LAST)

    @property
    def size(self) -> int:
        """Bytes from this header to the next one."""
        return padded_size(self.payload_length)


def padded_size(payload_length: int) -> int:
    """Bytes of a whole record: header, payload and padding."""
    return HEADER_SIZE + payload_length + (-payload_length & (ALIGNMENT - 1))


def encode_header(
    *,
    kind: int,
    flags: int,
    payload_length: int,
    payload_crc: int,
    sequence: int,
    previous: int,
    timestamp_us: int,
    wall_us: int,
    durable_offset: int,
    chain: int,
    salt: int,
    offset: int,
) -> tuple[bytes, int]:
    """The 64 bytes of a header that will stand at ``offset`` of the file salted ``salt``, and its crc (the next chain).

    Raises struct.error when a number does not fit its field; kind, flags and payload_length are the caller's promise.
    """
    covered = _pack_covered(
        salt,
        offset,
        RECORD_MAGIC,
        kind,
        flags,
        0,
        payload_length,
        payload_crc,
        sequence,
        previous,
        timestamp_us,
        wall_us,
        durable_offset,
        chain,
    )
    crc = _crc32c(covered)
    return covered[16:] + _pack_crc(crc), crc


def decode_header(
    buf: bytes | bytearray | memoryview, position: int, *, salt: int, offset: int, remaining: int
) -> RecordHeader | Incomplete | Damaged:
    """The header at ``buf[position]``, which is byte ``offset`` of its file with ``remaining`` bytes up to its end.

    Incomplete: never written (zeros: ``end of log``), or the file ends inside the record. Damaged: the bytes are no
    header written for this place. Raises UnsupportedFormat for an intact header of a kind or with a flag of the future.
    The payload is not looked at, but its length is known to lie within ``remaining``.
    """
    raw = bytes(buf[position : position + HEADER_SIZE])
    if len(raw) < HEADER_SIZE or remaining < HEADER_SIZE:
        return Incomplete("the file ends inside a record header")
    if raw == _ZERO_HEADER:
        return Incomplete("end of log")
    header = _decode_intact(raw, salt, offset)
    if isinstance(header, Damaged):
        return header
    if header.payload_length > MAX_PAYLOAD_BYTES:
        return Damaged(f"payload length {header.payload_length} exceeds the limit of {MAX_PAYLOAD_BYTES}")
    _check_known(header, raw, offset)
    if header.size > remaining:
        return Incomplete(f"the file ends inside a record of {header.size} bytes, {remaining} are left")
    return header


def _decode_intact(raw: bytes, salt: int, offset: int) -> RecordHeader | Damaged:
    magic, kind, flags, _, *fields = _STORED.unpack(raw)
    if magic != RECORD_MAGIC:
        return Damaged(f"no record starts here (magic {magic:#010x})")
    crc = _crc32c(_PLACE.pack(salt, offset) + raw[:-4])
    if crc != fields[-1]:
        return Damaged(f"header checksum is {fields[-1]:#010x}, computed {crc:#010x}")
    return RecordHeader(kind, flags, *fields)


def _check_known(header: RecordHeader, raw: bytes, offset: int) -> None:
    """An intact header that means something we do not know was written by a newer version: it must not be cut."""
    reserved = int.from_bytes(raw[6:8], "little")
    if header.kind in _KINDS and not header.flags & ~_FLAGS and not reserved:
        return
    raise UnsupportedFormat(
        f"the record at offset {offset} is of kind {header.kind} with flags {header.flags:#04x}, reserved "
        f"{reserved:#06x}, which this version does not know",
        hint="start the newer holdfastd that wrote this log",
        offset=offset,
        kind=header.kind,
    )


def find_headers(
    buf: bytes | bytearray | memoryview, base_offset: int, salt: int
) -> Iterator[tuple[int, RecordHeader]]:
    """Every intact header in ``buf``, whose first byte is byte ``base_offset`` of its file: (file offset, header).

    Only 8-aligned places of the file are looked at. Kinds, flags and payload lengths are not judged. A header that
    crosses the end of ``buf`` is not found, so pieces of a file overlap by HEADER_SIZE - ALIGNMENT bytes.
    """
    skip = -base_offset % ALIGNMENT
    view = memoryview(buf)
    words = (len(view) - skip) // ALIGNMENT
    if words < HEADER_SIZE // ALIGNMENT:
        return
    heads = np.frombuffer(view[skip : skip + words * ALIGNMENT], np.dtype("<u4"))[::2]
    for index in np.flatnonzero(heads == RECORD_MAGIC).tolist():
        start = skip + index * ALIGNMENT
        raw = bytes(view[start : start + HEADER_SIZE])
        if len(raw) < HEADER_SIZE:
            return
        header = _decode_intact(raw, salt, base_offset + start)
        if isinstance(header, RecordHeader):
            yield base_offset + start, header
