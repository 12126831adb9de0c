"""Which snapshots a retention policy keeps, and why: a pure function of what is known of them.

    rules     for each scope on its own: the newest so many, the newest of each of the last so many hours, days, … that
              have one, and what is young. Where a rule has not found as many as it may keep, it keeps the oldest, too:
              history is as long as it was asked for, from the first day on
    held      what stays whatever the rules say: pinned, in use, damaged, …
    clocks    a snapshot from the future was made by a clock that was wrong: it stays, and counts for no rule, else it
              would push out what is made today. The one that holds the newest moment stays, whatever its date
    bases     what a snapshot that stays builds on stays

Hours, days, ISO weeks, months and years are those of UTC. Only whole snapshots count for the rules, so that a damaged
one never stands in the place of a good one. The newest whole one of each scope stays under every policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta

FUTURE, NEWEST = "in the future", "newest"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # of the year 9999, beyond which there is no calendar
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How many to keep, by rule; 0: not a rule. ``within_us``: what is younger than the newest by less than this."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within_us: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it has no rule, and so would keep nothing."""
        return self == RetentionPolicy()

    def with_all_of(self, other: RetentionPolicy) -> RetentionPolicy:
        """The policy that keeps what either keeps: more of a rule never removes what less of it keeps."""
        return RetentionPolicy(*map(max, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot as the policy sees it. ``scope``: what it is counted with; ``whole``: whether it counts at all.

    ``held``: why it stays in any case. ``needed_by``: ids of those that build directly on it, candidates or not.
    ``moment``: the timeline and the sequence that it holds, which go on when a clock is set back.
    """

    id: str
    created_us: int
    scope: str
    needed_by: tuple[str, ...] = ()
    whole: bool = True
    held: tuple[str, ...] = ()
    moment: tuple[int, int] = (0, 0)


def reasons_to_keep(
    candidates: Sequence[Candidate], policy: RetentionPolicy, now_us: int
) -> Mapping[str, tuple[str, ...]]:
    """Why each snapshot stays, by its id; without any reason it may go. ``candidates``: the newest first.

    ``now_us``: what is younger than that is from the future.
    """
    reasons: dict[str, list[str]] = {each.id: list(each.held) for each in candidates}
    scopes: defaultdict[str, list[Candidate]] = defaultdict(list)
    for each in candidates:
        if each.whole:
            scopes[each.scope].append(each)
    for whole in scopes.values():
        found = [each for each in whole if each.created_us <= now_us]
        for each in whole:
            if each.created_us > now_us:
                reasons[each.id].append(FUTURE)
        for rule, count, period in _rules(policy):
            _keep_periods(found, rule, count, period, reasons)
        _keep_young(found, policy.within_us, reasons)
        newest = max(whole, key=lambda each: each.moment)
        if not reasons[newest.id]:
            reasons[newest.id].append(NEWEST)
    _keep_bases(candidates, reasons)
    return {id: tuple(why) for id, why in reasons.items()}


def deletion_order(candidates: Iterable[Candidate], going: Iterable[str]) -> list[str]:
    """Of what goes, each after all that builds on it; otherwise the oldest last, as ``candidates`` come."""
    wanted = set(going)
    left = {each.id: wanted.intersection(each.needed_by) for each in candidates if each.id in wanted}
    order: list[str] = []
    while left:
        # What claims to build on itself in a circle is nothing that this store made; any order is as good.
        free = [id for id, needed_by in left.items() if not needed_by & left.keys()] or list(left)
        order += free
        for id in free:
            del left[id]
    return order


def _rules(policy: RetentionPolicy) -> tuple[tuple[str, int, Callable[[int, Candidate], object]], ...]:
    """Each counted rule: its word, how many it keeps, and the period of the snapshot in a place of the list."""
    return (
        ("last", policy.last, lambda place, each: place),
        ("hourly", policy.hourly, lambda place, each: _utc(each).strftime("%Y-%m-%d %H")),
        ("daily", policy.daily, lambda place, each: _utc(each).date()),
        ("weekly", policy.weekly, lambda place, each: _utc(each).isocalendar()[:2]),
        ("monthly", policy.monthly, lambda place, each: (_utc(each).year, _utc(each).month)),
        ("yearly", policy.yearly, lambda place, each: _utc(each).year),
    )


def _utc(candidate: Candidate) -> datetime:
    return _EPOCH + timedelta(seconds=max(0, min(candidate.created_us // 1_000_000, _LAST_SECOND)))


def _keep_periods(
    found: Sequence[Candidate],
    rule: str,
    count: int,
    period: Callable[[int, Candidate], object],
    reasons: dict[str, list[str]],
) -> None:
    """The newest of each of the last ``count`` periods; the oldest of all where there are fewer."""
    left, last = count, None
    for place, each in enumerate(found):
        if not left:
            return
        current = period(place, each)
        if current != last:
            reasons[each.id].append(rule)
        elif each is found[-1]:
            reasons[each.id].append(f"oldest {rule}")
        else:
            continue
        left, last = left - 1, current


def _keep_young(found: Sequence[Candidate], within_us: int, reasons: dict[str, list[str]]) -> None:
    """What is younger, counted back from the newest: where a schedule stands still, nothing grows old."""
    for each in found:
        if each.created_us > found[0].created_us - within_us:
            reasons[each.id].append(f"within {duration_text(within_us)}")


def _keep_bases(candidates: Sequence[Candidate], reasons: dict[str, list[str]]) -> None:
    """What a snapshot that stays builds on, link by link. One that is not among the candidates stays."""
    bases: defaultdict[str, list[str]] = defaultdict(list)
    for each in candidates:
        for above in each.needed_by:
            bases[above].append(each.id)
    staying = [id for id in bases if id not in reasons] + [id for id, why in reasons.items() if why]
    reached = set(staying)
    while staying:
        for base in bases[staying.pop()]:
            if base not in reached:
                reached.add(base)
                staying.append(base)
    for each in candidates:
        needing = [id for id in each.needed_by if id in reached]
        if needing:
            more = f" and {len(needing) - 1} more" if len(needing) > 1 else ""
            reasons[each.id].append(f"base of {needing[-1]}{more}")


def duration_text(microseconds: int) -> str:
    """As it would be written on a command line: ``7d``, ``36h``, ``1.5s``."""
    for unit, seconds in _UNITS:
        if microseconds % (seconds * 1_000_000) == 0:
            return f"{microseconds // (seconds * 1_000_000)}{unit}"
    return f"{microseconds / 1e6:g}s"
