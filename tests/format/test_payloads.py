"""Blocks of payloads: verbatim or refused by name."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import InvalidArgument
from holdfastd.format.payloads import MAX_POINT_PAYLOAD_BYTES, join_payloads, split_payloads

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@st.composite
def spelled(draw: st.DrawFn) -> bytes | None:
    """A JSON object in one of its many spellings, or None."""
    value = draw(st.none() | OBJECTS)
    if value is None:
        return None
    indent = draw(st.sampled_from([None, 0, 2]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()), indent=indent).encode(errors="surrogatepass")


def is_utf8(data: bytes | None) -> bool:
    try:
        return (data or b"").decode() is not None
    except UnicodeDecodeError:
        return False


@given(st.lists(spelled().filter(is_utf8)))
def test_what_is_joined_is_split_verbatim(payloads: list[bytes | None]) -> None:
    block = join_payloads(payloads)
    assert split_payloads(block, len(payloads)) == payloads
    assert (block == b"") == all(payload is None for payload in payloads)


def test_items_keep_their_inner_space_and_lose_their_outer() -> None:
    assert split_payloads(b' [ {"a" :1} ,\n null,{ } ]\n', 3) == [b'{"a" :1}', None, b"{ }"]


def test_no_block_is_no_payloads() -> None:
    assert split_payloads(b"", 2) == [None, None]
    assert split_payloads(b"[null,null]", 2) == [None, None]


@pytest.mark.parametrize(
    ("block", "field", "message"),
    [
        (b"{}", "payloads", "not a JSON array"),
        (b"null", "payloads", "not a JSON array"),
        (b"[{},{}", "payloads", "not a JSON array"),
        (b"[{},{}]x", "payloads", "not a JSON array"),
        (b"[{},{}] []", "payloads", "not a JSON array"),
        (b"[{},]", "payloads", "not a JSON array"),
        (b'[{},{"a":}]', "payloads[1]", "not JSON: Expecting value"),
        (b'[{},{"a":NaN}]', "payloads[1]", "not JSON: NaN is not a JSON value"),
        (b'[ {"b": [1, 2.5e3]} , {"a":NaN}]', "payloads[1]", "not JSON"),
        (b'[{},{"a":01}]', "payloads[1]", "not JSON"),
        (b'[{},{"a":"\x01"}]', "payloads[1]", "not JSON: Invalid control character"),
        (b'[{},{"a":"\\x"}]', "payloads[1]", "not JSON: Invalid"),
        (b'[{"a":"\\x"},{"a":}]', "payloads[0]", "not JSON"),
        (b'[{},{"a":"\\ud800"}]', "payloads[1]", "half of a surrogate pair"),
        (b'[{"\\udc00":1},{}]', "payloads[0]", "half of a surrogate pair"),
        (b'[{"a":%b},{"a":}]' % (b"7" * 5000), "payloads[1]", "not JSON"),
        (b"[{}{}]", "payloads[0]", "not JSON"),
        (b"\xef\xbb\xbf[{},{}]", "payloads", "not a JSON array"),
        (b"\0", "payloads", "not a JSON array"),
        (b'[{},{"a":"\xff"}]', "payloads[1]", "not UTF-8: byte 10"),
        (b'[{"a":"\xc3\xa9"},{"a":"\xed\xa0\x80"}]', "payloads[1]", "not UTF-8"),
        (b'[{"a":"\xff"},{"a":"\xff"}]', "payloads[0]", "not UTF-8"),
        (b"[{},\xff]", "payloads[1]", "not UTF-8"),
        (b"\xff", "payloads", "not UTF-8"),
        (b'[{},{"a":' + b"[" * 100_000, "payloads[1]", "nested too deeply"),
        (b"[]", "payloads", "0 items for 2 ids"),
        (b"[{}]", "payloads", "1 items for 2 ids"),
        (b"[{},{},{}]", "payloads", "3 items for 2 ids"),
        (b"[{},1]", "payloads[1]", "neither a JSON object nor null"),
        (b"[[],null]", "payloads[0]", "neither a JSON object nor null"),
        (b'[{},"null"]', "payloads[1]", "neither a JSON object nor null"),
        (b"[null,false]", "payloads[1]", "neither a JSON object nor null"),
        (b'[{},{"a":"' + b"x" * MAX_POINT_PAYLOAD_BYTES + b'"}]', "payloads[1]", "the limit is 1048576"),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else "",
)
def test_bad_blocks_are_refused_by_name(block: bytes, field: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        split_payloads(block, 2)
    assert caught.value.field == field
    assert caught.value.metadata.get("row", "") == field.removeprefix("payloads").strip("[]")
    assert caught.value.hint


def test_the_largest_object_is_taken() -> None:
    largest = b'{"a":"' + b"x" * (MAX_POINT_PAYLOAD_BYTES - 8) + b'"}'
    assert split_payloads(b"[" + largest + b"]", 1) == [largest]


@given(st.binary(max_size=60), st.integers(0, 4))
def test_random_bytes_are_split_or_refused(block: bytes, count: int) -> None:
    with contextlib.suppress(InvalidArgument):
        assert len(split_payloads(block, count)) == count


@given(st.text('[]{}",:\\0e-.ntrufalse x', max_size=40), st.integers(0, 3))
def test_nearly_json_is_what_the_standard_library_says_it_is(text: str, count: int) -> None:
    try:
        items = split_payloads(text.encode(), count) if text else []
    except InvalidArgument:
        return
    if text:
        assert [None if item is None else json.loads(item) for item in items] == json.loads(text)
