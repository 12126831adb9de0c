"""The daemon compacts: what it says of the disk is what the disk says, and every point that is left answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon, environment

pytestmark = [pytest.mark.e2e]

ROWS = 4000
WIDTH = 64
BLOCK_BYTES = 4096


def usage(daemon: Daemon) -> int:
    """Bytes of all files below the one collection's directory, each in whole blocks."""
    [directory] = (daemon.data / "collections").iterdir()
    return sum(-(-path.stat().st_size // BLOCK_BYTES) * BLOCK_BYTES for path in directory.rglob("*") if path.is_file())


def compact(daemon: Daemon, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", "storage", "compact", *options],
        capture_output=True, text=True, check=True, env=environment({"HOLDFAST_ADDRESS": daemon.address}),
    )  # fmt: skip


def digest(daemon: Daemon) -> str:
    with holdfast.connect(daemon.address) as db:
        found: str = db.collections.stats("c")["digest"]
        return found


def test_half_of_a_collection_is_given_back(tmp_path: Path) -> None:
    vectors = np.random.default_rng(7).standard_normal((ROWS, WIDTH), np.float32)
    ids = [f"id-{number}" for number in range(ROWS)]
    daemon = Daemon(tmp_path).started()
    try:
        with holdfast.connect(daemon.address) as db:
            written = db.collections.create("c", WIDTH)
            written.upsert(ids, vectors, [{"number": number} for number in range(ROWS)])
        # A stop in order makes a checkpoint.
        assert daemon.stop() == 0
        daemon = Daemon(tmp_path).started()
        with holdfast.connect(daemon.address) as db:
            assert db.collection("c").delete(ids[::2]).count == ROWS // 2
        assert daemon.stop() == 0
        daemon = Daemon(tmp_path).started()
        before, expected = usage(daemon), digest(daemon)

        planned = json.loads(compact(daemon, "c", "--dry-run").stdout)
        assert (planned["before_size_bytes"], usage(daemon)) == (before, before)
        ended = compact(daemon, "c", "-v")
        done = json.loads(ended.stdout)

        assert done["rows_dropped"] == ROWS // 2
        assert (done["before_size_bytes"], done["after_size_bytes"]) == (before, usage(daemon))
        assert done["freed_bytes"] == before - usage(daemon) > ROWS // 2 * WIDTH * 4
        assert "compacting" in ended.stderr
        with holdfast.connect(daemon.address) as db:
            c = db.collection("c")
            assert c.count() == ROWS // 2
            assert [hit.id for hit in c.search(vectors[1], k=1)] == [ids[1]]
            assert [point.payload for point in c.get(ids[2:4])] == [{"number": 3}]
        assert digest(daemon) == expected
        daemon.kill()
        daemon = Daemon(tmp_path).started()
        assert digest(daemon) == expected
        assert json.loads(compact(daemon).stdout)["collections_compacted"] == []
        assert daemon.stop() == 0
    finally:
        daemon.kill()
