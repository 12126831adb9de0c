"""The log's archive in a bucket, the whole way: a daemon is killed, its machine is lost, and another one takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import holdfast
from tests.e2e.test_off_site import Shop
from tests.support.object_server import BUCKET, S3Server, s3_server
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("objects")]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def wal(request: pytest.FixtureRequest) -> str:
    """A place for an archive that nobody else uses."""
    return f"s3://{BUCKET}/{request.node.name}/wal"


@pytest.fixture
def open_shop(server: S3Server, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Starts a daemon; returns its store, with nothing in it."""
    opened: list[Shop] = []

    def open_(*arguments: str, endpoint: str | None = None) -> Shop:
        opened.append(Shop(tmp_path / str(len(opened)), endpoint or server.endpoint, *arguments))
        return opened[-1]

    yield open_
    for each in opened:
        each.db.close()
        each.daemon.kill()


def digest(shop: Shop) -> str:
    return str(shop.db.collection("products").stats().digest)


def test_what_was_archived_outlives_the_machine(open_shop: Callable[..., Shop], wal: str) -> None:
    backups = f"s3://{BUCKET}/shop/backups"
    here = open_shop("--archive-path", wal, "--archive-interval", "1s")
    here.fill(0)
    here.create(f"{backups}/")
    for number in range(4):
        here.fill(10_000 * (number + 1))
        here.db.wal.enable(path=str(here.directory / f"wal-{number}"))
    here.db.collection("products").delete([f"p{n}" for n in range(100)])
    sequence = here.db.storage.status().sequence
    until(lambda: (here.db.archive.status().window or {"to": {"sequence": 0}})["to"]["sequence"] >= sequence)
    status = here.db.archive.status()
    assert (status.state, status.gaps, status.window["to"]["sequence"]) == ("archiving", [], sequence)
    assert status.segments == 5
    wanted, count = digest(here), here.count
    here.daemon.kill()

    there = open_shop()
    checked = there.db.wal.verify(path=wal)
    assert (checked.valid, checked.problems, checked.last_sequence) == (True, [], sequence)
    there.db.snapshots.restore(there.db.snapshots.list(path=backups)[0]["id"])
    assert digest(there) != wanted
    there.db.wal.replay(path=wal)
    assert (digest(there), there.count) == (wanted, count)


def test_a_flush_and_a_stop_archive_the_end_and_a_restart_goes_on(open_shop: Callable[..., Shop], wal: str) -> None:
    here = open_shop("--archive-path", wal, "--archive-interval", "1h")
    here.fill(0)
    flushed = here.db.archive.flush()
    assert flushed.through_sequence == here.db.storage.status().sequence
    here.fill(5000)
    sequence = here.db.storage.status().sequence
    here.stop()
    there = open_shop()
    assert there.db.wal.verify(path=wal).last_sequence == sequence


def test_a_second_store_in_one_place_is_told_so(open_shop: Callable[..., Shop], wal: str) -> None:
    here = open_shop("--archive-path", wal)
    here.fill(0)
    here.db.archive.flush()
    there = open_shop("--archive-path", wal)
    there.fill(0)
    with pytest.raises(holdfast.FailedPrecondition) as caught:
        there.db.archive.flush()
    assert caught.value.reason == "ARCHIVE_FOREIGN"
    assert there.db.archive.status().state == "foreign"
    assert there.db.storage.status().health == "red"
    assert here.db.archive.flush().through_sequence > 0
    assert here.db.storage.status().health == "green"


def test_a_stop_does_not_wait_for_a_store_that_is_gone(open_shop: Callable[..., Shop], wal: str) -> None:
    with s3_server() as server:
        here = open_shop("--archive-path", wal, endpoint=server.endpoint)
        here.fill(0)
        here.db.archive.flush()
    here.fill(5000)
    here.stop()
    assert "the log is not archived" in here.daemon.log
    assert "level=info message=stopped" in here.daemon.log
