"""``ndjson`` (one object a line) and ``json`` (one array of objects, decoded piece by piece)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from holdfast.cli.readers.rows import BadFile, BadRow, Rows, bounded_lines, row_of_object
from holdfast.json_text import json_problem

_CHUNK = 1 << 20
_MAX_ELEMENT = 64 << 20
_not_space = re.compile(r"[^ \t\r\n]").search


def read_ndjson(file: BinaryIO) -> Rows:
    """One object a line; empty lines are skipped."""
    for number, line in enumerate(bounded_lines(file), start=1):
        if not line.strip():
            continue
        try:
            text = line.decode(json.detect_encoding(line))
            value = json.loads(text)
        except json.JSONDecodeError as error:
            column = min(error.pos, len(error.doc.rstrip())) + 1
            yield BadRow(number, f"not JSON: {error.msg}, at column {column}")
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"not JSON: {json_problem(error)}")
        else:
            yield row_of_object(number, value, text)


def read_json(file: BinaryIO) -> Rows:
    """An array of objects; memory holds one chunk and one element."""
    text = io.TextIOWrapper(file, encoding="utf-8")
    try:
        for line, value, written in _Elements(text):
            yield row_of_object(line, value, written)
    finally:
        text.detach()


class _Elements:
    """The elements of one JSON array with the lines on which they begin, decoded and as they are written."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._buffer = ""
        self._position = 0
        self._line = 1
        self._ended = False
        self._decode = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[tuple[int, Any, str]]:
        if self._next_sign() != "[":
            raise BadFile("not a JSON array; one object a line is --format ndjson", self._line)
        self._advance(self._position + 1)
        sign = "," if self._next_sign() != "]" else "]"
        while sign == ",":
            self._next_sign()
            line = self._line
            yield line, *self._element()
            sign = self._next_sign()
            if sign not in ("]", ","):
                found = f"{sign!r} where ',' or ']' was expected" if sign else "the file ends inside the array"
                raise BadFile(found, self._line)
            if sign == ",":
                self._advance(self._position + 1)
        self._advance(self._position + 1)
        if self._next_sign():
            raise BadFile("something stands behind the array: join several arrays into one, or use ndjson", self._line)

    def _next_sign(self) -> str:
        """The next character that is no space, without taking it; "" at the end."""
        while True:
            found = _not_space(self._buffer, self._position)
            if found:
                self._advance(found.start())
                return found[0]
            self._advance(len(self._buffer))
            if not self._more():
                return ""

    def _element(self) -> tuple[Any, str]:
        while True:
            try:
                value, end = self._decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._position > _MAX_ELEMENT or not self._more():
                    line = self._line + self._buffer.count("\n", self._position, error.pos)
                    raise BadFile(f"not JSON: {error.msg}", line) from None
            except (ValueError, RecursionError) as error:
                raise BadFile(f"not JSON: {json_problem(error)}", self._line) from None
            else:
                written = self._buffer[self._position : end]
                self._advance(end)
                return value, written

    def _advance(self, position: int) -> None:
        self._line += self._buffer.count("\n", self._position, position)
        self._position = position

    def _more(self) -> bool:
        if self._ended:
            return False
        try:
            chunk = self._text.read(_CHUNK)
        except UnicodeDecodeError as error:
            raise BadFile(f"not UTF-8: {error.reason}", self._line) from None
        self._ended = not chunk
        self._buffer = self._buffer[self._position :] + chunk
        self._position = 0
        return not self._ended
