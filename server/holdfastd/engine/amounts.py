"""Sizes and durations as people write them, for what errors say."""

from __future__ import annotations

from collections.abc import Sequence

_SIZES = (("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_DURATIONS = (("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000))


def size_words(size: int) -> str:
    """Bytes, exactly, in the largest unit that they are a whole number of: ``64 MiB``, ``1,000 B``."""
    return _words(size, _SIZES, "B")


def duration_words(microseconds: int) -> str:
    """Microseconds, exactly, in the largest unit that they are a whole number of: ``1 h``, ``1,500 ms``."""
    return _words(microseconds, _DURATIONS, "µs")


def _words(amount: int, units: Sequence[tuple[str, int]], smallest: str) -> str:
    for name, size in units:
        if amount and amount % size == 0:
            return f"{amount // size:,} {name}"
    return f"{amount:,} {smallest}"
