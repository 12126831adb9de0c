"""Snapshots between machines: resumed, checked, and published only when they are whole."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import google_crc32c
import grpc
import pytest

import holdfast
from holdfast.checksums import crc32c
from holdfast.connection import Connection
from holdfast.download import ATTEMPTS
from tests.support.fake_server import CHUNK_BYTES, FakeDaemon

CONTENT = bytes(range(256)) * 1024  # four chunks


@pytest.fixture
def snapshot(daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection) -> str:
    name: str = db.snapshots.create("products").snapshot_id
    daemon.files[name] = CONTENT
    return name


def test_a_download_into_a_directory_keeps_the_name(db: holdfast.Client, snapshot: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    document = db.snapshots.download("latest", tmp_path, on_bytes=lambda done, total: seen.append((done, total)))
    target = tmp_path / f"{snapshot}.snap"
    assert target.read_bytes() == CONTENT
    assert (document.path, document.size_bytes) == (str(target), len(CONTENT))
    assert document.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_broken_download_goes_on_where_it_broke(
    daemon: FakeDaemon, db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    for _ in range(3):
        daemon.fail_next("DownloadSnapshotMidway", grpc.StatusCode.UNAVAILABLE)
    db.snapshots.download(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    offsets = [request.read_offset for request in daemon.requests["DownloadSnapshot"]]
    assert offsets == [0, CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES]


def test_what_a_former_run_left_is_taken_up(
    daemon: FakeDaemon, db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    (tmp_path / "copy.part").write_bytes(CONTENT[:1000])
    db.snapshots.download(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert daemon.requests["DownloadSnapshot"][0].read_offset == 1000


def test_a_download_that_makes_no_headway_gives_up_and_says_how_to_go_on(
    daemon: FakeDaemon, db: holdfast.Client, snapshot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "pause", lambda *_: None)
    for _ in range(10):
        daemon.fail_next("DownloadSnapshot", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(holdfast.Unavailable) as caught:
        db.snapshots.download(snapshot, tmp_path / "copy")
    assert "goes on from" in (caught.value.hint or "")


def test_a_download_that_is_refused_leaves_nothing(
    daemon: FakeDaemon, db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    daemon.fail_next("DownloadSnapshot", grpc.StatusCode.UNIMPLEMENTED)
    with pytest.raises(holdfast.Unimplemented):
        db.snapshots.download(snapshot, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "copy.part").write_bytes(CONTENT[:1000])
    daemon.fail_next("DownloadSnapshot", grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(holdfast.PermissionDenied):
        db.snapshots.download(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy.part").read_bytes() == CONTENT[:1000]


def test_a_download_does_not_replace_a_device(db: holdfast.Client, snapshot: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(holdfast.InvalidArgument, match="pipe: it is no regular file"):
        db.snapshots.download(snapshot, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_download_with_a_wrong_sum_is_not_published(
    daemon: FakeDaemon, db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    daemon.claimed_sha256 = "0" * 64
    with pytest.raises(holdfast.Corruption, match="SHA-256"):
        db.snapshots.download(snapshot, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_download_to_where_nothing_can_be_written_says_so(db: holdfast.Client, snapshot: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(holdfast.InvalidArgument, match="cannot write"):
        db.snapshots.download(snapshot, tmp_path / "file" / "copy")


def test_an_upload_arrives_whole_with_its_sums(daemon: FakeDaemon, db: holdfast.Client, tmp_path: Path) -> None:
    file = tmp_path / "snap-2024-01-20-103045.snap"
    file.write_bytes(CONTENT * 10)
    seen: list[int] = []
    document = db.snapshots.upload(file, path="/backups", on_bytes=lambda done, total: seen.append(done))
    assert bytes(daemon.uploads[file.name]) == CONTENT * 10
    assert document.path == f"/backups/{file.name}"
    assert daemon.chunk_sums[0] == google_crc32c.value((CONTENT * 10)[: 1 << 20])
    assert seen[-1] == len(CONTENT) * 10


def test_a_broken_upload_goes_on_where_it_broke(daemon: FakeDaemon, db: holdfast.Client, tmp_path: Path) -> None:
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT * 20)
    daemon.fail_next("UploadSnapshotMidway", grpc.StatusCode.UNAVAILABLE)
    assert db.snapshots.upload(file).status == "completed"
    assert bytes(daemon.uploads["x.snap"]) == CONTENT * 20


def test_an_upload_that_makes_no_headway_gives_up_and_says_how_to_go_on(
    daemon: FakeDaemon, db: holdfast.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "pause", lambda *_: None)
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT)
    daemon.pass_next("UploadSnapshot")
    daemon.fail_next("UploadSnapshotMidway", grpc.StatusCode.UNAVAILABLE)
    for _ in range(ATTEMPTS + 1):
        daemon.fail_next("UploadSnapshot", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(holdfast.Unavailable) as caught:
        db.snapshots.upload(file)
    assert "goes on from what the daemon has" in (caught.value.hint or "")


def test_an_upload_to_nobody_is_no_transfer_that_broke(tmp_path: Path) -> None:
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT)
    with holdfast.connect(f"unix:{tmp_path}/none") as db, pytest.raises(holdfast.Unavailable) as caught:
        db.snapshots.upload(file)
    assert "the transfer broke" not in caught.value.message


def test_an_upload_that_is_refused_says_why(daemon: FakeDaemon, db: holdfast.Client, tmp_path: Path) -> None:
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT)
    daemon.fail_next("UploadSnapshotMidway", grpc.StatusCode.ALREADY_EXISTS, "it is there")
    with pytest.raises(holdfast.AlreadyExists, match="it is there"):
        db.snapshots.upload(file)


def test_an_upload_of_nothing_says_so(db: holdfast.Client) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="cannot read"):
        db.snapshots.upload("/nonexistent")


def test_without_a_fast_sum_chunks_go_without(
    daemon: FakeDaemon, db: holdfast.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    crc32c.cache_clear()
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT)
    assert db.snapshots.upload(file).status == "completed"
    assert daemon.chunk_sums == [None]
    crc32c.cache_clear()
