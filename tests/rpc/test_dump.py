"""``holdfastd dump``: greppable lines from the files of a store at rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfastd import dump
from holdfastd.model import SyncMode
from holdfastd.storage.osfiles import OsFileSystem
from tests.support.engines import CALLER, Kit, rows
from tests.support.snapshots import SnapshotKit


@pytest.fixture
def kit() -> Kit:
    """A store with a few operations in its log and one checkpoint."""
    kit = Kit(sync_mode=SyncMode.FSYNC, segment_size=1 << 20)
    kit.create("books")
    kit.engine.points.upsert("books", ["a", "b c"], rows(1, 2), b'[{"x":1},null]', caller=CALLER)
    kit.engine.points.delete_ids("books", ["a"], caller=CALLER)
    kit.engine.collections.create_alias("live", "books", caller=CALLER)
    return kit


def lines(kit: Kit, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert dump.main(arguments, kit.fs) == 0
    return capsys.readouterr().out.splitlines()


def test_the_log_line_by_line(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(kit, capsys, "wal", "/data/wal")
    assert [line.split()[0] for line in found] == ["file", "CreateCollection", "UpsertRows", "DeleteIds", "PutAlias"]
    assert " sequence=2 " in found[2]
    assert " actor=test " in found[2]
    assert found[2].endswith(' points=2 ids="a,b c"')
    assert " alias=live" in found[4]


def test_the_log_as_json_and_as_totals(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    found = [json.loads(line) for line in lines(kit, capsys, "wal", "/data/wal", "--json")]
    assert found[2]["ids"] == ["a", "b c"]
    totals = [json.loads(line) for line in lines(kit, capsys, "wal", "/data/wal", "--json", "--stats")]
    upserts = next(line for line in totals if line["kind"] == "UpsertRows")
    assert (upserts["count"], upserts["points"]) == (1, 2)
    assert totals[-1] == {"kind": "sequences", "first": 1, "last": 4}


def test_one_file_alone(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = kit.fs.listdir("/data/wal")
    assert len(lines(kit, capsys, "wal", f"/data/wal/{name}")) == 5


def test_a_segment_row_by_row(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.engine.checkpoint()
    kit.engine.points.delete_ids("books", ["b c"], caller=CALLER)
    kit.engine.checkpoint()
    (info,) = [each.spec.id for each in kit.engine.collections.list()]
    directory = f"/data/collections/{info}"
    (name,) = [name for name in kit.fs.listdir(directory) if name != "ids"]
    head, *found = lines(kit, capsys, "segment", f"{directory}/{name}")
    assert head.startswith("segment ")
    assert found[-1].startswith("row row=")
    assert ' id="b c" ' in found[-1]
    assert found[-1].endswith("killed_at=5")


def test_the_tombstones_that_a_compaction_left_in_a_segment(capsys: pytest.CaptureFixture[str]) -> None:
    kit = SnapshotKit()
    kit.create("books")
    kit.upsert(["a", "b"], name="books")
    kit.engine.checkpoint()
    kit.snapshot()
    kit.delete("b", name="books")
    kit.compact("books", aggressive=True)
    (info,) = [each.spec.id for each in kit.engine.collections.list()]
    (name,) = [name for name in kit.fs.listdir(f"/data/collections/{info}") if name not in ("ids", "staged.json")]
    found = [json.loads(line) for line in lines(kit, capsys, "segment", f"/data/collections/{info}/{name}", "--json")]
    assert [(line["kind"], line.get("id")) for line in found[1:]] == [("row", "a"), ("tombstone", "b")]
    assert (found[-1]["sequence"], found[-1]["killed_at"]) == (2, 3)


def test_damage_ends_the_lines_with_an_error(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = kit.fs.listdir("/data/wal")
    path = f"/data/wal/{name}"
    offset = json.loads(lines(kit, capsys, "wal", path, "--json")[3])["offset"]
    kit.fs.damage(path, offset + 8, b"\xff\xff")
    assert dump.main(["wal", path], kit.fs) == dump.EXIT_DAMAGED
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert shown.err.startswith(f"error: {path} at offset {offset}:")
    assert "\nhint: " in shown.err


@pytest.mark.parametrize("arguments", [["wal"], ["nonsense", "x"], ["wal", "x", "--nonsense"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        dump.main(arguments)
    assert caught.value.code == dump.EXIT_USAGE
    assert "hint: see holdfastd dump --help" in capsys.readouterr().err


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fs = OsFileSystem()
    for arguments in (["wal", str(tmp_path / "none")], ["wal", str(tmp_path)], ["segment", str(tmp_path)]):
        assert dump.main(arguments, fs) == dump.EXIT_USAGE
        assert capsys.readouterr().err.startswith("error: ")
