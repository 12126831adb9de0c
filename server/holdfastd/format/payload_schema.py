"""A collection's schema: which fields of its payloads have which types, and which must be there.

    {"price": "number", "author.name": "string", "tags": "string[]", "sold": {"type": "timestamp", "required": true}}

A key is a field, or a path of fields with dots between them. Fields that a schema does not name may hold anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from ..errors import InvalidArgument

MAX_FIELDS = 256
MAX_DEPTH = 16
"""Objects in one another, the payload itself included."""
MANY = "[]"
"""Behind a type: an array of values of that type."""
_OPTIONS = frozenset(["type", "required"])


class FieldType(StrEnum):
    """What a field's value can be; JSON null is the same as no value, whatever the type."""

    STRING = "string"
    INTEGER = "integer"
    """From -2^63 to 2^63 - 1, written without a point or an exponent."""
    NUMBER = "number"
    """What a float64 can hold."""
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    """A string: an RFC 3339 time with an offset."""


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One field. ``path``: the keys that lead to it. ``many``: an array of such values; null is none of them."""

    path: tuple[str, ...]
    type: FieldType
    many: bool = False
    required: bool = False

    @property
    def name(self) -> str:
        """The path as a schema writes it."""
        return ".".join(self.path)

    @property
    def written(self) -> str:
        """The type as a schema writes it."""
        return f"{self.type}{MANY if self.many else ''}"


Schema: TypeAlias = tuple[SchemaField, ...]


def parse_schema(text: str) -> Schema:
    """The fields of a schema in its order. Raises InvalidArgument naming the place: `schema` or `schema.FIELD`."""
    try:
        content = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _invalid(f"it is no JSON object: {error}") from None
    if len(content) > MAX_FIELDS:
        raise _invalid(f"it has {len(content)} fields, the limit is {MAX_FIELDS}")
    fields = tuple(_field(name, content[name]) for name in content)
    _check_apart(fields)
    return fields


def _field(name: str, value: object) -> SchemaField:
    path = tuple(name.split("."))
    if not all(path):
        raise _invalid(f"{name!r} has an empty part; write a field, or a path such as author.name", name)
    if any(character in '"\\' or character < " " for character in name):
        raise _invalid(f"{name!r} has a quote, a backslash or a control character", name)
    if len(path) > MAX_DEPTH:
        raise _invalid(f"{name!r} has {len(path)} parts, the limit is {MAX_DEPTH}", name)
    options: dict[Any, Any] = value if isinstance(value, dict) else {"type": value}
    if not options.keys() <= _OPTIONS:
        unknown = ", ".join(sorted(options.keys() - _OPTIONS))
        raise _invalid(f"{name!r} has {unknown}, where there can be type and required", name)
    required = options.get("required", False)
    if not isinstance(required, bool):
        raise _invalid(f"required of {name!r} is neither true nor false", name)
    written = options.get("type")
    word = written.removesuffix(MANY) if isinstance(written, str) else ""
    if word not in list(FieldType):
        raise _invalid(f"the type of {name!r} is {_shown(written)}; it can be {_TYPES}", name)
    return SchemaField(path, FieldType(word), many=word != written, required=required)


def _check_apart(fields: Sequence[SchemaField]) -> None:
    """Raise InvalidArgument where a field that has a type is to be an object as well."""
    paths = {field.path for field in fields}
    for field in fields:
        for length in range(1, len(field.path)):
            if field.path[:length] in paths:
                outer = ".".join(field.path[:length])
                raise _invalid(f"{outer!r} cannot have a type and hold {field.name!r} too", field.name)


_TYPES = f"{', '.join(FieldType)}, or an array of one, such as {FieldType.STRING}{MANY}"


def _shown(value: object) -> str:
    return "missing" if value is None else msgspec.json.encode(value).decode()[:60]


def _invalid(problem: str, name: str = "") -> InvalidArgument:
    return InvalidArgument(
        f"the schema cannot be used: {problem}",
        field=f"schema.{name}" if name else "schema",
        reason="INVALID_SCHEMA",
        hint='write fields with their types, such as {"price": "number", "author.name": "string", "tags": "string[]", '
        '"sold": {"type": "timestamp", "required": true}}',
    )
