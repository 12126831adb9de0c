"""A wall clock that jumps: what is still trimmed by age, what is said about it, and when that ends (RULES 12)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from holdfastd.engine.alarms import Alarms
from holdfastd.engine.clock_watch import ClockWatch
from tests.support.clock import ManualClock
from tests.support.engines import Kit

MINUTE_US = 60 * 1_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


class Watched:
    """A clock, who watches it, and the time of the newest record."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.alarms = Alarms(self.clock)
        self.newest_us = self.clock.wall_us
        self.watch = ClockWatch(self.clock, self.alarms, lambda: self.newest_us)

    @property
    def trusted(self) -> bool:
        answer = self.watch.trusted(DAY_US)
        assert answer == (not self.alarms.list())
        return answer

    @property
    def said(self) -> str:
        return self.alarms.list()[0].message


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_time_that_passes_is_no_jump(watched: Watched) -> None:
    for _ in range(100):
        watched.clock.advance_us(10 * HOUR_US)
        assert watched.trusted


def test_small_corrections_are_no_jump(watched: Watched) -> None:
    watched.clock.jump_us(59 * MINUTE_US)
    assert watched.trusted
    watched.clock.jump_us(-2 * 59 * MINUTE_US)
    assert watched.trusted


@pytest.mark.parametrize(("jump", "way"), [(2 * HOUR_US, "forward by 7199"), (-2 * HOUR_US, "back by 7200")])
def test_a_jump_of_over_an_hour_suspends_trimming_by_age(watched: Watched, jump: int, way: str) -> None:
    watched.clock.jump_us(jump)
    assert not watched.trusted
    assert way in watched.said
    watched.clock.advance_us(HOUR_US)
    assert not watched.trusted


def test_many_small_jumps_the_same_way_are_one(watched: Watched) -> None:
    for _ in range(3):
        watched.clock.jump_us(30 * MINUTE_US)
        watched.watch.trusted(DAY_US)
    assert not watched.trusted


def test_a_jump_that_is_undone_clears_the_alarm(watched: Watched) -> None:
    watched.clock.jump_us(5 * DAY_US)
    assert not watched.trusted
    watched.clock.jump_us(-5 * DAY_US)
    assert watched.trusted


def test_the_alarm_ends_when_all_that_was_logged_before_the_jump_is_old_by_any_clock(watched: Watched) -> None:
    watched.clock.jump_us(5 * DAY_US)
    assert not watched.trusted
    watched.clock.advance_us(DAY_US - HOUR_US)
    assert not watched.trusted
    watched.clock.advance_us(2 * HOUR_US)
    assert watched.trusted
    watched.clock.jump_us(-5 * DAY_US)
    assert not watched.trusted, "another jump is another alarm"


def test_records_ahead_of_the_clock_are_told_of_until_it_has_caught_up(watched: Watched) -> None:
    watched.newest_us = watched.clock.wall_us + 3 * HOUR_US
    assert not watched.trusted
    assert "seconds ahead of the clock" in watched.said
    watched.clock.advance_us(2 * HOUR_US + MINUTE_US)
    assert watched.trusted


def test_a_clock_that_was_put_back_while_the_daemon_was_down_is_noticed_at_its_start() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    kit.engine.stop()
    kit.clock.jump_us(-2 * HOUR_US)
    kit.engine = kit._open()
    assert [alarm.code for alarm in kit.engine.alarms()] == ["CLOCK_JUMP"]
    kit.clock.advance_us(90 * MINUTE_US)
    assert kit.engine.alarms() == []


@pytest.mark.parametrize("jump", [-DAY_US, -1, 0, DAY_US])
def test_times_strictly_increase_whatever_the_clock_does(jump: int) -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    kit.clock.jump_us(jump)
    kit.upsert(["b"])
    kit.reopen()
    kit.clock.jump_us(jump)
    kit.upsert(["c"])
    records = [each.record.header for each in kit.engine.wal.records()]
    assert all(early.timestamp_us < late.timestamp_us for early, late in pairwise(records))
    assert [header.sequence for header in records] == [1, 2, 3, 4]
