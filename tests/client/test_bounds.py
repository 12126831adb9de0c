"""Arguments that the wire cannot carry: refused in words before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.cli.commands.collection import MAX_DIMENSIONS
from holdfast.cli.commands.vector_read import MAX_K
from holdfastd.engine import collections, reading
from tests.client.conftest import Outcome

HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("collection create c -d 99999999999", "--dimensions"),
        (f"collection create c -d {HUGE}", "--dimensions"),
        ("vector search products -q [1,0] --k 99999999999", "--k"),
        ("vector search products -q [1,0] --ef 99999999999", "--ef"),
        (f"vector scroll products --offset {HUGE}", "--offset"),
        (f"storage wal dump --limit {HUGE}", "--limit"),
        ("storage snapshot prune --keep-last 99999999999 --dry-run", "--keep-last"),
        ("storage snapshot diff latest --sample 99999999999", "--sample"),
    ],
)
def test_the_command_line_names_the_option_and_its_bounds(
    cli: Callable[..., Outcome], products: holdfast.Collection, line: str, option: str
) -> None:
    outcome = cli(*line.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert option in outcome.err
    assert "is not in the range" in outcome.err


def test_a_limit_may_be_larger_than_the_wire(cli: Callable[..., Outcome], products: holdfast.Collection) -> None:
    assert cli("vector", "scroll", "products", "--limit", HUGE).json["count"] == 3
    assert cli("operation", "list", "--limit", HUGE).json["total"] == 0


def test_the_bounds_are_those_of_the_daemon() -> None:
    assert (MAX_DIMENSIONS, MAX_K) == (collections.MAX_DIMENSIONS, reading.MAX_K)


@pytest.mark.parametrize("dimensions", [2**40, 2**32, 0, -1])
def test_dimensions_that_no_message_can_hold(db: holdfast.Client, dimensions: int) -> None:
    with pytest.raises(holdfast.InvalidArgument, match=f"dimensions is {dimensions}, and (must|can) be at"):
        db.collections.create("c", dimensions)


CALLS: dict[str, Callable[[holdfast.Collection, int], object]] = {
    "k": lambda target, number: target.search([1, 0], k=number),
    "ef": lambda target, number: target.search([1, 0], ef=number),
    "offset": lambda target, number: list(target.scroll(offset=number)),
    "page_size": lambda target, number: target.scroll_page(page_size=number),
    "batch_size": lambda target, number: list(target.export_batches(batch_size=number)),
    "expected_count": lambda target, number: target.delete(["a"], expected_count=number),
}


@pytest.mark.parametrize("number", [2**70, -1])
@pytest.mark.parametrize("name", CALLS)
def test_the_library_names_the_argument(products: holdfast.Collection, name: str, number: int) -> None:
    with pytest.raises(holdfast.InvalidArgument, match=f"^{name} is {number}, and (must|can) be at"):
        CALLS[name](products, number)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda db: holdfast.connect(5), "address is int, not a string"),
        (lambda db: db.collection(None), "name is NoneType, not a string"),
        (lambda db: db.collections.create(5, 2), "name is int, not a string"),
        (lambda db: db.collections.create("c", "2"), "dimensions is str, not a whole number"),
        (lambda db: db.collection("products").search([1, 0], k="2"), "k is str, not a whole number"),
        (lambda db: db.collection("products").search([1, 0], k=2.0), "k is float, not a whole number"),
        (lambda db: db.collection("products").get([5]), r"ids\[0\] is int, not a string"),
        (lambda db: db.collection("products").delete(["a", None]), r"ids\[1\] is NoneType, not a string"),
        (lambda db: db.collection("products").update([5], payloads=[{}]), r"ids\[0\] is int, not a string"),
    ],
)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(
    db: holdfast.Client, products: holdfast.Collection, call: Callable[[Any], object], words: str
) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        call(db)
    assert products.count() == 3


def test_numbers_of_other_libraries_are_whole_numbers(products: holdfast.Collection) -> None:
    assert len(products.search([1, 0], k=np.int64(2))) == 2  # type: ignore[arg-type]  # what a program may well pass


def test_both_searches_are_bounded_alike(products: holdfast.Collection) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="k is"):
        products.search_batch([[1, 0]], k=2**40)
    with pytest.raises(holdfast.InvalidArgument, match="ef is"):
        products.search_batch([[1, 0]], ef=2**40)
