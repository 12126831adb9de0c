"""Rendering of what commands return: ``json`` (the default), ``table``, ``yaml``, ``csv``. Pure: values in, text out.

A document is a dict with the keys of the spec. JSON, YAML and CSV show it as it is; a table is for people: sizes and
percentages are written out, nested values are flattened, and a document around one list of rows shows the rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from holdfast.json_text import to_json

Document: TypeAlias = dict[str, Any]

_STREAM_MIN = 10
_COUNTS = ("total", "count")

FORMATS = ("json", "table", "yaml", "csv")


def render(document: Document, output_format: str, *, width: int | None = None) -> str:
    """The document as text that ends with a newline. ``width`` is a terminal's; None: lines of any length."""
    return _RENDERERS[output_format](document, width)


def render_stream(documents: Iterable[Document], output_format: str) -> Iterator[str]:
    """Each document of an endless answer as text: JSON lines, YAML documents, CSV rows or aligned columns."""
    widths: dict[str, int] = {}
    for document in documents:
        if output_format == "json":
            yield to_json(document) + "\n"
        elif output_format == "yaml":
            yield "---\n" + _yaml(document, None)
        else:
            row = flatten(document)
            first = not widths
            widths = widths or stream_widths(row)
            yield _stream_row(row, widths, output_format, with_header=first)


def flatten(document: Mapping[str, Any], prefix: str = "") -> Document:
    """Nested dicts as dotted keys; lists stay."""
    flat: Document = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def rows_of(document: Document) -> list[Document] | None:
    """The rows of a document that is an answer in rows; None for any other.

    Its rows are its one list, of objects, and it counts them: a list without a ``total`` or ``count`` is a detail of
    what stands beside it, such as the errors of an import.
    """
    lists = [value for value in document.values() if isinstance(value, list)]
    plain = all(not isinstance(value, Mapping) for value in document.values())
    if len(lists) != 1 or not plain or not all(isinstance(row, Mapping) for row in lists[0]):
        return None
    return lists[0] if any(key in document for key in _COUNTS) else None


def _json(document: Document, width: int | None) -> str:
    return to_json(document, indent=2) + "\n"


def _yaml(document: Document, width: int | None) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes our documents as the mappings that they are."""

    Dumper.add_multi_representer(dict, lambda dumper, data: dumper.represent_dict(data.items()))
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=width or 2**16)
    return text


def _csv(document: Document, width: int | None) -> str:
    rows = rows_of(document)
    flat = [flatten(row) for row in ([document] if rows is None else rows)]
    if not flat:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, _columns(flat), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _csv_cell(value) for key, value in row.items()} for row in flat)
    return out.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    if isinstance(value, list | dict):
        return to_json(value)
    return _plain(value)


def _line_cell(value: object) -> object:
    """As a cell, but on one line: what would break it, or hide where an item of a list ends, is shown as JSON."""
    if isinstance(value, list) and any(isinstance(item, str) and item.split() != [item] for item in value):
        return to_json(value)
    shown = _csv_cell(value)
    return to_json(shown) if isinstance(shown, str) and shown.splitlines() not in ([], [shown]) else shown


def _plain(value: object) -> object:
    if value is None:
        return ""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _columns(rows: Iterable[Document]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _table(document: Document, width: int | None) -> str:
    from holdfast.table import grid, pairs

    rows = rows_of(document)
    if rows is None:
        return pairs(flatten(document), width)
    flat = [flatten(row) for row in rows]
    rest = {key: value for key, value in document.items() if not isinstance(value, list)}
    return grid(flat, _columns(flat), width) + (pairs_line(rest) if rest else "")


def pairs_line(document: Document) -> str:
    """Plain values on one line: ``total: 2, duration_ms: 7``."""
    from holdfast.table import cell, heading

    return ", ".join(f"{heading(key)}: {cell(key, value)}" for key, value in document.items()) + "\n"


def stream_widths(row: Document) -> dict[str, int]:
    """Columns of an endless table, as wide as its first row needs."""
    from holdfast.table import cell, display_width

    return {key: max(_STREAM_MIN, len(key), display_width(cell(key, value))) for key, value in row.items()}


def _stream_row(row: Document, widths: dict[str, int], output_format: str, *, with_header: bool) -> str:
    if output_format == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(widths), lineterminator="\n", restval="", extrasaction="ignore")
        if with_header:
            writer.writeheader()
        writer.writerow({key: _line_cell(value) for key, value in row.items()})
        return out.getvalue()
    from holdfast.table import stream_line

    return stream_line(row, widths, with_header=with_header)


_RENDERERS: Mapping[str, Callable[[Document, int | None], str]] = {
    "json": _json,
    "table": _table,
    "yaml": _yaml,
    "csv": _csv,
}
