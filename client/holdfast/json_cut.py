"""JSON text cut into its values, each as it is written: spaces, the spelling of numbers and double keys stay.

Nothing is decoded and nothing recurses, so depth and the length of numbers do not matter. The text must be valid JSON.
"""

from __future__ import annotations

import json
import re

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_AT_TOP = re.compile(rf"{_STRING}|[\[\]{{}},]", re.DOTALL)
_INSIDE = re.compile(rf"{_STRING}|[\[\]{{}}]", re.DOTALL)
_KEY = re.compile(rf"({_STRING})\s*:\s*", re.DOTALL)
_SPACE = " \t\r\n"


def cut_values(text: str) -> list[str]:
    """The items of an array, or the members of an object (``"key": value``), without the space around them."""
    pieces: list[str] = []
    depth = begin = position = 0
    while (token := (_INSIDE if depth > 1 else _AT_TOP).search(text, position)) is not None:
        sign, position = token[0], token.end()
        if sign in "[{":
            depth += 1
            begin = position if depth == 1 else begin
        elif sign in "]}" or (sign == "," and depth == 1):
            depth -= sign != ","
            if depth == 0 or sign == ",":
                pieces.append(text[begin : token.start()].strip(_SPACE))
                begin = position
    return [] if pieces == [""] else pieces


def cut_member(text: str, name: str) -> str | None:
    """The value of a member of an object, the last of that name as every decoder takes it; None if there is none."""
    found = None
    for piece in cut_values(text):
        key = _KEY.match(piece)
        if key is not None and json.loads(key[1]) == name:
            found = piece[key.end() :]
    return found
