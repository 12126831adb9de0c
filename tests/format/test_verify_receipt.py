"""What the receipts of several readings add up to, and which of them are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.format.verify_receipt import (
    CHECKSUMS,
    FILES,
    MAX_RECEIPTS,
    RESTORE,
    ROWS,
    Standing,
    VerifyReceipt,
    standing,
    with_receipt,
)

GOOD = VerifyReceipt(CHECKSUMS, 100, True, "ab" * 32, 10, 1)


def receipt(level: int, time_us: int, subset: str = "", problem: str = "") -> VerifyReceipt:
    return replace(GOOD, level=level, time_us=time_us, subset=subset, valid=not problem, problem=problem)


def after(*readings: VerifyReceipt) -> tuple[VerifyReceipt, ...]:
    kept: tuple[VerifyReceipt, ...] = ()
    for each in readings:
        kept = with_receipt(kept, each)
    return kept


STANDINGS: list[tuple[str, list[VerifyReceipt], Standing | None]] = [
    ("nothing", [], None),
    ("the files only", [receipt(FILES, 5)], Standing(FILES, 5)),
    ("checksums after a restore", [receipt(RESTORE, 1), receipt(CHECKSUMS, 9)], Standing(CHECKSUMS, 9)),
    ("the files after checksums", [receipt(CHECKSUMS, 1), receipt(FILES, 9)], Standing(CHECKSUMS, 1)),
    ("one slice of two", [receipt(CHECKSUMS, 1, "1/2")], None),
    ("both slices", [receipt(CHECKSUMS, 3, "2/2"), receipt(CHECKSUMS, 7, "1/2")], Standing(CHECKSUMS, 3)),
    ("both slices, decoded", [receipt(ROWS, 3, "2/2"), receipt(ROWS, 7, "1/2")], Standing(ROWS, 3)),
    ("slices of files and of parts", [receipt(ROWS, 3, "2/2"), receipt(CHECKSUMS, 7, "1/2")], None),
    ("slices of two divisions", [receipt(CHECKSUMS, 1, "1/2"), receipt(CHECKSUMS, 2, "2/3")], None),
    ("a share", [receipt(ROWS, 4, "50%")], None),
    ("damage", [receipt(CHECKSUMS, 4, problem="bad")], None),
    ("all of it after slices", [receipt(CHECKSUMS, 1, "1/2"), receipt(CHECKSUMS, 8)], Standing(CHECKSUMS, 8)),
]


@pytest.mark.parametrize(("readings", "expected"), [row[1:] for row in STANDINGS], ids=[row[0] for row in STANDINGS])
def test_what_readings_add_up_to(readings: list[VerifyReceipt], expected: Standing | None) -> None:
    assert standing(after(*readings)) == expected


KEPT: list[tuple[str, list[VerifyReceipt], list[int]]] = [
    ("the same again", [receipt(CHECKSUMS, 1), receipt(CHECKSUMS, 2)], [2]),
    ("more than before", [receipt(CHECKSUMS, 1), receipt(RESTORE, 2)], [2]),
    ("less than before", [receipt(RESTORE, 1), receipt(CHECKSUMS, 2)], [1, 2]),
    ("a slice again", [receipt(ROWS, 1, "1/2"), receipt(ROWS, 2, "2/2"), receipt(ROWS, 3, "1/2")], [2, 3]),
    ("a slice at a lower level", [receipt(ROWS, 1, "1/2"), receipt(CHECKSUMS, 2, "1/2")], [1, 2]),
    ("all of it after a slice", [receipt(CHECKSUMS, 1, "1/2"), receipt(CHECKSUMS, 2)], [2]),
    ("a share again", [receipt(CHECKSUMS, 1, "5%"), receipt(CHECKSUMS, 2, "10%")], [2]),
    ("damage after a success", [receipt(RESTORE, 1), receipt(CHECKSUMS, 2, problem="bad")], [1, 2]),
    ("a slice at a higher level", [receipt(CHECKSUMS, 1, "1/2"), receipt(ROWS, 2, "1/2")], [1, 2]),
    ("damage again", [receipt(FILES, 1, problem="bad"), receipt(ROWS, 2, problem="worse")], [2]),
    ("other damage on top", [receipt(ROWS, 1, problem="bad"), receipt(FILES, 2, problem="worse")], [1, 2]),
    (
        "the lesser of two damages mended",
        [receipt(ROWS, 1, problem="bad"), receipt(FILES, 2, problem="worse"), receipt(CHECKSUMS, 3)],
        [1, 3],
    ),
    ("a success that damage outranks", [receipt(ROWS, 1, problem="bad"), receipt(CHECKSUMS, 2)], [1, 2]),
    ("a success that ends damage", [receipt(ROWS, 1, problem="bad"), receipt(ROWS, 2)], [2]),
    ("a slice ends no damage", [receipt(CHECKSUMS, 1, problem="bad"), receipt(CHECKSUMS, 2, "1/1")], [1, 2]),
]


@pytest.mark.parametrize(("readings", "times"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_which_receipts_are_kept(readings: list[VerifyReceipt], times: list[int]) -> None:
    assert [each.time_us for each in after(*readings)] == times


@given(
    st.lists(
        st.builds(
            receipt,
            st.integers(0, 4),
            st.just(0),
            st.one_of(st.just(""), st.just("10%"), st.integers(1, 7).map(lambda n: f"{n}/7")),
        ),
        max_size=40,
    )
)
def test_what_is_dropped_changes_no_standing_of_the_newest(readings: list[VerifyReceipt]) -> None:
    timed = [replace(each, time_us=at) for at, each in enumerate(readings)]
    kept, all_ = standing(after(*timed)), standing(timed)
    assert (kept is None) == (all_ is None)
    if kept is not None and all_ is not None:
        assert kept.time_us == all_.time_us
        assert (kept.level >= CHECKSUMS) == (all_.level >= CHECKSUMS)


def test_their_number_is_bounded() -> None:
    kept = after(*(receipt(CHECKSUMS, at, f"{at % of + 1}/{of}") for of in (97, 98, 99) for at in range(of)))
    assert len(kept) == MAX_RECEIPTS


def test_damage_is_not_forgotten_among_many_slices_that_are_right() -> None:
    slices = (receipt(CHECKSUMS, 2 + at, f"{at % of + 1}/{of}") for of in (97, 98, 99) for at in range(of))
    kept = after(receipt(CHECKSUMS, 1, problem="bad"), *slices)
    assert (len(kept), kept[0].problem) == (MAX_RECEIPTS, "bad")
