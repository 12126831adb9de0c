"""What the settings of the log can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidArgument
from ..model import WalSettings

MIN_SEGMENT_BYTES = 1 << 20
MAX_SEGMENT_BYTES = 4 << 30
MIN_FLUSH_INTERVAL_US = 1000
MAX_FLUSH_INTERVAL_US = 3600 * 1_000_000
MIN_WAL_BYTES = 2 * MIN_SEGMENT_BYTES
MAX_WAL_BYTES = 1 << 53
_RANGES = {
    "segment_size_bytes": ("segment_size_bytes", MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES, "bytes"),
    "flush_interval_us": ("flush_interval", MIN_FLUSH_INTERVAL_US, MAX_FLUSH_INTERVAL_US, "microseconds"),
    "retention_us": ("retention", 0, 1 << 53, "microseconds"),
    "max_wal_bytes": ("max_size_bytes", MIN_WAL_BYTES, MAX_WAL_BYTES, "bytes"),
}
"""By setting: the field of the request, the least and the greatest value, and their unit."""


def check_ranges(given: Mapping[str, Any]) -> None:
    """Raise InvalidArgument for a value that is too small or too large. ``given``: settings to change, by name."""
    for name in given.keys() & _RANGES.keys():
        field, least, most, unit = _RANGES[name]
        if not least <= given[name] <= most:
            raise InvalidArgument(f"{field} is {given[name]} {unit}; it can be {least} to {most}", field=field)


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
            f"the log may take {wanted.max_wal_bytes} bytes, which is less than two WAL segments of "
            f"{wanted.segment_size_bytes}",
            field="max_size_bytes",
            hint=f"allow it {2 * wanted.segment_size_bytes} bytes, or make the WAL segments smaller with "
            "--segment-size",
        )
