"""Pruning an archive in a bucket, against a real S3 server: requests that are refused, and the whole way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import holdfast
from holdfastd.errors import HoldfastError
from holdfastd.storage.routing import RoutedFileSystem
from tests.e2e.test_off_site import Shop
from tests.rpc.process import Daemon
from tests.support.archives import SEGMENT, ArchiveKit, Operations, lived_in
from tests.support.memfs import MemFileSystem
from tests.support.object_files import objects_at
from tests.support.object_meddler import LOST, Answer, Meddler, refusal
from tests.support.object_server import BUCKET, S3Server, s3_server

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("objects")]

DENIED = Answer(403, refusal("AccessDenied"))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def meddler(server: S3Server) -> Iterator[Meddler]:
    made = Meddler(server.port)
    yield made
    made.close()


@pytest.mark.parametrize("what", [DENIED, LOST], ids=["refused", "answer lost"])
def test_whatever_request_goes_wrong_there_is_no_hole(
    meddler: Meddler, monkeypatch: pytest.MonkeyPatch, what: Answer | str
) -> None:
    objects = objects_at(meddler.endpoint, monkeypatch)
    fs = RoutedFileSystem(MemFileSystem(), objects)
    place = f"s3://{BUCKET}/{'denied' if what is DENIED else 'lost'}"
    kit, _ = lived_in(ArchiveKit(fs, archive_path=place, segment_size=SEGMENT))  # type: ignore[arg-type]
    history = kit.archived()
    needed = kit.prune(validate_only=True).runs[1].first
    refused = 0
    for number in range(200):
        left = [number]

        def once(method: str, path: str, left: list[int] = left) -> Answer | str | None:
            left[0] -= 1
            return what if left[0] == -1 else None

        meddler.meddle = once
        try:
            kit.prune()
        except HoldfastError:
            refused += 1
        meddler.meddle = lambda method, path: None
        check_contiguous(kit.archived(), history, needed)
        kit.round()
        assert kit.codes() == []
        if left[0] >= 0:
            break
    else:
        pytest.fail("no prune came to its end")
    assert kit.archived()[0][0] == needed
    assert refused > 3 or what == LOST
    assert len([name for name in kit.names() if name.endswith(".begins")]) == 1
    assert not [name for name in kit.names() if name.endswith(".part")]


def check_contiguous(found: Operations, history: Operations, needed: int) -> None:
    assert found == history[-len(found) :]
    assert found[0][0] <= needed


class Restarted(Shop):
    """A shop whose daemon is stopped and started again, with a checkpoint behind which the log is trimmed."""

    def __init__(self, directory: Path, endpoint: str, *arguments: str) -> None:
        super().__init__(directory, endpoint, *arguments)
        self.arguments = arguments

    def restart(self) -> None:
        self.stop()
        self.daemon = Daemon(self.directory, *self.arguments, env=self.env).started()
        self.db = holdfast.connect(self.daemon.address)


@pytest.fixture
def open_shop(server: S3Server, tmp_path: Path) -> Iterator[Callable[..., Restarted]]:
    opened: list[Restarted] = []

    def open_(*arguments: str) -> Restarted:
        opened.append(Restarted(tmp_path / str(len(opened)), server.endpoint, *arguments))
        return opened[-1]

    yield open_
    for each in opened:
        each.db.close()
        each.daemon.kill()


def test_a_pruned_archive_brings_everything_back(open_shop: Callable[..., Restarted]) -> None:
    wal, backups = f"s3://{BUCKET}/shop/wal", f"s3://{BUCKET}/shop/backups"
    here = open_shop("--archive-path", wal)
    here.db.wal.enable(retention="1s")
    for number in range(4):
        here.fill(10_000 * number)
        here.create(f"{backups}/")
        here.db.wal.enable(path=str(here.directory / f"wal-{number}"))
        here.db.archive.flush()
        here.restart()
    sequence = here.db.storage.status().sequence
    for snapshot in here.db.snapshots.list()[2:]:
        here.db.snapshots.delete(snapshot["id"])
    done = here.db.archive.prune()
    assert done.deleted >= 1
    assert done.begins.sequence > 1
    window = here.db.archive.status().window
    assert (window["from"]["sequence"], window["to"]["sequence"]) == (done.begins.sequence, sequence)
    assert "pruned" in window.reason
    wanted, count = str(here.db.collection("products").stats().digest), here.count
    here.stop()

    there = open_shop()
    assert there.db.wal.verify(path=wal).valid
    oldest = there.db.snapshots.list(path=backups)[-1]
    there.db.snapshots.restore(oldest["id"], to=sequence, wal_path=wal)
    assert (str(there.db.collection("products").stats().digest), there.count) == (wanted, count)
    with pytest.raises(holdfast.OutOfRange, match="the archive was pruned up to sequence"):
        there.db.snapshots.restore("latest", to=1, wal_path=wal, overwrite=True)
