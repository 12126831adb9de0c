"""Sizes, durations and percentages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.units import age, format_duration, format_size, parse_duration, parse_percent, parse_size


@pytest.mark.parametrize(
    ("text", "binary", "size"),
    [
        ("0", False, 0),
        ("134217728", False, 134217728),
        ("64MB", False, 64_000_000),
        ("64MiB", False, 67108864),
        ("64MB", True, 67108864),
        ("64mb", True, 67108864),
        ("64 M", True, 67108864),
        ("10GB", False, 10**10),
        ("1.5GiB", False, 3 << 29),
        ("512B", False, 512),
        ("1PiB", False, 1 << 50),
    ],
)
def test_a_size_is_read_as_it_is_written(text: str, binary: bool, size: int) -> None:
    assert parse_size(text, binary=binary) == size


@pytest.mark.parametrize(
    "text", ["", "abc", "-1", "64XB", "MB", "1.3", "1e6", "0x10", "64MiBs", "٣MB", "9PBB", "99999999PB"]
)
def test_what_is_no_size_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|bytes"):
        parse_size(text)


@given(st.integers(0, 2**63 - 1))
def test_plain_bytes_are_read_back(size: int) -> None:
    assert parse_size(str(size)) == size
    assert parse_size(f"{size}B", binary=True) == size


@given(st.integers(0, 10**6), st.sampled_from(["K", "M", "G"]))
def test_binary_and_decimal_suffixes_differ_by_the_base_alone(number: int, letter: str) -> None:
    power = "KMG".index(letter) + 1
    assert parse_size(f"{number}{letter}iB") == number * 1024**power == parse_size(f"{number}{letter}B", binary=True)
    assert parse_size(f"{number}{letter}B") == number * 1000**power


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86400), ("168h", 604800), ("5s", 5), ("7d", 604800), ("1h30m", 5400), ("1h 30m", 5400),
        ("500ms", 0.5), ("1.5h", 5400), ("0", 0), ("2w", 1209600), ("250us", 0.00025), ("24H", 86400),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_it_is_written(text: str, seconds: float) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "24", "-1h", "h", "1h30", "1 hour", "1y", "1h-30m", "abc", "9999999999d"])
def test_what_is_no_duration_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|10,000 years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(86400, "24h"), (604800, "168h"), (172800, "48h"), (5400, "1h30m"), (5, "5s"), (0.5, "500ms"), (0, "0s")],
)
def test_a_duration_is_written_in_hours_at_most(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(st.integers(0, 10**15))
def test_a_written_duration_is_read_back(microseconds: int) -> None:
    duration = timedelta(microseconds=microseconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "percent"), [("20", 20.0), ("20%", 20.0), ("12.5 %", 12.5), ("0", 0.0), ("100%", 100.0)]
)
def test_a_percentage_has_its_sign_or_not(text: str, percent: float) -> None:
    assert parse_percent(text) == percent


@pytest.mark.parametrize("text", ["", "-1", "101", "20%%", "a", "0.2.1"])
def test_what_is_no_percentage_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="percentage"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB"), (5 << 50, "5120.0 TiB")]
)
def test_a_size_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, text: str) -> None:
    assert age(timedelta(seconds=seconds)) == text
