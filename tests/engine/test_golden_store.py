"""A data directory and snapshots of every released format version are opened, restored and replayed for ever."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfastd.engine.replay import ReplayRequest
from tests.rpc.process import Daemon
from tests.support import golden
from tests.support.engines import CALLER, ROOT
from tests.support.memfs import MemFileSystem
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit, raise_failure

VERSIONS = golden.versions()
SUFFIXES = ["snap", "gz"]


def expected(version: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((version / "expected.json").read_text(encoding="utf-8"))
    return document


def opened(version: Path) -> SnapshotKit:
    fs = MemFileSystem()
    golden.load(version / "data", fs)
    return SnapshotKit(fs, seed=99)


def archive(version: Path, suffix: str) -> Path:
    (path,) = (version / "data" / "snapshots").glob(f"*.{suffix}")
    return path


def test_the_present_version_is_there() -> None:
    assert golden.NEWEST in VERSIONS
    assert (golden.NEWEST / "data" / "MANIFEST.json").is_file()


@pytest.mark.parametrize(("folder", "links"), [("before", 3), ("after", 2)])
def test_a_chain_is_restored_with_what_its_link_was_and_with_what_it_became(folder: str, links: int) -> None:
    kit = SnapshotKit(seed=98)
    for name in (folder, "behind"):
        golden.load(golden.CHAIN / name, kit.fs, f"/{name}")
    (last,) = kit.fs.listdir("/behind")
    result = kit.restore(f"/behind/{last}", base_path=f"/{folder}", verify=True)
    assert len(result["chain"]) == links
    assert golden.described(observe(kit.engine)) == expected(golden.CHAIN)


@pytest.mark.parametrize("version", VERSIONS, ids=[version.name for version in VERSIONS])
class TestStore:
    def test_it_holds_what_it_held(self, version: Path) -> None:
        kit = opened(version)
        assert golden.described(observe(kit.engine)) == expected(version)["now"]
        assert kit.engine.sequence == expected(version)["sequence"]
        assert [mark.name for mark in kit.engine.wal.status().marks] == ["before-the-snapshots"]
        assert kit.engine.wal.verify().problems == ()

    def test_it_knows_what_it_was_asked(self, version: Path) -> None:
        kit = opened(version)
        assert golden.write_once(kit) == expected(version)["written_once"]
        assert kit.engine.sequence == expected(version)["sequence"]

    def test_it_goes_on(self, version: Path) -> None:
        kit = opened(version)
        assert kit.upsert(["new"], 1, name="products").sequence == expected(version)["sequence"] + 1
        kit.engine.checkpoint()
        kit.upsert(["newer"], 2, name="products")
        before = observe(kit.engine).restarted()
        kit.restart()
        assert observe(kit.engine) == before
        kit.reopen()
        assert observe(kit.engine) == before

    def test_its_snapshot_is_rolled_forward_by_its_log(self, version: Path) -> None:
        """A replay goes from what the snapshot holds to what the store holds."""
        kit = opened(version)
        kit.engine.start()
        try:
            kit.restore("latest", collection="copy", from_collection="products")
            operation = kit.engine.replay.start(ReplayRequest(collection="copy"), caller=CALLER)
            result = raise_failure(kit.engine.operations.wait(operation.id))
            assert result["operations_replayed"] == 2
            digests = [kit.engine.collections.stats(name).digest for name in ("copy", "products")]
            assert digests[0] == digests[1]
        finally:
            kit.engine.stop()

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_fresh_store_restores_its_snapshots(self, version: Path, suffix: str) -> None:
        kit = SnapshotKit(seed=98)
        path = kit.put(f"{ROOT}/given.{suffix}", archive(version, suffix).read_bytes())
        assert kit.verify(path)["valid"]
        kit.restore(path, verify=True)
        assert golden.described(observe(kit.engine)) == expected(version)["at_the_snapshots"]
        before = observe(kit.engine).restarted()
        kit.reopen()
        assert observe(kit.engine) == before

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_its_snapshots_are_read_without_us(self, version: Path, suffix: str) -> None:
        """``tar xf``, ``sha256sum -c`` and NumPy are enough."""
        with tarfile.open(archive(version, suffix)) as tar:
            members = {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]
        sums = members.pop("SHA256SUMS").decode().splitlines()
        assert {name: digest for digest, name in (line.split("  ") for line in sums)} == {
            name: hashlib.sha256(data).hexdigest() for name, data in members.items()
        }
        arrays = [
            np.load(io.BytesIO(data), allow_pickle=False) for name, data in members.items() if name.endswith(".npy")
        ]
        assert len(arrays) > 10

    @pytest.mark.e2e
    def test_the_daemon_serves_it_from_real_files(self, version: Path, tmp_path: Path) -> None:
        shutil.copytree(version / "data", tmp_path / "data")
        daemon = Daemon(tmp_path).started()
        try:
            with holdfast.connect(daemon.address) as db:
                for name, described in expected(version)["now"]["collections"].items():
                    assert db.collection(name).stats().digest == described["digest"]
                    found = {record.id: record.version for record in db.collection(name).export()}
                    assert found == {id: point[2] for id, point in described["points"].items()}
                assert db.collection("shop").info().name == "products"
                assert len(db.snapshots.list()) == 2
                db.snapshots.restore("latest", overwrite=True, verify=True)
                digest = expected(version)["at_the_snapshots"]["collections"]["products"]["digest"]
                assert db.collection("products").stats().digest == digest
            assert daemon.stop() == 0
        finally:
            daemon.kill()
