"""What a schema says, and what is none."""

from __future__ import annotations

import json

import pytest

from holdfastd.errors import InvalidArgument
from holdfastd.format.payload_schema import MAX_DEPTH, MAX_FIELDS, FieldType, SchemaField, parse_schema


def test_fields_are_read_in_their_order() -> None:
    typed = {"price": "number", "author.name": "string", "tags": "string[]"}
    assert parse_schema(json.dumps({**typed, "sold": {"type": "timestamp", "required": True}})) == (
        SchemaField(("price",), FieldType.NUMBER),
        SchemaField(("author", "name"), FieldType.STRING),
        SchemaField(("tags",), FieldType.STRING, many=True),
        SchemaField(("sold",), FieldType.TIMESTAMP, required=True),
    )


@pytest.mark.parametrize("type", FieldType)
@pytest.mark.parametrize("many", ["", "[]"])
def test_every_type_is_written_as_it_is_read(type: FieldType, many: str) -> None:
    for value in (f"{type}{many}", {"type": f"{type}{many}"}, {"type": f"{type}{many}", "required": False}):
        (field,) = parse_schema(json.dumps({"a.b": value}))
        assert (field.name, field.written, field.required) == ("a.b", f"{type}{many}", False)


def test_a_schema_may_say_nothing() -> None:
    assert parse_schema("{}") == ()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "schema", "no JSON object"),
        ("{", "schema", "no JSON object"),
        ("[]", "schema", "no JSON object"),
        ('"price"', "schema", "no JSON object"),
        ('{"a": "\udc80"}', "schema", "no JSON object"),
        ("[" * 100_000, "schema", "no JSON object"),
        ('{"price": "float"}', "schema.price", 'is "float"'),
        ('{"price": "number[][]"}', "schema.price", "it can be string"),
        ('{"price": "[]"}', "schema.price", "it can be string"),
        ('{"price": null}', "schema.price", "missing"),
        ('{"price": 7}', "schema.price", "is 7"),
        ('{"price": ["number"]}', "schema.price", "it can be"),
        ('{"price": {}}', "schema.price", "missing"),
        ('{"price": {"type": "number", "requird": true}}', "schema.price", "requird"),
        ('{"price": {"type": "number", "required": 1}}', "schema.price", "neither true nor false"),
        ('{"": "number"}', "schema", "empty part"),
        ('{"a..b": "number"}', "schema.a..b", "empty part"),
        ('{"a\\"b": "number"}', 'schema.a"b', "a quote"),
        ('{"a\\nb": "number"}', "schema.a\nb", "control character"),
        ('{"a": "number", "a.b": "string"}', "schema.a.b", "cannot have a type"),
        ('{"a.b.c": "number", "a.b": "string"}', "schema.a.b.c", "cannot have a type"),
        (json.dumps({".".join("a" * (MAX_DEPTH + 1)): "string"}), f"schema.{'.'.join('a' * (MAX_DEPTH + 1))}", "parts"),
        (json.dumps({f"f{n}": "string" for n in range(MAX_FIELDS + 1)}), "schema", f"{MAX_FIELDS + 1} fields"),
        ('{"type": "object", "properties": {"price": {"type": "number"}}}', "schema.type", 'is "object"'),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_schema(text)
    assert (caught.value.field, caught.value.reason) == (place, "INVALID_SCHEMA")
    assert words in caught.value.message
    assert caught.value.hint is not None
