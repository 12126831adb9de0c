"""When cron lines come due, in time zones whose clocks go forward and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfastd.engine.cron import CronLine


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def dues(line: CronLine, after: str, count: int) -> list[str]:
    found, time_us = [], us(after)
    for _ in range(count):
        due = line.next_after(time_us)
        assert due is not None
        assert due > time_us
        time_us = due
        found.append(datetime.fromtimestamp(due / 1e6, UTC).strftime("%m-%d %H:%M"))
    return found


def test_a_line_comes_due_after_a_moment_and_never_at_it() -> None:
    line = CronLine("0 2 * * *")
    assert dues(line, "2026-11-27T02:00:00", 2) == ["11-28 02:00", "11-29 02:00"]
    assert line.next_after(us("2026-11-27T02:00:00") - 1) == us("2026-11-27T02:00:00")
    assert line.next_after(us("2026-11-27T01:59:59") + 999_999) == us("2026-11-27T02:00:00")


def test_the_lines_of_a_crontab() -> None:
    assert dues(CronLine("0 2 * * 0"), "2026-11-27T00:00:00", 2) == ["11-29 02:00", "12-06 02:00"]
    assert dues(CronLine("*/20 8-9 * * mon"), "2026-11-30T09:30:00", 2) == ["11-30 09:40", "12-07 08:00"]


def test_where_clocks_go_forward_it_comes_due_once_behind_the_gap() -> None:
    assert dues(CronLine("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00", 2) == ["03-29 01:00", "03-30 00:30"]


def test_where_clocks_go_back_it_comes_due_once() -> None:
    assert dues(CronLine("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00", 2) == ["10-25 00:30", "10-26 01:30"]
    hourly = dues(CronLine("0 * * * *", "Europe/Berlin"), "2026-10-24T22:30:00", 4)
    assert hourly == ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]


@pytest.mark.parametrize(
    ("line", "zone", "said"),
    [
        ("0 25 * * *", "UTC", "'0 25 * * *' is no cron line: bad hour"),
        ("0 2 * *", "UTC", "write five fields"),
        ("* * * * * *", "UTC", "write five fields"),
        ("@daily", "UTC", "write five fields"),
        ("0 2 * * * holdfast", "UTC", "write five fields"),
        ("0 0 30 2 *", "UTC", "no cron line"),
        ("0 2 * * *", "Mars/Olympus", "'Mars/Olympus' is no time zone of this machine"),
        ("0 2 * * *", "../../etc/passwd", "is no time zone"),
        ("0 2 * * *", "", "is no time zone"),
    ],
)
def test_what_is_no_line_or_zone_is_refused(line: str, zone: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        CronLine(line, zone).check()
    assert said in str(caught.value)


def test_what_is_one_is_not() -> None:
    for line in ("0 2 * * *", "*/5 * * * *", "0 0 29 2 *", "15 3 L * *", "0 2 * * sun"):
        CronLine(line, "America/New_York").check()
