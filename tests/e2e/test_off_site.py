"""Snapshots in a bucket, the whole way: a real daemon, its command line's library, and an S3 server on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon, environment
from tests.support import object_server
from tests.support.object_server import BUCKET, KEY_ID, SECRET, BreakingLine, S3Server, s3_server

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("objects")]

ROWS = 3000


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


class Shop:
    """A daemon with a collection, and a client."""

    def __init__(self, directory: Path, endpoint: str, *arguments: str) -> None:
        directory.mkdir()
        self.directory = directory
        self.env = object_server.environment(endpoint)
        self.daemon = Daemon(directory, *arguments, env=self.env).started()
        self.db = holdfast.connect(self.daemon.address)

    def fill(self, first: int, rows: int = ROWS) -> None:
        if "products" not in {each.name for each in self.db.collections.list()}:
            self.db.collections.create("products", dimensions=64)
        vectors = np.random.default_rng(first).standard_normal((rows, 64)).astype(np.float32)
        self.db.collection("products").upsert([f"p{first + n}" for n in range(rows)], vectors)

    def clear(self) -> None:
        """Forget everything."""
        for snapshot in self.db.snapshots.list():
            self.db.snapshots.delete(snapshot["id"])
        for collection in self.db.collections.list():
            self.db.collections.delete(collection.name)

    def create(self, path: str | None, **more: Any) -> Any:
        return self.db.snapshots.create(path=path, **more)

    @property
    def count(self) -> int:
        return self.db.collection("products").count()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        given = [sys.executable, "-m", "holdfast", "--address", self.daemon.address, "storage", "snapshot", *arguments]
        return subprocess.run(given, env=environment(self.env), cwd=self.directory, capture_output=True, text=True)

    def stop(self) -> None:
        self.db.close()
        assert self.daemon.stop() == 0


@pytest.fixture(scope="module")
def shops(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Shop]]:
    directory = tmp_path_factory.mktemp("d")
    both = Shop(directory / "a", server.endpoint), Shop(directory / "b", server.endpoint)
    try:
        yield both
        for each in both:
            each.stop()
    finally:
        for each in both:
            each.daemon.kill()


@pytest.fixture
def here(shops: tuple[Shop, Shop]) -> Shop:
    """A store with one collection and no snapshot."""
    shops[0].clear()
    shops[0].fill(0)
    return shops[0]


@pytest.fixture
def there(shops: tuple[Shop, Shop]) -> Shop:
    """Another one, with nothing at all."""
    shops[1].clear()
    return shops[1]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Starts a daemon for one test; returns its store, with the same collection."""
    opened: list[Shop] = []

    def open_(endpoint: str, *arguments: str) -> Shop:
        opened.append(Shop(tmp_path / str(len(opened)), endpoint, *arguments))
        opened[-1].fill(0)
        return opened[-1]

    yield open_
    for each in opened:
        each.db.close()
        each.daemon.kill()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name.split('[')[0]}"


@pytest.mark.parametrize("first_in_bucket", [True, False])
def test_a_chain_over_a_disk_and_a_bucket_comes_back_anywhere(
    here: Shop, there: Shop, place: str, tmp_path: Path, first_in_bucket: bool
) -> None:
    disk = str(tmp_path / "disk")
    place = f"{place}/{first_in_bucket}"
    places = (f"{place}/", disk) if first_in_bucket else (disk, place)
    base = here.create(places[0])
    here.fill(ROWS // 2)
    top = here.create(places[1], incremental=True, compress=True)
    assert (base["path"], top["base_id"]) == (
        f"{places[0].rstrip('/')}/{base['snapshot_id']}.snap",
        base["snapshot_id"],
    )
    for directory, made in zip(places, (base, top), strict=True):
        listed = here.db.snapshots.list(path=directory)
        assert [(each["id"], each["path"], each["state"]) for each in listed] == [
            (made["snapshot_id"], made["path"], "ready")
        ]
    assert [link["path"] for link in here.db.snapshots.get(top["path"])["chain"]] == [
        base["path"],
        top["path"],
    ]
    assert here.db.snapshots.verify(top["path"])["status"] == "completed"
    with pytest.raises(holdfast.errors.FailedPrecondition, match="is the base of"):
        here.db.snapshots.delete(base["path"])
    there.db.snapshots.restore(top["path"], verify=True)
    assert there.count == here.count == ROWS + ROWS // 2
    for made in (top, base):
        here.db.snapshots.delete(made["snapshot_id"])
    assert here.db.snapshots.list() == []


def test_a_bucket_alone_is_enough_for_a_store_that_is_lost(here: Shop, there: Shop, place: str) -> None:
    here.create(place)
    here.fill(ROWS)
    top = here.create(place, incremental=True)
    assert len(there.db.snapshots.list(path=place)) == 2
    there.db.snapshots.restore(top["snapshot_id"])
    assert there.count == 2 * ROWS


def test_a_restore_goes_on_over_a_line_that_breaks(
    here: Shop, alone: Callable[..., Shop], server: S3Server, place: str
) -> None:
    here.fill(0, 20_000)
    made = here.create(place)
    line = BreakingLine(server.port)
    try:
        there = alone(line.endpoint)
        line.answers = [200_000, 1_500_000, 900_000]
        there.db.snapshots.restore(made["path"], overwrite=True)
        assert (there.count, line.broken) == (20_000, 3)
        line.requests = [1_000_000]
        there.create(f"{place}/again")
        assert line.broken == 4
        assert there.db.snapshots.verify("latest")["status"] == "completed"
    finally:
        there.daemon.kill()
        line.close()


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_an_object_that_is_not_what_it_was_is_told(here: Shop, server: S3Server, place: str, how: str) -> None:
    made = here.create(f"{place}/{how}")
    name = made["path"].removeprefix("s3://")
    data = server.ask("GET", name, None)
    if how == "gone":
        server.ask("DELETE", name)
    else:
        half = len(data) // 2
        server.ask("PUT", name, data[:half] if how == "cut" else data[:half] + b"!" + data[half + 1 :])
    if how != "gone":
        verified = here.db.snapshots.verify(made["snapshot_id"])
        assert (verified["valid"], made["path"] in verified["problems"][0]["path"]) == (False, True)
    with pytest.raises(holdfast.errors.NotFound if how == "gone" else holdfast.errors.Corruption) as caught:
        here.db.snapshots.restore(made["snapshot_id"], overwrite=True)
    assert made["path"] in str(caught.value)
    [listed] = here.db.snapshots.list(path=f"{place}/{how}")
    if how == "gone":
        assert listed["state"] == "missing"
        here.db.snapshots.delete(made["snapshot_id"])
        assert here.db.snapshots.list() == []
    else:
        assert listed["state"] == "damaged"


NAMING: list[tuple[str, ...]] = [
    ("create", "--path", "URL"),
    ("list", "--path", "URL"),
    ("prune", "--path", "URL", "--keep-last", "1", "--confirm"),
    ("show", "URL"),
    ("verify", "URL"),
    ("verify", "latest", "--base-path", "URL"),
    ("restore", "URL"),
    ("restore", "latest", "--base-path", "URL"),
    ("restore", "latest", "--wal-path", "URL"),
    ("diff", "URL", "live"),
    ("delete", "URL"),
    ("download", "URL"),
]
"""Wherever a command takes the URL of a place."""


def test_no_credential_is_ever_kept_or_told(alone: Callable[..., Shop], server: S3Server, place: str) -> None:
    here = alone(server.endpoint, "--log-level", "debug")
    made = here.create(place)
    here.db.snapshots.verify(made["path"])
    said = [str(here.db.snapshots.list(path=place)), str(here.db.snapshots.get(made["path"]))]
    with_secrets = (f"s3://{KEY_ID}:{SECRET}@{BUCKET}/x.snap", f"s3://{BUCKET}/x.snap?key={SECRET}")
    asked = [("create", "--path", "s3://no-such-bucket/x")]
    asked += [tuple(wrong if word == "URL" else word for word in line) for line in NAMING for wrong in with_secrets]
    for arguments in asked:
        done = here.command(*arguments)
        assert done.returncode != 0, arguments
        refused = "there is no such bucket" if "no-such-bucket" in arguments[-1] else "credentials are not given in it"
        assert refused in done.stderr, arguments
        said += [done.stdout, done.stderr]
    here.stop()
    kept = [path.read_bytes() for path in here.directory.rglob("*") if path.is_file()]
    assert len(kept) > 5
    kept += [server.ask("GET", made["path"].removeprefix("s3://"), None), *(text.encode() for text in said)]
    for secret in (KEY_ID.encode(), SECRET.encode()):
        assert not [data for data in kept if secret in data]


REFUSALS: list[tuple[tuple[str, ...], str]] = [
    (("create", "--path", "s3://no-such-bucket/x"), "there is no such bucket"),
    (("list", "--path", "s3://no-such-bucket/x"), "there is no such bucket"),
    (("create", "--path", "ftp://host/x"), "an URL of the scheme ftp:// is no place for snapshots"),
    (("show", f"s3://{BUCKET}/snap-2026-01-01-000000.snap"), "there is no snapshot file"),
]


def test_what_cannot_be_is_refused_with_what_to_do(here: Shop, place: str) -> None:
    for arguments, said in REFUSALS:
        done = here.command(*arguments)
        assert done.returncode not in (0, 1)
        assert said in done.stderr
        assert "hint: " in done.stderr
    base = here.create(place)
    here.create(place, incremental=True)
    with pytest.raises(holdfast.errors.FailedPrecondition, match="lies in an object store"):
        here.db.snapshots.consolidate(base["snapshot_id"])
    file = here.directory / f"{base['snapshot_id']}.snap"
    here.db.snapshots.download(base["snapshot_id"], file)
    with pytest.raises(holdfast.errors.InvalidArgument, match="lies in an object store"):
        here.db.snapshots.upload(file, path=f"{place}/uploaded")
    with pytest.raises(holdfast.errors.InvalidArgument, match="lies in an object store"):
        here.db.wal.enable(path=f"{place}/wal")


def test_a_daemon_that_is_killed_while_it_uploads_leaves_no_snapshot_and_no_claim(
    alone: Callable[..., Shop], server: S3Server, place: str
) -> None:
    line = BreakingLine(server.port)
    try:
        here = alone(line.endpoint)
        line.hold_after = 100_000
        here.create(place, wait=False)
        assert line.holds.wait(60)
        here.daemon.kill()
    finally:
        line.close()
    prefix = f"{BUCKET}?list-type=2&prefix={place.rpartition('/')[2]}"
    assert b".part</Key>" in server.ask("GET", prefix, None)
    here.db.close()
    here.daemon = Daemon(here.directory, env=object_server.environment(server.endpoint)).started()
    here.db = holdfast.connect(here.daemon.address)
    found, [warning] = here.db.snapshots.list_with_warnings()
    assert (found, f"snapshot list --path {place}" in warning) == ([], True)
    assert here.db.snapshots.list_with_warnings(path=place) == ([], ())
    assert b"<Key>" not in server.ask("GET", prefix, None)
    here.create(place)
    assert here.db.snapshots.verify("latest")["valid"]
    here.stop()


def test_a_daemon_whose_store_is_away_starts_and_lists(
    alone: Callable[..., Shop], server: S3Server, place: str
) -> None:
    here = alone(server.endpoint)
    made = here.create(place)
    here.stop()
    here.daemon = Daemon(here.directory, env=object_server.environment("http://127.0.0.1:9")).started()
    here.db = holdfast.connect(here.daemon.address)
    assert [(each["id"], each["state"]) for each in here.db.snapshots.list()] == [(made["snapshot_id"], "ready")]
    here.stop()


def test_a_file_url_is_its_path(here: Shop, tmp_path: Path) -> None:
    made = here.create(f"file://{tmp_path}/off%20site")
    assert made["path"] == f"{tmp_path}/off site/{made['snapshot_id']}.snap"
    here.db.snapshots.restore(f"file://{made['path'].replace(' ', '%20')}", overwrite=True)
    assert here.count == ROWS
    done = here.command("list", "--path", "file://elsewhere/x")
    assert "names another machine" in done.stderr
