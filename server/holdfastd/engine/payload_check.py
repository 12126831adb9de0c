"""Payloads against their collection's schema, before anything is logged.

A batch is decoded once, into structs that are made of the schema: what fits costs no look at a single field in Python.
What is recovered, replayed or restored was accepted once and is never checked again.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from ..errors import InvalidArgument
from ..format.payload_schema import FieldType, Schema, SchemaField, parse_schema
from ..format.payloads import join_payloads, split_payloads

_TYPE_OF: Mapping[FieldType, Any] = {
    FieldType.STRING: str,
    FieldType.INTEGER: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)],
    FieldType.NUMBER: float,
    FieldType.BOOLEAN: bool,
    FieldType.TIMESTAMP: Annotated[datetime.datetime, msgspec.Meta(tz=True)],
}
_WORDS: Mapping[FieldType, str] = {
    FieldType.STRING: "a string",
    FieldType.INTEGER: "an integer (64 bits)",
    FieldType.NUMBER: "a number (float64)",
    FieldType.BOOLEAN: "true or false",
    FieldType.TIMESTAMP: 'a time with an offset, such as "2026-01-20T10:00:00Z"',
}
_ROW = re.compile(r"`\$\[(\d+)\]")
_SHOWN_CHARACTERS = 40


class PayloadCheck:
    """Checks batches against one schema. Immutable; any thread."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._required = any(field.required for field in schema)
        row = _struct(schema, 0)
        self._decode = msgspec.json.Decoder(_list_of(row if self._required else row | None)).decode

    def check(self, block: bytes, count: int, rows: Sequence[int] | None = None) -> None:
        """Check the ``count`` items of ``block``, one JSON array or b"" for no payload at all.

        ``rows``: the numbers by which the caller knows them, where those are not 0 to count - 1. Raises InvalidArgument
        naming the first row that contradicts the schema, and the field.
        """
        if not count or not (block or self._required):
            return
        try:
            self._decode(block or b"[null]")
        except msgspec.ValidationError as error:
            found = _ROW.search(str(error))
            at = int(found[1]) if found else 0
            row = at if rows is None else rows[at]
            raise _violation(self._schema, split_payloads(block, count)[at], row, str(error)) from None

    def check_changed(self, payloads: Sequence[bytes | None], sent: Sequence[bytes | None]) -> None:
        """Check those ``payloads`` for which one was ``sent``, row by row; the others are as they were."""
        rows = [row for row, payload in enumerate(sent) if payload is not None]
        self.check(join_payloads([payloads[row] for row in rows]), len(rows), rows)


def check_of(schema_json: str) -> PayloadCheck | None:
    """What checks the payloads of a collection with this schema; None for none, or for one that says nothing.

    A text that is no schema, which a collection from before schemas were checked may have, is like none.
    """
    if not schema_json or problem_of(schema_json):
        return None
    schema = parse_schema(schema_json)
    return PayloadCheck(schema) if schema else None


def problem_of(schema_json: str) -> str:
    """Why payloads are not checked against this text; "" if they are, or if there is none."""
    if not schema_json:
        return ""
    try:
        parse_schema(schema_json)
    except InvalidArgument as error:
        return f"payloads are not checked: {error.message}"
    return ""


def _struct(fields: Sequence[SchemaField], depth: int) -> Any:
    """The class of an object whose keys are the fields' at ``depth``; other keys are passed over."""
    below: dict[str, list[SchemaField]] = {}
    for field in fields:
        below.setdefault(field.path[depth], []).append(field)
    members = []
    for number, (key, inner) in enumerate(below.items()):
        leaf = len(inner[0].path) == depth + 1
        kind = _leaf(inner[0]) if leaf else _struct(inner, depth + 1)
        if any(field.required for field in inner):
            members.append((f"f{number}", kind, msgspec.field(name=key)))
        else:
            members.append((f"f{number}", kind | None, msgspec.field(name=key, default=None)))
    return msgspec.defstruct("Payload", members, kw_only=True, gc=False)


def _leaf(field: SchemaField) -> Any:
    kind = _TYPE_OF[field.type]
    return _list_of(kind) if field.many else kind


def _list_of(kind: Any) -> Any:
    return GenericAlias(list, kind)


def _violation(schema: Schema, payload: bytes | None, row: int, found: str) -> InvalidArgument:
    """The error for a payload that does not fit. ``found``: the decoder's words, where ours find no fault."""
    place, problem, hint = f"payloads[{row}]", f"does not fit the schema: {found}", None
    for field in schema:
        fault = _fault(field, payload or b"null")
        if fault is not None:
            place += fault[0]
            problem = fault[1]
            required = ", required" if field.required else ""
            hint = f"the schema of the collection says {field.name}: {field.written}{required}"
            break
    return InvalidArgument(f"{place} {problem}", field=place, reason="SCHEMA_VIOLATION", hint=hint, row=row)


def _fault(field: SchemaField, value: bytes) -> tuple[str, str] | None:
    """Where in a payload this field goes wrong, and how; None where it does not."""
    place = ""
    for key in field.path:
        if value == b"null":
            break
        if value[:1] != b"{":
            return place, f"is {_shown(value)}, not an object"
        members = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        value = bytes(members.get(key, b"null"))
        place += f".{key}"
    if value == b"null":
        return (f".{field.name}", "is missing") if field.required else None
    if not field.many:
        return None if _fits(value, field.type) else (place, f"is {_shown(value)}, not {_WORDS[field.type]}")
    if value[:1] != b"[":
        return place, f"is {_shown(value)}, not an array"
    for number, item in enumerate(map(bytes, msgspec.json.decode(value, type=list[msgspec.Raw]))):
        if not _fits(item, field.type):
            return f"{place}[{number}]", f"is {_shown(item)}, not {_WORDS[field.type]}"
    return None


def _fits(value: bytes, type: FieldType) -> bool:
    try:
        msgspec.json.decode(value, type=_TYPE_OF[type])
    except msgspec.ValidationError:
        return False
    return True


def _shown(value: bytes) -> str:
    text = value.decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
