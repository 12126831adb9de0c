"""JSON that is nested without end, or has numbers without end: an error in our own words, never one of Python's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import holdfast
from tests.client.conftest import Outcome

DEEP = "[" * 100_000
LONG = "9" * 5000
INSERT = ["vector", "insert", "products"]
SEARCH = ["vector", "search", "products", "--query"]
WORDS = {"deep": "nested too deeply", "long": "a number has more than 4,300 digits"}

LINES = [
    ([*INSERT, "--vector", DEEP], WORDS["deep"]),
    ([*INSERT, "--vector", f"[1,{LONG}]"], WORDS["long"]),
    ([*SEARCH, DEEP], WORDS["deep"]),
    ([*SEARCH, f"1,{LONG}"], WORDS["long"]),
    ([*INSERT, "--vector", "[1,0]", "--payload", f'{{"a":{DEEP}'], WORDS["deep"]),
    ([*INSERT, "--vector", "[1,0]", "--payload", f'{{"a":{LONG}}}'], WORDS["long"]),
    (["vector", "get", "products", "--id", DEEP], "is not a JSON array of ids"),
    (["vector", "get", "products", "--id", f"[{LONG}]"], "is not a JSON array of ids"),
    ([*INSERT, "--vector", "[1,1e39]"], "vectors[0][1] is beyond float32's range"),
    ([*SEARCH, f"[1,1{'0' * 400}]"], "query[1] is beyond float32's range"),
]


@pytest.mark.parametrize(("line", "words"), LINES, ids=[words for _, words in LINES])
def test_on_the_command_line_it_is_wrong_usage(
    cli: Callable[..., Outcome], products: holdfast.Collection, line: list[str], words: str
) -> None:
    outcome = cli(*line)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
    assert len(outcome.err) < 500
    assert products.count() == 3


FILES = {
    "deep.json": ('[{"id": "x", "vector": ' + DEEP, WORDS["deep"]),
    "long.json": (f'[{{"id": "x", "vector": [1, {LONG}]}}]', WORDS["long"]),
    "deep.csv": (f'id,vector\nx,"{DEEP}"\n', WORDS["deep"]),
    "long.csv": (f'id,vector\nx,"[1,{LONG}]"\n', WORDS["long"]),
}


@pytest.mark.parametrize("name", FILES)
def test_in_a_file_it_is_a_bad_row(
    cli: Callable[..., Outcome], products: holdfast.Collection, write: Callable[[str, str], str], name: str
) -> None:
    content, words = FILES[name]
    outcome = cli("vector", "insert-batch", "products", "--file", write(name, content))
    assert outcome.code == 2
    assert words in outcome.err
    assert "sys." not in outcome.err
