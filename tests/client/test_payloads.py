"""Payloads as one JSON array."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidArgument
from holdfast.payloads import decode_payloads, encode_payload, encode_payloads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.none() | st.dictionaries(st.text(), JSON, max_size=3), max_size=5))
def test_payloads_are_read_back(payloads: list[dict[str, Any] | None]) -> None:
    block = encode_payloads(payloads, len(payloads))
    assert decode_payloads(block, len(payloads)) == payloads


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), min_size=1, max_size=5))
def test_a_large_batch_reads_as_a_small_one(payloads: list[dict[str, Any]]) -> None:
    block = encode_payloads(payloads * 32, len(payloads) * 32)
    assert decode_payloads(block, len(payloads) * 32) == payloads * 32


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize(
    ("payload", "written"),
    [
        ({"a": None, "b": "null"}, b'{"a":null,"b":"null"}'),
        ({"id": UUID(int=1)}, b'{"id":"00000000-0000-0000-0000-000000000001"}'),
        ({"c": Colour.RED}, b'{"c":"red"}'),
        ({"t": (1, 2)}, b'{"t":[1,2]}'),
        ({7: "n", "big": 1 << 70}, b'{"7":"n","big":1180591620717411303424}'),
        ({"half": "\ud800"}, b'{"half":"\\ud800"}'),
        ({"grün": "\u2028"}, '{"grün":"\u2028"}'.encode()),
        (OrderedDict(z=1, a=2.0), b'{"z":1,"a":2.0}'),
    ],
)
def test_one_row_and_many_are_written_alike(payload: Any, written: bytes, count: int) -> None:
    assert encode_payloads([payload] * count, count) == b"[" + b",".join([written] * count) + b"]"


def test_bytes_and_text_pass_verbatim_beside_dicts() -> None:
    block = encode_payloads([b'{"a" : 1.50}', '{"b":2}', {"c": 3}, None, MappingProxyType({"d": 4})], 5)
    assert block == b'[{"a" : 1.50},{"b":2},{"c":3},null,{"d":4}]'


def test_no_payloads_are_no_bytes() -> None:
    assert encode_payloads(None, 3) == b""
    assert decode_payloads(b"", 2) == [None, None]


@pytest.mark.parametrize("fine", [1, 64])
@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"a": float("nan")}, "NaN|nan|Out of range"),
        ({"a": [float("-inf")]}, "inf|Out of range"),
        ({"a": date(2026, 1, 1)}, "date"),
        ({"a": {1, 2}}, "set"),
        ([1], "list"),
        (3, "int"),
        ({"a": b"x"}, "bytes"),
    ],
)
def test_what_is_not_json_is_refused_with_its_row(payload: Any, words: str, fine: int) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        encode_payloads([*[{"fine": True}] * fine, payload], fine + 1)
    assert caught.value.metadata == {"row": str(fine)}


def test_a_count_that_does_not_fit_names_both_numbers() -> None:
    with pytest.raises(InvalidArgument, match="3 ids came with 2 payloads"):
        encode_payloads([None, None], 3)


def test_a_dict_changed_afterwards_was_encoded_before() -> None:
    payload = {"a": 1}
    encoded = encode_payload(payload)
    payload["a"] = 2
    assert json.loads(encoded) == {"a": 1}
