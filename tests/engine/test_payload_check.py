"""Payloads against a schema: which fit, which do not, and what is said of those."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.engine.payload_check import PayloadCheck, check_of, problem_of
from holdfastd.errors import InvalidArgument
from holdfastd.format.payload_schema import FieldType, Schema, SchemaField

SCHEMA = json.dumps(
    {
        "name": "string",
        "stock": "integer",
        "price": "number",
        "sold": "boolean",
        "at": "timestamp",
        "tags": "string[]",
        "author.name": "string",
        "author.born": "integer",
        "unit price": "number",
    }
)
REQUIRED = json.dumps({"price": {"type": "number", "required": True}, "a.b": {"type": "string[]", "required": True}})


def check(schema: str, *payloads: bytes, rows: list[int] | None = None) -> None:
    made = check_of(schema)
    assert made is not None
    made.check(b"[" + b",".join(payloads) + b"]", len(payloads), rows)


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"{}",
        b'{"name": "", "stock": -9223372036854775808, "price": 1, "sold": false, "tags": [], "other": [{"a": 1}]}',
        b'{"stock": 9223372036854775807, "price": -1.5e300, "tags": ["a", ""], "author": {"name": "x", "more": 1}}',
        b'{"name": null, "tags": null, "author": null, "at": null, "unit price": null}',
        b'{"author": {"name": null}}',
        b'{"at": "2026-01-20T10:00:00Z"}',
        b'{"at": "2026-01-20T10:00:00.123+01:00", "pri\\u0063e": 3}',
    ],
)
def test_what_fits(payload: bytes) -> None:
    check(SCHEMA, b"{}", payload)


@pytest.mark.parametrize(
    ("payload", "field", "words"),
    [
        (b'{"name": 1}', "name", "is 1, not a string"),
        (b'{"stock": "1"}', "stock", 'is "1", not an integer'),
        (b'{"stock": 1.0}', "stock", "is 1.0, not an integer"),
        (b'{"stock": 9223372036854775808}', "stock", "not an integer (64 bits)"),
        (b'{"price": true}', "price", "is true, not a number"),
        (b'{"price": 1e400}', "price", "is 1e400, not a number (float64)"),
        (b'{"sold": 1}', "sold", "is 1, not true or false"),
        (b'{"at": "yesterday"}', "at", 'is "yesterday", not a time'),
        (b'{"at": "2026-01-20T10:00:00"}', "at", "with an offset"),
        (b'{"at": 1768903200}', "at", "not a time"),
        (b'{"tags": "a"}', "tags", 'is "a", not an array'),
        (b'{"tags": ["a", "b", 3]}', "tags[2]", "is 3, not a string"),
        (b'{"tags": [null]}', "tags[0]", "is null, not a string"),
        (b'{"author": "x"}', "author", 'is "x", not an object'),
        (b'{"author": {"name": []}}', "author.name", "is [], not a string"),
        (b'{"pri\\u0063e": "3"}', "price", 'is "3", not a number'),
        (b'{"unit price": "3"}', "unit price", 'is "3", not a number'),
        (b'{"name": {"a": "' + b"x" * 100 + b'"}}', "name", "\N{HORIZONTAL ELLIPSIS}, not a string"),
    ],
)
def test_what_contradicts_names_row_field_and_value(payload: bytes, field: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(SCHEMA, b"{}", b"null", payload, payload)
    error = caught.value
    assert (error.field, error.metadata["row"], error.reason) == (f"payloads[2].{field}", "2", "SCHEMA_VIOLATION")
    assert error.message.startswith(f"payloads[2].{field} is ")
    assert words in error.message
    assert error.hint is not None
    assert field.partition("[")[0] in error.hint


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"null", "price"),
        (b"{}", "price"),
        (b'{"price": null, "a": {"b": []}}', "price"),
        (b'{"price": 1}', "a.b"),
        (b'{"price": 1, "a": null}', "a.b"),
        (b'{"price": 1, "a": {}}', "a.b"),
        (b'{"price": 1, "a": {"b": null}}', "a.b"),
    ],
)
def test_what_is_required_must_be_there(payload: bytes, field: str) -> None:
    good = b'{"price": 1, "a": {"b": []}}'
    check(REQUIRED, good)
    with pytest.raises(InvalidArgument) as caught:
        check(REQUIRED, good, payload)
    assert caught.value.message == f"payloads[1].{field} is missing"
    assert (caught.value.field, caught.value.metadata["row"]) == (f"payloads[1].{field}", "1")


def test_a_batch_without_payloads_lacks_what_is_required() -> None:
    optional, required = check_of(SCHEMA), check_of(REQUIRED)
    assert optional is not None
    assert required is not None
    optional.check(b"", 3)
    with pytest.raises(InvalidArgument, match=r"payloads\[0\]\.price is missing"):
        required.check(b"", 3)


def test_rows_are_named_as_the_caller_knows_them() -> None:
    with pytest.raises(InvalidArgument, match=r"payloads\[17\]\.price") as caught:
        check(SCHEMA, b"{}", b'{"price": "x"}', rows=[5, 17])
    assert caught.value.metadata["row"] == "17"


def test_of_a_key_that_stands_twice_each_value_is_checked() -> None:
    with pytest.raises(InvalidArgument, match="does not fit the schema") as caught:
        check(SCHEMA, b'{"price": "x", "price": 1}')
    assert caught.value.field == "payloads[0]"


def test_only_what_is_changed_is_checked() -> None:
    made = check_of(SCHEMA)
    assert made is not None
    made.check_changed([b'{"price": "old"}', b'{"price": 1}'], [None, b"{}"])
    with pytest.raises(InvalidArgument, match=r"payloads\[1\]\.price"):
        made.check_changed([None, b'{"price": "new"}'], [None, b"{}"])


@pytest.mark.parametrize("text", ["", "{}", "no JSON", '{"type": "object"}'])
def test_what_says_nothing_checks_nothing(text: str) -> None:
    assert check_of(text) is None
    assert bool(problem_of(text)) == (text not in ("", "{}"))


# The same in a few lines, field by field.

KEYS = st.sampled_from(["a", "b", "c d"])
PATHS = st.lists(KEYS, min_size=1, max_size=2).map(tuple)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    paths = draw(st.lists(PATHS, unique=True, min_size=1, max_size=4))
    apart = [path for path in paths if not any(path != other and path[: len(other)] == other for other in paths)]
    return tuple(
        SchemaField(path, draw(st.sampled_from(FieldType)), many=draw(st.booleans()), required=draw(st.booleans()))
        for path in apart
    )


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 65), 1 << 65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "2026-01-20T10:00:00Z", "2026-01-20T10:00:00"]),
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3))
PAYLOADS = st.none() | st.dictionaries(KEYS, VALUES, max_size=3)


def fits(schema: Schema, payload: Any) -> bool:
    return all(_field_fits(field, payload) for field in schema)


def _field_fits(field: SchemaField, value: Any) -> bool:
    for key in field.path:
        if value is None:
            break
        if not isinstance(value, dict):
            return False
        value = value.get(key)
    if value is None:
        return not field.required
    if not field.many:
        return _is(field.type, value)
    return isinstance(value, list) and all(_is(field.type, each) for each in value)


def _is(type: FieldType, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match type:
        case FieldType.STRING:
            return isinstance(value, str)
        case FieldType.INTEGER:
            return number and isinstance(value, int) and -(1 << 63) <= value < 1 << 63
        case FieldType.NUMBER:
            return number
        case FieldType.BOOLEAN:
            return isinstance(value, bool)
        case FieldType.TIMESTAMP:
            return isinstance(value, str) and "T" in value and datetime.fromisoformat(value).tzinfo is not None


@given(schemas(), st.lists(PAYLOADS, min_size=1, max_size=4))
def test_it_agrees_with_a_look_at_each_field(schema: Schema, payloads: list[Any]) -> None:
    made = PayloadCheck(schema)
    block = json.dumps(payloads).encode()
    bad = [row for row, payload in enumerate(payloads) if not fits(schema, payload)]
    if not bad:
        made.check(block, len(payloads))
        return
    with pytest.raises(InvalidArgument) as caught:
        made.check(block, len(payloads))
    assert caught.value.metadata["row"] == str(bad[0])
    assert "does not fit the schema" not in caught.value.message
