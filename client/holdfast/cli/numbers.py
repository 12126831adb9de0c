"""float32 as text: the shortest digits that read back to the same float32, so that 0.1 is shown as 0.1."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_FLOAT = struct.Struct("<f")
_FULL_DIGITS = 9


def float32_number(value: float) -> float:
    """A double whose shortest text is that of the float32 ``value``."""
    exact = _FLOAT.pack(value)
    for digits in range(6, _FULL_DIGITS):
        candidate = float(f"{value:.{digits}g}")
        if _FLOAT.pack(candidate) == exact:
            return candidate
    return float(f"{value:.{_FULL_DIGITS}g}")


def float32_numbers(values: Iterable[float]) -> list[float]:
    """The same for each of several."""
    return [float32_number(value) for value in values]
