"""Times, and the targets of replay and restore."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.times import Target, format_time, parse_target, parse_time

NOW = datetime(2026, 1, 20, 12, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-20T10:00:00Z", "2026-01-20T10:00:00Z"),
        ("2026-01-20t10:00:00z", "2026-01-20T10:00:00Z"),
        ("2026-01-20T10:00:00+01:00", "2026-01-20T09:00:00Z"),
        ("2026-01-20T10:00:00.25-0500", "2026-01-20T15:00:00.250000Z"),
        ("2026-01-20 10:00 UTC", "2026-01-20T10:00:00Z"),
        ("2026-01-20 10:00", "2026-01-20T08:00:00Z"),
        ("2026-01-20", "2026-01-19T22:00:00Z"),
        ("2026-01-20T10:00:00.123456789Z", "2026-01-20T10:00:00.123456Z"),
        ("now", "2026-01-20T10:00:00Z"),
        ("-2h", "2026-01-20T08:00:00Z"),
        ("-1h30m", "2026-01-20T08:30:00Z"),
        ("10:32", "2026-01-20T08:32:00Z"),
        ("today 10:32", "2026-01-20T08:32:00Z"),
        ("yesterday 10:32", "2026-01-19T08:32:00Z"),
        ("Yesterday 10:32:05.5", "2026-01-19T08:32:05.500000Z"),
        ("yesterday", "2026-01-18T22:00:00Z"),
        ("@1768903200", "2026-01-20T10:00:00Z"),
        ("@1768903200.5", "2026-01-20T10:00:00.500000Z"),
    ],
)
def test_a_time_is_understood_in_the_callers_zone_and_returned_in_utc(text: str, utc: str) -> None:
    assert format_time(parse_time(text, now=NOW)) == utc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "25:00",
        "yesterday 10:60",
        "-2",
        "--2h",
        "@",
        "@1x",
        "tomorrow",
        "2026",
    ],
)
def test_what_is_no_time_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|duration"):
        parse_time(text, now=NOW)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9999, 1, 1)))
def test_a_written_time_is_read_back_to_the_microsecond(moment: datetime) -> None:
    utc = moment.replace(tzinfo=UTC)
    assert parse_time(format_time(utc), now=NOW) == utc


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("17", Target(sequence=17)),
        ("0", Target(sequence=0)),
        ("18446744073709551615", Target(sequence=2**64 - 1)),
        ("before-import", Target(mark="before-import")),
        ("2026-01-20T10:00:00Z", Target(time=datetime(2026, 1, 20, 10, tzinfo=UTC))),
        ("-2h", Target(time=datetime(2026, 1, 20, 8, tzinfo=UTC))),
    ],
)
def test_a_target_is_a_sequence_a_time_or_a_mark(text: str, target: Target) -> None:
    assert parse_target(text, now=NOW) == target


@pytest.mark.parametrize("text", ["18446744073709551616", "2026-13-01", "latest", "-5x", "a b", "", "12ab", "é"])
def test_a_target_that_is_none_of_them_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sequence"):
        parse_target(text, now=NOW)


def test_a_now_without_a_zone_stands_for_the_systems() -> None:
    local = datetime(2026, 7, 1, 12, 0)
    assert parse_time("10:32", now=local) == datetime(2026, 7, 1, 10, 32).astimezone()


@pytest.mark.parametrize(("target", "text"), [(Target(sequence=5), "5"), (Target(mark="m"), "m")])
def test_a_target_reads_as_it_was_meant(target: Target, text: str) -> None:
    assert str(target) == text
