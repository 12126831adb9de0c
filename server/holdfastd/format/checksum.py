"""CRC-32C (Castagnoli): the checksum of every record, file header and segment file."""

from __future__ import annotations

from typing import TypeAlias, cast

import google_crc32c
import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = bytes | bytearray | memoryview | NDArray[np.uint8]
"""Contiguous bytes in any of the forms in which they travel here."""


def crc32c(*parts: Bytes, crc: int = 0) -> int:
    """The CRC-32C of ``parts`` as if joined, continued from ``crc``. Nothing is copied; large parts release the GIL."""
    for part in parts:
        if isinstance(part, bytes):
            crc = google_crc32c.extend(crc, part)
        elif len(part):
            # The library takes an array but refuses a memoryview or a bytearray.
            crc = google_crc32c.extend(crc, cast(bytes, np.frombuffer(part, np.uint8)))
    return crc
