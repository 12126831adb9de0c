"""Arguments that the wire cannot carry: refused in words before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.cli.commands.collection import MAX_DIMENSIONS
from holdfast.cli.commands.vector_read import MAX_K
from holdfastd.engine import collections, reading
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon

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
        (f"storage wal grep --op mark --limit {HUGE}", "--limit"),
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
        (lambda db: holdfast.connect(token=5), "token is int, not a string"),
        (lambda db: holdfast.connect(timeout="5"), "timeout is str, not a number of seconds"),
        (lambda db: db.collections.create("c", 2, storage=3), "kind of storage is int, not a string"),
        (lambda db: db.collection("products").count(5), "filter is int, not a string"),
        (lambda db: db.collection("products").search([1, 0], filter={}), "filter is dict, not a string"),
        (lambda db: db.collection("products").search(query_id=5), "query_id is int, not a string"),
        (lambda db: db.collection("products").upsert(["a"], [[1, 0]], request_id=5), "request_id is int, not a string"),
        (lambda db: db.collection("products").writer("5"), "batch_size is str, not a whole number"),
        (lambda db: db.snapshots.create(["products"]), "collection is list, not a string"),
        (lambda db: db.snapshots.restore(None), "snapshot is NoneType, not a string"),
        (lambda db: db.snapshots.create(path=5), "path is int, not a string"),
        (lambda db: db.wal.mark(5), "name is int, not a string"),
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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda db: db.collection("\ud800"), "name cannot be sent as UTF-8"),
        (lambda db: db.collection("products").get(["a", "\udcff"]), r"ids\[1\] cannot be sent as UTF-8"),
        (lambda db: db.collection("products").count("a = '\ud800'"), "filter cannot be sent as UTF-8"),
        (lambda db: db.collection("products").upsert(["a"], [[1, 0]], ['{"a":"\ud800"}']), r"payloads\[0\] cannot be"),
        (lambda db: db.collection("products").writer().upsert("\ud800", [1, 0]), "the id cannot be sent as UTF-8"),
        (lambda db: db.snapshots.create(path="/\udcff"), "path cannot be sent as UTF-8"),
        (lambda db: db.wal.replay(to=-1), "to is -1, and must be at least 0"),
        (lambda db: holdfast.connect(timeout=0), "timeout is 0, and must be above 0"),
        (lambda db: db.collection("products").upsert(["a"], [[1, 0]], {"a": 1}), "payloads came as one dict"),
        (lambda db: db.collection("products").upsert(["a"], [[1, 0]], "{}"), "payloads came as one str"),
        (lambda db: db.collection("products").upsert(["a"], [{1.0, 0.0}]), r"vectors\[0\] came as set"),
        (lambda db: db.collection("products").upsert(["a"], [{0: 1.0, 1: 0.0}]), r"vectors\[0\] came as dict"),
        (lambda db: db.collection("products").upsert(["a"], np.array([["2026", "2027"]], "M8[Y]")), "are no numbers"),
        (lambda db: db.collection("products").writer().upsert("a", np.array(["2026"], "M8[Y]")), "are no numbers"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_words(
    db: holdfast.Client, products: holdfast.Collection, call: Callable[[Any], object], words: str
) -> None:
    with pytest.raises(holdfast.InvalidArgument, match=words):
        call(db)
    assert products.count() == 3


def test_a_path_may_be_a_path(db: holdfast.Client, products: holdfast.Collection, daemon: FakeDaemon) -> None:
    db.snapshots.create(path=Path("/backups"))
    db.snapshots.list(path=Path("here"))
    assert daemon.requests["CreateSnapshot"][-1].path == "/backups"
    assert daemon.requests["ListSnapshots"][-1].working_directory == str(Path.cwd())


def test_numbers_of_other_libraries_are_whole_numbers(products: holdfast.Collection) -> None:
    assert len(products.search([1, 0], k=np.int64(2))) == 2  # type: ignore[arg-type]  # what a program may well pass


def test_both_searches_are_bounded_alike(products: holdfast.Collection) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="k is"):
        products.search_batch([[1, 0]], k=2**40)
    with pytest.raises(holdfast.InvalidArgument, match="ef is"):
        products.search_batch([[1, 0]], ef=2**40)
