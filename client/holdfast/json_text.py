"""JSON of what a store holds: always what JSON's grammar allows, also where a number is beyond float64.

Payloads of an earlier version may hold such numbers. Python reads them as infinity, for which its own encoder writes a
word that is not JSON.
"""

from __future__ import annotations

import json
from typing import Any

_LONGEST_INT = 4300
"""Digits that Python reads as an int; of more it makes an error."""


def to_json(value: object, **settings: Any) -> str:
    """``value`` as JSON text; infinity as ``1e999``, which any reader takes as beyond float64, NaN as null.

    settings: ``indent``, ``separators``.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **settings)
    except ValueError:
        from uuid import uuid4

        mark = uuid4().hex
        text = json.dumps(_without_infinity(value, mark), ensure_ascii=False, **settings)
        return text.replace(f'"{mark}"', "1e999").replace(f'"-{mark}"', "-1e999")


def from_json(text: str | bytes) -> Any:
    """What JSON text holds; whole numbers of more digits than Python reads become infinity."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_whole)


def json_problem(error: Exception) -> str:
    """Why text could not be decoded, in words that need no knowledge of Python.

    error: what a decoder raised: ValueError or RecursionError.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: {error.reason}"
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    return f"a number has more than {_LONGEST_INT:,} digits"


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _without_infinity(value: object, mark: str) -> object:
    if isinstance(value, dict):
        return {key: _without_infinity(inner, mark) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(inner, mark) for inner in value]
    if isinstance(value, float):
        if value != value:
            return None
        if value in (float("inf"), float("-inf")):
            return mark if value > 0 else f"-{mark}"
    return value
