"""What every reader yields: a row, or a bad row with the line it stands on; and how a JSON object becomes one."""

from __future__ import annotations

import math
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from holdfast.json_cut import cut_member
from holdfast.payloads import encode_value
from holdfast.vectors import fits_float32

MAX_ID_BYTES = 512
MAX_LINE_BYTES = 64 << 20
NOT_FINITE = "the vector has a value that is not finite"
_KEYS = frozenset({"id", "vector", "payload"})


class Row(NamedTuple):
    """One point: its line in the file (from 1), its id (None: to be generated), float32 bytes, JSON or None."""

    line: int
    id: str | None
    vector: bytes
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be sent, and why."""

    line: int
    message: str


Rows: TypeAlias = "Generator[Row | BadRow, None, None]"
"""Rows as a generator: closing it gives the file back."""


class BadFile(Exception):
    """The file cannot be read any further; ``line`` is where, 0 for the file as a whole."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def bounded_lines(file: BinaryIO) -> Generator[bytes, None, None]:
    """The lines of a file, each with its end. BadFile for one of more than MAX_LINE_BYTES."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise BadFile(f"a line has more than {MAX_LINE_BYTES >> 20} MiB", number)
        yield line


def row_of_object(line: int, value: Any, text: str) -> Row | BadRow:
    """A decoded ``{"id", "vector", "payload"}``, and the text that it was decoded from."""
    if not isinstance(value, dict):
        return BadRow(line, "not an object with id, vector and payload")
    unknown = value.keys() - _KEYS
    if unknown:
        return BadRow(line, f"unknown key {min(unknown)!r}: a row has id, vector and payload")
    if "vector" not in value:
        return BadRow(line, "no vector")
    payload = value.get("payload")
    written = cut_member(text, "payload") if isinstance(payload, dict) else None
    return make_row(line, value.get("id"), value["vector"], payload, written)


def make_row(line: int, row_id: Any, vector: Any, payload: Any, written: str | None = None) -> Row | BadRow:
    """Check and encode decoded values; whole numbers are accepted as ids and written as text.

    written: the payload's JSON where the file has one, which is sent as it is.
    """
    if isinstance(row_id, int) and not isinstance(row_id, bool):
        row_id = str(row_id)
    problem = id_problem(row_id)
    if problem is not None:
        return BadRow(line, problem)
    if payload is not None and not isinstance(payload, dict):
        return BadRow(line, f"the payload is {type(payload).__name__}, not a JSON object")
    try:
        data = pack(vector)
    except ValueError as error:
        return BadRow(line, str(error))
    if payload is None:
        return Row(line, row_id, data, None)
    try:
        encoded = encode_value(payload)  # refuses what JSON has no word for, also where the text is sent as it is
        return Row(line, row_id, data, encoded if written is None else written.encode())
    except (TypeError, ValueError, RecursionError) as error:
        return BadRow(line, f"the payload cannot be written as JSON: {error}")


def id_problem(row_id: Any) -> str | None:
    """Why an id cannot be used; None if it can, or is absent."""
    if row_id is None:
        return None
    if not isinstance(row_id, str):
        return f"the id is {type(row_id).__name__}, not a string"
    try:
        size = len(row_id.encode())
    except UnicodeEncodeError:
        return f"the id {row_id[:60]!r} has half a surrogate pair, which UTF-8 cannot hold"
    return None if 1 <= size <= MAX_ID_BYTES else f"the id has {size} bytes, not 1 to {MAX_ID_BYTES}"


def pack(vector: Any) -> bytes:
    """Numbers as float32 bytes; ValueError for anything else and for what is not finite."""
    if not isinstance(vector, list) or not vector:
        raise ValueError("the vector is not a list of numbers")
    try:
        data = struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError):
        wrong = next(value for value in vector if not fits_float32(value))
        problem = "beyond float32's range" if isinstance(wrong, int | float) else "that is not a number"
        raise ValueError(f"the vector has a value {problem}") from None
    if not is_finite(data):
        raise ValueError(NOT_FINITE)
    return data


def is_finite(data: bytes) -> bool:
    """Whether every little-endian float32 in ``data`` is finite. The top byte of one that is not is 0x7f or 0xff."""
    top = data[3::4]
    if b"\x7f" not in top and b"\xff" not in top:
        return True
    return all(math.isfinite(value) for value in struct.unpack(f"<{len(data) // 4}f", data))
