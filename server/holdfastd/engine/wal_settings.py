"""What the settings of the log can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidArgument
from ..model import WalSettings
from .amounts import duration_words, size_words

MIN_SEGMENT_BYTES = 1 << 20
MAX_SEGMENT_BYTES = 4 << 30
MIN_FLUSH_INTERVAL_US = 1000
MAX_FLUSH_INTERVAL_US = 3600 * 1_000_000
MIN_WAL_BYTES = 2 * MIN_SEGMENT_BYTES
MAX_WAL_BYTES = 1 << 53
MAX_RETENTION_US = 2_400_000 * 3600 * 1_000_000
_RANGES = {
    "segment_size_bytes": (
        "segment_size_bytes",
        MIN_SEGMENT_BYTES,
        MAX_SEGMENT_BYTES,
        size_words,
        "--segment-size 64MB",
    ),
    "flush_interval_us": (
        "flush_interval",
        MIN_FLUSH_INTERVAL_US,
        MAX_FLUSH_INTERVAL_US,
        duration_words,
        "--flush-interval 5s",
    ),
    "retention_us": ("retention", 0, MAX_RETENTION_US, duration_words, "--retention 24h"),
    "max_wal_bytes": ("max_size_bytes", MIN_WAL_BYTES, MAX_WAL_BYTES, size_words, "--max-size 64GB"),
}
"""By setting: the field of the request, the least and the greatest value, how they are said, and an example."""


def check_ranges(given: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for a value that is too small or too large. ``given``: settings to change, by name."""
    for name in given.keys() & _RANGES.keys():
        field, least, most, words, example = _RANGES[name]
        if not least <= given[name] <= most:
            raise InvalidArgument(
                f"{field} is {words(given[name])}; it can be {words(least)} to {words(most)}",
                field=field,
                hint=f"such as {example}",
            )


def merged(current: WalSettings, given: Mapping[str, Any]) -> WalSettings:
    """The settings with those given changed and the log on. Raises InvalidArgument where they do not go together."""
    wanted = replace(current, enabled=True, **given)
    if given.keys() & {"max_wal_bytes", "segment_size_bytes"}:
        _check_cap(wanted)
    return wanted


def _check_cap(wanted: WalSettings) -> None:
    """Raise InvalidArgument for a cap that the WAL segment being written and the one before it would exceed."""
    if wanted.max_wal_bytes < 2 * wanted.segment_size_bytes:
        raise InvalidArgument(
            f"the log may take {size_words(wanted.max_wal_bytes)}, which is less than two WAL segments of "
            f"{size_words(wanted.segment_size_bytes)}",
            field="max_size_bytes",
            hint=f"allow it {size_words(2 * wanted.segment_size_bytes)}, or make the WAL segments smaller with "
            "--segment-size",
        )
