"""The run time of filters: tests of payload fields, compiled to closures.

What each operator means is written in ``filter``. A row is any object with the attributes that ``attribute`` names,
None where the payload has no such field. A literal is a str, int, float, bool or None.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Literal: TypeAlias = str | int | float | bool | None
Predicate: TypeAlias = Callable[[Any], bool]

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


@dataclass(frozen=True, slots=True)
class Condition:
    """The two questions about a row: is the condition TRUE, is it FALSE? Neither means UNKNOWN.

    NOT swaps the two, so that no third truth value exists at run time. ``depth`` counts nested AND and OR.
    """

    is_true: Predicate
    is_false: Predicate
    fields: frozenset[str]
    depth: int = 0

    def negated(self) -> Condition:
        return Condition(self.is_false, self.is_true, self.fields, self.depth)


@dataclass(frozen=True, slots=True)
class Path:
    """A field, or a key of an object inside it."""

    keys: tuple[str, ...]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(self.keys[:1])

    def reader(self) -> Callable[[Any], Any]:
        """A function from a row to the value, None where any part of the path is missing or not an object."""
        first: Callable[[Any], Any] = operator.attrgetter(attribute(self.keys[0]))
        rest = self.keys[1:]

        def read(row: Any) -> Any:
            value = first(row)
            for key in rest:
                if type(value) is not dict:
                    return None
                value = value.get(key)
            return value

        return read if rest else first


def attribute(field: str) -> str:
    """The row attribute of a payload field: an identifier, different for different fields."""
    return "f" + field.encode().hex()


def both(conditions: Sequence[Condition]) -> Condition:
    """AND."""
    return _joined(conditions, _all([c.is_true for c in conditions]), _any([c.is_false for c in conditions]))


def either(conditions: Sequence[Condition]) -> Condition:
    """OR."""
    return _joined(conditions, _any([c.is_true for c in conditions]), _all([c.is_false for c in conditions]))


def _joined(conditions: Sequence[Condition], is_true: Predicate, is_false: Predicate) -> Condition:
    fields = frozenset[str]().union(*(c.fields for c in conditions))
    return Condition(is_true, is_false, fields, 1 + max(c.depth for c in conditions))


def _all(tests: Sequence[Predicate]) -> Predicate:
    def holds(row: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a third faster than all() over a generator, at every row
            if not test(row):
                return False
        return True

    return holds


def _any(tests: Sequence[Predicate]) -> Predicate:
    def holds(row: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a third faster than any() over a generator, at every row
            if test(row):
                return True
        return False

    return holds


def _of_value(path: Path, is_true: Predicate, is_false: Predicate) -> Condition:
    """A condition from two tests of the field's value."""
    read = path.reader()
    return Condition(lambda row: is_true(read(row)), lambda row: is_false(read(row)), path.fields)


def is_null(path: Path) -> Condition:
    return _of_value(path, lambda value: value is None, lambda value: value is not None)


def within(path: Path, literals: Sequence[Literal]) -> Condition:
    """IN, and = of anything but a string."""
    equal = _membership(literals)
    return _of_value(path, equal, lambda value: value is not None and not equal(value))


def equals(path: Path, literal: Literal) -> Condition:
    if not isinstance(literal, str):
        return within(path, (literal,))
    read = path.reader()

    def is_false(row: Any) -> bool:
        value = read(row)
        return value is not None and bool(value != literal)

    return Condition(lambda row: bool(read(row) == literal), is_false, path.fields)


def ordered(path: Path, symbol: str, literal: str | int | float) -> Condition:
    """``<``, ``<=``, ``>``, ``>=`` among strings or among numbers."""
    read = path.reader()

    def test(compare: Callable[[Any, Any], bool]) -> Predicate:
        def text(row: Any) -> bool:
            value = read(row)
            return type(value) is str and compare(value, literal)

        def number(row: Any) -> bool:
            value = read(row)
            return (type(value) is int or type(value) is float) and compare(value, literal)

        return text if isinstance(literal, str) else number

    return Condition(test(_ORDER[symbol]), test(_ORDER[_OPPOSITE[symbol]]), path.fields)


def contains(path: Path, literal: Literal) -> Condition:
    """A member of an array, NULL included, or a part of a string."""
    equal = _membership((literal,)) if literal is not None else lambda value: value is None

    def test(expected: bool) -> Predicate:
        def ask(value: Any) -> bool:
            if type(value) is list:
                return any(map(equal, value)) is expected
            return type(value) is str and isinstance(literal, str) and (literal in value) is expected

        return ask

    return _of_value(path, test(True), test(False))


def like(path: Path, pattern: str, escape: str) -> Condition:
    """LIKE. Raises ValueError for a pattern that ends in its escape character."""
    matches = _like_matcher(_like_parts(pattern, escape))
    return _of_value(
        path,
        lambda value: type(value) is str and matches(value),
        lambda value: type(value) is str and not matches(value),
    )


def _membership(literals: Sequence[Literal]) -> Predicate:
    """Whether a JSON value equals one of the literals; to Python 1 == True, to a filter not."""
    strings = frozenset(item for item in literals if type(item) is str)
    numbers = frozenset(item for item in literals if type(item) in (int, float))
    booleans = frozenset(item for item in literals if type(item) is bool)

    def holds(value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return value in strings
        if kind is int or kind is float:
            return value in numbers
        return kind is bool and value in booleans

    return holds


def _like_parts(pattern: str, escape: str) -> list[list[str | None]]:
    """The characters between the ``%``; None for ``_``."""
    parts: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            plain = next(characters, None)
            if plain is None:
                raise ValueError(f"the LIKE pattern ends in its escape character {escape}")
            parts[-1].append(plain)
        elif character == "%":
            parts.append([])
        else:
            parts[-1].append(None if character == "_" else character)
    return parts


def _like_matcher(parts: Sequence[Sequence[str | None]]) -> Callable[[str], bool]:
    if not any(None in part for part in parts):
        match ["".join(character or "" for character in part) for part in parts]:
            case [text]:
                return lambda value: value == text
            case [start, ""]:
                return lambda value: value.startswith(start)
            case ["", end]:
                return lambda value: value.endswith(end)
            case ["", middle, ""]:
                return lambda value: middle in value
    return _like_expression(parts)


def _like_expression(parts: Sequence[Sequence[str | None]]) -> Callable[[str], bool]:
    """A regular expression that never tries anything twice: at most len(value) × len(pattern) steps.

    The leftmost place of a part between two ``%`` is as good as any later one; an atomic group commits to it.
    """
    first, *rest = ["".join("." if c is None else re.escape(c) for c in part) for part in parts]
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    tail = f".*{rest[-1]}" if rest else ""
    fullmatch = re.compile(first + middle + tail, re.DOTALL).fullmatch
    return lambda value: fullmatch(value) is not None
