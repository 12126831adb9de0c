"""Filters against a slow evaluator that walks the expression with three truth values."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.engine import filter as filters
from holdfastd.engine.filter import parse_filter
from holdfastd.errors import InvalidArgument

Truth = bool | None
"""TRUE, FALSE, and None for UNKNOWN."""


def selects(text: str, payload: dict[str, Any] | None) -> bool:
    """What matches and mask agree on."""
    parsed = parse_filter(text)
    encoded = None if payload is None else json.dumps(payload).encode()
    masked = bool(parsed.mask([encoded])[0])
    assert parsed.matches(payload or {}) is masked
    return masked


# --- the independent evaluator -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A filter's text, and its truth for a payload."""

    text: str
    truth: Callable[[dict[str, Any]], Truth]


def kind(value: Any) -> str:
    return {bool: "bool", str: "string", int: "number", float: "number", list: "array", dict: "object"}[type(value)]


def same(value: Any, literal: Any) -> bool:
    return kind(value) == kind(literal) and bool(value == literal)


def like(value: str, pattern: str, escape: str) -> bool:
    """Textbook recursion over both strings, memoised."""

    @cache
    def rest(v: int, p: int) -> bool:
        if p == len(pattern):
            return v == len(value)
        if pattern[p] == "%" and escape != "%":
            return rest(v, p + 1) or (v < len(value) and rest(v + 1, p))
        if pattern[p] == escape:
            return v < len(value) and value[v] == pattern[p + 1] and rest(v + 1, p + 2)
        return v < len(value) and (pattern[p] == "_" or value[v] == pattern[p]) and rest(v + 1, p + 1)

    return rest(0, 0)


def compare(value: Any, symbol: str, literal: Any) -> Truth:
    if symbol in ("=", "!=", "<>"):
        return same(value, literal) is (symbol == "=")
    if kind(value) != kind(literal) or kind(value) not in ("string", "number"):
        return None
    return bool(
        {"<": value < literal, "<=": value <= literal, ">": value > literal, ">=": value >= literal}[symbol]
        if kind(value) in ("string", "number")
        else None
    )


def conjunction(one: Truth, other: Truth) -> Truth:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def opposite(truth: Truth) -> Truth:
    return None if truth is None else not truth


def contained(value: Any, literal: Any) -> Truth:
    if isinstance(value, list):
        return any(
            member is None if literal is None else member is not None and same(member, literal) for member in value
        )
    return literal in value if isinstance(value, str) and isinstance(literal, str) else None


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def written(literal: Any) -> str:
    if literal is None or isinstance(literal, bool):
        return str(json.dumps(literal))
    return quoted(literal) if isinstance(literal, str) else repr(literal)


WORDS = st.sampled_from(
    ["", "a", "b", "ab", "ba", "aab", "A", "it's", "%", "a%b", "a_b", "é😀", "a\nb", "\\", "2026-01-02"]
)
NUMBERS = st.sampled_from([0, 1, -1, 2, 10, 1.0, 0.1, -2.5, 1e300, 2**53, 2**53 + 1, float(2**53), -(2**70), 10**30])
PATHS = {
    "a": ("a",),
    "b": ("b",),
    "n.x": ("n", "x"),
    '"odd ""key"': ('odd "key',),
    "`in`.y": ("in", "y"),
    "été.`x``y`": ("été", "x`y"),
}


def field(payload: dict[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = payload
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def known(keys: tuple[str, ...], test: Callable[[Any], Truth]) -> Callable[[dict[str, Any]], Truth]:
    def truth(payload: dict[str, Any]) -> Truth:
        value = field(payload, keys)
        return None if value is None else test(value)

    return truth


@st.composite
def leaves(draw: st.DrawFn) -> Case:
    name, keys = draw(st.sampled_from(sorted(PATHS.items())))
    orderable, any_value = WORDS | NUMBERS, WORDS | NUMBERS | st.booleans()
    form = draw(st.sampled_from(["compare", "order", "between", "in", "like", "contains", "null"]))
    negative = draw(st.booleans()) and form not in ("compare", "order")
    infix = " NOT" if negative else ""
    test: Callable[[Any], Truth]
    if form == "null":
        text = f"{name} IS{infix} NULL"
        return Case(text, lambda payload: (field(payload, keys) is None) is not negative)
    if form in ("compare", "order"):
        symbol = draw(st.sampled_from(["=", "!=", "<>"] if form == "compare" else ["<", "<=", ">", ">="]))
        literal = draw(any_value if form == "compare" else orderable)
        return Case(f"{name} {symbol} {written(literal)}", known(keys, lambda value: compare(value, symbol, literal)))
    if form == "between":
        low, high = draw(st.tuples(WORDS, WORDS) | st.tuples(NUMBERS, NUMBERS))
        text = f"BETWEEN {written(low)} AND {written(high)}"
        test = lambda value: conjunction(compare(value, ">=", low), compare(value, "<=", high))  # noqa: E731
    elif form == "in":
        items = draw(st.lists(any_value, min_size=1, max_size=4))
        text = f"in ({', '.join(map(written, items))})"
        test = lambda value: any(same(value, item) for item in items)  # noqa: E731
    elif form == "contains":
        member = draw(any_value | st.none())
        text = f"Contains {written(member)}"
        test = lambda value: contained(value, member)  # noqa: E731
    else:
        escape = draw(st.sampled_from(["\\", "!"]))
        pieces = draw(st.lists(st.sampled_from(["%", "_", "a", "b", f"{escape}%", f"{escape}_", "é", "."]), max_size=6))
        pattern = "".join(pieces)
        text = f"LIKE {quoted(pattern)}" + ("" if escape == "\\" else f" ESCAPE {quoted(escape)}")
        test = lambda value: like(value, pattern, escape) if isinstance(value, str) else None  # noqa: E731
    signed = known(keys, (lambda value: opposite(test(value))) if negative else test)
    return Case(f"{name}{infix} {text}", signed)


def joined(word: str, cases: list[Case]) -> Case:
    def truth(payload: dict[str, Any]) -> Truth:
        truths = [case.truth(payload) for case in cases]
        if word == "OR":
            truths = [opposite(t) for t in truths]
        result: Truth = True
        for t in truths:
            result = conjunction(result, t)
        return opposite(result) if word == "OR" else result

    return Case(f" {word} ".join(f"({case.text})" for case in cases), truth)


def extended(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    several = st.lists(inner, min_size=2, max_size=3)
    negated = inner.map(lambda case: Case(f"NOT ({case.text})", lambda payload: opposite(case.truth(payload))))
    return negated | several.map(lambda c: joined("AND", c)) | several.map(lambda c: joined("OR", c))


VALUES: st.SearchStrategy[Any] = WORDS | NUMBERS | st.booleans() | st.none()
VALUES = VALUES | st.lists(VALUES, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "x`y"]), VALUES, max_size=2)
PAYLOADS = st.dictionaries(st.sampled_from(["a", "b", "n", 'odd "key', "in", "été", "unused"]), VALUES, max_size=6)


@settings(max_examples=600, deadline=None)
@given(
    case=st.recursive(leaves(), extended, max_leaves=6),
    payloads=st.lists(PAYLOADS | st.none(), min_size=4, max_size=12),
)
def test_agrees_with_the_evaluator(case: Case, payloads: list[dict[str, Any] | None]) -> None:
    parsed = parse_filter(case.text)
    expected = [case.truth(payload or {}) is True for payload in payloads]
    encoded = [None if p is None else json.dumps(p, ensure_ascii=False).encode() for p in payloads]
    assert parsed.mask(encoded).tolist() == expected
    escaped = [None if p is None else json.dumps(p).encode() for p in payloads]
    assert parsed.mask(escaped).tolist() == expected
    assert [parsed.matches(payload or {}) for payload in payloads] == expected


@settings(max_examples=300, deadline=None)
@given(value=st.text("ab.\n", max_size=9), pattern=st.text("ab.%_\n", max_size=9))
def test_like_agrees_with_the_textbook(value: str, pattern: str) -> None:
    assert selects(f"a LIKE {quoted(pattern)}", {"a": value}) is like(value, pattern, "\\")


# --- the language by example -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "selected"),
    [
        ({"category": "books", "price": 5, "archived": False}, True),
        ({"category": "books", "price": 20, "tags": ["old", "new"], "archived": False}, True),
        ({"category": "books", "price": 5, "archived": True}, False),
        ({"category": "books", "price": 5}, False),  # NOT UNKNOWN is UNKNOWN
        ({"category": "music", "price": 5, "archived": False}, False),
        (None, False),
    ],
)
def test_the_example_of_the_specification(payload: dict[str, Any] | None, selected: bool) -> None:
    text = "category = 'books' AND (price < 10 OR tags CONTAINS 'new') AND NOT archived = true"
    assert selects(text, payload) is selected


@pytest.mark.parametrize(
    ("text", "payload", "selected"),
    [
        ("a = 9007199254740993", {"a": 9007199254740992}, False),
        ("a = 9007199254740993", {"a": 9007199254740993}, True),
        ("a > 9007199254740992.0", {"a": 9007199254740993}, True),
        ("a = 1", {"a": 1.0}, True),
        ("a = 1", {"a": True}, False),
        ("a = true", {"a": 1}, False),
        ("a IN (0, 1)", {"a": False}, False),
        ("a CONTAINS 1", {"a": [True]}, False),
        ("a < 2", {"a": True}, False),
        ("a != 1", {"a": "1"}, True),
        ("NOT a < 1", {"a": "1"}, False),
        ("a != 'x'", {}, False),
        ("a IS NULL", {"a": None}, True),
        ("a IS NULL", None, True),
        ("a.b IS NULL", {"a": [1]}, True),
        ("t >= '2026-01-02T00:00:00Z'", {"t": "2026-01-20T11:00:00Z"}, True),
        ("a = 1 OR b = 1 AND c = 1", {"a": 1}, True),
        ("NOT a = 1 AND b = 1", {"a": 2, "b": 1}, True),
        ("a=-1 AND b<-2", {"a": -1, "b": -3}, True),
        ("a CONTAINS NULL", {"a": [None]}, True),
        ("a CONTAINS NULL", {"a": [1]}, False),
        ("a NOT CONTAINS 'x'", {"a": ["x"]}, False),
        ("a NOT CONTAINS 'x'", {"a": ["y", 1, None]}, True),
        ("a NOT CONTAINS 'x'", {"a": "wxy"}, False),
        ("a NOT CONTAINS 'x'", {"a": 1}, False),
        ("a NOT IN (1, 'x')", {"a": True}, True),
        ("a NOT IN (1, 'x')", {"a": "x"}, False),
        ("a NOT IN (1, 'x')", {}, False),
        ("a NOT BETWEEN 1 AND 2", {"a": 3}, True),
        ("a NOT BETWEEN 1 AND 2", {"a": 2}, False),
        ("a NOT BETWEEN 1 AND 2", {"a": "x"}, False),
        ("a NOT LIKE 'x%'", {"a": "yx"}, True),
        ("a NOT LIKE 'x%'", {"a": "xy"}, False),
        ("a NOT LIKE 'x%'", {"a": 1}, False),
        ("a IS NOT NULL", {"a": False}, True),
        ("a LIKE '%'", {"a": ""}, True),
        ("a LIKE '100\\%'", {"a": "100%"}, True),
        ("a LIKE '100\\%'", {"a": "1000"}, False),
        ("a\n  =\n'x'", {"a": "x"}, True),
        ('"" = 1', {"": 1}, True),
        ('"tab\there" = 1 AND "back\\slash" = 2 AND c IS NULL', {"tab\there": 1, "back\\slash": 2}, True),
        ("inventory = 1 AND nothing = 2 AND android = 3", {"inventory": 1, "nothing": 2, "android": 3}, True),
    ],
)
def test_meaning(text: str, payload: dict[str, Any] | None, selected: bool) -> None:
    assert selects(text, payload) is selected


def test_a_filter_is_a_value() -> None:
    parsed = parse_filter("a.b = 1 AND (`c d` IN ('x') OR NOT a.e IS NULL)")
    assert parsed.text == "a.b = 1 AND (`c d` IN ('x') OR NOT a.e IS NULL)"
    assert parsed.fields == {"a", "c d"}
    assert parsed == parse_filter(parsed.text)
    assert len({parsed, parse_filter(parsed.text), parse_filter("a = 1")}) == 2
    assert parsed.mask([]).shape == (0,)


def test_the_last_of_duplicate_keys_counts() -> None:
    assert parse_filter("a = 2").mask([b'{"a":1,"a":2}']).tolist() == [True]


@pytest.mark.parametrize("damaged", [b"[1]", b'{"a":1', b"", b"7"])
def test_mask_refuses_what_is_no_object(damaged: bytes) -> None:
    with pytest.raises(ValueError):
        parse_filter("a = 1").mask([damaged])


SCRAPS = [
    "a",
    "b.c",
    '"q"',
    "=",
    "<",
    "!=",
    "'x'",
    "5",
    "-1.5",
    "AND",
    "OR",
    "NOT",
    "IN",
    "(",
    ")",
    ",",
    "LIKE",
    "NULL",
]
SCRAPS += ["IS", "BETWEEN", "true", "CONTAINS", "ESCAPE", "'", "`", "é", "\n", "\x00", "&", ".", "1e999", "'\\'", "\\"]

# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "column", "said", "hint"),
    [
        ('category = "books"', 1, 12, "expected a value", "strings stand in single quotes: 'books'"),
        ("category = books", 1, 12, "found books", "strings stand in single quotes: 'books'"),
        ("a == 1", 1, 4, "found =", "one ="),
        ("a = 1 AND", 1, 10, "the filter ends", None),
        ("a = 1\n AND b ~ 2", 2, 8, "'~' has no meaning here", None),
        ("archived AND b = 1", 1, 10, "found AND", "field = true"),
        ("in = 5", 1, 1, "found in", 'IN is a keyword; a field of that name is written "in"'),
        ("a = 'x", 1, 5, "' is never closed", "doubled"),
        ("a = null", 1, 5, "no comparison with NULL", "IS NULL"),
        ("a NOT IN (1, NULL)", 1, 14, "no comparison with NULL", "IS NULL"),
        ("a < true", 1, 5, "no order", "= or !="),
        ("a BETWEEN 1 AND 'x'", 1, 17, "two strings or two numbers", None),
        ("a IN ()", 1, 7, "expected a value", None),
        ("5 < a", 1, 1, "found 5", "on the left"),
        ("a = 1 && b = 2", 1, 7, "'&'", "write AND"),
        ("(a = 1", 1, 7, 'expected ")"', None),
        ("a = 1)", 1, 6, "found )", None),
        ("a = 1e999", 1, 5, "larger than a 64-bit float", None),
        (f"a = {'9' * 1001}", 1, 5, "over 1000 characters", None),
        ("a LIKE 'x\\'", 1, 8, "ends in its escape", "double it"),
        ("a LIKE 'x' ESCAPE 'ab'", 1, 19, "one character", None),
        (f"a LIKE '{'%' * 1001}'", 1, 8, "limit is 1000", None),
        (f"a IN (1{', 1' * 10_000})", 1, 30_007, "limit is 10000", None),
        ("'x\ny' = a", 1, 1, "found 'x y'", "on the left"),
        ("10abc = 1", 1, 1, "has no meaning here", "starts with a digit"),
    ],
)
def test_a_mistake_names_its_place(text: str, line: int, column: int, said: str, hint: str | None) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_filter(text)
    error = refusal.value
    first, excerpt, caret = error.message.split("\n")
    assert first.startswith(f"filter, line {line}, column {column}: ")
    assert said in first
    source = text.split("\n")[line - 1] + " "
    assert (excerpt + " ")[caret.index("^")] == source[column - 1]
    assert error.field == "filter"
    assert (error.metadata["line"], error.metadata["column"]) == (str(line), str(column))
    assert hint is None or hint in (error.hint or "")


@settings(max_examples=300, deadline=None)
@given(tokens=st.lists(st.sampled_from(SCRAPS) | st.text(max_size=3), max_size=9))
def test_any_text_is_a_filter_or_refused_in_one_form(tokens: list[str]) -> None:
    try:
        parsed = parse_filter(" ".join(tokens))
    except InvalidArgument as refusal:
        error = refusal
    else:
        assert parsed.mask([None, b'{"a":1,"b":{"c":"x"}}']).shape == (2,)
        return
    assert error.field == "filter"
    assert error.message.count("\n") == (2 if "line" in error.metadata else 0)


@pytest.mark.parametrize("text", ["", " \n ", "a = '" + "x" * filters.MAX_TEXT_BYTES + "'", "a = '\ud800'"])
def test_texts_that_are_no_filter(text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_filter(text)
    assert refusal.value.field == "filter"


def test_nesting_is_bounded() -> None:
    def nested(depth: int) -> str:
        return "(a = 1 OR b = 2 AND " * depth + "c = 3" + ")" * depth

    assert selects(nested(filters.MAX_DEPTH // 2), {"b": 2, "c": 3})
    with pytest.raises(InvalidArgument, match="nested over 100 deep"):
        parse_filter(nested(filters.MAX_DEPTH // 2 + 1))


def test_depth_without_meaning_costs_nothing() -> None:
    assert selects("(" * 30_000 + "a = 1" + ")" * 30_000, {"a": 1})
    assert selects("NOT " * 16_000 + "a = 1", {"a": 1})
    with pytest.raises(InvalidArgument, match="expected"):
        parse_filter("(" * 60_000)


def test_long_chains_are_wide_not_deep() -> None:
    assert selects(" OR ".join(f"a = {i}" for i in range(4000)), {"a": 3999})


def test_like_does_not_backtrack() -> None:
    """Twenty ``%`` before a part that is missing: a backtracking matcher would need longer than the universe has."""
    for pattern in ("%a" * 20 + "%b", "%a_" * 20 + "%b_", "%_a" * 20 + "b%"):
        assert not selects(f"a LIKE '{pattern}'", {"a": "a" * 5000})


def test_one_filter_and_the_parser_serve_many_threads() -> None:
    texts = [f"a = {i} OR (b LIKE '%x{i}%' AND NOT c IN ({i}))" for i in range(40)]
    payloads = [json.dumps({"a": i, "b": f"x{i + 1}", "c": 0}).encode() for i in range(40)]

    def answer(text: str) -> list[bool]:
        masked: list[bool] = parse_filter(text).mask(payloads).tolist()
        return masked

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(answer, texts)) == [answer(text) for text in texts]


def test_payloads_with_numbers_beyond_float64_and_lone_surrogates_are_judged_like_any_other() -> None:
    payloads = [b'{"n":1e400}', b'{"n":-1e400}', b'{"s":"\\ud800","n":3}', b'{"n":2}']
    assert parse_filter("n > 2").mask(payloads).tolist() == [True, False, True, False]
    long = [b'{"n":%s}' % (b"9" * 5000), b'{"n":-%s}' % (b"9" * 5000), b'{"n":%s}' % (b"9" * 400)]
    assert parse_filter("n > 2").mask(long).tolist() == [True, False, True]
