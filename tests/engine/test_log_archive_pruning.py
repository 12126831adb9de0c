"""What may go of an archive, decided by what lies there and who needs it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from holdfastd.engine.log_archive_pruning import IN_LOG, LEADS_TO_LOG, NEWEST, NEXT_UNREADABLE, Held, Need, Plan

MINUTE_US = 60_000_000


def held(count: int = 6, begins_after: int = 0) -> list[Held]:
    """WAL segments of ten operations, one a minute."""
    return [
        Held(
            name=f"00000001-{begins_after + 10 * n + 1:020d}.wal",
            begins_after=begins_after + 10 * n,
            first=begins_after + 10 * n + 1,
            last=begins_after + 10 * n + 10,
            first_us=(10 * n + 1) * MINUTE_US,
            last_us=(10 * n + 10) * MINUTE_US,
            size_bytes=100 + n,
        )
        for n in range(count)
    ]


def plan(*needs: int, archive: list[Held] | None = None, log: str = "", within_us: int = 0) -> Plan:
    found = held() if archive is None else archive
    return Plan(found, [Need(sequence, f"snap-{sequence}") for sequence in needs], log=log, within_us=within_us)


def shown(found: Plan) -> list[tuple[int, int, str]]:
    """From, to, why it stays."""
    return [(run.first, run.last, "; ".join(run.reasons)) for run in found.runs]


def test_what_lies_wholly_in_front_of_the_oldest_need_goes() -> None:
    assert shown(plan(25, 47)) == [(1, 20, ""), (21, 40, "needed by snap-25"), (41, 60, "needed by snap-25 and 1 more")]


def test_a_snapshot_that_ends_with_a_segment_needs_the_next_one_alone() -> None:
    assert plan(20).going == 2
    assert plan(19).going == 1
    assert plan(21).going == 2


def test_numbers_that_are_in_no_log_are_needed_by_nobody() -> None:
    archive = held()
    archive[3] = replace(archive[3], begins_after=25)
    assert plan(27, archive=archive).going == 3


def test_a_snapshot_of_the_end_needs_the_newest() -> None:
    assert shown(plan(60)) == [(1, 50, ""), (51, 60, "needed by snap-60")]
    assert shown(plan(99)) == [(1, 50, ""), (51, 60, "needed by snap-99")]


def test_one_from_before_the_archive_begins_needs_nothing_of_it() -> None:
    archive = held(begins_after=100)
    assert plan(99, 125, archive=archive).going == 2
    assert plan(100, 125, archive=archive).going == 0


def test_what_the_log_still_has_stays_and_what_leads_to_it() -> None:
    found = plan(45, log=held()[2].name)
    assert shown(found) == [
        (1, 10, ""),
        (11, 20, LEADS_TO_LOG),
        (21, 40, IN_LOG),
        (41, 60, f"needed by snap-45; {IN_LOG}"),
    ]
    assert plan(45, log=held()[0].name).going == 0


def test_age_counts_back_from_the_end() -> None:
    found = plan(55, within_us=30 * MINUTE_US)
    assert shown(found) == [(1, 30, ""), (31, 50, "within 30m"), (51, 60, "needed by snap-55; within 30m")]
    assert plan(5, within_us=MINUTE_US).going == 0
    assert plan(55, within_us=MINUTE_US).going == 5


def test_an_archive_begins_with_what_can_be_read() -> None:
    archive = held()
    archive[2] = replace(archive[2], sound=False)
    archive[3] = replace(archive[3], sound=False)
    found = plan(37, archive=archive)
    assert shown(found) == [(1, 10, ""), (11, 30, NEXT_UNREADABLE), (31, 60, "needed by snap-37")]


def test_the_newest_stays_whoever_needs_it() -> None:
    assert shown(plan()) == [(1, 50, ""), (51, 60, NEWEST)]
    assert shown(plan(archive=held(1))) == [(1, 10, NEWEST)]


def test_an_archive_with_nothing_in_it() -> None:
    found = plan(5, archive=[], log="x", within_us=5)
    assert (found.going, found.begins, found.runs) == (0, None, ())


@given(
    st.lists(st.integers(0, 70), min_size=1, max_size=5),
    st.integers(0, 6),
    st.integers(0, 70),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_whatever_goes_nobody_needed(needs: list[int], log: int, minutes: int, sound: list[bool]) -> None:
    archive = [replace(each, sound=good) for each, good in zip(held(), sound, strict=True)]
    name = archive[log].name if log < 6 else ""
    found = plan(*needs, archive=archive, log=name, within_us=minutes * MINUTE_US)
    gone, kept = archive[: found.going], archive[found.going :]
    assert kept
    assert not gone or kept[0].sound
    for each in gone:
        assert each.last <= min(needs)
        assert not name or each.name < name
        assert each.last_us <= archive[-1].last_us - minutes * MINUTE_US
    assert sum(run.segments for run in found.runs) == 6
    assert [run.keep for run in found.runs] == sorted(run.keep for run in found.runs)
    assert all(run.keep == bool(run.reasons) for run in found.runs)
