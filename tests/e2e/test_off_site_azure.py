"""Snapshots in a container of Azure's, the whole way: real daemons, the command line, and Azure's emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon
from tests.support.azure_server import ACCOUNT, KEY, AzureServer, azure_server
from tests.support.object_server import BUCKET, BreakingLine

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("azure")]

ROWS = 8000
PLACE = f"az://{BUCKET}/shop"


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def fill(db: holdfast.Client, first: int, rows: int) -> None:
    vectors = np.random.default_rng(first).standard_normal((rows, 64)).astype(np.float32)
    db.collection("products").upsert([f"p{first + n}" for n in range(rows)], vectors)


def test_a_container_alone_brings_a_lost_store_back_over_a_line_that_breaks(
    azurite: AzureServer, tmp_path: Path
) -> None:
    line = BreakingLine(azurite.port)
    broken = azurite.environment | {"AZURE_STORAGE_ENDPOINT": f"{line.endpoint}/{ACCOUNT}"}
    daemons = []
    try:
        for name, env in (("lost", azurite.environment), ("new", broken)):
            (tmp_path / name).mkdir()
            daemons.append(Daemon(tmp_path / name, "--log-level", "debug", env=env).started())
        with holdfast.connect(daemons[0].address) as db:
            db.collections.create("products", dimensions=64)
            fill(db, 0, ROWS)
            base = db.snapshots.create(path=PLACE)
            fill(db, ROWS // 2, ROWS)
            top = db.snapshots.create(path=PLACE, incremental=True, compress=True)
            with pytest.raises(holdfast.errors.NotFound, match="there is no such bucket"):
                db.snapshots.create(path="az://no-such-container/x")
            digest = db.collection("products").stats().digest
        with holdfast.connect(daemons[1].address) as db:
            assert [each["id"] for each in db.snapshots.list(path=PLACE)] == [top["snapshot_id"], base["snapshot_id"]]
            assert db.snapshots.verify(top["snapshot_id"], level=3)["valid"]
            line.answers += [100_000, 700_000, 400_000]
            db.snapshots.restore(top["snapshot_id"])
            line.requests += [400_000]
            again = db.snapshots.create(path=f"{PLACE}/again")
            assert line.broken == 4
            assert db.collection("products").stats().digest == digest
            assert db.snapshots.verify(again["snapshot_id"], level=2)["valid"]
            for made in (again, top, base):
                db.snapshots.delete(made["snapshot_id"])
            assert (db.snapshots.list(path=PLACE), db.snapshots.list(path=f"{PLACE}/again")) == ([], [])
        assert [daemon.stop() for daemon in daemons] == [0, 0]
    finally:
        for daemon in daemons:
            daemon.kill()
        line.close()
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 5
    assert not [data for data in kept if KEY.encode() in data]
