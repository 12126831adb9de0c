"""Tables for people. Columns are as wide as they must be; on a terminal the widest text column folds to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.json_text import to_json
from holdfast.units import format_size

_GAP = "  "
_MIN_COLUMN = 12


def grid(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int | None) -> str:
    """Rows under a heading and a rule; "(none)" where there are no rows."""
    if not rows:
        return "(none)\n"
    cells = [[cell(column, row.get(column)) for column in columns] for row in rows]
    headings = [heading(column).upper() for column in columns]
    right = [_is_numeric([row.get(column) for row in rows]) for column in columns]
    widths = [max(display_width(line[i]) for line in [headings, *cells]) for i in range(len(columns))]
    widths = _shrink(widths, right, width)
    lines = [*_line(headings, widths, right), "-" * (sum(widths) + len(_GAP) * (len(widths) - 1))]
    for line in cells:
        lines += _line(line, widths, right)
    return "\n".join(lines) + "\n"


def pairs(document: Mapping[str, Any], width: int | None) -> str:
    """One ``key  value`` line for each key; a list of objects becomes a table of its own below."""
    names = {key: heading(key) for key in document}
    widest = max((len(name) for name in names.values()), default=0)
    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            columns = list(dict.fromkeys(name for item in value for name in item))
            lines += [names[key], *("  " + line for line in grid(value, columns, width).splitlines())]
        else:
            lines.append(f"{names[key]:<{widest}}{_GAP}{cell(key, value)}".rstrip())
    return "\n".join(lines) + "\n"


def stream_line(row: Mapping[str, Any], widths: Mapping[str, int], *, with_header: bool) -> str:
    """One aligned line of an endless table, under the headings if it is the first."""
    headings = _GAP.join(f"{heading(key).upper():<{width}}" for key, width in widths.items()).rstrip() + "\n"
    line = _GAP.join(f"{cell(key, row.get(key)):<{width}}" for key, width in widths.items()).rstrip() + "\n"
    return headings + line if with_header else line


def heading(key: str) -> str:
    """The key for people: ``size_bytes`` becomes ``size``, ``garbage_percent`` ``garbage``."""
    for suffix in ("_bytes", "_percent"):
        if key.endswith(suffix):
            return key.removesuffix(suffix)
    return key


def cell(key: str, value: object) -> str:
    """One value for people; units come from the key's suffix."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key.endswith("_bytes"):
        return format_size(value)
    if isinstance(value, int | float) and key.endswith("_percent"):
        return f"{value:g} %"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return printable(", ".join(value)) or "-"
    if isinstance(value, list | Mapping):
        return printable(to_json(value)) if value else "-"
    return printable(str(value))


def printable(text: str) -> str:
    """Text without control characters: what is stored must not drive the terminal."""
    return "".join(c if c.isprintable() else " " if c in "\t\r\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def display_width(text: str) -> int:
    """Terminal columns of a text; East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _is_numeric(values: Sequence[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)


def _shrink(widths: list[int], right: list[bool], limit: int | None) -> list[int]:
    """Take what does not fit from the widest text column, never below a readable width."""
    while limit is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > limit:
        texts = [i for i, number in enumerate(right) if not number and widths[i] > _MIN_COLUMN]
        if not texts:
            return widths
        widest = max(texts, key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    folded = [_fold(text, width) for text, width in zip(cells, widths, strict=True)]
    height = max(len(lines) for lines in folded)
    out = []
    for index in range(height):
        parts = [lines[index] if index < len(lines) else "" for lines in folded]
        out.append(_GAP.join(_pad(p, w, r) for p, w, r in zip(parts, widths, right, strict=True)).rstrip())
    return out


def _fold(text: str, width: int) -> list[str]:
    if display_width(text) <= width:
        return [text]
    lines, line = [], ""
    for character in text:
        if display_width(line + character) > width:
            lines.append(line)
            line = ""
        line += character
    return [*lines, line]


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - display_width(text))
    return space + text if right else text + space
