"""``npy``: an (n, d) array of float32 or float16, with ids and payloads in files of their own, one a line. No NumPy."""

from __future__ import annotations

import ast
import json
import re
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import BinaryIO

from holdfast.cli.readers.rows import (
    NOT_FINITE,
    BadFile,
    BadRow,
    Row,
    Rows,
    bounded_lines,
    id_problem,
    is_finite,
)
from holdfast.payloads import encode_value

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_MAX_COLUMNS = 1 << 16
_ROWS_PER_READ = 256
_WIDTHS = {"<f4": 4, "<f2": 2}
_UNITS = {4: "I", 2: "H"}
_TURNED_BYTES = 16 << 20
_HUGE = re.compile(rb"[eE]\+?[0-9]{3}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a .npy file says of its data."""

    descr: str
    rows: int
    columns: int
    by_columns: bool
    """Whether one column follows the other in the file (Fortran order), and not one row the other."""


def read_npy(file: BinaryIO, ids: BinaryIO | None = None, payloads: BinaryIO | None = None) -> Rows:
    """Rows in order; "line" is the row's number from 1. BadFile if the three do not have equally many."""
    header = read_header(file)
    id_lines, payload_lines = _lines(ids), _lines(payloads)
    width = header.columns * _WIDTHS[header.descr]
    unpack = struct.Struct(f"<{header.columns}e").unpack if header.descr == "<f2" else None
    pack = struct.Struct(f"<{header.columns}f").pack
    slices = _turned(file, header) if header.by_columns else _slices(file, header.rows, width)
    for line, data in enumerate(slices, start=1):
        vector = data if unpack is None else pack(*unpack(data))
        yield _row(line, vector, _next(id_lines, line, "--ids"), _next(payload_lines, line, "--payloads"))
    if file.read(1):
        raise BadFile(f"something stands behind the array's {header.rows} rows: give each array a file of its own")
    for lines, option in ((id_lines, "--ids"), (payload_lines, "--payloads")):
        if not isinstance(lines, repeat) and next(lines, None) is not None:
            raise BadFile(f"the file of {option} has more lines than the array's {header.rows} rows", header.rows)


def read_header(file: BinaryIO) -> Header:
    """Read and check the header; BadFile says what is wrong, and how to convert another element type."""
    start = file.read(10)
    if len(start) < 10 or start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise BadFile("not a .npy file")
    size_bytes = start[8:10] if start[6] == 1 else start[8:10] + file.read(2)
    size = int.from_bytes(size_bytes, "little")
    text = file.read(size) if size <= _MAX_HEADER else b""
    try:
        fields = ast.literal_eval(text.decode("latin-1").strip())
        descr, fortran, shape = str(fields["descr"]), fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):  # the last two: of nesting
        raise BadFile("the header of the .npy file is damaged") from None
    return _checked(descr, fortran, shape)


def _checked(descr: str, fortran: object, shape: object) -> Header:
    if descr not in _WIDTHS:
        hint = "convert it with numpy: np.save(file, array.astype('<f4'))"
        kind = re.sub(r"^<f8$", "float64", descr)
        raise BadFile(f"the array holds {kind}, not float32 or float16: {hint}")
    if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(size) is int and size >= 0 for size in shape):
        raise BadFile(f"the array has shape {shape}, not (n, d)")
    rows, columns = shape
    if not 1 <= columns <= _MAX_COLUMNS:
        raise BadFile(f"the array has {columns} columns: a vector has 1 to {_MAX_COLUMNS} values")
    return Header(descr, rows, columns, bool(fortran))


def _slices(file: BinaryIO, rows: int, width: int) -> Iterator[bytes]:
    done = 0
    while done < rows:
        wanted = min(_ROWS_PER_READ, rows - done)
        data = file.read(wanted * width)
        for start in range(0, len(data) - width + 1, width):
            yield data[start : start + width]
        if len(data) != wanted * width:
            raise BadFile(f"the file ends inside row {done + len(data) // width + 1} of {rows}")
        done += wanted


def _turned(file: BinaryIO, header: Header) -> Iterator[bytes]:
    """Rows of an array whose columns follow one another: a piece of each column at a time, laid side by side."""
    if not file.seekable():
        hint = "name a file, or write it by rows with numpy: np.save(file, np.ascontiguousarray(array))"
        raise BadFile(f"the array is in Fortran order, which cannot be read from a pipe: {hint}")
    begin, item, columns = file.tell(), _WIDTHS[header.descr], header.columns
    at_once = max(1, _TURNED_BYTES // (columns * item))
    for first in range(0, header.rows, at_once):
        count = min(at_once, header.rows - first)
        piece = array(_UNITS[item], bytes(count * columns * item))
        for column in range(columns):
            file.seek(begin + (column * header.rows + first) * item)
            data = file.read(count * item)
            if len(data) != count * item:
                raise BadFile(f"the file ends inside column {column + 1} of {columns}")
            piece[column::columns] = array(_UNITS[item], data)
        turned = piece.tobytes()
        for start in range(0, len(turned), columns * item):
            yield turned[start : start + columns * item]


def _lines(file: BinaryIO | None) -> Iterator[bytes | None]:
    return repeat(None) if file is None else (line.rstrip(b"\r\n") for line in bounded_lines(file))


def _next(lines: Iterator[bytes | None], line: int, option: str) -> bytes | None:
    try:
        return next(lines)
    except StopIteration:
        raise BadFile(f"the file of {option} ends after {line - 1} lines", line) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON")


def _row(line: int, vector: bytes, id_line: bytes | None, payload_line: bytes | None) -> Row | BadRow:
    try:
        row_id = None if id_line is None else id_line.decode()
    except UnicodeDecodeError:
        return BadRow(line, "the id is not UTF-8")
    problem = id_problem(row_id)
    if problem is not None:
        return BadRow(line, problem)
    if not is_finite(vector):
        return BadRow(line, NOT_FINITE)
    if payload_line is None or payload_line.strip() in (b"", b"null"):
        return Row(line, row_id, vector, None)
    try:
        value = json.loads(payload_line, parse_constant=_refuse_constant)
        if _HUGE.search(payload_line):
            encode_value(value)  # refuses what is beyond a float's range
    except (ValueError, RecursionError) as error:
        return BadRow(line, f"the payload is not JSON: {error}")
    if not isinstance(value, dict):
        return BadRow(line, "the payload is not a JSON object")
    return Row(line, row_id, vector, payload_line)
