"""Transfers to and from daemons that lie, beside other commands, and among names that lead elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import holdfast
from holdfast.connection import Connection
from holdfast.download import ATTEMPTS
from holdfast.files import open_alone
from holdfast.v1 import common_pb2, snapshot_pb2
from tests.support.fake_server import FakeDaemon

CONTENT = bytes(range(256)) * 1024
Message = snapshot_pb2.DownloadSnapshotResponse


@pytest.fixture
def snapshot(daemon: FakeDaemon, db: holdfast.Client, products: holdfast.Collection) -> str:
    name: str = db.snapshots.create("products").snapshot_id
    daemon.files[name] = CONTENT
    return name


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Lets the daemon send just these messages; the list grows by the offset of every request."""

    def script(*messages: Message) -> list[int]:
        asked: list[int] = []

        def stream(_self: Connection, _method: object, request: object, **_: object) -> Iterator[Message]:
            assert isinstance(request, snapshot_pb2.DownloadSnapshotRequest)
            asked.append(request.read_offset)
            yield from messages

        monkeypatch.setattr(Connection, "stream", stream)
        monkeypatch.setattr(Connection, "pause", lambda *_: None)
        return asked

    return script


def test_a_daemon_that_ends_without_a_sum_is_not_asked_for_ever(
    db: holdfast.Client, snapshot: str, tmp_path: Path, says: Callable[..., list[int]]
) -> None:
    asked = says()
    with pytest.raises(holdfast.Unavailable, match="before it had sent everything"):
        db.snapshots.download(snapshot, tmp_path / "copy")
    assert len(asked) == ATTEMPTS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "messages",
    [
        [Message(offset=1, data=b"x", total_bytes=10)],
        [Message(offset=0, data=b"x" * 11, total_bytes=10)],
        [Message(offset=0, data=b"x", total_bytes=1), Message(offset=1, data=b"x", total_bytes=1)],
        [Message(offset=0, data=b"x", total_bytes=-1)],
        [Message(offset=0, data=b"x", total_bytes=1, file_sha256="no sum")],
    ],
)
def test_lies_about_bytes_are_seen(
    db: holdfast.Client, snapshot: str, tmp_path: Path, says: Callable[..., list[int]], messages: list[Message]
) -> None:
    says(*messages)
    with pytest.raises(holdfast.Corruption):
        db.snapshots.download(snapshot, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", [".bashrc", "notes.txt", ".snap", "..", ""])
def test_the_daemon_does_not_choose_which_file_is_replaced(
    db: holdfast.Client, snapshot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    described = common_pb2.Snapshot(id=snapshot, path=f"/data/{name}")
    monkeypatch.setattr("holdfast.download._describe", lambda *_: described)
    with pytest.raises(holdfast.Corruption, match="no name of a snapshot"):
        db.snapshots.download(snapshot, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_downloads_into_one_file_do_not_mix(db: holdfast.Client, snapshot: str, tmp_path: Path) -> None:
    part = tmp_path / "copy.part"
    with open_alone(part) as other:
        with pytest.raises(holdfast.InvalidArgument, match="another command is writing it"):
            db.snapshots.download(snapshot, tmp_path / "copy")
        other.write(CONTENT[:1000])
    db.snapshots.download(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert not part.exists()


def test_a_file_that_was_published_meanwhile_is_not_appended_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "copy.part"
    part.write_bytes(CONTENT)
    lock = holdfast.files._lock

    def too_late(file: object) -> None:
        if part.exists() and part.stat().st_size:
            part.rename(tmp_path / "copy")
        lock(file)  # type: ignore[arg-type]

    monkeypatch.setattr("holdfast.files._lock", too_late)
    with open_alone(part) as file:
        file.write(b"x")
    assert ((tmp_path / "copy").read_bytes(), part.read_bytes()) == (CONTENT, b"x")


def test_what_waits_under_the_name_is_neither_followed_nor_waited_for(
    db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a.part").symlink_to(victim)
    os.mkfifo(tmp_path / "b.part")
    (tmp_path / "c.part").mkdir()
    for name in "abc":
        with pytest.raises(holdfast.InvalidArgument, match="cannot write"):
            db.snapshots.download(snapshot, tmp_path / name)
    assert victim.read_text() == "mine"


def test_a_directory_that_is_not_mounted_does_not_become_a_file(
    db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    with pytest.raises(holdfast.InvalidArgument, match="there is no directory"):
        db.snapshots.download(snapshot, f"{tmp_path}/usb/")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "usb").mkdir()
    assert db.snapshots.download(snapshot, f"{tmp_path}/usb/").path == f"{tmp_path}/usb/{snapshot}.snap"


def test_what_is_longer_than_the_file_is_begun_anew(
    daemon: FakeDaemon, db: holdfast.Client, snapshot: str, tmp_path: Path
) -> None:
    (tmp_path / "copy.part").write_bytes(b"x" * (len(CONTENT) + 1))
    daemon.fail_next("DownloadSnapshot", grpc.StatusCode.OUT_OF_RANGE)
    db.snapshots.download(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    daemon.fail_next("DownloadSnapshot", grpc.StatusCode.OUT_OF_RANGE)
    with pytest.raises(holdfast.OutOfRange):
        db.snapshots.download(snapshot, tmp_path / "other")


def test_what_is_no_regular_file_is_not_sent(db: holdfast.Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.snap")
    for path in (tmp_path / "x.snap", tmp_path, Path("/dev/zero")):
        with pytest.raises(holdfast.InvalidArgument, match=r"cannot read .*: it is no regular file"):
            db.snapshots.upload(path)


def test_a_file_whose_name_goes_away_is_sent_all_the_same(
    daemon: FakeDaemon, db: holdfast.Client, tmp_path: Path
) -> None:
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT * 20)
    daemon.fail_next("UploadSnapshotMidway", grpc.StatusCode.UNAVAILABLE)
    db.snapshots.upload(file, on_bytes=lambda *_: file.unlink(missing_ok=True))
    assert bytes(daemon.uploads["x.snap"]) == CONTENT * 20


def test_a_file_that_becomes_shorter_is_what_is_wrong(db: holdfast.Client, tmp_path: Path) -> None:
    file = tmp_path / "x.snap"
    file.write_bytes(CONTENT * 20)

    def cut(*_: object) -> None:
        os.truncate(file, 0)

    with pytest.raises(holdfast.InvalidArgument, match="shorter since the upload began"):
        db.snapshots.upload(file, on_bytes=cut)
