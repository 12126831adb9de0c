"""Values cut out of JSON, to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.json_cut import cut_member, cut_values

TEXTS = [
    "{}",
    "[ ]",
    '{"a" : 1.50 , "a":-0}',
    '{"brackets": "]}[{,", "quote": "\\"", "end": "\\\\"}',
    '{"deep": [[{"x": [1, 2, {"y": []}]}], "é\\u00e9"]}',
    "1e5",
    '"],["',
    "null",
]
TEXT = st.text(st.sampled_from('[]{}",:\\/ \n\t') | st.characters(codec="utf-8"), max_size=8)
"""Half of it are the signs that a cut must not stumble over."""
JSON = st.recursive(
    st.none() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("space", ["", " ", "\n\t "])
def test_items_are_cut_as_they_are_written(space: str) -> None:
    joined = ",".join(f"{space}{text}{space}" for text in TEXTS)
    assert cut_values(f"{space}[{joined}]{space}") == TEXTS


@pytest.mark.parametrize("text", ["[]", "{}", " [ ] ", "{\n}"])
def test_what_is_empty_has_no_values(text: str) -> None:
    assert cut_values(text) == []


@UNHURRIED
@given(st.lists(JSON), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
def test_the_pieces_are_the_values(values: list[Any], separators: tuple[str, str]) -> None:
    assert [json.loads(text) for text in cut_values(json.dumps(values, separators=separators))] == values


@UNHURRIED
@given(st.dictionaries(TEXT, JSON, min_size=1), st.booleans())
def test_a_member_is_found_however_its_name_is_written(members: dict[str, Any], ascii: bool) -> None:
    text = json.dumps(members, ensure_ascii=ascii)
    for name, value in members.items():
        cut = cut_member(text, name)
        assert cut is not None
        assert json.loads(cut) == value


def test_of_a_double_name_the_last_counts() -> None:
    text = '{"payload": {"a":1}, "x": {"payload": 2}, "p\\u0061yload" : {"a" : 3} }'
    assert cut_member(text, "payload") == '{"a" : 3}'
    assert cut_member(text, "none") is None


def test_depth_does_not_matter() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert cut_values(f"[1,{deep},2]") == ["1", deep, "2"]
