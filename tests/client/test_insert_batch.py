"""Files into collections: every format, bad rows with their lines, exact counts."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

import holdfast
from holdfast.cli.readers import npy_rows, rows
from holdfast.cli.readers.json_rows import read_json, read_ndjson
from holdfast.cli.readers.npy_rows import read_npy
from holdfast.cli.readers.rows import BadFile, BadRow, Row, is_finite
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon

Write = Callable[[str, str | bytes], str]
ROWS = [{"id": f"r{n}", "vector": [float(n), 0.5], "payload": {"n": n}} for n in range(5)]


def ndjson(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_header(shape: str) -> bytes:
    """The header of an array of float32 that says it has this shape."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.fixture
def points(db: holdfast.Client) -> holdfast.Collection:
    return db.collections.create("points", 2)


FILES = {
    "rows.ndjson": ndjson(ROWS),
    "rows.jsonl": "\n" + ndjson(ROWS) + "\n\n",
    "rows.json": json.dumps(ROWS, indent=2),
    "rows.csv": "id,vector,payload\n" + "".join(f'r{n},"[{n}, 0.5]","{{""n"": {n}}}"\n' for n in range(5)),
    "wide.csv": "\ufeffpayload,v1,v0,id\r\n" + "".join(f'"{{""n"": {n}}}",0.5,{n},r{n}\r\n' for n in range(5)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_text_format_brings_the_same_rows(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, name: str
) -> None:
    outcome = cli("vector", "insert-batch", "points", "--file", write(name, FILES[name]))
    assert outcome.code == 0, outcome.err
    answer = outcome.json
    assert list(answer) == ["inserted", "failed", "errors", "duration_ms"]
    assert (answer["inserted"], answer["failed"], answer["errors"]) == (5, 0, [])
    records = points.get([f"r{n}" for n in range(5)])
    assert [list(record.vector or ()) for record in records] == [[float(n), 0.5] for n in range(5)]
    assert [record.payload for record in records] == [{"n": n} for n in range(5)]


def test_the_request_ids_of_one_import_begin_alike(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon
) -> None:
    for _ in range(2):
        cli("vector", "insert-batch", "points", "--file", write("r.ndjson", ndjson(ROWS)), "--batch-size", "2")
    sent = [request.upsert.request_id for request in daemon.requests["UpsertStream"]]
    first, second = ([id.rpartition("-") for id in some] for some in (sent[:3], sent[3:]))
    assert [number for _, _, number in first] == [number for _, _, number in second] == ["1", "2", "3"]
    assert [len({prefix for prefix, _, _ in some}) for some in (first, second)] == [1, 1]
    assert first[0] != second[0]


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_an_array_comes_with_ids_and_payloads_beside_it(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, dtype: str
) -> None:
    array = np.array([[n, 0.5] for n in range(600)], dtype)
    ids = write("ids.txt", "".join(f"r{n}\n" for n in range(600)))
    payloads = write("payloads.ndjson", "".join("\n" if n % 2 else f'{{"n": {n}}}\n' for n in range(600)))
    arguments = ["--file", write("v.npy", npy(array)), "--ids", ids, "--payloads", payloads, "--batch-size", "100"]
    outcome = cli("vector", "insert-batch", "points", *arguments)
    assert (outcome.code, outcome.json["inserted"]) == (0, 600)
    records = points.get(["r599", "r4"])
    assert [record.payload for record in records] == [None, {"n": 4}]
    assert list(records[0].vector or ()) == [599, 0.5]


def test_ids_that_are_missing_are_generated(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection
) -> None:
    assert (
        cli("vector", "insert-batch", "points", "-f", write("v.npy", npy(np.zeros((3, 2), "f4")))).json["inserted"] == 3
    )
    rows = [{"vector": [1, 2]}, {"vector": [1, 2], "id": 7}]
    assert cli("vector", "insert-batch", "points", "-f", write("v.json", json.dumps(rows))).json["inserted"] == 2
    assert points.count() == 5
    assert points.get("7")[0].payload is None


def test_standard_input_needs_its_format(cli: Callable[..., Outcome], points: holdfast.Collection) -> None:
    assert (
        cli("vector", "insert-batch", "points", "--file", "-", "--format", "ndjson", stdin=ndjson(ROWS)).json[
            "inserted"
        ]
        == 5
    )
    outcome = cli("vector", "insert-batch", "points", "--file", "-", stdin="")
    assert outcome.code == 2
    assert "give --format json|ndjson|csv|npy|parquet" in outcome.err


BAD_LINES = {
    "{": "not JSON: Expecting property name enclosed in double quotes, at column 2",
    "[1]": "not an object",
    '{"id": "x"}': "no vector",
    '{"id": "x", "vector": [1]}': "1 values, the collection 2",
    '{"id": "x", "vector": [1, "a"]}': "not a number",
    '{"id": "x", "vector": [1, NaN]}': "not finite",
    '{"id": "x", "vector": [1, 1e300]}': "beyond float32",
    '{"id": "x", "vector": [1, 1' + "0" * 400 + "]}": "a value beyond float32's range",
    '{"id": "x", "vector": [1, 1' + "0" * 5000 + "]}": "not JSON: a number has more than 4,300 digits",
    '{"id": "x", "vector": [1, 2], "payload": ' + "[" * 100_000: "not JSON: it is nested too deeply",
    '{"id": "x", "vector": 7}': "not a list",
    '{"id": "", "vector": [1, 2]}': "0 bytes, not 1 to 512",
    '{"id": 1.5, "vector": [1, 2]}': "the id is float",
    '{"id": "x", "vector": [1, 2], "payload": 3}': "the payload is int",
    '{"id": "x", "vector": [1, 2], "embedding": 3}': "unknown key 'embedding'",
    '{"id": "x", "vector": [1, 2], "payload": {"a": NaN}}': "the payload cannot be written as JSON: Out of range",
    '{"id": "x", "vector": [1, 2], "payload": {"a": [-Infinity]}}': "Out of range float values",
    '{"id": "x", "vector": [1, 2], "payload": {"a": 1e999}}': "are not JSON compliant",
    '{"id": "\\ud800", "vector": [1, 2]}': "half a surrogate pair",
}


@pytest.mark.parametrize(("line", "words"), BAD_LINES.items(), ids=list(BAD_LINES.values()))
def test_a_bad_row_stops_after_the_rows_before_it(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, line: str, words: str
) -> None:
    content = ndjson(ROWS[:3]) + line + "\n" + ndjson(ROWS[3:])
    outcome = cli("vector", "insert-batch", "points", "--file", write("rows.ndjson", content))
    assert outcome.code == 2
    assert (outcome.json["inserted"], outcome.json["failed"]) == (3, 1)
    assert outcome.json["errors"][0]["line"] == 4
    assert words in outcome.json["errors"][0]["error"]
    assert "rows.ndjson, line 4: " in outcome.err
    assert points.count() == 3


@pytest.mark.parametrize("cell", ["1_000", "0x10", "1,5", "", "one"])
def test_a_cell_that_is_no_number(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, cell: str
) -> None:
    outcome = cli("vector", "insert-batch", "points", "--file", write("rows.csv", f'id,v0,v1\na,1,"{cell}"\n'))
    assert (outcome.code, outcome.json["failed"]) == (2, 1)
    assert f"line 2: {cell!r} is not a number" in outcome.err


@pytest.mark.parametrize("payload", ['{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', "[" * 100_000, "{"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.npy"])
def test_payloads_that_are_not_json_are_left_out_of_every_format(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, name: str, payload: str
) -> None:
    quoted = payload.replace('"', '""')
    arguments = ["--file", write("rows.csv", f'id,v0,v1,payload\na,1,2,\nb,1,2,"{quoted}"\nc,1,2,{{}}\n')]
    if name == "rows.npy":
        beside = ["--ids", write("ids", "a\nb\nc\n"), "--payloads", write("payloads", f"\n{payload}\n{{}}\n")]
        arguments = ["--file", write(name, npy(np.ones((3, 2), "f4"))), *beside]
    outcome = cli("vector", "insert-batch", "points", *arguments, "--on-error", "skip")
    assert (outcome.code, outcome.json["inserted"], outcome.json["failed"]) == (3, 2, 1), outcome.err
    assert outcome.json["errors"][0]["line"] == (3 if name == "rows.csv" else 2)
    assert [record.id for record in points.scroll()] == ["a", "c"]


def test_a_number_of_thousands_of_digits_is_not_json(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection
) -> None:
    huge = f'[{{"vector": [1, 2], "payload": {{"n": {"9" * 5000}}}}}]'
    outcome = cli("vector", "insert-batch", "points", "--file", write("rows.json", huge))
    assert (outcome.code, "line 1: not JSON" in outcome.err) == (2, True)


def test_bad_rows_are_left_out_on_request(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection
) -> None:
    lines = [line for row in ROWS for line in (json.dumps(row), "{", "[]", '{"id": "y"}')]
    path = write("rows.ndjson", "\n".join(lines))
    outcome = cli("vector", "insert-batch", "points", "--file", path, "--on-error", "skip", "--batch-size", "2")
    assert outcome.code == 3
    assert (outcome.json["inserted"], outcome.json["failed"]) == (5, 15)
    assert [error["line"] for error in outcome.json["errors"]] == [2, 3, 4, 6, 7, 8, 10, 11, 12, 14]


def test_rows_that_only_the_daemon_refuses_are_found_by_halving(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon
) -> None:
    daemon.fail_next("UpsertStreamBatch", grpc.StatusCode.INVALID_ARGUMENT, "one of them is bad")
    daemon.fail_next("Upsert", grpc.StatusCode.INVALID_ARGUMENT, "still")
    daemon.fail_next("Upsert", grpc.StatusCode.INVALID_ARGUMENT, "this one")
    outcome = cli("vector", "insert-batch", "points", "-f", write("r.ndjson", ndjson(ROWS[:4])), "--on-error", "skip")
    assert (outcome.code, outcome.json["inserted"], outcome.json["failed"]) == (3, 3, 1)
    assert outcome.json["errors"] == [{"line": 1, "error": "this one"}]
    assert points.count() == 3


def test_of_an_id_in_two_batches_the_last_row_stays_where_the_first_batch_is_refused(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon
) -> None:
    daemon.fail_next("UpsertStreamBatch", grpc.StatusCode.INVALID_ARGUMENT, "one of them is bad")
    daemon.fail_next("Upsert", grpc.StatusCode.INVALID_ARGUMENT, "this one")
    rows = [{"id": id, "vector": [n, 1], "payload": {"n": n}} for n, id in enumerate(["bad", "x", "x", "y"])]
    path = write("r.ndjson", ndjson(rows))
    outcome = cli("vector", "insert-batch", "points", "-f", path, "--on-error", "skip", "--batch-size", "2")
    assert (outcome.code, outcome.json["inserted"], outcome.json["failed"]) == (3, 3, 1)
    assert {record.id: record.payload for record in points.export()} == {"x": {"n": 2}, "y": {"n": 3}}


@pytest.mark.parametrize("later", ["bad", "good"])
def test_an_import_that_stops_counts_what_was_in_flight_behind_the_bad_row(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon, later: str
) -> None:
    for method in ("UpsertStreamBatch", "Upsert") * (2 if later == "bad" else 1):
        daemon.fail_next(method, grpc.StatusCode.INVALID_ARGUMENT, "this one")
    rows = [{"id": f"r{n}", "vector": [n, 1]} for n in range(8)]
    outcome = cli("vector", "insert-batch", "points", "-f", write("r.ndjson", ndjson(rows)), "--batch-size", "2")
    assert (outcome.code, outcome.json["inserted"]) == (2, points.count())
    assert outcome.json["errors"] == [{"line": 1, "error": "this one"}]
    assert "r.ndjson, line 1: this one" in outcome.err
    assert points.count() == (4 if later == "bad" else 6)


def test_a_stream_that_ends_behind_a_refused_batch_is_told_as_it_is(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon
) -> None:
    daemon.fail_next("UpsertStreamBatch", grpc.StatusCode.INVALID_ARGUMENT, "one of them is bad")
    daemon.pass_next("UpsertStreamMidway")
    daemon.fail_next("UpsertStreamMidway", grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
    rows = [{"id": f"r{n}", "vector": [n, 1]} for n in range(4)]
    outcome = cli("vector", "insert-batch", "points", "-f", write("r.ndjson", ndjson(rows)), "--batch-size", "2")
    assert (outcome.code, outcome.err) == (9, "error: the disk is full\n")


def test_a_batch_of_large_payloads_has_fewer_rows(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon
) -> None:
    rows = [{"id": f"r{n}", "vector": [n, 1], "payload": {"text": "x" * (1 << 20)}} for n in range(40)]
    assert cli("vector", "insert-batch", "points", "-f", write("r.ndjson", ndjson(rows))).json["inserted"] == 40
    assert [len(request.upsert.ids) for request in daemon.requests["UpsertStream"]] == [16, 16, 8]


def test_a_daemon_that_refuses_everything_ends_the_import_with_its_status(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, daemon: FakeDaemon
) -> None:
    daemon.fail_next("UpsertStreamBatch", grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full", hint="make room")
    outcome = cli("vector", "insert-batch", "points", "--file", write("r.ndjson", ndjson(ROWS)))
    assert outcome.code == 9
    assert outcome.json["inserted"] == 0
    assert outcome.err == "error: the disk is full\nhint: make room\n"


BAD_FILES = {
    "object.json": ('{"id": 1}', "line 1: not a JSON array"),
    "comma.json": ('[{"vector": [1, 2]}\n{"vector": [1, 2]}]', "line 2: '{' where ',' or ']' was expected"),
    "broken.json": ('[\n{"vector": [1, 2},\n]', "line 2: not JSON"),
    "short.json": ('[{"vector": [1, 2]},', "line 1: not JSON"),
    "ends.json": ('[{"vector": [1, 2]}\n', "line 2: the file ends inside the array"),
    "two.json": ('[{"vector": [1, 2]}]\n[{"vector": [3, 4]}]', "line 2: something stands behind the array"),
    "header.csv": ("id,embedding\n", "line 1: the header is neither"),
    "both.csv": ("id,vector,v0\n", "line 1: the header is neither"),
    "gap.csv": ("id,v0,v2\n", "line 1: the header is neither"),
    "latin.csv": (b"id,vector\n\xff,[1]\n", "not UTF-8"),
    "quote.csv": ('id,vector\n"a"b,[1]\n', "not CSV"),
    "text.npy": ("hello", "not a .npy file"),
    "double.npy": (npy(np.zeros((2, 2))), "float64, not float32 or float16: convert it"),
    "flat.npy": (npy(np.zeros(4, "f4")), "shape (4,)"),
    "fortran.npy": (npy(np.asfortranarray(np.zeros((4, 3), "f4")))[:-3], "ends inside column 3 of 3"),
    "cut.npy": (npy(np.zeros((10, 2), "f4"))[:-3], "ends inside row 10 of 10"),
    "two.npy": (npy(np.zeros((2, 2), "f4")) * 2, "something stands behind the array's 2 rows"),
    "columns.npy": (
        npy(np.asfortranarray(np.zeros((4, 3), "f4"))) + b"x",
        "something stands behind the array's 4 rows",
    ),
    "wide.npy": (npy_header("(3, 1099511627776)"), "1099511627776 columns: a vector has 1 to 65536 values"),
    "none.npy": (npy_header("(3, 0)"), "0 columns"),
    "negative.npy": (npy_header("(-3, 2)"), "shape (-3, 2)"),
    "fraction.npy": (npy_header("(2.5, 2)") + bytes(16), "shape (2.5, 2)"),
    "words.npy": (npy_header("('2', '2')") + bytes(16), "shape ('2', '2')"),
    "deep.npy": (npy_header("-" * 30_000 + "1"), "header of the .npy file is damaged"),
    "damaged.npy": (npy(np.zeros((2, 2), "f4")).replace(b"descr", b"d\x00scr"), "header of the .npy file is damaged"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_says_where(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection, name: str
) -> None:
    content, words = BAD_FILES[name]
    outcome = cli("vector", "insert-batch", "points", "--file", write(name, content), "--on-error", "skip")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.json["inserted"] == points.count()


def test_ids_and_payloads_must_be_as_many_as_rows(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection
) -> None:
    array = write("v.npy", npy(np.ones((3, 2), "f4")))
    outcome = cli("vector", "insert-batch", "points", "-f", array, "--ids", write("ids", "a\nb\n"))
    assert "the file of --ids ends after 2 lines" in outcome.err
    assert outcome.json["inserted"] == 2
    outcome = cli("vector", "insert-batch", "points", "-f", array, "--payloads", write("p", "{}\n" * 4))
    assert "the file of --payloads has more lines than the array's 3 rows" in outcome.err
    assert outcome.code == 2


class Unreadable(io.RawIOBase):
    """A file on a disk that fails behind its first bytes."""

    def __init__(self, begin: bytes) -> None:
        self._left = [begin]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data = self._left.pop()
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("kind", ["ndjson", "json", "csv", "npy"])
def test_a_file_that_the_system_cannot_read_keeps_its_counts(
    cli: Callable[..., Outcome], points: holdfast.Collection, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    begin = {"ndjson": ndjson(ROWS[:2]), "json": json.dumps(ROWS[:2])[:-1], "csv": "id,v0,v1\na,1,2\nb,1,2\n"}
    content = begin[kind].encode() if kind in begin else npy(np.ones((2, 2), "f4"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Unreadable(content))))
    outcome = cli("vector", "insert-batch", "points", "-f", "-", "--format", kind)
    assert (outcome.code, outcome.json["inserted"]) == (2, points.count())
    assert "standard input: it cannot be read any further: Input/output error" in outcome.err


def test_standard_input_is_one_file(cli: Callable[..., Outcome], points: holdfast.Collection) -> None:
    outcome = cli("vector", "insert-batch", "points", "-f", "-", "--format", "npy", "--ids", "-", stdin="")
    assert (outcome.code, "standard input can be only one of" in outcome.err) == (2, True)


def test_ids_beside_a_text_file_are_refused(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection
) -> None:
    outcome = cli("vector", "insert-batch", "points", "-f", write("r.ndjson", ""), "--ids", "x")
    assert (outcome.code, "go with npy" in outcome.err) == (2, True)
    outcome = cli("vector", "insert-batch", "points", "-f", "/nonexistent.ndjson")
    assert (outcome.code, "cannot read /nonexistent.ndjson" in outcome.err) == (2, True)


def test_the_output_format_goes_before_the_subcommand(
    cli: Callable[..., Outcome], write: Write, points: holdfast.Collection
) -> None:
    outcome = cli("--format", "csv", "vector", "insert-batch", "points", "--file", write("r.ndjson", ndjson(ROWS)))
    assert outcome.out.startswith("inserted,failed,errors,duration_ms\n5,0,")


@pytest.mark.parametrize("kind", ["f4", "f2"])
@pytest.mark.parametrize("at_once", [1, 56, 100, 1 << 20])
def test_an_array_by_columns_is_read_by_rows(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy_rows, "_TURNED_BYTES", at_once)
    values = np.random.default_rng(3).normal(size=(101, 7)).astype(kind)
    rows = list(read_npy(io.BytesIO(npy(np.asfortranarray(values)))))
    assert [row.vector for row in rows if isinstance(row, Row)] == [row.astype("<f4").tobytes() for row in values]


def test_an_array_by_columns_cannot_come_through_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, npy(np.asfortranarray(np.ones((3, 2), "f4"))))
    os.close(write)
    with os.fdopen(read, "rb") as pipe, pytest.raises(BadFile, match=r"np.save\(file, np.ascontiguousarray\(array\)\)"):
        list(read_npy(pipe))


def test_an_array_of_objects_is_decoded_piece_by_piece() -> None:
    rows = [{"id": f"é{n}", "vector": [0.25] * 400, "payload": {"text": "x" * 500}} for n in range(1500)]
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    read = list(read_json(io.BytesIO(text.encode())))
    assert [row.id for row in read if isinstance(row, Row)] == [row["id"] for row in rows]
    lines = text.splitlines()
    assert all(lines[row.line - 1].strip() == "{" for row in read)


def test_an_empty_array_has_no_rows() -> None:
    assert list(read_json(io.BytesIO(b" [ ] "))) == []


def test_a_deep_line_is_a_bad_row_and_not_a_crash() -> None:
    [bad] = read_ndjson(io.BytesIO(b"[" * 100_000))
    assert isinstance(bad, BadRow)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 1 << 20)
    endless = io.BytesIO(b'{"id":"a","vector":[1,2]}\n' + b"0" * (4 << 20))
    read = read_ndjson(endless)
    assert isinstance(next(read), Row)
    with pytest.raises(BadFile, match="a line has more than 1 MiB") as caught:
        next(read)
    assert caught.value.line == 2
    assert endless.tell() < (2 << 20)
    ids = io.BytesIO(b"x" * (4 << 20))
    with pytest.raises(BadFile, match="a line has more than 1 MiB"):
        list(read_npy(io.BytesIO(npy(np.ones((1, 2), "f4"))), ids))


def test_bad_lines_beside_an_array_are_bad_rows() -> None:
    array = npy(np.array([[1, 2], [np.inf, 2], [3, 4], [5, 6]], "f4"))
    rows = list(read_npy(io.BytesIO(array), io.BytesIO(b"a\nb\n\xff\nd\n"), io.BytesIO(b"{}\n{}\n{}\n[]\n")))
    assert [type(row) for row in rows] == [Row, BadRow, BadRow, BadRow]
    with pytest.raises(BadFile):
        list(read_npy(io.BytesIO(b"")))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_seen_at_every_place(value: float) -> None:
    for place in range(3):
        vector = np.array([3.4e38, -3.4e38, 0], "f4")
        assert is_finite(vector.tobytes())
        vector[place] = value
        assert not is_finite(vector.tobytes())
