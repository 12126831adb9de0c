"""Snapshots' files over a real socket, through the client that people use."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import holdfast
from holdfast.v1 import snapshot_pb2
from holdfastd.engine import open_upload
from holdfastd.engine.snapshot_upload import Uploads
from holdfastd.errors import Cancelled
from tests.rpc.calls import failing
from tests.rpc.wires import Wire, serving
from tests.support.snapshots import SnapshotKit

Request = snapshot_pb2.UploadSnapshotRequest


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with serving(SnapshotKit(segment_size=1 << 20), str(tmp_path / "s")) as wire:
        yield wire


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Wire]:
    with serving(SnapshotKit(segment_size=1 << 20, seed=23), str(tmp_path / "o")) as wire:
        yield wire


def header(name: str, content: bytes, path: str = "") -> Request:
    digest = hashlib.sha256(content).hexdigest()
    return Request(header=Request.Header(filename=name, total_bytes=len(content), file_sha256=digest, path=path))


def chunk(offset: int, data: bytes) -> Request:
    return Request(chunk=Request.Chunk(offset=offset, data=data))


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
def test_a_snapshot_goes_from_one_daemon_to_another(wire: Wire, other: Wire, tmp_path: Path, compress: bool) -> None:
    with holdfast.connect(wire.address) as db:
        made = db.snapshots.create("books", compress=compress)
        got = db.snapshots.download("latest", tmp_path)
        digest = db.collection("books").stats().digest
    assert (got.snapshot_id, got.size_bytes) == (made.snapshot_id, made.size_bytes)
    assert Path(got.path).read_bytes() == wire.kit.fs.read(made.path)
    with holdfast.connect(other.address) as db:
        brought = db.snapshots.upload(got.path, path="/backups")
        assert (brought.snapshot_id, brought.path) == (made.snapshot_id, f"/backups/{Path(made.path).name}")
        assert db.snapshots.upload(got.path, path="/backups").path == brought.path
        db.snapshots.restore(made.snapshot_id, collection="copy")
        assert db.collection("copy").stats().digest == digest


def test_the_first_message_describes_and_the_last_one_proves(wire: Wire) -> None:
    with holdfast.connect(wire.address) as db:
        made = db.snapshots.create("books")
    content = wire.kit.fs.read(made.path)
    ask = snapshot_pb2.DownloadSnapshotRequest
    for start in (0, 100, len(content)):
        messages = list(wire.snapshots.DownloadSnapshot(ask(snapshot="latest", read_offset=start)))
        assert b"".join(message.data for message in messages) == content[start:]
        assert messages[0].snapshot.id == made.snapshot_id
        assert not any(message.HasField("snapshot") for message in messages[1:])
        assert {message.total_bytes for message in messages} == {len(content)}
        assert messages[-1].file_sha256 == hashlib.sha256(content).hexdigest()
    failure = failing(lambda: list(wire.snapshots.DownloadSnapshot(ask(snapshot="latest", read_offset=-1))))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    failure = failing(lambda: list(wire.snapshots.DownloadSnapshot(ask(snapshot="latest", read_offset=1 << 40))))
    assert failure.code is grpc.StatusCode.OUT_OF_RANGE
    failure = failing(lambda: list(wire.snapshots.DownloadSnapshot(ask(snapshot="snap-2020-01-01-000000"))))
    assert failure.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [chunk(0, b"x")],
        [header("../etc", b"x")],
        [header("snap-2020-01-01-000000.snap", b"xyz"), header("snap-2020-01-01-000000.snap", b"xyz")],
        [header("snap-2020-01-01-000000.snap", b"xyz"), chunk(1, b"x")],
        [header("snap-2020-01-01-000000.snap", b"xyz"), chunk(0, b"")],
        [header("snap-2020-01-01-000000.snap", b"xyz"), chunk(0, b"xyzw")],
        [header("snap-2020-01-01-000000.snap", b"x" * (2 << 20)), chunk(0, b"x" * ((1 << 20) + 1))],
        [header("snap-2020-01-01-000000.snap", b"x", "relative")],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wire: Wire, messages: list[Request]) -> None:
    failure = failing(lambda: list(wire.snapshots.UploadSnapshot(iter(messages))))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


def test_what_is_no_snapshot_is_thrown_away(wire: Wire) -> None:
    content = b"x" * 1000
    messages = [header("snap-2020-01-01-000000.snap", content), chunk(0, content)]
    failure = failing(lambda: list(wire.snapshots.UploadSnapshot(iter(messages))))
    assert failure.code is grpc.StatusCode.DATA_LOSS
    assert wire.kit.fs.listdir("/data/snapshots") == []


def test_a_client_that_goes_away_leaves_what_it_sent(
    wire: Wire, other: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_upload, "SYNC_BYTES", 100)
    with holdfast.connect(wire.address) as db:
        made = db.snapshots.create("books")
        got = db.snapshots.download("latest", tmp_path)
    name, content = Path(made.path).name, Path(got.path).read_bytes()
    gone = threading.Event()

    def half() -> Iterator[Request]:
        yield header(name, content)
        yield chunk(0, content[:1000])
        gone.wait(10)

    call = other.snapshots.UploadSnapshot(half())
    assert next(call).committed_bytes == 0
    assert next(call).committed_bytes == 1000
    # The connection hangs, and the same client comes again.
    with holdfast.connect(other.address) as db:
        seen: list[int] = []
        db.snapshots.upload(got.path, on_bytes=lambda done, total: seen.append(done))
        assert seen[0] == 1000
        assert db.snapshots.list()[0].id == made.snapshot_id
    call.cancel()
    gone.set()


def test_for_a_client_that_has_gone_no_file_is_read(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    with holdfast.connect(wire.address) as db:
        made = db.snapshots.create("books")
    name, content = Path(made.path).name, wire.kit.fs.read(made.path)
    reading, ended = threading.Event(), threading.Event()

    def read_on(_uploads: Uploads, _path: str, _final: str, check: Callable[[], None]) -> None:
        reading.set()
        try:
            while True:
                check()
                time.sleep(0.01)
        except Cancelled:
            ended.set()
            raise

    monkeypatch.setattr(Uploads, "_examine", read_on)
    call = wire.snapshots.UploadSnapshot(iter([header(name, content)]))
    assert reading.wait(30)
    call.cancel()
    assert ended.wait(30)
