"""Where the log and snapshots may be put, whatever the path looks like, and that a start removes only its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfastd.engine.engine import Engine
from holdfastd.engine.settings import EngineConfig
from holdfastd.engine.snapshots import SnapshotRequest
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import InvalidArgument
from holdfastd.storage.clock import SystemClock, SystemRandomness
from holdfastd.storage.osfiles import OsFileSystem
from tests.support.engines import CALLER


def unforeseen(error: BaseException) -> None:
    raise AssertionError from error


def opened(root: Path) -> Engine:
    return Engine.open(
        EngineConfig(str(root), memtable_bytes=1 << 20, disk_reserve_bytes=0),
        fs=OsFileSystem(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        on_fatal=unforeseen,  # type: ignore[arg-type]  # it raises
    )


def write(engine: Engine, id: str) -> None:
    engine.points.upsert("c", [id], np.ones((1, 2), np.float32), b"", caller=CALLER)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = opened(tmp_path / "data")
    engine.collections.create("c", 2, caller=CALLER)
    write(engine, "a")
    return engine


@pytest.mark.parametrize("own", ["collections", "operations", "snapshots", "collections/below"])
@pytest.mark.parametrize("way", ["plain", "two slashes", "dots", "link"])
def test_the_log_is_not_put_where_a_start_removes_what_it_does_not_know(
    engine: Engine, tmp_path: Path, own: str, way: str
) -> None:
    target = tmp_path / "data" / own
    (tmp_path / "link").symlink_to(target)
    path = {
        "plain": str(target),
        "two slashes": f"/{target}",
        "dots": f"{tmp_path}/data/wal/../{own}",
        "link": str(tmp_path / "link"),
    }[way]
    with pytest.raises(InvalidArgument, match="belongs to the store's own files"):
        engine.wal.enable(WalChanges(path=path), caller=CALLER)
    engine.stop()


@pytest.mark.parametrize("way", [".", "wal/..", "link"])
def test_the_log_is_not_put_into_the_data_directory_itself(engine: Engine, tmp_path: Path, way: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    path = str(tmp_path / "link") if way == "link" else f"{tmp_path}/data/{way}"
    for validate_only in (True, False):
        with pytest.raises(InvalidArgument, match="is the data directory itself"):
            engine.wal.enable(WalChanges(path=path), caller=CALLER, validate_only=validate_only)
    assert engine.wal.status().settings.path == "wal"
    engine.stop()


@pytest.mark.parametrize("path", ["wal", "wal/below", "log", "wal/../log"])
def test_no_snapshot_is_put_where_a_part_of_the_log_lies(engine: Engine, path: str) -> None:
    engine.wal.enable(WalChanges(path="log"), caller=CALLER)
    with pytest.raises(InvalidArgument, match="belongs to the store's own files"):
        engine.snapshots.start_create(SnapshotRequest(path=path), caller=CALLER)
    engine.stop()


def test_a_snapshot_may_lie_beside_a_log_that_lies_elsewhere(engine: Engine, tmp_path: Path) -> None:
    engine.wal.enable(WalChanges(path=str(tmp_path / "disk2")), caller=CALLER)
    path = str(tmp_path / "disk2" / "snapshots")
    operation = engine.snapshots.start_create(SnapshotRequest(path=path), caller=CALLER)
    assert engine.operations.wait(operation.id).result is not None
    engine.stop()


@pytest.mark.parametrize("own", ["collections", "operations"])
@pytest.mark.parametrize("linked", [False, True])
def test_no_snapshot_is_put_there_either(engine: Engine, tmp_path: Path, own: str, linked: bool) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data" / own)
    path = str(tmp_path / "link") if linked else own
    with pytest.raises(InvalidArgument, match="belongs to the store's own files"):
        engine.snapshots.start_create(SnapshotRequest(path=path), caller=CALLER)
    engine.stop()


def test_a_path_with_two_slashes_is_the_path_with_one(engine: Engine, tmp_path: Path) -> None:
    engine.wal.enable(WalChanges(path=f"/{tmp_path}/data/log"), caller=CALLER)
    write(engine, "b")
    assert engine.wal.status().settings.path == "log"
    engine.stop()
    again = opened(tmp_path / "data")
    assert [record.id for record in again.points.get("c", ["a", "b"])] == ["a", "b"]
    again.stop()


def test_a_start_removes_only_what_is_named_as_its_own(engine: Engine, tmp_path: Path) -> None:
    engine.stop()
    data = tmp_path / "data"
    strange = [data / "collections" / "backup.snap", data / "operations" / "notes.txt", data / "collections" / "x.wal"]
    for path in strange:
        path.write_bytes(b"an operator's")
    (data / "operations" / "op-1.json.tmp").write_bytes(b"half")
    opened(data).stop()
    assert all(path.exists() for path in strange)
    assert not (data / "operations" / "op-1.json.tmp").exists()


def test_a_damaged_operation_does_not_refuse_the_start(engine: Engine, tmp_path: Path) -> None:
    engine.stop()
    damaged = tmp_path / "data" / "operations" / "op-1.json"
    damaged.write_bytes(b'{"id": "op-')
    again = opened(tmp_path / "data")
    assert ["op-1.json is damaged" in warning for warning in again.recovery.warnings] == [True]
    assert not damaged.exists()
    assert damaged.with_name("op-1.json.broken").exists()
    again.stop()
