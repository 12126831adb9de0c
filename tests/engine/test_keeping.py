"""Which snapshots a policy keeps: by hand, against a simple model, and what must hold of any policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.engine.keeping import Candidate, RetentionPolicy, deletion_order, duration_text, reasons_to_keep

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NOW_US = int(datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()) * 1_000_000
RULES = [field.name for field in fields(RetentionPolicy)]


def at(*times: str) -> list[Candidate]:
    """Whole snapshots of one scope, named after their times."""
    found = []
    for text in times:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        found.append(Candidate(text, int(moment.timestamp()) * 1_000_000, "all"))
    return found


def kept(candidates: Sequence[Candidate], **policy: int) -> dict[str, tuple[str, ...]]:
    """What stays, and why."""
    found = reasons_to_keep(candidates, RetentionPolicy(**policy), NOW_US)
    return {id: why for id, why in found.items() if why}


# By hand --------------------------------------------------------------------------------------------------------------


def test_the_newest_of_each_of_the_last_days_that_have_one() -> None:
    found = at("2026-11-20T23:59", "2026-11-20T01:00", "2026-11-11T00:00", "2026-11-10T12:00", "2026-11-10T11:00")
    assert kept(found, daily=2) == {"2026-11-20T23:59": ("daily",), "2026-11-11T00:00": ("daily",)}
    assert list(kept(found, daily=3)) == ["2026-11-20T23:59", "2026-11-11T00:00", "2026-11-10T12:00"]


def test_a_rule_that_has_not_found_enough_keeps_the_oldest_as_well() -> None:
    """From the first day on, history grows to be as long as it was asked for."""
    found = at("2026-11-20T23:00", "2026-11-20T12:00", "2026-11-20T01:00")
    assert kept(found, daily=2) == {"2026-11-20T23:00": ("daily",), "2026-11-20T01:00": ("oldest daily",)}
    assert kept(found, daily=1) == {"2026-11-20T23:00": ("daily",)}


@pytest.mark.parametrize(
    ("rule", "times", "second"),
    [
        (
            "hourly",
            ("2026-11-20T01:59", "2026-11-20T01:00", "2026-11-20T00:59", "2026-11-20T00:00"),
            "2026-11-20T00:59",
        ),
        ("daily", ("2026-11-20T00:00", "2026-11-19T23:59", "2026-11-19T00:00"), "2026-11-19T23:59"),
        # ISO weeks begin on Mondays, and the first days of a year may belong to the last week of the one before.
        ("weekly", ("2026-11-16T00:00", "2026-11-15T23:59", "2026-11-09T00:00"), "2026-11-15T23:59"),
        ("weekly", ("2021-01-04T00:00", "2021-01-03T12:00", "2020-12-28T00:00"), "2021-01-03T12:00"),
        ("monthly", ("2026-11-01T00:00", "2026-10-31T23:59", "2026-10-01T00:00"), "2026-10-31T23:59"),
        ("yearly", ("2026-01-01T00:00", "2025-12-31T23:59", "2025-01-01T00:00"), "2025-12-31T23:59"),
        ("last", ("2026-01-01T00:00", "2025-12-31T23:59", "2025-01-01T00:00"), "2025-12-31T23:59"),
    ],
)
def test_where_one_period_ends_and_the_next_begins(rule: str, times: tuple[str, ...], second: str) -> None:
    expected = {times[0]: (rule,), second: (rule,)}
    assert kept(at(*times, "2001-01-01T00:00"), **{rule: 2}) == expected


def test_within_counts_back_from_the_newest_and_not_from_now() -> None:
    found = at("2026-01-20T12:00", "2026-01-13T12:01", "2026-01-13T12:00")
    assert kept(found, within_us=7 * DAY_US) == {
        "2026-01-20T12:00": ("within 7d",),
        "2026-01-13T12:01": ("within 7d",),
    }


def test_a_snapshot_from_the_future_makes_nothing_old_and_pushes_nothing_out() -> None:
    found = at("2035-01-01T00:00", "2026-11-27T11:00", "2026-11-27T01:00", "2026-11-20T00:00")
    assert list(kept(found, within_us=DAY_US)) == ["2035-01-01T00:00", "2026-11-27T11:00", "2026-11-27T01:00"]
    for rule in RULES[:-1]:
        assert kept(found, **{rule: 1}) == {"2035-01-01T00:00": ("in the future",), "2026-11-27T11:00": (rule,)}
    assert len(kept(at("2035-01-02T00:00", "2035-01-01T00:00"), within_us=1)) == 2, "the clock is wrong, not they"


def test_what_holds_the_newest_moment_stays_though_a_clock_was_set_back() -> None:
    found = at("2026-11-27T11:00", "1970-01-01T01:00", "1970-01-01T00:30")
    found = [replace(each, moment=(1, sequence)) for each, sequence in zip(found, (10, 12, 11), strict=True)]
    assert kept(found, last=1) == {"2026-11-27T11:00": ("last",), "1970-01-01T01:00": ("newest",)}
    found[2] = replace(found[2], moment=(2, 5))
    assert list(kept(found, last=1)) == ["2026-11-27T11:00", "1970-01-01T00:30"], "a later timeline is later"


def test_each_scope_is_counted_on_its_own() -> None:
    found = at("2026-11-20T05:00", "2026-11-20T04:00", "2026-11-20T03:00", "2026-11-20T02:00")
    found[1], found[3] = replace(found[1], scope="c"), replace(found[3], scope="c")
    assert list(kept(found, last=1)) == ["2026-11-20T05:00", "2026-11-20T04:00"]


def test_one_that_is_not_whole_never_stands_in_the_place_of_a_good_one() -> None:
    found = at("2026-11-20T05:00", "2026-11-20T04:00", "2026-11-20T03:00")
    found[0] = replace(found[0], whole=False, held=("damaged",))
    assert kept(found, last=1) == {"2026-11-20T05:00": ("damaged",), "2026-11-20T04:00": ("last",)}


def test_what_is_held_stays_and_counts() -> None:
    found = at("2026-11-20T05:00", "2026-11-20T04:00", "2026-11-20T03:00")
    found[0] = replace(found[0], held=("pinned",))
    found[2] = replace(found[2], held=("pinned",))
    assert kept(found, last=1) == {"2026-11-20T05:00": ("pinned", "last"), "2026-11-20T03:00": ("pinned",)}


def test_bases_stay_link_by_link_whoever_needs_them() -> None:
    found = at("2026-11-20T05:00", "2026-11-20T04:00", "2026-11-20T03:00", "2026-11-20T02:00")
    found[1] = replace(found[1], needed_by=("2026-11-20T05:00",))
    found[2] = replace(found[2], needed_by=("2026-11-20T04:00", "2026-11-20T05:00"))
    assert kept(found, last=1) == {
        "2026-11-20T05:00": ("last",),
        "2026-11-20T04:00": ("base of 2026-11-20T05:00",),
        "2026-11-20T03:00": ("base of 2026-11-20T05:00 and 1 more",),
    }
    found[3] = replace(found[3], needed_by=("elsewhere",))
    assert kept(found, last=1)["2026-11-20T02:00"] == ("base of elsewhere",)


def test_a_moment_beyond_the_calendar_is_no_reason_to_fail() -> None:
    odd = [Candidate("a", 1 << 62, "all"), Candidate("b", -5, "all")]
    assert set(kept(odd, hourly=9, weekly=9, yearly=9)) == {"a", "b"}


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(7 * DAY_US, "7d"), (36 * HOUR_US, "36h"), (90 * 60_000_000, "90m"), (45_000_000, "45s"), (1_500_000, "1.5s")],
)
def test_a_duration_reads_as_it_was_written(microseconds: int, text: str) -> None:
    assert duration_text(microseconds) == text


# What must hold of any ------------------------------------------------------------------------------------------------


@st.composite
def stores(draw: st.DrawFn) -> list[Candidate]:
    """Snapshots of two scopes, the newest first: chains, damage and pins among them."""
    hours = draw(st.lists(st.integers(0, 24 * 800), max_size=14, unique=True))
    found: list[Candidate] = []
    for number, hour in enumerate(sorted(hours, reverse=True)):
        above = [f"s{each}" for each in range(number)] + ["outside"]
        state = draw(st.sampled_from(["", "", "", "", "pinned", "damaged"]))
        needed_by = tuple(draw(st.lists(st.sampled_from(above), max_size=2, unique=True))) * draw(st.integers(0, 1))
        found.append(
            Candidate(
                id=f"s{number}",
                created_us=NOW_US - (24 * 800 - hour) * HOUR_US,
                scope=draw(st.sampled_from(["all", "c"])),
                needed_by=needed_by,
                whole=state != "damaged",
                held=(state,) if state else (),
            )
        )
    return found


COUNTS = {**dict.fromkeys(RULES, st.integers(0, 5)), "within_us": st.integers(0, 60).map(lambda days: days * DAY_US)}
policies = st.builds(RetentionPolicy, **COUNTS).filter(lambda policy: not policy.is_empty)


def staying(candidates: Sequence[Candidate], policy: RetentionPolicy) -> set[str]:
    return {id for id, why in reasons_to_keep(candidates, policy, NOW_US).items() if why}


@settings(max_examples=80, deadline=None)
@given(stores(), policies)
def test_a_base_of_what_stays_stays(found: list[Candidate], policy: RetentionPolicy) -> None:
    stay = staying(found, policy)
    known = {each.id for each in found}
    for each in found:
        needed = any(above in stay or above not in known for above in each.needed_by)
        assert not needed or each.id in stay


@settings(max_examples=80, deadline=None)
@given(stores(), policies, st.sampled_from(RULES), st.integers(1, 5))
def test_more_of_a_rule_never_removes_what_was_kept(
    found: list[Candidate], policy: RetentionPolicy, rule: str, more: int
) -> None:
    larger = replace(policy, **{rule: getattr(policy, rule) + more * (DAY_US if rule == "within_us" else 1)})
    assert staying(found, policy) <= staying(found, larger)


@settings(max_examples=80, deadline=None)
@given(stores(), policies, policies)
def test_two_policies_together_keep_what_either_keeps(
    found: list[Candidate], one: RetentionPolicy, other: RetentionPolicy
) -> None:
    assert staying(found, one) | staying(found, other) <= staying(found, one.with_all_of(other))


@settings(max_examples=80, deadline=None)
@given(stores(), policies)
def test_pruning_twice_does_nothing_the_second_time(found: list[Candidate], policy: RetentionPolicy) -> None:
    stay = staying(found, policy)
    left = [each for each in found if each.id in stay]
    assert staying(left, policy) == stay


@settings(max_examples=80, deadline=None)
@given(stores(), policies)
def test_the_newest_whole_one_of_each_scope_stays(found: list[Candidate], policy: RetentionPolicy) -> None:
    stay = staying(found, policy)
    for scope in ("all", "c"):
        newest = next((each.id for each in found if each.whole and each.scope == scope), None)
        assert newest is None or newest in stay


@settings(max_examples=80, deadline=None)
@given(stores(), policies)
def test_it_is_what_a_simple_model_says(found: list[Candidate], policy: RetentionPolicy) -> None:
    """By sets of periods and a fixed point, in the place of a walk."""
    stay = {each.id for each in found if each.held}
    for scope in ("all", "c"):
        whole = [each for each in found if each.whole and each.scope == scope]
        for rule in RULES[:-1]:
            stay |= model(whole, rule, getattr(policy, rule))
        stay |= {each.id for each in whole if each.created_us > whole[0].created_us - policy.within_us}
    known = {each.id for each in found}
    while True:
        more = {each.id for each in found if any(id in stay or id not in known for id in each.needed_by)} - stay
        if not more:
            break
        stay |= more
    assert staying(found, policy) == stay


def model(whole: Sequence[Candidate], rule: str, count: int) -> set[str]:
    periods: dict[object, list[str]] = {}
    for place, each in enumerate(whole):
        moment = datetime(1970, 1, 1) + timedelta(microseconds=each.created_us)
        monday = (moment - timedelta(days=moment.weekday())).date()
        names = {
            "last": place, "hourly": moment.replace(minute=0), "daily": moment.date(), "weekly": monday,
            "monthly": moment.date().replace(day=1), "yearly": moment.year,
        }  # fmt: skip
        periods.setdefault(names[rule], []).append(each.id)
    chosen = {ids[0] for ids in list(periods.values())[:count]}
    return chosen | ({whole[-1].id} if whole and len(periods) < count else set())


@settings(max_examples=80, deadline=None)
@given(stores(), policies)
def test_what_goes_goes_before_what_it_builds_on(found: list[Candidate], policy: RetentionPolicy) -> None:
    going = {each.id for each in found} - staying(found, policy)
    order = deletion_order(found, going)
    assert sorted(order) == sorted(going)
    for each in found:
        for above in each.needed_by:
            if each.id in going and above in going:
                assert order.index(above) < order.index(each.id)


def test_a_circle_ends() -> None:
    found = [Candidate("a", 2, "all", ("b",)), Candidate("b", 1, "all", ("a",)), Candidate("c", 0, "all", ("a",))]
    assert sorted(deletion_order(found, ["a", "b", "c"])) == ["a", "b", "c"]
