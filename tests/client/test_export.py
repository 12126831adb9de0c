"""Collections into files, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast.cli.writers.atomic import atomic_file
from holdfast.cli.writers.npy import companions, npy_header
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon


@pytest.fixture
def awkward(db: holdfast.Client) -> holdfast.Collection:
    """Values that a careless writer rounds, ids that a careless writer breaks."""
    rng = np.random.default_rng(7)
    vectors = np.concatenate([rng.standard_normal((2500, 2), "f4"), np.array([[1e-45, 3.4e38], [-0.0, 0.1]], "f4")])
    ids = [f"id {n} é \"'" for n in range(len(vectors))]
    collection = db.collections.create("awkward", 2)
    collection.upsert(ids, vectors, [{"text": "é\n", "n": n} if n % 3 else None for n in range(len(vectors))])
    return collection


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("out.ndjson", []),
        ("out.npy", ["--ids", "out.ids.txt", "--payloads", "out.payloads.ndjson"]),
    ],
)
def test_what_is_exported_is_read_back_bit_for_bit(
    cli: Callable[..., Outcome],
    db: holdfast.Client,
    awkward: holdfast.Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    more: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("vector", "export", "awkward", "--file", name)
    assert outcome.code == 0, outcome.err
    assert (outcome.json["exported"], outcome.json["path"]) == (2502, str(tmp_path / name))
    assert not list(tmp_path.glob("*.part"))
    copy = db.collections.create("copy", 2)
    assert cli("vector", "insert-batch", "copy", "--file", name, *more).json["inserted"] == 2502
    originals, copies = list(awkward.export()), list(copy.export())
    assert [(r.id, r.payload) for r in originals] == [(r.id, r.payload) for r in copies]
    assert [_bytes(r.vector) for r in originals] == [_bytes(r.vector) for r in copies]


def _bytes(vector: array[float] | None) -> bytes:
    assert vector is not None
    return vector.tobytes()


def test_numpy_reads_the_array(cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path) -> None:
    cli("vector", "export", "products", "--file", str(tmp_path / "v.npy"))
    assert np.load(tmp_path / "v.npy").tolist() == [[1, 0], [0, 1], [1, 1]]
    assert (tmp_path / "v.ids.txt").read_text() == "a\nb\nc\n"


@pytest.mark.parametrize("name", ["out.ndjson", "out.npy"])
def test_nothing_is_exported_and_read_back(
    cli: Callable[..., Outcome], db: holdfast.Client, tmp_path: Path, name: str
) -> None:
    db.collections.create("empty", 3)
    assert cli("vector", "export", "empty", "--file", str(tmp_path / name)).json["exported"] == 0
    outcome = cli("vector", "insert-batch", "empty", "--file", str(tmp_path / name))
    assert (outcome.code, outcome.json["inserted"], outcome.err) == (0, 0, "")
    if name == "out.npy":
        assert np.load(tmp_path / name).shape == (0, 3)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (1, 384), (10**15, 65536)])
def test_the_header_has_one_size_whatever_the_numbers(rows: int, columns: int) -> None:
    assert len(npy_header(rows, columns)) == 128


def test_companions_stand_beside_the_array() -> None:
    assert companions(Path("/x/v.npy")) == (Path("/x/v.ids.txt"), Path("/x/v.payloads.ndjson"))
    assert companions(Path("/x/v")) == (Path("/x/v.ids.txt"), Path("/x/v.payloads.ndjson"))


@pytest.mark.parametrize("file_format", [[], ["--format", "ndjson"]])
def test_a_filter_and_standard_output(
    daemon: FakeDaemon, products: holdfast.Collection, file_format: list[str]
) -> None:
    line = ["--address", daemon.address, "vector", "export", "products", "--file", "-", *file_format]
    command = [sys.executable, "-m", "holdfast", *line, "--filter", "kind = 'x'"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"id": "c", "vector": [1, 1], "payload": {"n": 3, "kind": "x"}}
    assert done.stderr == b""


def test_an_id_with_a_line_break_is_refused_for_npy_and_leaves_nothing(
    cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path
) -> None:
    products.upsert(["a\nb"], [[1.0, 2.0]])
    outcome = cli("vector", "export", "products", "--file", str(tmp_path / "v.npy"))
    assert outcome.code == 6
    assert "export it with --format ndjson" in outcome.err
    assert list(tmp_path.iterdir()) == []
    assert cli("vector", "export", "products", "--file", str(tmp_path / "v.ndjson")).json["exported"] == 4
    assert json.loads((tmp_path / "v.ndjson").read_text().splitlines()[1])["id"] == "a\nb"


def test_a_failed_export_leaves_the_former_file(
    cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path
) -> None:
    target = tmp_path / "v.ndjson"
    target.write_text("before")
    assert cli("vector", "export", "nope", "--file", str(target)).code == 4
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["out.ndjson", "out.npy"])
def test_what_is_no_regular_file_is_not_replaced_by_one(
    cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    outcome = cli("vector", "export", "products", "--file", str(tmp_path / name))
    assert (outcome.code, outcome.err) == (2, f"error: cannot write {tmp_path / name}: it is no regular file\n")
    assert (tmp_path / name).is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_directory_is_refused_before_anything_is_written(
    cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path
) -> None:
    outcome = cli("vector", "export", "products", "--file", str(tmp_path), "--format", "ndjson")
    assert (outcome.code, outcome.err) == (2, f"error: cannot write {tmp_path}: Is a directory\n")
    assert not tmp_path.with_name(tmp_path.name + ".part").exists()


def test_a_link_stays_and_what_it_leads_to_is_replaced(
    cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.ndjson").write_text("before")
    (tmp_path / "link.ndjson").symlink_to("elsewhere/real.ndjson")
    assert cli("vector", "export", "products", "--file", str(tmp_path / "link.ndjson")).json["exported"] == 3
    assert (tmp_path / "link.ndjson").is_symlink()
    assert len((tmp_path / "elsewhere" / "real.ndjson").read_text().splitlines()) == 3


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as first:
        first.write(b"first")
        with pytest.raises(OSError, match="another program is writing"), atomic_file(tmp_path / "out"):
            pytest.fail("the file was opened twice")
    assert (tmp_path / "out").read_bytes() == b"first"
    (tmp_path / "out.part").write_bytes(b"left by one that was killed")
    with atomic_file(tmp_path / "out") as second:
        second.write(b"second")
    assert (tmp_path / "out").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_where_nothing_can_be_written_it_says_so(cli: Callable[..., Outcome], products: holdfast.Collection) -> None:
    outcome = cli("vector", "export", "products", "--file", "/nonexistent/v.ndjson")
    assert (outcome.code, outcome.err) == (2, "error: cannot write /nonexistent/v.ndjson: No such file or directory\n")
    assert "does not say its format" in cli("vector", "export", "products", "--file", "x").err
    assert (
        "only ndjson goes to standard output"
        in cli("vector", "export", "products", "--file", "-", "--format", "npy").err
    )
