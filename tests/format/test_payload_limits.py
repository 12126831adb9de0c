"""Numbers that float64 cannot hold, and nesting without end: refused by row, wherever in a block they stand."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import InvalidArgument
from holdfastd.format import payload_limits
from holdfastd.format.payload_limits import MAX_PAYLOAD_DEPTH, accept_payloads
from holdfastd.format.payloads import join_payloads, merge_patch, split_payloads

DIGITS = "9" * 400
BEYOND = ["1e999", "-1e999", "1E+400", "1e309", "1.8e308", "0.5e310", "-12345678901234567890123456e300", DIGITS,
          f"-{DIGITS}", f"{DIGITS}.5", f"{'9' * 250}e99", f"0.{'0' * 300}1e700", "1e00000400", "9" * 5000]  # fmt: skip
WITHIN = ["0", "1e308", "-1.7976931348623157e+308", "1e-999", "1e-400", f"0.{DIGITS}", f"{'9' * 300}",
          "18446744073709551616", f"{DIGITS}e-200", "0e9999", '"1e999"', '"x 1e999 "', f'"{DIGITS}"',
          '{"1e999":1}']  # fmt: skip


def nested(depth: int) -> str:
    """A value so many objects and arrays deep, in both brackets."""
    opened = ['{"a":' if level % 2 else "[" for level in range(depth)]
    closed = ["}" if level % 2 else "]" for level in range(depth)]
    return "".join(opened) + "1" + "".join(reversed(closed))


def block_of(value: str, row: int, rows: int, space: str = "") -> bytes:
    """``rows`` payloads, of which one has ``value``; among hashes and words, as payloads are."""
    names = uuid.UUID(int=7 << 64 | 11)
    items = [f'{{"id":"{names}","3e41":"e000 1e30","n":{number}.5e-7,"t":["a","b"]}}' for number in range(rows)]
    items[row] = f'{{"a":{space}{value}}}'
    return f"{space}[{space}{f'{space},{space}'.join(items)}{space}]".encode()


SHAPES = [(0, 1, ""), (0, 2, ""), (2, 3, " "), (17, 100, ""), (99, 100, ""), (17, 100, "\n "), (1500, 2000, "")]


@pytest.mark.parametrize(("row", "rows", "space"), SHAPES)
def test_a_number_beyond_float64_is_refused_by_its_row(row: int, rows: int, space: str) -> None:
    for written in BEYOND:
        for value in (written, f"[0, {written}]", f'{{"b":{written} }}'):
            with pytest.raises(InvalidArgument, match="which float64 cannot hold") as caught:
                accept_payloads(block_of(value, row, rows, space), rows)
            assert caught.value.field == f"payloads[{row}]", written
            assert len(caught.value.message) < 200


@pytest.mark.parametrize(("row", "rows", "space"), SHAPES)
def test_what_float64_holds_is_taken_verbatim(row: int, rows: int, space: str) -> None:
    for value in (*WITHIN, nested(MAX_PAYLOAD_DEPTH - 1), json.dumps("[" * 300), json.dumps([[]] * 300)):
        block = block_of(value, row, rows, space)
        assert accept_payloads(block, rows) == split_payloads(block, rows)


@pytest.mark.parametrize(("row", "rows", "space"), SHAPES)
def test_nesting_beyond_the_limit_is_refused_by_its_row(row: int, rows: int, space: str) -> None:
    for depth in (MAX_PAYLOAD_DEPTH, 500, 900):
        with pytest.raises(InvalidArgument, match=f"has {depth + 1} objects and arrays within one another") as caught:
            accept_payloads(block_of(nested(depth), row, rows, space), rows)
        assert caught.value.field == f"payloads[{row}]"


@pytest.mark.parametrize("step", range(-12, 3))
def test_no_place_in_a_block_is_overlooked(step: int) -> None:
    filler = payload_limits._SCANNED_AT_ONCE + step
    block = b'[{"a":"' + b"x" * (filler - 12) + b'"},{"b":1e999}]'
    with pytest.raises(InvalidArgument, match="1e999") as caught:
        accept_payloads(block, 2)
    assert caught.value.field == "payloads[1]"


def test_rows_that_are_well_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    monkeypatch.setattr(payload_limits, "_check", lambda row, item: parsed.append(row))
    rows = [{"title": f"the {n}th", "year": 1900 + n, "price": n / 7e9, "tags": ["a", "b"]} for n in range(1000)]
    block = json.dumps(rows, separators=(",", ":")).encode()
    assert len(accept_payloads(block, 1000)) == 1000
    assert accept_payloads(b"[null,{}]", 2) == [None, b"{}"]
    assert parsed == []
    accept_payloads(block[:-1] + b',{"a":1e999}]', 1001)
    assert parsed == [1000]


OBJECTS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_size=4,
)


@given(st.lists(OBJECTS, max_size=40))
def test_what_a_float64_program_writes_is_taken(rows: list[dict[str, object]]) -> None:
    payloads = [json.dumps(row).encode() for row in rows]
    assert accept_payloads(join_payloads(list(payloads)), len(rows)) == payloads


def patched(target: object, patch: object) -> object:
    """RFC 7396, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_what_the_rfc_says(target: dict[str, object], patch: dict[str, object]) -> None:
    merged = merge_patch(json.dumps(target).encode(), json.dumps(patch).encode())
    assert json.loads(merged) == patched(target, patch)


def test_a_merge_keeps_the_spelling_of_what_it_does_not_name() -> None:
    target = b'{"a":1e999,"b":{"c":1.10,"d":%s},"e":1,"e":2}' % DIGITS.encode()
    assert merge_patch(target, b'{"b":{"x":[1.0]},"n":null}') == (
        b'{"a":1e999,"b":{"c":1.10,"d":%s,"x":[1.0]},"e":2}' % DIGITS.encode()
    )
