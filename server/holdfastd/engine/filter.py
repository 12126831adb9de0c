r"""Filter expressions over JSON payloads: the condition of an SQL WHERE clause.

    category = 'books' AND (price < 10 OR tags CONTAINS 'new') AND NOT archived = true

=========================  ============================================================================================
``= != <> < <= > >=``      against a string or a number; ``=``, ``!=``, ``<>`` also against true and false
``BETWEEN a AND b``        ``>= a AND <= b``; ``NOT BETWEEN``
``IN (a, b)``              equal to one of them; ``NOT IN``
``LIKE 'a%'``              ``%`` is any text, ``_`` one character, ``\`` makes the next one plain (``ESCAPE '!'``: ``!``
                           does); case-sensitive; ``NOT LIKE``
``CONTAINS x``             the array has the member x, or the string has the part x; ``NOT CONTAINS``
``IS NULL, IS NOT NULL``   a missing field and a JSON null are both NULL
``NOT AND OR ( )``         NOT binds tighter than AND, AND tighter than OR
=========================  ============================================================================================

A field is a path into objects, ``author.name``; a key that is a keyword, or not made of letters, digits and ``_``, is
quoted: ``"unit price"`` or ```unit price```. Strings stand in single quotes, ``''`` is a quote. Keywords are
case-insensitive. Strings are ordered by code point, and so are ISO timestamps of one form. Integers are exact,
whatever their size; 1 equals 1.0; true is not 1.

As in SQL a condition is TRUE, FALSE or UNKNOWN, and only TRUE selects:

===================  ==============  ==================  ===================================================
the field is         ``=``, ``IN``   ``!=``, ``NOT IN``  ``< <= > >=``, ``BETWEEN``, ``LIKE``, ``CONTAINS``
===================  ==============  ==================  ===================================================
of a type that fits  as it compares  the opposite        as it compares; after NOT the opposite
of another type      FALSE           TRUE                UNKNOWN, also after NOT
missing or null      UNKNOWN         UNKNOWN             UNKNOWN, also after NOT
===================  ==============  ==================  ===================================================

NOT UNKNOWN is UNKNOWN; FALSE AND UNKNOWN is FALSE; TRUE OR UNKNOWN is TRUE; anything else with UNKNOWN is UNKNOWN.
So ``NOT archived = true`` leaves out the points without ``archived``; to have them too, write
``(archived IS NULL OR archived = false)``. ``= NULL`` could never be TRUE and is refused; only CONTAINS takes NULL.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec
import numpy as np
from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from holdfastd.engine import filter_conditions as conditions
from holdfastd.engine.filter_conditions import Condition, Literal, Path
from holdfastd.errors import InvalidArgument
from holdfastd.model import BoolArray

MAX_TEXT_BYTES = 64 << 10
MAX_DEPTH = 100
MAX_LIST_ITEMS = 10_000
MAX_PATTERN_CHARACTERS = 1_000
MAX_NUMBER_CHARACTERS = 1_000

_GRAMMAR = r"""
start: _either
_either: either | _both
_both: both | _term
either: _both (_OR _both)+
both: _term (_AND _term)+
_term: negation | _test | "(" _either ")"
negation: _NOT _term

_test: comparison | between | within | like | contains | is_null | opposite
comparison: path OPERATOR literal
between: path _BETWEEN literal _AND literal
within: path _IN "(" literal ("," literal)* ")"
like: path _LIKE STRING [_ESCAPE STRING]
contains: path _CONTAINS literal
is_null: path _IS NULL
opposite: not_between | not_within | not_like | not_contains | not_null
not_between: path _NOT _BETWEEN literal _AND literal              -> between
not_within: path _NOT _IN "(" literal ("," literal)* ")"          -> within
not_like: path _NOT _LIKE STRING [_ESCAPE STRING]                 -> like
not_contains: path _NOT _CONTAINS literal                         -> contains
not_null: path _IS _NOT NULL                                      -> is_null

path: _key ("." _key)*
_key: NAME | QUOTED
literal: STRING | NUMBER | TRUE | FALSE | NULL

_AND.2: /and\b/i
_OR.2: /or\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_IS.2: /is\b/i
_LIKE.2: /like\b/i
_ESCAPE.2: /escape\b/i
_BETWEEN.2: /between\b/i
_CONTAINS.2: /contains\b/i
TRUE.2: /true\b/i
FALSE.2: /false\b/i
NULL.2: /null\b/i
NAME: /[^\W\d]\w*/
QUOTED: /"([^"]|"")*"|`([^`]|``)*`/
STRING: /'([^']|'')*'/
NUMBER: /[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?(?![\w.])/i
OPERATOR: /<=|>=|<>|!=|[<>=]/
%ignore /\s+/
"""

_KEYWORDS = frozenset(
    ("AND", "OR", "NOT", "IN", "IS", "LIKE", "ESCAPE", "BETWEEN", "CONTAINS", "TRUE", "FALSE", "NULL"),
)
_VALUE = frozenset(("STRING", "NUMBER", "TRUE", "FALSE", "NULL"))
_SPELLINGS = {
    "STRING": "a string in single quotes",
    "NAME": "a field",
    "QUOTED": "a field",
    "OPERATOR": "= != < <= > >=",
    "LPAR": '"("',
    "RPAR": '")"',
    "COMMA": '","',
    "DOT": '"."',
    "$END": "the end",
}
_ESCAPED_IN_JSON = re.compile(r'["\\\x00-\x1f]')
_CHARACTER_HINTS = {
    "'": "end the string with '; a quote inside it is doubled: 'it''s'",
    '"': 'end the quoted field with "; a quote inside it is doubled: "12"" disc"',
    "`": "end the quoted field with `; a quote inside it is doubled",
    "0": 'a space follows a number; a key that starts with a digit is quoted: "2nd"',
    "&": "write AND",
    "|": "write OR",
    "!": "write NOT, or != between a field and a value",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter, equal to another of the same text; any number of threads may use it at once."""

    text: str
    fields: frozenset[str]
    """The top-level payload fields that it reads."""
    _is_true: conditions.Predicate = field(repr=False, compare=False)
    _row: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)
    _decode: Callable[[bytes], Any] = field(repr=False, compare=False)

    def matches(self, payload: Mapping[str, Any]) -> bool:
        """Whether the condition is TRUE for a decoded payload."""
        return self._is_true(self._row(payload))

    def mask(self, payloads: Sequence[bytes | None]) -> BoolArray:
        """(n,): whether the condition is TRUE for each verbatim JSON object; None is a payload without fields.

        Decodes only the fields that the filter reads, about 0.5 µs a payload; holds the GIL. Raises ValueError for
        bytes that are not a JSON object, which the store never holds.
        """
        is_true, decoded = self._is_true, self._decoded
        absent = is_true(self._row({}))
        results = (absent if payload is None else is_true(decoded(payload)) for payload in payloads)
        return np.fromiter(results, np.bool_, len(payloads))

    def _decoded(self, payload: bytes) -> Any:
        try:
            return self._decode(payload)
        except msgspec.DecodeError:
            # The fast decoder refuses what JSON's grammar allows: numbers beyond float64, lone surrogates. None of
            # them is taken any more, but they may be stored.
            whole = json.loads(payload, parse_int=_whole)
        if not isinstance(whole, dict):
            raise ValueError("a payload that is not a JSON object")
        return self._row(whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= sys.get_int_max_str_digits() else float(digits)


def parse_filter(text: str) -> Filter:
    """Parses and compiles a filter.

    Raises InvalidArgument (field ``filter``): for a mistake with its line and column, what was expected, and a caret
    under the place; for a text over 64 KiB, AND and OR nested over 100 deep, a list of over 10,000 values, a LIKE
    pattern of over 1,000 characters.
    """
    _check_size(text)
    try:
        # Lark cannot tell the type checker what an embedded transformer returns.
        condition: Any = _parser().parse(text)
    except _Mistake as mistake:
        _refuse(text, mistake.token.line or 1, mistake.token.column or 1, mistake.message, mistake.hint)
    except UnexpectedToken as error:
        _refuse_token(text, error)
    except UnexpectedCharacters as error:
        unclosed = error.char in ("'", '"', "`")
        message = f"{error.char} is never closed" if unclosed else f"{error.char!r} has no meaning here"
        hint = _CHARACTER_HINTS.get("0" if error.char in "0123456789.+-" else error.char)
        _refuse(text, error.line, error.column, message, hint)
    return _compiled(text, condition)


def _compiled(text: str, condition: Condition) -> Filter:
    attributes = {name: conditions.attribute(name) for name in sorted(condition.fields)}
    plain = not any(_ESCAPED_IN_JSON.search(name) for name in attributes)
    row_type = msgspec.defstruct(
        "Row",
        [(attribute, Any, None) for attribute in attributes.values()],
        rename={attribute: name for name, attribute in attributes.items()} if plain else None,
        gc=False,
    )

    def row(payload: Mapping[str, Any]) -> Any:
        return row_type(**{attribute: payload.get(name) for name, attribute in attributes.items()})

    # msgspec decodes only the wanted fields, five times faster, but takes no field name that JSON would escape.
    if plain:
        return Filter(text, condition.fields, condition.is_true, row, msgspec.json.Decoder(row_type).decode)
    whole = msgspec.json.Decoder(dict[str, Any]).decode
    return Filter(text, condition.fields, condition.is_true, row, lambda payload: row(whole(payload)))


def _check_size(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"the filter is not valid Unicode: {error}", field="filter") from None
    if size > MAX_TEXT_BYTES:
        raise InvalidArgument(f"the filter has {size} bytes, the limit is {MAX_TEXT_BYTES}", field="filter")
    if not text.strip():
        raise InvalidArgument("the filter is empty", field="filter", hint="leave it out to select everything")


class _Mistake(Exception):
    """A well-formed expression that means nothing; parse_filter, which knows the text, refuses it."""

    def __init__(self, token: Token, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.token, self.message, self.hint = token, message, hint


@dataclass(frozen=True, slots=True)
class _Value:
    """A literal and where it stands."""

    value: Literal
    token: Token


@v_args(inline=True)
class _Compiler(Transformer[Token, Any]):
    """Called by the parser at each reduction, innermost first: no tree is built, nothing recurses."""

    def start(self, condition: Condition) -> Condition:
        return condition

    def either(self, *terms: Condition) -> Condition:
        return _limited(conditions.either(terms))

    def both(self, *terms: Condition) -> Condition:
        return _limited(conditions.both(terms))

    def negation(self, condition: Condition) -> Condition:
        return condition.negated()

    def opposite(self, condition: Condition) -> Condition:
        return condition.negated()

    def comparison(self, path: Path, symbol: Token, value: _Value) -> Condition:
        if symbol in ("=", "!=", "<>"):
            condition = conditions.equals(path, _not_null(value))
            return condition if symbol == "=" else condition.negated()
        return conditions.ordered(path, str(symbol), _orderable(value))

    def between(self, path: Path, low: _Value, high: _Value) -> Condition:
        least, greatest = _orderable(low), _orderable(high)
        if isinstance(least, str) is not isinstance(greatest, str):
            raise _Mistake(high.token, "BETWEEN needs two strings or two numbers")
        return conditions.both((conditions.ordered(path, ">=", least), conditions.ordered(path, "<=", greatest)))

    def within(self, path: Path, *values: _Value) -> Condition:
        if len(values) > MAX_LIST_ITEMS:
            message = f"the list has {len(values)} values, the limit is {MAX_LIST_ITEMS}"
            raise _Mistake(values[MAX_LIST_ITEMS].token, message)
        return conditions.within(path, [_not_null(value) for value in values])

    def like(self, path: Path, pattern: Token, escape: Token | None) -> Condition:
        text = _unquoted(pattern)
        if len(text) > MAX_PATTERN_CHARACTERS:
            message = f"the LIKE pattern has {len(text)} characters, the limit is {MAX_PATTERN_CHARACTERS}"
            raise _Mistake(pattern, message)
        character = "\\" if escape is None else _unquoted(escape)
        if escape is not None and len(character) != 1:
            raise _Mistake(escape, "ESCAPE needs a string of one character")
        try:
            return conditions.like(path, text, character)
        except ValueError as error:
            raise _Mistake(pattern, str(error), f"double it for the character itself: {character * 2}") from None

    def contains(self, path: Path, value: _Value) -> Condition:
        return conditions.contains(path, value.value)

    def is_null(self, path: Path, _null: Token) -> Condition:
        return conditions.is_null(path)

    def path(self, *keys: Token) -> Path:
        return Path(tuple(_unquoted(key) if key.type == "QUOTED" else str(key) for key in keys))

    def literal(self, token: Token) -> _Value:
        if token.type == "STRING":
            return _Value(_unquoted(token), token)
        if token.type == "NUMBER":
            return _Value(_number(token), token)
        return _Value({"TRUE": True, "FALSE": False, "NULL": None}[token.type], token)


def _limited(condition: Condition) -> Condition:
    if condition.depth > MAX_DEPTH:
        raise InvalidArgument(
            f"AND and OR are nested over {MAX_DEPTH} deep",
            field="filter",
            hint="a AND b AND c needs no parentheses; many values of one field fit into IN (...)",
        )
    return condition


def _unquoted(token: Token) -> str:
    quote = token[0]
    return token[1:-1].replace(quote * 2, quote)


def _number(token: Token) -> int | float:
    if len(token) > MAX_NUMBER_CHARACTERS:
        raise _Mistake(token, f"the number has over {MAX_NUMBER_CHARACTERS} characters")
    if token.lstrip("+-").isdigit():
        return int(token)
    number = float(token)
    if number in (float("inf"), float("-inf")):
        raise _Mistake(token, "the number is larger than a 64-bit float can be")
    return number


def _not_null(value: _Value) -> Literal:
    if value.value is None:
        raise _Mistake(value.token, "no comparison with NULL is ever true", "write IS NULL or IS NOT NULL")
    return value.value


def _orderable(value: _Value) -> str | int | float:
    literal = _not_null(value)
    if literal is None or isinstance(literal, bool):
        raise _Mistake(value.token, "true and false have no order", "compare them with = or !=")
    return literal


@functools.cache
def _parser() -> Lark:
    """Made with the first filter: it takes a fifth of the time in which a daemon begins to serve."""
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=_Compiler())


def _refuse_token(text: str, error: UnexpectedToken) -> NoReturn:
    token = error.token
    expected = frozenset(error.accepts or error.expected)
    if token.type == "$END":
        kept = text.rstrip()
        line, column, found = kept.count("\n") + 1, len(kept) - kept.rfind("\n"), "the filter ends"
    else:
        shown = _printable(token if len(token) <= 40 else f"{token[:37]}...")
        line, column, found = token.line or 1, token.column or 1, f"found {shown}"
    _refuse(text, line, column, f"expected {_spelled(expected)}, {found}", _token_hint(text, token, expected))


def _spelled(expected: frozenset[str]) -> str:
    words = {_SPELLINGS.get(name, name.strip("_")) for name in expected - _VALUE}
    if expected >= _VALUE:
        words.add("a value (a string in single quotes, a number, true, false)")
    elif "STRING" in expected or "NULL" in expected:
        words |= {_SPELLINGS.get(name, name) for name in expected & _VALUE}
    *most, last = sorted(words, key=lambda word: (word[:1].isupper(), word))
    return f"{', '.join(most)} or {last}" if most else last


def _token_hint(text: str, token: Token, expected: frozenset[str]) -> str | None:
    name = token.type.strip("_")
    if token.type == "OPERATOR" and text[: token.start_pos].endswith(("=", "<", ">")):
        return "equality is written with one =, the others are != < <= > >="
    if expected >= _VALUE and token.type in ("NAME", "QUOTED"):
        bare = _unquoted(token) if token.type == "QUOTED" else str(token)
        return "strings stand in single quotes: '" + bare.replace("'", "''") + "'"
    if "NAME" in expected and name in _KEYWORDS:
        return f'{name} is a keyword; a field of that name is written "{token}"'
    if "NAME" in expected and token.type in ("STRING", "NUMBER"):
        return "the field stands on the left, bare or in double quotes: price > 10"
    if "OPERATOR" in expected and token.type in ("_AND", "_OR", "RPAR", "$END"):
        return "a field alone is no condition; write field = true or field IS NOT NULL"
    return None


def _refuse(text: str, line: int, column: int, message: str, hint: str | None) -> NoReturn:
    """The message, then the line around the place with a caret under it."""
    source = text.split("\n")[line - 1]
    start = max(0, column - 60)
    excerpt = _printable(source[start : start + 100])
    caret = " " * (column - 1 - start) + "^"
    raise InvalidArgument(
        f"filter, line {line}, column {column}: {message}\n  {excerpt}\n  {caret}",
        field="filter",
        hint=hint,
        line=line,
        column=column,
    ) from None


def _printable(text: str) -> str:
    """One line that keeps its columns."""
    return "".join(character if character.isprintable() else " " for character in text)
