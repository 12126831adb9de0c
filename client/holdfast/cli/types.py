"""Types of options: sizes, durations, percentages, moments, vectors, ids and payloads as written in a shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.state import State
from holdfast.json_text import json_problem

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.times import Target

_MAX_SECONDS = 10**9


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs, not in every click
    """A type made of a parser that raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _size(text: str) -> int:
    from holdfast.units import parse_size

    return parse_size(text)


def _wal_size(text: str) -> int:
    from holdfast.units import parse_size

    return parse_size(text, binary=True)


def _duration(text: str) -> timedelta:
    from holdfast.units import parse_duration

    return parse_duration(text)


def _percent(text: str) -> float:
    from holdfast.units import parse_percent

    return parse_percent(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _MAX_SECONDS:
        raise ValueError(f"{text!r} is not a number of seconds above 0: write 60 or 0.5")
    return seconds


SECONDS = Parsed("seconds", _seconds)
SIZE = Parsed("size", _size)
WAL_SIZE = Parsed("size", _wal_size)
DURATION = Parsed("duration", _duration)
PERCENT = Parsed("percent", _percent)


class Moment(click.ParamType):  # type: ignore[type-arg]  # as above
    """A time, a sequence or a mark; a time that was not written in UTC is said on stderr as it was understood."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        from holdfast.times import Target, format_time, parse_target

        if isinstance(value, Target):
            return value
        state = ctx.ensure_object(State) if ctx is not None else State()
        try:
            target = parse_target(value, now=state.now())
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if target.time is not None and format_time(target.time) != value:
            name = param.opts[0] if param is not None else "time"
            state.say(f"{name}: {value!r} is {format_time(target.time)}")
        return target


MOMENT = Moment()


def parse_vector(text: str) -> list[float]:
    """``[0.1,0.2]`` or ``0.1,0.2``, or ``@FILE`` with the same in it; ValueError says what is accepted."""
    written = _content(text).strip()
    try:
        values = json.loads(written if written.startswith("[") else f"[{written}]")
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError):
            raise ValueError(f"the vector cannot be read: {json_problem(error)}") from None
        values = None
    if not isinstance(values, list) or not values or not all(_is_number(value) for value in values):
        raise ValueError(f'{text[:60]!r} is not a vector: write "[0.1, 0.2, 0.3]", or @FILE')
    return values


def parse_payload(text: str) -> bytes:
    """A JSON object, or ``@FILE`` with one; passed on as it was written. ValueError says what is wrong."""
    written = _content(text)
    try:
        value = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the payload is not JSON: {json_problem(error)}") from None
    if not isinstance(value, dict):
        raise ValueError(
            f'the payload is a JSON {_JSON_NAMES.get(type(value), "value")}, not an object like {{"a": 1}}'
        )
    return written.encode()


def parse_ids(text: str) -> list[str]:
    """``A`` or ``A,B``; a JSON array (``["a,b"]``) for ids with commas. ValueError where an id is empty."""
    if text.startswith("["):
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, list) or not all(isinstance(value, str) for value in given):
            raise ValueError(f"{text[:60]!r} is not a JSON array of ids")
        ids: list[str] = given
    else:
        ids = text.split(",")
    if not ids or not all(ids):
        raise ValueError(f"{text!r} names an empty id, which no vector has: is a variable not set?")
    return ids


def parse_sequences(text: str) -> tuple[int, int]:
    """``17``, or ``17-20`` for all four. ValueError says what is accepted."""
    first, _, last = text.partition("-")
    ends = (first, last or first)
    # The longest number that the wire holds whatever its digits are.
    if not all(end.isascii() and end.isdigit() and len(end) <= 18 for end in ends) or text.endswith("-"):
        raise ValueError(f"{text[:60]!r} names no sequences: write one, such as 17, or a range, such as 17-20")
    if not 0 < int(ends[0]) <= int(ends[1]):
        raise ValueError(f"{text!r} names no sequences: the first is 1 or more, and not above the last")
    return int(ends[0]), int(ends[1])


VECTOR = Parsed("vector", parse_vector)
SEQUENCES = Parsed("sequences", parse_sequences)
PAYLOAD = Parsed("json", parse_payload)
IDS = Parsed("ids", parse_ids)

_JSON_NAMES: dict[type, str] = {
    list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null",
}  # fmt: skip


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _content(text: str) -> str:
    if not text.startswith("@"):
        return text
    from pathlib import Path

    try:
        return Path(text[1:]).read_bytes().decode()  # a file opened as text would lose how its lines end
    except OSError as error:
        raise ValueError(f"cannot read {text[1:]}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{text[1:]} is not UTF-8: {error.reason}") from None
