"""Subsets: the slices of a whole hold each part of it exactly once, and a share is chosen again by its seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import InvalidArgument
from holdfastd.format.subset import MAX_SLICES, Subset, parse_subset

UNITS = st.lists(st.tuples(st.text(max_size=8), st.integers(0, 1 << 40)), max_size=60)


@given(units=UNITS, of=st.integers(1, MAX_SLICES))
def test_the_slices_hold_every_unit_exactly_once(units: list[tuple[str, int]], of: int) -> None:
    slices = [parse_subset(f"{number}/{of}", 0) for number in range(1, of + 1)]
    chosen = [index for each in slices if each is not None for index in each.choose(units)]
    assert sorted(chosen) == list(range(len(units)))


@given(units=UNITS, of=st.integers(1, MAX_SLICES))
def test_no_slice_is_larger_than_its_share_by_more_than_a_unit(units: list[tuple[str, int]], of: int) -> None:
    total, largest = sum(size for _, size in units), max((size for _, size in units), default=0)
    for number in range(1, of + 1):
        taken = sum(units[index][1] for index in Subset(number=number, of=of).choose(units))
        assert taken <= total / of + largest


@given(units=UNITS, percent=st.floats(0.01, 100), seed=st.integers(0, (1 << 64) - 1))
def test_a_share_is_as_large_as_asked_for_and_no_unit_more(
    units: list[tuple[str, int]], percent: float, seed: int
) -> None:
    subset = Subset(percent=percent, seed=seed)
    chosen = subset.choose(units)
    assert chosen == subset.choose(units)
    wanted = sum(size for _, size in units) * percent / 100
    sizes = [units[index][1] for index in chosen]
    assert bool(chosen) == bool(units)
    assert sum(sizes) >= wanted * (1 - 1e-12)
    if len(sizes) > 1:
        assert sum(sizes) - max(sizes) < wanted or min(sizes) == 0


def test_another_seed_chooses_others() -> None:
    units = [(f"member {number}", 10) for number in range(100)]
    chosen = {Subset(percent=10, seed=seed).choose(units) for seed in range(20)}
    assert len(chosen) == 20
    assert {len(each) for each in chosen} == {10}
    assert len(frozenset().union(*chosen)) > 60, "every part has its turn"


GOOD = [("1/1", Subset(number=1, of=1)), ("7/7", Subset(number=7, of=7)), ("10%", Subset(percent=10, seed=5))]


@pytest.mark.parametrize(("text", "subset"), GOOD)
def test_a_subset_is_read_and_written_alike(text: str, subset: Subset) -> None:
    assert parse_subset(text, 5) == subset
    assert subset.text == text


@pytest.mark.parametrize(
    "text", ["", "0/7", "8/7", "1/0", "1/101", "-1/7", "1/7 ", "1", "10", "0%", "101%", "-5%", "nan%", "1/7%", "a/b"]
)
def test_what_names_no_subset_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="names no subset") as caught:
        parse_subset(text, 0)
    assert "1/7 for the first of seven slices" in str(caught.value.hint)
