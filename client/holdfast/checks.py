"""Arguments as they must be to be sent: TypeError for a wrong type, InvalidArgument for a number out of bounds."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex

from holdfast.errors import InvalidArgument

INT32_MAX = 2**31 - 1
UINT32_MAX = 2**32 - 1
INT64_MAX = 2**63 - 1


def whole_number(value: SupportsIndex, name: str, least: int = 0, most: int = INT64_MAX) -> int:
    """``value`` as an int, from ``least`` through ``most``, which the wire can carry."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} is {type(value).__name__}, not a whole number") from None
    if number < least:
        raise InvalidArgument(f"{name} is {number}, and must be at least {least}", reason="OUT_OF_BOUNDS")
    if number > most:
        raise InvalidArgument(f"{name} is {number}, and can be at most {most}", reason="OUT_OF_BOUNDS")
    return number


def text(value: object, name: str) -> str:
    """``value``, which must be a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {type(value).__name__}, not a string")
    return value


def texts(values: Sequence[str], name: str) -> Sequence[str]:
    """``values``, of which each must be a str."""
    for place, value in enumerate(values):
        text(value, f"{name}[{place}]")
    return values
