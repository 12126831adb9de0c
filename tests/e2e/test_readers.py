"""A reader that has begun ends with what it began with, though its files are unlinked meanwhile (RULES 20)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon
from tests.support.waiting import until

ROWS = 30_000
"""Far more than the buffers between the daemon and its client hold: the reader is in the midst of it."""
WIDTH = 64

pytestmark = [pytest.mark.e2e]


def drop(db: holdfast.Client) -> None:
    db.collections.delete("c")


def replace(db: holdfast.Client) -> None:
    db.snapshots.restore("latest", overwrite=True)


@pytest.mark.parametrize("unlink", [drop, replace])
def test_an_export_under_way_outlives_the_files_that_it_reads(
    tmp_path: Path, unlink: Callable[[holdfast.Client], None]
) -> None:
    vectors = np.random.default_rng(5).standard_normal((ROWS, WIDTH), np.float32)
    ids = [f"id-{number}" for number in range(ROWS)]
    daemon = Daemon(tmp_path).started()
    try:
        with holdfast.connect(daemon.address) as db:
            written = db.collections.create("c", WIDTH)
            for start in range(0, ROWS, 5000):
                written.upsert(ids[start : start + 5000], vectors[start : start + 5000])
            db.snapshots.create("c")
        # A stop in order writes segments; from now on the rows are in mapped files.
        assert daemon.stop() == 0
        daemon = Daemon(tmp_path).started()
        before = files(daemon)
        assert before
        with holdfast.connect(daemon.address) as db:
            records = db.collection("c").export()
            first = next(records)
            unlink(db)
            until(lambda: not before & files(daemon))
            rest = list(records)
        found = {record.id: record.vector for record in (first, *rest)}
        assert found.keys() == set(ids)
        for number, id in enumerate(ids):
            assert bytes(memoryview(found[id]).cast("B")) == vectors[number].tobytes()  # type: ignore[arg-type]
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def files(daemon: Daemon) -> set[Path]:
    """The files of vectors there are."""
    return set((daemon.data / "collections").glob("*/*/vectors.npy"))
