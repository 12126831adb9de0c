"""CRC-32C of transferred chunks: google-crc32c where it is installed, else slowly in Python (some MB/s)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

_POLYNOMIAL = 0x82F63B78


@cache
def crc32c() -> Callable[[bytes], int]:
    """The fastest function there is."""
    try:
        from google_crc32c import value
    except ImportError:
        return slow_crc32c
    found: Callable[[bytes], int] = value
    return found


def slow_crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) over all of ``data``, a byte at a time."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    entries = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (_POLYNOMIAL if number & 1 else 0)
        entries.append(number)
    return tuple(entries)
