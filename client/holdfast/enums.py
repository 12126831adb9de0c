"""Words for the enumerations of the API, both ways: ``"cosine"`` and ``METRIC_COSINE``."""

from __future__ import annotations

from typing import Any, Protocol

from holdfast.checks import text
from holdfast.errors import InvalidArgument


class EnumType(Protocol):
    """What a generated enumeration offers."""

    def Name(self, number: Any) -> str: ...

    def Value(self, name: str) -> Any: ...

    def items(self) -> list[tuple[str, Any]]: ...


def to_word(enum: EnumType, number: int, prefix: str) -> str:
    """The word for a value: lower case, without the enumeration's prefix; the number if this version knows none."""
    try:
        return enum.Name(number).removeprefix(prefix).lower()
    except ValueError:
        return str(number)


def from_word(enum: EnumType, word: str | None, prefix: str, what: str) -> Any:
    """The value for a word, the unspecified one for None; InvalidArgument names the words that there are."""
    if word is None:
        return 0
    try:
        return enum.Value(prefix + text(word, what).upper().replace("-", "_"))
    except ValueError:
        pass
    known = [name.removeprefix(prefix).lower() for name, number in enum.items() if number]
    raise InvalidArgument(
        f"{word!r} is not a {what}", reason="UNKNOWN_WORD", hint=f"write one of: {', '.join(known)}"
    ) from None
