"""What is written anew: garbage, and many small neighbours; never more at once than fits, never out of order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.engine.compaction_plan import FANOUT, LARGEST_BYTES, LARGEST_ROWS, Policy, Weighed, groups

MIB = 1 << 20
THRESHOLD = Policy()
AGGRESSIVE = Policy(aggressive=True)


@dataclass(frozen=True)
class Stub:
    """As much of a segment as a plan looks at."""

    rows_count: int
    size_bytes: int


def weighed(rows: int, dead: int = 0, size: int = MIB, spent: int = 0) -> Weighed:
    return Weighed(cast(Any, Stub(rows, size)), dead, spent)


def planned(*all_of_them: Weighed, policy: Policy = THRESHOLD) -> list[list[int]]:
    """The groups, as places in the collection."""
    places = {id(each): place for place, each in enumerate(all_of_them)}
    return [[places[id(each)] for each in group] for group in groups(all_of_them, policy)]


def test_what_has_garbage_enough_is_due() -> None:
    some = (weighed(100, 19), weighed(100, 20), weighed(100), weighed(100, 100))
    assert planned(*some) == [[1], [3]]
    assert planned(*some, policy=Policy(threshold_percent=10)) == [[0, 1], [3]]
    assert planned(*some, policy=Policy(threshold_percent=100)) == [[3]]


def test_a_threshold_of_nothing_is_about_garbage_all_the_same() -> None:
    assert planned(weighed(100), weighed(100, 1), policy=Policy(threshold_percent=0)) == [[1]]


def test_little_is_let_be_in_the_background() -> None:
    policy = Policy(least_bytes=MIB)
    assert planned(weighed(100, 99, MIB), weighed(100, 50, 2 * MIB), policy=policy) == [[1]]


def test_many_small_neighbours_become_one() -> None:
    assert planned(*[weighed(10)] * (FANOUT - 1)) == []
    small = [weighed(10) for _ in range(FANOUT)]
    assert planned(*small) == [list(range(FANOUT))]
    large = weighed(10_000, size=100 * MIB)
    assert planned(large, *small) == [[*range(1, FANOUT + 1)]]
    assert planned(*small[:4], large, *small[4:]) == []


def test_once_enough_of_the_next_size_stand_there_they_take_along_what_is_smaller() -> None:
    larger = [weighed(100, size=10 * MIB) for _ in range(FANOUT)]
    assert planned(*larger, weighed(10)) == [[*range(FANOUT + 1)]]
    assert planned(*larger[1:], weighed(10), weighed(10)) == []


def test_aggressive_leaves_one_segment_and_no_garbage() -> None:
    assert planned(weighed(10), weighed(10), weighed(10, 1), policy=AGGRESSIVE) == [[0, 1, 2]]
    assert planned(weighed(10), policy=AGGRESSIVE) == []
    assert planned(weighed(10, 1), policy=AGGRESSIVE) == [[0]]
    full = weighed(1000, size=LARGEST_BYTES)
    assert planned(full, weighed(10), weighed(10), policy=AGGRESSIVE) == [[1, 2]]
    assert planned(weighed(1000, 1, LARGEST_BYTES), policy=AGGRESSIVE) == [[0]]


def test_spent_tombstones_are_garbage_where_there_is_nothing_else() -> None:
    assert planned(weighed(0, 0, 4096, spent=3)) == [[0]]
    assert planned(weighed(0, 0, 4096)) == []
    assert planned(weighed(100, 0, spent=3)) == []
    assert planned(weighed(100, 0, spent=3), policy=AGGRESSIVE) == [[0]]


segments = st.lists(
    st.builds(
        lambda rows, dead, size, spent: weighed(rows, min(dead, rows), size, spent),
        st.integers(0, LARGEST_ROWS),
        st.integers(0, LARGEST_ROWS),
        st.sampled_from([4096, MIB, 9 * MIB, 70 * MIB, 600 * MIB, LARGEST_BYTES // 2, LARGEST_BYTES]),
        st.integers(0, 2),
    ),
    max_size=40,
)
policies = st.builds(Policy, st.floats(0, 100), st.booleans(), st.sampled_from([0, MIB]))


@given(segments, policies)
def test_groups_are_neighbours_that_fit_and_are_worth_it(some: list[Weighed], policy: Policy) -> None:
    places = [place for group in planned(*some, policy=policy) for place in group]
    assert len(set(places)) == len(places)
    for group in groups(some, policy):
        start = next(place for place, each in enumerate(some) if each is group[0])
        assert list(group) == some[start : start + len(group)]
        assert len(group) > 1 or group[0].has_garbage
        if len(group) > 1:
            assert sum(each.staying_bytes for each in group) <= LARGEST_BYTES
            assert sum(each.staying_rows for each in group) <= LARGEST_ROWS


@given(st.lists(st.integers(4096, 20 * MIB), max_size=200))
def test_the_number_of_segments_stays_small_however_many_checkpoints_come(sizes: list[int]) -> None:
    store: list[Weighed] = []
    most = 0
    for size in sizes:
        store.append(weighed(10, size=size))
        for group in groups(store, THRESHOLD):
            at = store.index(group[0])
            store[at : at + len(group)] = [weighed(10, size=sum(each.staying_bytes for each in group))]
        most = max(most, len(store))
    assert most < 4 * FANOUT


@pytest.mark.parametrize("percent", [0.0, 20.0, 100.0])
def test_a_second_look_finds_nothing_left_to_do(percent: float) -> None:
    store = [weighed(100, dead, size=MIB) for dead in (0, 30, 100, 20, 0)]
    policy = Policy(percent)
    done = []
    for each in store:
        hit = any(each in group for group in groups(store, policy))
        done.append(weighed(each.staying_rows, size=each.staying_bytes) if hit else each)
    assert groups([each for each in done if each.segment.rows_count], policy) == []
