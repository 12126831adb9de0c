"""Rendering: the same data four ways."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import yaml

from holdfast.documents import Document
from holdfast.output import FORMATS, flatten, render, render_stream, rows_of
from holdfast.table import cell, display_width, heading

SNAPSHOTS: dict[str, Any] = {
    "snapshots": [
        {"id": "snap-1", "collections": ["a", "b"], "size_bytes": 52428800, "compressed": True, "base": None},
        {"id": "snap-2", "collections": [], "size_bytes": 512, "compressed": False, "base": "snap-1"},
    ],
    "total": 2,
}
STATUS: dict[str, Any] = {
    "status": "serving",
    "wal": {"size_bytes": 1536, "garbage_percent": 12.5},
    "alarms": [{"code": "X", "message": "é"}],
}


def test_what_the_library_answers_is_yaml_all_the_way_down() -> None:
    document = Document(vectors=[Document(id="a", payload={"n": 1}), Document(id="b", payload=None)], count=2)
    assert yaml.safe_load(render(document, "yaml")) == document


def test_a_list_of_rows_is_a_table() -> None:
    assert render(SNAPSHOTS, "table").splitlines() == [
        "ID      COLLECTIONS      SIZE  COMPRESSED  BASE",
        "-------------------------------------------------",
        "snap-1  a, b         50.0 MiB  yes         -",
        "snap-2  -               512 B  no          snap-1",
        "total: 2",
    ]


def test_other_documents_are_pairs_with_tables_inside() -> None:
    assert render(STATUS, "table").splitlines() == [
        "status       serving",
        "wal.size     1.5 KiB",
        "wal.garbage  12.5 %",
        "alarms",
        "  CODE  MESSAGE",
        "  -------------",
        "  X     é",
    ]


def test_no_rows_are_said_to_be_none() -> None:
    assert render({"snapshots": [], "total": 0}, "table") == "(none)\ntotal: 0\n"


@pytest.mark.parametrize("width", [34, 60, 200])
def test_a_table_folds_to_the_terminal_and_loses_nothing(width: int) -> None:
    row = {"id": "x" * 40, "note": "y" * 100, "n": 1}
    text = render({"rows": [row], "total": 1}, "table", width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert (text.count("x"), text.count("y")) == (40, 100)


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in render({"id": "a\x1b[31mb\x9b", "payload": {"x": ["\x1b"]}}, "table")
    assert "\x1b" not in render({"rows": [{"id": "\x1b[2J"}], "total": 1}, "table")


def test_wide_characters_take_two_columns() -> None:
    assert display_width("日本") == 4
    assert display_width("e\u0301") == 1
    lines = render({"rows": [{"a": "日本", "b": "x"}, {"a": "é", "b": "y"}], "total": 2}, "table").splitlines()
    assert lines[2:4] == ["日本  x", "é     y"]


def test_csv_of_rows_and_of_one_document() -> None:
    rows = list(csv.DictReader(io.StringIO(render(SNAPSHOTS, "csv"))))
    assert rows[0] == {"id": "snap-1", "collections": "a b", "size_bytes": "52428800", "compressed": "true", "base": ""}
    [one] = csv.DictReader(io.StringIO(render(STATUS, "csv")))
    assert one["wal.size_bytes"] == "1536"
    assert json.loads(one["alarms"]) == STATUS["alarms"]


def test_csv_of_an_import_has_the_counts_whether_or_not_there_are_errors() -> None:
    for errors in ([], [{"line": 4, "error": "no vector"}]):
        document = {"inserted": 3, "failed": len(errors), "errors": errors, "duration_ms": 1}
        [row] = csv.DictReader(io.StringIO(render(document, "csv")))
        assert (row["inserted"], row["failed"]) == ("3", str(len(errors)))
        assert json.loads(row["errors"] or "[]") == errors


@pytest.mark.parametrize("document", [SNAPSHOTS, STATUS, {"a": None, "b": [1, 2], "c": "é\n"}])
def test_json_and_yaml_are_read_back_in_order(document: dict[str, Any]) -> None:
    assert json.loads(render(document, "json")) == document
    assert yaml.safe_load(render(document, "yaml")) == document
    assert list(json.loads(render(document, "json"))) == list(document)


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_ends_with_a_line_break(output_format: str) -> None:
    assert render(SNAPSHOTS, output_format).endswith("\n")


def test_a_row_of_a_stream_is_one_line_whatever_its_cells_hold() -> None:
    row = {"ids": ["a b", "c"], "plain": ["a", "b"], "broken": ["x\ny"], "detail": "one\r\ntwo", "quoted": 'a "b"'}
    row["ended"] = "one\n"
    heading, line = "".join(render_stream([row], "csv")).splitlines()
    [read] = csv.DictReader(io.StringIO(f"{heading}\n{line}\n"))
    assert (read["plain"], read["quoted"]) == ("a b", 'a "b"')
    assert {key: json.loads(read[key]) for key in ("ids", "broken", "detail", "ended")} == {
        key: row[key] for key in ("ids", "broken", "detail", "ended")
    }


def test_a_stream_is_json_lines_yaml_documents_csv_rows_or_aligned_lines() -> None:
    records: list[dict[str, Any]] = [
        {"sequence": 1, "kind": "upsert"},
        {"sequence": 2, "kind": "delete", "detail": "x"},
    ]
    assert [json.loads(line) for line in render_stream(records, "json")] == records
    assert list(yaml.safe_load_all("".join(render_stream(records, "yaml")))) == records
    assert "".join(render_stream(records, "csv")) == "sequence,kind\n1,upsert\n2,delete\n"
    assert "".join(render_stream(records, "table")).splitlines() == [
        "SEQUENCE    KIND",
        "1           upsert",
        "2           delete",
    ]


def test_what_is_a_table_of_rows_and_what_is_not() -> None:
    assert rows_of({"rows": [{"a": 1}], "other": {"b": 1}}) is None
    assert rows_of({"chain": ["a"]}) is None
    assert rows_of({"rows": [{"a": 1}], "total": 1}) == [{"a": 1}]
    assert rows_of({"inserted": 1, "errors": [{"line": 1}]}) is None
    assert rows_of({"x": [{"a": 1}], "y": [{"b": 1}]}) is None
    assert flatten({"a": {"b": {"c": 1}}, "d": {}}) == {"a.b.c": 1, "d": {}}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("n", None, "-"), ("n", True, "yes"), ("n_bytes", 1 << 20, "1.0 MiB"), ("x_percent", 20.0, "20 %"),
        ("score", 0.123456789, "0.123457"), ("ids", [], "-"), ("payload", {}, "-"), ("vector", [0.5], "[0.5]"),
    ],
)  # fmt: skip
def test_a_cell_is_written_for_people(key: str, value: object, text: str) -> None:
    assert cell(key, value) == text
    assert heading("wal.size_bytes") == "wal.size"
