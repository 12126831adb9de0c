"""What the log is given, and how a group of it becomes the bytes of one write.

A *link* is the place in the chain that the next record has to take up: the header crc of the record before, the
sequence and the time of the operation logged last. Writer and reader carry it from record to record, from file to file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..format.checksum import crc32c
from ..format.record import MAX_PAYLOAD_BYTES, RecordFlag, RecordKind, encode_header, padded_size
from .files import Buffer

__all__ = ["MAX_PAYLOAD_BYTES", "Entry", "Link", "encode_group", "group_size"]

_LAST = int(RecordFlag.LAST)
_OPERATION = RecordKind.OPERATION
_PADDING = tuple(bytes(count) for count in range(8))


class Link(NamedTuple):
    """What the next record follows; all zero before the first record of a store."""

    chain: int = 0
    sequence: int = 0
    timestamp_us: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation for the log. The concatenation of ``parts`` is its payload, ``payload_crc`` the CRC-32C of that.

    ``sequence`` and ``timestamp_us`` must be greater than those of the operation logged before; holes are allowed.
    ``wall_us`` is the raw clock. Records of other kinds than OPERATION are written by the log itself.
    """

    kind: RecordKind
    sequence: int
    parts: Sequence[Buffer]
    payload_length: int
    payload_crc: int
    timestamp_us: int
    wall_us: int
    flags: int = 0


def group_size(entries: Sequence[Entry], max_payload: int) -> int:
    """Bytes that ``encode_group`` will make of ``entries``."""
    size = 0
    for entry in entries:
        length = entry.payload_length
        if length > max_payload:
            whole, length = divmod(length, max_payload)
            size += whole * padded_size(max_payload)
            if not length:
                continue
        size += padded_size(length)
    return size


def encode_group(
    entries: Sequence[Entry], link: Link, *, salt: int, offset: int, durable_offset: int, max_payload: int
) -> tuple[list[Buffer], Link]:
    """The buffers of a group that will stand at ``offset`` of the file salted ``salt``, and the link after it.

    Payloads are not copied, except those above ``max_payload``, which are divided among continuation records. Raises
    ValueError for an entry that does not follow the one before it or whose parts have another length than it says.
    """
    buffers: list[Buffer] = []
    chain, previous, time_us = link
    for entry in entries:
        if entry.kind == _OPERATION and (entry.sequence <= previous or entry.timestamp_us <= time_us):
            raise ValueError(
                f"operation {entry.sequence} at {entry.timestamp_us} us does not follow {previous} at {time_us} us"
            )
        for parts, length, crc, flags in _pieces(entry, max_payload):
            header, chain = encode_header(
                kind=entry.kind,
                flags=flags,
                payload_length=length,
                payload_crc=crc,
                sequence=entry.sequence,
                previous=previous,
                timestamp_us=entry.timestamp_us,
                wall_us=entry.wall_us,
                durable_offset=durable_offset,
                chain=chain,
                salt=salt,
                offset=offset,
            )
            buffers.append(header)
            buffers.extend(parts)
            if length & 7:
                buffers.append(_PADDING[-length & 7])
            offset += padded_size(length)
        previous, time_us = entry.sequence, entry.timestamp_us
    return buffers, Link(chain, previous, time_us)


def _pieces(entry: Entry, max_payload: int) -> Sequence[tuple[Sequence[Buffer], int, int, int]]:
    """The records of one entry: (parts, length, crc, flags) each."""
    length = sum(map(len, entry.parts))
    if length != entry.payload_length:
        raise ValueError(f"operation {entry.sequence}: its parts have {length} bytes, it says {entry.payload_length}")
    if entry.payload_length <= max_payload:
        return ((entry.parts, entry.payload_length, entry.payload_crc, entry.flags | _LAST),)
    joined = memoryview(b"".join(entry.parts))
    return list(_divided(joined, entry.flags, max_payload))


def _divided(payload: memoryview, flags: int, max_payload: int) -> Iterator[tuple[Sequence[Buffer], int, int, int]]:
    for start in range(0, len(payload), max_payload):
        piece = payload[start : start + max_payload]
        last = _LAST if start + max_payload >= len(payload) else 0
        yield (piece,), len(piece), crc32c(piece), flags | last
