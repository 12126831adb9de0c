"""``csv`` with a header: ``id,vector,payload`` (JSON in the cells), or ``id,v0,v1,…`` with an optional ``payload``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any, BinaryIO

from holdfast.cli.readers.rows import BadFile, BadRow, Row, Rows, make_row
from holdfast.json_text import json_problem

_MAX_CELL = 16 << 20


def read_csv(file: BinaryIO) -> Rows:
    """One row a record; a record may span lines inside quotes, and is named by its last one."""
    csv.field_size_limit(_MAX_CELL)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    records = csv.reader(text, strict=True)
    try:
        header = [name.strip() for name in next(records, [])]
        convert = _converter(header)
        for cells in records:
            if cells:
                yield _row(records.line_num, cells, len(header), convert)
    except csv.Error as error:
        raise BadFile(f"not CSV: {error}", records.line_num) from None
    except UnicodeDecodeError as error:
        raise BadFile(f"not UTF-8: {error.reason}", records.line_num + 1) from None
    finally:
        text.detach()


def _row(line: int, cells: list[str], width: int, convert: Callable[[list[str]], tuple[Any, Any, str]]) -> Row | BadRow:
    if len(cells) != width:
        return BadRow(line, f"{len(cells)} cells under a header of {width}")
    try:
        row_id, vector, written = convert(cells)
        payload = _json(written, "payload") if written else None
    except ValueError as error:
        return BadRow(line, str(error))
    return make_row(line, row_id, vector, payload, written)


def _converter(header: list[str]) -> Callable[[list[str]], tuple[Any, Any, str]]:
    """How to read a record under this header; BadFile for a header that is neither of the two."""
    places = {name: place for place, name in enumerate(header)}
    numbered = [places[f"v{n}"] for n in range(len(header)) if f"v{n}" in places]
    known = {"id", "payload", "vector"} | {f"v{n}" for n in range(len(numbered))}
    if len(places) != len(header) or places.keys() - known or ("vector" in places) == bool(numbered):
        raise BadFile("the header is neither id,vector,payload nor id,v0,v1,… (payload beside)", 1)
    id_place, payload_place, vector_place = places.get("id"), places.get("payload"), places.get("vector")

    def convert(cells: list[str]) -> tuple[Any, Any, str]:
        if vector_place is not None:
            vector = _json(cells[vector_place], "vector")
        else:
            vector = [_number(cells[place]) for place in numbered]
        row_id = cells[id_place] if id_place is not None else None
        written = cells[payload_place] if payload_place is not None else ""
        return row_id, vector, written

    return convert


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the {what} is not JSON: {json_problem(error)}") from None


def _number(text: str) -> float:
    try:
        if "_" not in text:  # which Python takes, as in 1_000
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a number")
