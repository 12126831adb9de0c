"""Readers are there for as long as one of them reads, and no longer."""

from __future__ import annotations

import pytest

from holdfastd.engine.presence import Presence
from tests.support.clock import ManualClock


def test_it_is_now_while_anybody_reads_and_afterwards_when_the_last_one_left() -> None:
    clock = ManualClock()
    presence = Presence(clock)
    assert presence.last_ns() == 0
    with presence.reading():
        with presence.reading():
            now = clock.monotonic_ns()
            assert presence.last_ns() > now
        clock.sleep(1)
        now = clock.monotonic_ns()
        assert presence.last_ns() > now
    left = clock.monotonic_ns()
    clock.sleep(1)
    assert now < presence.last_ns() < left


def test_who_fails_has_left_as_well() -> None:
    clock = ManualClock()
    presence = Presence(clock)
    with pytest.raises(ZeroDivisionError), presence.reading():
        raise ZeroDivisionError
    left = clock.monotonic_ns()
    clock.sleep(1)
    assert 0 < presence.last_ns() < left
