"""Arguments as they must be to be sent: TypeError for a wrong type, InvalidArgument for a number out of bounds."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import SupportsFloat, SupportsIndex

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


def seconds(value: SupportsFloat, name: str) -> float:
    """``value`` as a number of seconds above 0."""
    try:
        number = float(value if not isinstance(value, str | bytes) else None)  # type: ignore[arg-type]  # as any other
    except TypeError:
        raise TypeError(f"{name} is {type(value).__name__}, not a number of seconds") from None
    if not number > 0:
        raise InvalidArgument(f"{name} is {number:g}, and must be above 0", reason="OUT_OF_BOUNDS")
    return number


def text(value: object, name: str) -> str:
    """``value``, which must be a str of whole characters."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {type(value).__name__}, not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(
            f"{name} cannot be sent as UTF-8: it has half a surrogate pair", reason="BAD_TEXT"
        ) from None
    return value


def text_or_none(value: object, name: str) -> str:
    """``value`` as `text` has it; "" for None."""
    return "" if value is None else text(value, name)


def texts(values: Sequence[str], name: str) -> Sequence[str]:
    """``values``, of which each must be a str."""
    for place, value in enumerate(values):
        text(value, f"{name}[{place}]")
    return values
