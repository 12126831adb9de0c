"""The header of a WAL segment: 80 bytes that say which store, which history and which place in it the file holds.

    header := magic:8s version:u32 flags:u32 store_id:16s timeline:u32 chain:u32 salt:u64 first_sequence:u64
              previous_sequence:u64 created_us:u64 reserved:u32 crc:u32                              (little-endian)

``crc`` covers the 76 bytes before it. Magic, version and crc keep their places in every version to come, so that a
newer version is told apart from damage.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from enum import IntFlag

from ..errors import UnsupportedFormat
from .checksum import crc32c
from .outcome import Damaged, Incomplete

__all__ = [
    "FILE_HEADER_SIZE",
    "WAL_MAGIC",
    "WAL_VERSION",
    "Damaged",
    "Incomplete",
    "WalFileFlag",
    "WalFileHeader",
    "decode_file_header",
    "encode_file_header",
]

FILE_HEADER_SIZE = 80
WAL_MAGIC = b"HOLDWAL\0"
WAL_VERSION = 1


class WalFileFlag(IntFlag):
    """Bits of ``flags``. Values are on disk: never change or reuse one."""

    GAP_BEFORE = 1
    """Operations before this file were not logged (logging had been disabled): point-in-time recovery stops here."""


_FLAGS = int(WalFileFlag.GAP_BEFORE)
_STORED = struct.Struct("<8sII16sIIQQQQII")
_CRC = struct.Struct("<I")
assert _STORED.size == FILE_HEADER_SIZE


@dataclass(frozen=True, slots=True)
class WalFileHeader:
    """What the header says. ``chain`` is the header crc of the last record before this file (0 at the beginning).

    ``first_sequence`` is the one that the first operation will at least have, ``previous_sequence`` the one logged
    last before this file; ``salt`` is random per file and enters every record's crc.
    """

    store_id: uuid.UUID
    timeline: int
    chain: int
    salt: int
    first_sequence: int
    previous_sequence: int
    created_us: int
    flags: int = 0
    version: int = WAL_VERSION

    @property
    def gap_before(self) -> bool:
        """Whether history is missing before this file, on purpose."""
        return bool(self.flags & WalFileFlag.GAP_BEFORE)


def encode_file_header(header: WalFileHeader) -> bytes:
    """The 80 bytes of ``header``. Raises struct.error when a number does not fit its field."""
    body = _STORED.pack(
        WAL_MAGIC,
        header.version,
        header.flags,
        header.store_id.bytes,
        header.timeline,
        header.chain,
        header.salt,
        header.first_sequence,
        header.previous_sequence,
        header.created_us,
        0,
        0,
    )[: -_CRC.size]
    return body + _CRC.pack(crc32c(body))


def decode_file_header(buf: bytes | bytearray | memoryview) -> WalFileHeader | Incomplete | Damaged:
    """The header at the start of ``buf``.

    Incomplete: shorter than 80 bytes or all zeros. Damaged: not a header of ours, or its checksum does not hold.
    Raises UnsupportedFormat for an intact header of a newer version or with a flag of the future.
    """
    raw = bytes(buf[:FILE_HEADER_SIZE])
    if len(raw) < FILE_HEADER_SIZE:
        return Incomplete(f"the file has {len(raw)} bytes, its header {FILE_HEADER_SIZE}")
    if not any(raw):
        return Incomplete("the header was never written")
    magic, version, flags, store_id, *numbers, reserved, crc = _STORED.unpack(raw)
    if magic != WAL_MAGIC:
        return Damaged(f"not a WAL segment (magic {magic!r})")
    if (computed := crc32c(raw[: -_CRC.size])) != crc:
        return Damaged(f"header checksum is {crc:#010x}, computed {computed:#010x}")
    if version == 0:
        return Damaged("format version 0 does not exist")
    _check_known(version, flags, reserved)
    timeline, chain, salt, first, previous, created = numbers
    return WalFileHeader(uuid.UUID(bytes=store_id), timeline, chain, salt, first, previous, created, flags, version)


def _check_known(version: int, flags: int, reserved: int) -> None:
    hint = "start the newer holdfastd that wrote this log"
    if version > WAL_VERSION:
        raise UnsupportedFormat(
            f"the WAL segment has format version {version}, this holdfastd reads up to version {WAL_VERSION}",
            hint=hint,
            version=version,
            supported=WAL_VERSION,
        )
    if flags & ~_FLAGS or reserved:
        raise UnsupportedFormat(
            f"the WAL segment has flags {flags:#x}, reserved {reserved:#x}, which version {WAL_VERSION} does not know",
            hint=hint,
            version=version,
            supported=WAL_VERSION,
        )
