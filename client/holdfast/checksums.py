"""CRC-32C of transferred chunks, where google-crc32c is installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


@cache
def crc32c() -> Callable[[bytes], int] | None:
    """The function; None where there is none, and the SHA-256 of the whole file has to do.

    In Python alone it takes a second for some megabytes.
    """
    try:
        from google_crc32c import value
    except ImportError:
        return None
    found: Callable[[bytes], int] = value
    return found
