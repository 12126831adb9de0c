"""Creating snapshots: exactly the rows that live at one sequence, readable without us; a failure leaves nothing."""

from __future__ import annotations

import errno
import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfastd.engine.engine import Engine
from holdfastd.engine.settings import EngineConfig
from holdfastd.engine.snapshots import SnapshotRequest
from holdfastd.errors import (
    Cancelled,
    Corruption,
    EngineFailed,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
)
from holdfastd.format.npy import npy_view
from holdfastd.format.payloads import join_payloads
from holdfastd.format.segment import ROW_DTYPE
from holdfastd.format.snapshot import decode_snapshot
from holdfastd.model import StorageKind, SyncMode
from holdfastd.storage.clock import SystemClock, SystemRandomness
from holdfastd.storage.osfiles import OsFileSystem
from tests.support.engines import CALLER, die, rows
from tests.support.snapshots import SECOND_US, SNAPSHOTS_DIR, Archive, SnapshotKit, raise_failure

PATIENCE_SECONDS = 60


@pytest.fixture
def kit() -> SnapshotKit:
    kit = SnapshotKit()
    kit.create("c")
    return kit


def points_of(archive: Archive, number: int = 0) -> dict[str, tuple[list[float], bytes | None]]:
    """What an archive holds of a collection, read with nothing but NumPy and the manifest."""
    collection = archive.manifest.collections[number]
    points: dict[str, tuple[list[float], bytes | None]] = {}
    for part in range(len(collection.parts)):
        files = {
            piece.name.rsplit("/", 1)[1]: npy_view(piece.data)
            for piece in archive.pieces
            if piece.name.startswith(f"collections/{collection.spec.id}/{part}/")
        }
        count, dimensions = len(files["norms.npy"]), collection.spec.dimensions
        if "vectors.npy" in files:
            vectors = files["vectors.npy"]
        else:
            floats = files["vectors.planes.npy"].transpose(0, 2, 1).reshape(-1).view("<f4")
            vectors = floats.reshape(-1, dimensions)[:count]
        assert files["rows.npy"].dtype == ROW_DTYPE
        for row, vector in zip(files["rows.npy"], vectors, strict=True):
            id = files["ids.npy"][row["id_offset"] :][: row["id_length"]].tobytes().decode()
            payload = files["payloads.npy"][row["payload_offset"] :][: row["payload_length"]].tobytes()
            assert id not in points
            points[id] = (vector.tolist(), payload if row["flags"] else None)
    return points


def archive_of(kit: SnapshotKit, result: dict[str, Any]) -> Archive:
    return Archive.of(kit.fs.read(result["path"]))


@pytest.mark.parametrize("compress", [False, True])
def test_rows_of_memtables_and_segments_are_taken_and_dead_ones_are_not(kit: SnapshotKit, compress: bool) -> None:
    secret = b'{"secret":"never again"}'
    kit.upsert(["a", "b", "gone"], 1, 2, 3, payloads=[b'{"n":1}', None, secret])
    kit.engine.checkpoint()
    kit.upsert(["d", "e"], 4, 5)
    kit.engine.checkpoint()
    kit.upsert(["b", "f", "memory"], 20, 6, 7, payloads=[b"{}", None, secret])
    kit.delete("gone", "memory")
    result = kit.snapshot(compress=compress)
    archive = archive_of(kit, result)
    assert points_of(archive) == {
        "a": ([1, 1], b'{"n":1}'),
        "b": ([20, 20], b"{}"),
        "d": ([4, 4], None),
        "e": ([5, 5], None),
        "f": ([6, 6], None),
    }
    assert not any(b"never again" in piece.data or b"gone" in piece.data for piece in archive.pieces)
    assert (result["vectors"], result["compressed"], result["type"]) == (5, compress, "full")
    assert archive.manifest.collections[0].digest == kit.engine.collections.stats("c").digest


def test_a_segment_without_dead_rows_is_copied_byte_for_byte(kit: SnapshotKit) -> None:
    kit.upsert(["a", "b"], 1, 2, payloads=[b"{}", None])
    kit.engine.checkpoint()
    archive = archive_of(kit, kit.snapshot())
    (segment,) = kit.engine._applier.catalog.resolve("c").segments
    for name in ("vectors.npy", "norms.npy", "rows.npy", "ids.npy", "payloads.npy"):
        assert archive.find(f"0/{name}").data == kit.fs.read(segment.path(name))


def test_the_result_says_what_the_specification_shows(kit: SnapshotKit) -> None:
    kit.upsert(["a"], 1)
    result = kit.snapshot(collection="c", compress=True, path="/backups/daily")
    path = f"/backups/daily/{result['snapshot_id']}.gz"
    shown = [
        "snapshot_id",
        "type",
        "collections",
        "vectors",
        "size_bytes",
        "compressed",
        "path",
        "duration_ms",
        "status",
    ]
    assert list(result)[:9] == shown
    assert result | {"duration_ms": 0} == result | {
        "snapshot_id": "snap-2023-11-14-221320",
        "type": "full",
        "collections": ["c"],
        "vectors": 1,
        "size_bytes": kit.fs.size(path),
        "compressed": True,
        "path": path,
        "duration_ms": 0,
        "status": "completed",
    }


def test_two_in_one_second_get_different_ids(kit: SnapshotKit) -> None:
    ids = [kit.snapshot()["snapshot_id"] for _ in range(3)]
    assert ids == ["snap-2023-11-14-221320", "snap-2023-11-14-221320-2", "snap-2023-11-14-221320-3"]
    assert kit.ids() == ids[::-1]


def test_a_path_is_taken_against_the_data_directory(kit: SnapshotKit) -> None:
    assert kit.snapshot()["path"].startswith(f"{SNAPSHOTS_DIR}/snap-")
    assert kit.snapshot(path="elsewhere")["path"].startswith("/data/elsewhere/snap-")


def test_everything_and_one_collection(kit: SnapshotKit) -> None:
    kit.create("b", dimensions=3)
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["x"], 9, name="m")
    kit.engine.collections.create_alias("alias", "b", caller=CALLER)
    everything = kit.snapshot()
    manifest = archive_of(kit, everything).manifest
    assert everything["collections"] == ["b", "c", "m"]
    assert everything["warnings"] == ["m lives in memory: this snapshot is its only copy on a disk"]
    assert (manifest.everything, list(manifest.aliases)) == (True, ["alias"])
    assert points_of(archive_of(kit, everything), 2) == {"x": ([9, 9], None)}
    one = kit.snapshot(collection="alias")
    manifest = archive_of(kit, one).manifest
    assert (one["collections"], manifest.everything, list(manifest.aliases)) == (["b"], False, ["alias"])
    other = archive_of(kit, kit.snapshot(collection="c")).manifest
    assert other.aliases == {}


def test_an_empty_store_has_a_snapshot_too() -> None:
    kit = SnapshotKit()
    result = kit.snapshot()
    assert (result["collections"], result["vectors"]) == ([], 0)
    assert kit.verify(result["snapshot_id"])["valid"]


def test_writes_during_a_snapshot_are_not_in_it(kit: SnapshotKit) -> None:
    """The moment is the one at which views were pinned, whatever is written while the file is."""
    kit.upsert(["a", "b"], 1, 2)
    kit.engine.checkpoint()
    kit.upsert(["c"], 3)
    written: list[str] = []
    creating = kit.fs.create

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith(".part") and not written:
            written.append(path)
            kit.upsert(["a", "new"], 10, 11)
            kit.delete("c")
            kit.engine.checkpoint()
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
    before = kit.engine.sequence
    archive = archive_of(kit, kit.snapshot())
    assert written
    assert points_of(archive) == {"a": ([1, 1], None), "b": ([2, 2], None), "c": ([3, 3], None)}
    assert archive.manifest.sequence == before


def test_the_log_is_durable_through_the_snapshots_sequence_before_its_file_exists() -> None:
    """A snapshot must not survive a power cut that took the log back to before it."""
    kit = SnapshotKit(sync_mode=SyncMode.ASYNC)
    kit.create("c")
    kit.upsert(["a"], 1)
    assert kit.engine.durable_sequence < kit.engine.sequence
    assert kit.snapshot()["sequence"] == kit.engine.durable_sequence == kit.engine.sequence


def high_water(kit: SnapshotKit) -> dict[str, int]:
    return {entry.spec.name: entry.high_water for entry in kit.engine._keeper.current.collections}


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["being written", "written"])
def test_another_daemon_takes_the_name_in_the_same_second(kit: SnapshotKit, step: str) -> None:
    """Both write hourly into one directory, at the full hour: neither touches what the other has written."""
    kit.upsert(["a"], 1)
    twin = kit.snapshot(path="/backups")
    theirs = kit.fs.read(twin["path"])
    kit.engine.snapshots.delete(twin["snapshot_id"])
    kit.clock.advance_us(SECOND_US)
    creating, came = kit.fs.create, list[str]()

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith(".snap.part") and not came:
            came.append(path if step == "being written" else path.removesuffix(".part"))
            file = creating(came[0])
            file.pwrite([theirs], 0)
            file.close()
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
    made = kit.snapshot(path="/backups")
    assert made["snapshot_id"].endswith("-2")
    assert kit.fs.read(came[0]) == theirs
    assert sorted(kit.fs.listdir("/backups")) == sorted([came[0].rpartition("/")[2], f"{made['snapshot_id']}.snap"])
    kit.reopen()
    assert kit.fs.read(came[0]) == theirs, "it is none of ours to be removed"
    assert kit.verify(made["snapshot_id"])["valid"]


def test_a_name_that_is_taken_anywhere_else_is_a_failure_like_any_other(kit: SnapshotKit) -> None:
    creating = kit.fs.create

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith(".snap.part"):
            raise FileExistsError(errno.EEXIST, "exists", "/somewhere/else")
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
    with pytest.raises(FailedPrecondition, match="the snapshot was not made"):
        kit.snapshot()
    kit.fs.create = creating  # type: ignore[method-assign]
    assert_nothing_left(kit)


def assert_nothing_left(kit: SnapshotKit, directory: str = SNAPSHOTS_DIR) -> None:
    assert kit.fs.listdir(directory) == []
    assert kit.ids() == []
    assert high_water(kit).get("c", 0) == 0
    kit.reopen()
    assert kit.ids() == []
    assert kit.snapshot()["status"] == "completed"


@pytest.mark.parametrize("kind", ["create", "write", "sync", "resize", "rename", "sync_dir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_fails_the_operation_and_nothing_else(kit: SnapshotKit, kind: str, code: int) -> None:
    kit.upsert(["a"], 1)
    kit.snapshot(path="/backups")
    kit.engine.snapshots.delete(kit.ids()[0])
    kit.fs.fail_on(kind, "/backups*", code)
    expected = ResourceExhausted if code == errno.ENOSPC else FailedPrecondition
    with pytest.raises(expected, match=r"the snapshot was not (made|begun)"):
        kit.snapshot(path="/backups")
    kit.fs.heal()
    kit.upsert(["b"], 2)
    assert kit.engine.failure is None
    assert_nothing_left(kit, "/backups")


def test_a_failing_sync_of_the_log_fails_the_engine() -> None:
    kit = SnapshotKit(sync_mode=SyncMode.ASYNC)
    kit.create("c")
    kit.upsert(["a"], 1)
    kit.fs.fail_on("sync", "/data/wal/*", errno.EIO)
    with pytest.raises(EngineFailed):
        kit.snapshot()
    assert kit.engine.failure is not None
    assert kit.fs.listdir(SNAPSHOTS_DIR) == []


def test_too_little_space_is_said_before_anything_is_written(kit: SnapshotKit) -> None:
    kit.upsert(["a"], 1)
    kit.fs.leave_free(4000)
    with pytest.raises(ResourceExhausted, match=r"bytes free; .* are needed and 0 stay reserved") as caught:
        kit.snapshot()
    assert caught.value.reason == "DISK_FULL"
    kit.fs.capacity = None
    assert_nothing_left(kit)


def test_a_cancelled_snapshot_leaves_nothing(kit: SnapshotKit) -> None:
    kit.upsert(["a"], 1)
    operations = kit.engine.operations
    creating = kit.fs.create

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith(".part"):
            (running,) = [o for o in operations.list() if not o.state.final]
            operations.cancel(running.id)
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        kit.snapshot()
    kit.fs.create = creating  # type: ignore[method-assign]
    assert_nothing_left(kit)


def test_a_registry_that_cannot_be_written_is_a_warning_and_the_next_start_adds_the_snapshot(kit: SnapshotKit) -> None:
    kit.upsert(["a"], 1)
    renaming = kit.fs.rename

    def rename(source: str, target: str) -> None:
        renaming(source, target)
        if target.endswith(".snap"):
            kit.fs.fail_on("write", "*REGISTRY*", errno.EIO)

    kit.fs.rename = rename  # type: ignore[method-assign]
    result = kit.snapshot(path="/backups")
    assert high_water(kit) == {"c": result["sequence"]}
    assert any("the next start adds the snapshot" in warning for warning in result["warnings"])
    kit.fs.heal()
    kit.reopen()
    assert kit.ids() == [result["snapshot_id"]]


def test_rows_that_do_not_add_up_are_never_backed_up(kit: SnapshotKit) -> None:
    kit.upsert(["a", "b"], 1, 2)
    collection = kit.engine._applier.catalog.resolve("c")
    collection.digest = collection.digest.plus(1, 0)
    collection.publish()
    with pytest.raises(Corruption, match=r"c counts 2 vectors with digest .* but 2 rows with digest"):
        kit.snapshot()
    collection.digest = collection.digest.plus(-1, 0)
    collection.publish()
    assert_nothing_left(kit)


def test_what_cannot_be_done_is_refused_at_once(kit: SnapshotKit) -> None:
    start = kit.engine.snapshots.start_create
    with pytest.raises(NotFound, match="no collection or alias named 'x'"):
        start(SnapshotRequest(collection="x"), caller=CALLER)
    with pytest.raises(FailedPrecondition, match="no snapshot that an incremental one could build on") as caught:
        start(SnapshotRequest(incremental=True), caller=CALLER)
    assert (caught.value.reason, "--incremental" in caught.value.hint) == ("NO_BASE", True)
    assert kit.engine.operations.list() == []


def test_a_plan_writes_nothing(kit: SnapshotKit) -> None:
    kit.upsert(["a"], 1)
    planned = kit.snapshot(validate_only=True)
    assert (planned["status"], planned["snapshot_id"], planned["vectors"]) == ("planned", "", 1)
    assert planned["size_bytes"] == kit.snapshot()["size_bytes"]
    assert len(kit.ids()) == 1


# With the real tools --------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(
        EngineConfig(str(tmp_path / "data")),
        fs=OsFileSystem(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        on_fatal=die,
    )
    engine.start()
    yield engine
    engine.stop()


@pytest.mark.parametrize("compress", [False, True])
def test_tar_sha256sum_and_numpy_read_it(engine: Engine, tmp_path: Path, compress: bool) -> None:
    engine.collections.create("c", 3, caller=CALLER)
    vectors = np.random.default_rng(1).standard_normal((70_000, 3), np.float32)
    payloads = join_payloads([b'{"n":%d}' % n if n % 2 else None for n in range(len(vectors))])
    engine.points.upsert("c", [f"id-{n}" for n in range(len(vectors))], vectors, payloads, caller=CALLER)
    engine.checkpoint()
    engine.points.upsert("c", ["last"], rows(7, dimensions=3), b"", caller=CALLER)
    request = SnapshotRequest(path=str(tmp_path / "out"), compress=compress)
    result = raise_failure(engine.operations.wait(engine.snapshots.start_create(request, caller=CALLER).id))
    home = tmp_path / "extracted"
    home.mkdir()
    for command in (["tar", "xf", result["path"]], ["sha256sum", "--quiet", "-c", "SHA256SUMS"]):
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
        assert done.stdout + done.stderr == ""
    if compress:
        subprocess.run(["gzip", "-t", result["path"]], check=True)
    manifest = decode_snapshot((home / "MANIFEST.json").read_bytes())
    assert json.loads((home / "MANIFEST.json").read_bytes())["snapshot"]["id"] == result["snapshot_id"]
    parts = sorted((home / "collections" / str(manifest.collections[0].spec.id)).iterdir())
    found = []
    for part in parts:
        n, d = len(np.load(part / "norms.npy")), 3
        if compress:
            planes = np.load(part / "vectors.planes.npy")
            found.append(planes.transpose(0, 2, 1).reshape(-1).view("<f4").reshape(-1, d)[:n])
        else:
            found.append(np.load(part / "vectors.npy"))
    assert np.concatenate(found).tobytes() == vectors.tobytes() + rows(7, dimensions=3).tobytes()
    assert (home / "README.txt").read_text().startswith(result["snapshot_id"])


def test_the_last_gzip_member_holds_the_sums_alone(kit: SnapshotKit) -> None:
    kit.upsert(["a"], 1)
    data = kit.fs.read(kit.snapshot(compress=True)["path"])
    last = data.rindex(b"\x1f\x8b\x08\0\0\0\0\0")
    tail = gzip.decompress(data[last:])
    assert tail.startswith(b"SHA256SUMS\0")
    assert tail.endswith(bytes(1024))
    assert b"MANIFEST.json" in tail
