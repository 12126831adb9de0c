"""Sizes, durations and percentages as people write them, and back; ValueError says what is accepted.

Sizes: plain bytes, ``64MB`` (10^6), ``64MiB`` (2^20); for WAL segments ``MB`` means MiB (``binary=True``), as the
default ``64MB`` of 67,108,864 bytes shows. Durations: ``24h``, ``5s``, ``7d``, ``1h30m``, ``500ms``; a number needs its
unit. Percentages: ``20`` or ``20%``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

# Patterns are compiled at their first use (`re` keeps them): compiling all of them would slow every start.
_SIZE = r"([0-9]+)(?:\.([0-9]+))?\s*([A-Za-z]*)"
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_DURATION = r"([0-9]+)(?:\.([0-9]+))?\s*(us|ms|s|m|h|d|w)\s*"
_MICROSECONDS = {
    "us": 1,
    "ms": 10**3,
    "s": 10**6,
    "m": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 24 * 3600 * 10**6,
    "w": 7 * 24 * 3600 * 10**6,
}
_PERCENT = r"([0-9]+(?:\.[0-9]+)?)\s*%?"
_MAX_BYTES = 2**63 - 1
_MAX_MICROSECONDS = 10_000 * 365 * 24 * 3600 * 10**6


def parse_size(text: str, *, binary: bool = False) -> int:
    """Bytes of ``text``. With ``binary`` the decimal suffixes mean powers of 1024 too."""
    match = re.fullmatch(_SIZE, text.strip())
    factor = _size_factor(match[3].lower(), binary) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not a size: write 67108864, 64MB or 64MiB")
    size, rest = _scaled(match[1], match[2], factor)
    if rest:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    if size > _MAX_BYTES:
        raise ValueError(f"{text!r} is more than 2^63-1 bytes")
    return size


def _scaled(whole: str, fraction: str | None, factor: int) -> tuple[int, int]:
    """``whole.fraction`` times ``factor``: the integer part, and what is left of it (0 if it is exact)."""
    digits = fraction or ""
    scale: int = 10 ** len(digits)
    return divmod(int(whole + digits) * factor, scale)


def _size_factor(suffix: str, binary: bool) -> int | None:
    if suffix in ("", "b"):
        return 1
    letter, rest = suffix[0], suffix[1:]
    if letter not in _DECIMAL or rest not in ("", "b", "i", "ib"):
        return None
    return _BINARY[letter] if binary or rest.startswith("i") else _DECIMAL[letter]


def format_size(size: int) -> str:
    """A size for people: ``1.5 GiB``, ``512 B``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def parse_duration(text: str) -> timedelta:
    """``24h``, ``1h30m``, ``500ms``; ``0`` is the only number without a unit. Never negative."""
    from datetime import timedelta

    compact = text.strip().lower()
    if compact == "0":
        return timedelta(0)
    if re.fullmatch(f"(?:{_DURATION})+", compact) is None:
        raise ValueError(f"{text!r} is not a duration: write 24h, 5s, 7d or 1h30m")
    parts = re.findall(_DURATION, compact)
    total = sum(_scaled(whole, fraction, _MICROSECONDS[unit])[0] for whole, fraction, unit in parts)
    if total > _MAX_MICROSECONDS:
        raise ValueError(f"{text!r} is longer than 10,000 years")
    return timedelta(microseconds=total)


def format_duration(duration: timedelta) -> str:
    """A duration as it is written: ``24h``, ``168h``, ``1h30m``, ``5s``, ``500ms``; hours are the largest unit."""
    left = (duration.days * 86_400 + duration.seconds) * 10**6 + duration.microseconds
    if left == 0:
        return "0s"
    parts = []
    for unit in ("h", "m", "s", "ms", "us"):
        amount, left = divmod(left, _MICROSECONDS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)


def age(duration: timedelta) -> str:
    """How long ago something was, in its largest unit: ``45s``, ``12m``, ``36h``, ``9d``; of the future, ``0s``."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def parse_percent(text: str) -> float:
    """``20`` or ``20%`` as 20.0; 0 to 100."""
    match = re.fullmatch(_PERCENT, text.strip())
    if match is None or float(match[1]) > 100:
        raise ValueError(f"{text!r} is not a percentage: write 20 or 20%, from 0 to 100")
    return float(match[1])
