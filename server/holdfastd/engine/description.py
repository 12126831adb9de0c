"""What somebody may say of a snapshot: one line that shows as it reads, on any terminal."""

from __future__ import annotations

import unicodedata

from ..errors import InvalidArgument

MAX_BYTES = 1000
_NO_TEXT = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Categories of control characters, halves of surrogate pairs, and ends of lines and paragraphs."""
_TURNS_THE_LINE = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""After these what follows is shown in another order than it is written."""


def is_description(text: str) -> bool:
    """Whether a text may describe a snapshot; an empty one describes nothing."""
    return (
        len(text) <= MAX_BYTES
        and not any(unicodedata.category(c) in _NO_TEXT or c in _TURNS_THE_LINE for c in text)
        and len(text.encode()) <= MAX_BYTES
        and not text.isspace()
    )


def check_description(text: str) -> str:
    """The text itself. Raises InvalidArgument for what ``is_description`` refuses."""
    if not is_description(text):
        raise InvalidArgument(
            f"a description of {len(text.encode(errors='replace'))} bytes that is too long, blank, or no single line",
            field="description",
            reason="INVALID_DESCRIPTION",
            hint=f"write one line of at most {MAX_BYTES} bytes of UTF-8, without control characters",
        )
    return text
