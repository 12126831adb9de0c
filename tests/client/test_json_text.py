"""JSON of what no JSON decoder keeps: numbers beyond float64."""

from __future__ import annotations

import json
from math import inf, nan

import pytest

from holdfast import output
from holdfast.json_text import from_json, to_json

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": inf, "b": [-inf, 1.5, "Infinity"]}, '{"a": 1e999, "b": [-1e999, 1.5, "Infinity"]}'),
        ([nan], "[null]"),
        ({"ü": 10**400}, f'{{"ü": 1{"0" * 400}}}'),
    ],
)
def test_what_is_written_is_json(value: object, text: str) -> None:
    assert to_json(value) == text
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_whole_numbers_of_any_length_are_read() -> None:
    assert from_json(f'{{"a":{DIGITS},"b":[-{DIGITS},12]}}') == {"a": inf, "b": [-inf, 12]}
    assert from_json(b"1e999") == inf
    with pytest.raises(json.JSONDecodeError):
        from_json("{")


@pytest.mark.parametrize("output_format", output.FORMATS)
def test_a_number_beyond_float64_is_shown_in_every_format(output_format: str) -> None:
    document = {"id": "a", "payload": {"n": inf, "m": [-inf]}, "version": 1}
    text = output.render(document, output_format)
    assert "Infinity" not in text
    assert "".join(output.render_stream([document], output_format)) != ""
    if output_format == "json":
        assert json.loads(text)["payload"] == {"n": inf, "m": [-inf]}
