"""A collection that is exported and inserted again has the digest of the original, whatever its payloads look like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon, environment

PAYLOADS = [
    '{"p": 5}',
    '{"p":5}',
    '{ "p" : [ 1 ,2 ] , "q":{ } }',
    '{"twice":1,"twice":2}',
    '{"number":1e5,"zero":-0,"long":1.50,"big":123456789012345678901234567890}',
    '{"escaped":"\\u00e9\\/\\ud83d\\ude00","plain":"é😀\u2028","]}":",{["}',
    '{"payload":{"payload":null},"vector":[]}',
    "{}",
    None,
]
BROKEN = '{\r\n  "p": "a\\nb"\n}'

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("d")).started()
    try:
        yield daemon
        assert daemon.stop() == 0
    finally:
        daemon.kill()


@pytest.fixture
def db(daemon: Daemon) -> Iterator[holdfast.Client]:
    with holdfast.connect(daemon.address) as db:
        for name in ("original", "copy"):
            if db.collections.exists(name):
                db.collections.delete(name)
        db.collections.create("copy", 3)
        db.collections.create("original", 3).upsert(
            [f'id "{number}"' for number in range(len(PAYLOADS))],
            np.random.default_rng(3).standard_normal((len(PAYLOADS), 3), np.float32),
            PAYLOADS,
        )
        yield db


def cli(daemon: Daemon, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True, text=True, check=True, cwd=directory,
        env=environment({"HOLDFAST_ADDRESS": daemon.address}),
    )  # fmt: skip


def digests(db: holdfast.Client) -> list[str]:
    return [db.collections.stats(name).digest for name in ("original", "copy")]


FILES = {
    "rows.ndjson": [],
    "rows.npy": ["--ids", "rows.ids.txt", "--payloads", "rows.payloads.ndjson"],
    "rows.parquet": [],
}


@pytest.mark.parametrize("name", FILES)
def test_a_copy_has_the_digest_of_the_original(daemon: Daemon, db: holdfast.Client, tmp_path: Path, name: str) -> None:
    assert cli(daemon, tmp_path, "vector", "export", "original", "--file", name).stderr == ""
    cli(daemon, tmp_path, "vector", "insert-batch", "copy", "--file", name, *FILES[name])
    original, copy = digests(db)
    assert original == copy


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_stands_in_a_file_is_what_is_stored(
    daemon: Daemon, db: holdfast.Client, tmp_path: Path, form: str
) -> None:
    vectors = [list(record.vector or ()) for record in db.collection("original").export()]
    given = [text for text in PAYLOADS if text is not None]
    file = tmp_path / f"rows.{form}"
    if form == "json":
        rows = [f'{{"payload" : {text} , "vector":{vectors[row]},"id":"{row}"}}' for row, text in enumerate(given)]
        file.write_text("[\n" + ",\n".join(rows) + "\n]")
    else:
        cells = [text.replace('"', '""') for text in given]
        rows = [f'{row},"{vectors[row]}","{text}"' for row, text in enumerate(cells)]
        file.write_text("id,vector,payload\n" + "\n".join(rows) + "\n")
    db.collections.delete("original")
    db.collections.create("original", 3).upsert([str(row) for row in range(len(given))], vectors[: len(given)], given)
    cli(daemon, tmp_path, "vector", "insert-batch", "copy", "--file", file.name)
    original, copy = digests(db)
    assert original == copy


@pytest.mark.parametrize("name", ["rows.ndjson", "rows.npy"])
def test_line_breaks_between_values_become_spaces_and_that_is_said(
    daemon: Daemon, db: holdfast.Client, tmp_path: Path, name: str
) -> None:
    db.collection("original").upsert(["broken"], [[1, 2, 3]], [BROKEN])
    done = cli(daemon, tmp_path, "vector", "export", "original", "--file", name)
    assert done.stderr.startswith("warning: line breaks in 1 payloads were written as spaces")
    cli(daemon, tmp_path, "vector", "insert-batch", "copy", "--file", name, *FILES[name])
    original, copy = (list(db.collection(name).export()) for name in ("original", "copy"))
    assert [record.payload for record in original] == [record.payload for record in copy]
    assert digests(db)[0] != digests(db)[1]
