"""The specification's commands, as it writes them, given to the real command line of a real daemon.

Each answer is held to the document that the specification shows for the command: its keys in their order, the types,
and every value that the command decides.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from tests.rpc.process import Daemon, environment
from tests.support import spec

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("spec")]

DOCUMENTS = spec.documents()
VECTORS = 100_000
"""As many as the specification's snapshots have."""
MEASURED = frozenset({"duration_ms", "size_bytes"})
SIZES = ("before_size_bytes", "after_size_bytes", "freed_bytes", "reduction_percent")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shop:
    """The daemon of the specification's examples, whose ``/backups``, ``/data`` and ``/work`` are in ``places``."""

    def __init__(self, daemon: Daemon, db: holdfast.Client, everything: str) -> None:
        self.daemon = daemon
        self.db = db
        self.everything = everything
        """A snapshot's file, with `products` as the specification has it."""
        self.places: dict[str, Path] = {}
        self.names: dict[str, str] = {}
        """What stands for a name of the specification's: an id of a snapshot cannot be chosen."""

    def run(self, line: str, stdin: str = "") -> Answer:
        """One command line, as somebody types it."""
        for name, real in self.names.items():
            line = line.replace(name, real)
        arguments = shlex.split(self._moved(line, into=True))
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments],
            input=stdin, capture_output=True, text=True, check=False, cwd=self.places["/work"],
            env=environment({"HOLDFAST_ADDRESS": self.daemon.address}),
        )  # fmt: skip
        return Answer(done.returncode, self._moved(done.stdout), self._moved(done.stderr))

    def _moved(self, text: str, *, into: bool = False) -> str:
        for shown, real in self.places.items():
            text = text.replace(shown, str(real)) if into else text.replace(str(real), shown)
        return text

    def path(self, shown: str) -> Path:
        """Where a file of the specification is."""
        return Path(self._moved(shown, into=True))

    def clear(self) -> None:
        """An empty store whose log has the defaults."""
        for row in self.db.collections.list():
            self.db.collections.delete(row.name)
        self.db.wal.enable(path=str(self.daemon.data / "wal"), sync_mode="fsync", segment_size="64MB", retention="24h")

    # What a command finds.

    def products(self) -> None:
        """`products` with as many vectors as in the specification."""
        self.db.snapshots.restore(self.everything)

    def three(self) -> None:
        """`products` with three vectors."""
        made = self.db.collections.create("products", 2)
        made.upsert(["a", "b", "c"], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [{"n": 1}, None, {"n": 3}])

    def half_dead(self) -> None:
        """`products`, with two of three vectors deleted since a snapshot, for whose increments they are kept."""
        self.three()
        self.db.snapshots.create("products")
        self.db.collection("products").delete(["a", "b"])

    def snapshot(self) -> None:
        """`products`, and a compressed snapshot of it in /backups/snapshots."""
        self.products()
        made = self.db.snapshots.create("products", path=str(self.path("/backups/snapshots")), compress=True)
        self.names["snap-2024-01-20-103045"] = made.snapshot_id

    def lost(self) -> None:
        """A snapshot of `products`, which is gone."""
        self.snapshot()
        self.db.collections.delete("products")

    def latest(self) -> None:
        """A snapshot under a name that somebody gave it, and a changed `products`."""
        self.snapshot()
        made = self.names["snap-2024-01-20-103045"]
        shutil.copy(self.path(f"/backups/snapshots/{made}.gz"), self.path("/backups/latest.snap"))
        self.db.collection("products").delete(["0"])

    def two_snapshots(self) -> None:
        """A second snapshot, incremental and with fewer vectors, is the older one."""
        older = self.db.collections.create("products", 2)
        self.db.snapshots.create("products", path=str(self.path("/backups/full")))
        older.upsert([str(number) for number in range(5000)], np.ones((5000, 2), np.float32))
        self.db.snapshots.create("products", path=str(self.path("/backups/snapshots")), compress=True, incremental=True)
        self.db.collections.delete("products")
        self.snapshot()

    def embeddings(self) -> None:
        """`embeddings`, a full snapshot of it, and since then two vectors written and one deleted."""
        self.clear()
        made = self.db.collections.create("embeddings", 2)
        made.upsert(["a", "b", "c"], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        self.db.snapshots.create("embeddings")
        made.upsert(["b", "d"], [[2.0, 0.0], [0.0, 2.0]])
        made.delete(["a"])

    def rolled_back(self) -> None:
        """`products` and `embeddings`, restored to before five operations."""
        self.three()
        self.db.collections.create("embeddings", 2).upsert(["a"], [[1.0, 0.0]])
        snapshot = self.db.snapshots.create().snapshot_id
        for number in range(3):
            self.db.collection("products").upsert([f"late-{number}"], [[1.0, number]])
        self.db.collection("products").delete(["a"])
        self.db.collection("embeddings").upsert(["b"], [[0.0, 1.0]])
        self.db.snapshots.restore(snapshot, overwrite=True)

    def alias(self) -> None:
        """`live` is `products`."""
        self.three()
        self.db.collections.create("embeddings", 2)
        self.db.collections.aliases.create("live", "products")

    def rows(self) -> None:
        """A file with three rows, and one in which the second is wrong."""
        self.db.collections.create("products", 2)
        good = [json.dumps({"id": id, "vector": [1, 2], "payload": {}}) for id in "abc"]
        self.path("/work/good.ndjson").write_text("\n".join(good))
        self.path("/work/bad.ndjson").write_text("\n".join([good[0], '{"id": "x", "vector": [1]}', good[2]]))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("d")
    daemon = Daemon(directory).started()
    try:
        with holdfast.connect(daemon.address) as db:
            products = db.collections.create("products", 2)
            vectors = np.random.default_rng(1).standard_normal((VECTORS, 2), np.float32)
            for start in range(0, VECTORS, 10_000):
                ids = [str(number) for number in range(start, start + 10_000)]
                products.upsert(ids, vectors[start : start + 10_000])
            everything = db.snapshots.create("products", path=str(directory / "kept")).path
            yield Shop(daemon, db, everything)
        assert daemon.stop() == 0
    finally:
        daemon.kill()


@pytest.fixture
def shop(running: Shop, tmp_path: Path) -> Shop:
    running.places = {shown: tmp_path / shown[1:] for shown in ("/backups", "/data", "/work")}
    running.names = {}
    for place in running.places.values():
        place.mkdir()
    running.clear()
    return running


@dataclass(frozen=True, slots=True)
class Example:
    """A command, what it finds, and the document that it answers with.

    ``free``: what only the data decides. ``values``: what the command decides otherwise than in the document.
    """

    line: str
    document: str
    given: Callable[[Shop], None] = Shop.three
    free: frozenset[str] = frozenset()
    values: Mapping[str, object] = field(default_factory=dict)
    code: int = 0


def free(*paths: str) -> frozenset[str]:
    return MEASURED | set(paths)


EXAMPLES = [
    Example(
        "/storage snapshot create products --path /backups/snapshots --compress",
        "snapshot create", Shop.products, MEASURED,
    ),
    Example(
        "/storage snapshot create products --path /backups/snapshots",
        "snapshot create", Shop.products, MEASURED,
        {"compressed": False, "path": "/backups/snapshots/snap-2024-01-20-103045.snap"},
    ),
    Example("/storage snapshot create --compress", "snapshot create", Shop.products, free("path")),
    Example(
        "/storage snapshot create embeddings --incremental --compress",
        "snapshot create, incremental", Shop.embeddings, free("path", "base_sequence"),
    ),
    Example(
        "/storage snapshot create --compress --path /backups/daily",
        "snapshot create", Shop.products, MEASURED, {"path": "/backups/daily/snap-2024-01-20-103045.gz"},
    ),
    Example(
        "/storage snapshot restore /backups/snapshots/snap-2024-01-20-103045.gz",
        "snapshot restore", Shop.lost, MEASURED,
    ),
    Example(
        "/storage snapshot restore snap-2024-01-20-103045 --collection products-restored",
        "snapshot restore", Shop.snapshot, MEASURED, {"collections_restored": ["products-restored"]},
    ),
    Example("/storage snapshot restore /backups/latest.snap --overwrite --verify", "snapshot restore", Shop.latest,
            MEASURED),
    Example(
        "/storage snapshot restore /backups/snapshots/snap-2024-01-20-103045.gz --verify",
        "snapshot restore", Shop.lost, MEASURED,
    ),
    Example("/storage snapshot list --path /backups/snapshots", "snapshot list", Shop.two_snapshots, MEASURED),
    Example("/storage wal enable --path /data/wal --sync-mode fsync", "wal enable"),
    Example("/storage wal enable", "wal enable", free=free("path")),
    Example(
        "/storage wal enable --segment-size 134217728 --retention 48h",
        "wal enable", free=free("path"), values={"segment_size_bytes": 134217728, "retention": "48h"},
    ),
    Example("/storage wal enable --retention 168h", "wal enable", free=free("path"), values={"retention": "168h"}),
    Example("/storage wal enable --sync-mode periodic --flush-interval 5s", "wal enable", free=free("path"),
            values={"sync_mode": "periodic"}),
    *(
        Example(line, "wal replay", Shop.rolled_back, free("operations_skipped"),
                {"segments_replayed": 1, "operations_replayed": 5, "collections_affected": ["embeddings", "products"]})
        for line in ("/storage wal replay", "/storage wal replay --verify",
                     '/storage wal replay --from "2024-01-20T02:00:00Z"')
    ),
    Example(
        '/storage wal replay --from "2024-01-20T10:00:00Z" --to "2024-01-20T11:00:00Z"',
        "wal replay", Shop.rolled_back, free("operations_skipped", "segments_replayed"),
        {"operations_replayed": 0, "collections_affected": []},
    ),
    Example("/collection create products -d 384 --on-disk", "collection create", Shop.clear),
    Example("/collection create products -d 384 --storage memory", "collection create", Shop.clear,
            values={"storage": "memory"}),
    Example("/collection create products -d 384 --storage hybrid --hot-tier-size 10GB", "collection create",
            Shop.clear, values={"storage": "hybrid"}),
    Example("/collection create products -d 384 --metric dot", "collection create", Shop.clear,
            values={"metric": "dot"}),
    Example("/collection delete products --confirm", "collection delete"),
    Example("/collection delete products --confirm --keep-snapshots", "collection delete"),
    Example("/collection list", "collection list", free=MEASURED),
    Example("/collection info products", "collection info"),
    Example("/collection stats products", "collection stats",
            free=free("sequence", "segments", "indexes", "cold_bytes", "avg_insert_time_ms", "avg_search_time_ms",
                      "qps")),
    *(
        Example(line, "compact", given, free(*SIZES), values)
        for line, given, values in (
            ("/storage compact products", Shop.half_dead, {}),
            ("/storage compact --aggressive", Shop.half_dead, {}),
            ("/storage compact embeddings --threshold 30", Shop.rolled_back, {"collections_compacted": []}),
        )
    ),
    *(
        # What a line leaves out is what the lines before it have left.
        Example(line, "mmap", free=free("total_mapped_bytes", "resident_bytes", *kept), values=values)
        for line, kept, values in (
            ("/storage mmap --enable --advise random", ["populate"], {"advise_mode": "random"}),
            ("/storage mmap --enable --advise sequential", ["populate"], {}),
            ("/storage mmap --enable --populate", ["advise_mode"], {"populate": True}),
            ("/storage mmap --disable", ["advise_mode", "populate"], {"mmap_enabled": False}),
            ("/storage mmap --enable --advise sequential --no-populate --collection products", [], {}),
        )
    ),
    Example("/collection alias create live -c products", "alias create"),
    Example("/collection alias switch live -c embeddings", "alias switch", Shop.alias),
    Example("/collection alias delete live", "alias delete", Shop.alias),
    Example("/collection alias list", "alias list", Shop.alias),
    Example('/vector insert products --vector "[0.1,0.2]" --id x --payload \'{"n": 1}\'', "vector insert",
            free=frozenset({"sequence"})),
    Example('/vector insert products -v "[0.1,0.2]"', "vector insert", free=frozenset({"sequence", "id"})),
    Example("/vector insert-batch products --file /work/good.ndjson", "vector insert-batch", Shop.rows, MEASURED),
    Example("/vector insert-batch products -f /work/good.ndjson --format ndjson --batch-size 2", "vector insert-batch",
            Shop.rows, MEASURED),
    Example("/vector insert-batch products -f /work/bad.ndjson --on-error skip", "vector insert-batch, rows left out",
            Shop.rows, free("error"), code=3),
    Example("/vector get products --id a", "vector get"),
    Example("/vector get products --id a,b --no-include-vector", "vector get, several"),
    Example("/vector update products --id a --vector [2,2]", "vector update"),
    Example("/vector update products --id a --payload '{\"s\": 1}' --merge", "vector update"),
    Example("/vector delete products --id a,b", "vector delete"),
    Example("/vector delete products --filter 'n >= 1'", "vector delete"),
    Example("/vector delete products --all --confirm", "vector delete", values={"deleted": 3}),
    Example("/vector search products -q [1,0] --k 1", "vector search", free=MEASURED),
    Example("/vector search products --query [1,0] --k 3 --filter 'n = 1' --threshold 0.9 --exact", "vector search",
            free=MEASURED),
    Example("/vector scroll products --limit 1", "vector scroll"),
    Example("/vector scroll products --limit 1 --order timestamp", "vector scroll"),
    Example("/vector count products", "vector count"),
    Example("/vector count products --filter 'n = 3'", "vector count", values={"count": 1}),
    Example("/vector export products --file /work/products.ndjson", "vector export", free=MEASURED),
]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.line for example in EXAMPLES])
def test_a_command_of_the_specification(shop: Shop, example: Example) -> None:
    example.given(shop)
    answer = shop.run(example.line)
    assert answer.code == example.code, answer.err
    expected = DOCUMENTS[example.document] | example.values
    assert list(spec.differences(answer.json, expected, example.free)) == []


def test_every_document_of_what_is_built_has_an_example() -> None:
    assert {example.document for example in EXAMPLES} == DOCUMENTS.keys()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A daemon for one test alone, which may stop it."""
    directory = tmp_path_factory.mktemp("own")
    daemon = Daemon(directory).started()
    with holdfast.connect(daemon.address) as db:
        shop = Shop(daemon, db, "")
        shop.places = {shown: directory / shown[1:] for shown in ("/backups", "/data", "/work")}
        (directory / "work").mkdir()
        try:
            yield shop
        finally:
            shop.daemon.kill()


def back_up(shop: Shop, schedule: str) -> Any:
    """What cron does: the line behind its five fields."""
    answer = shop.run(spec.CRON[schedule].split(maxsplit=5)[5])
    assert answer.code == 0, answer.err
    assert answer.json["path"] == f"/backups/{schedule}/{answer.json['snapshot_id']}.gz"
    return answer.json


def test_the_backup_strategy_of_the_specification(own: Shop) -> None:
    """Each hour names the newest of the others as its base; its restore finds it, with and without the registry."""
    vectors = own.db.collections.create("embeddings", 2)
    vectors.upsert([str(number) for number in range(100)], np.ones((100, 2), np.float32))
    daily = back_up(own, "daily")
    vectors.upsert(["0"], [[2.0, 0.0]])
    first = back_up(own, "hourly")
    assert (first["type"], first["base_id"], first["vectors"]) == ("incremental", daily["snapshot_id"], 1)
    vectors.upsert(["100"], [[3.0, 0.0]])
    weekly = back_up(own, "weekly")
    vectors.upsert(["1", "101"], [[4.0, 0.0], [5.0, 0.0]])
    vectors.delete(["2"])
    second = back_up(own, "hourly")
    third = back_up(own, "hourly")
    assert (second["base_id"], second["vectors"], second["deleted"]) == (weekly["snapshot_id"], 2, 1)
    assert (third["base_id"], third["vectors"], third["deleted"]) == (second["snapshot_id"], 0, 0)
    digest = vectors.stats().digest

    def restores(snapshot: str) -> None:
        answer = own.run(f"/storage snapshot restore {snapshot} --collection copy --overwrite --verify -v")
        assert answer.code == 0, answer.err
        assert answer.json["chain"] == [made["snapshot_id"] for made in (weekly, second, third)]
        assert own.db.collection("copy").stats().digest == digest

    restores("latest")
    assert own.daemon.stop() == 0
    (own.daemon.data / "REGISTRY.json").unlink()
    own.daemon = Daemon(own.daemon.data.parent).started()
    assert own.run("/storage snapshot list").json["total"] == 0
    restores(third["path"])
    for schedule, count in (("daily", 1), ("weekly", 1), ("hourly", 3)):
        assert own.run(f"/storage snapshot list --path /backups/{schedule}").json["total"] == count
    restores(third["snapshot_id"])
    refused = own.run(f"/storage snapshot delete {weekly['snapshot_id']}")
    assert (refused.code, f"is the base of {second['snapshot_id']}" in refused.err) == (6, True)


def test_a_replay_names_another_log_directory(shop: Shop) -> None:
    """``/storage wal replay --path /data/wal --verify``"""
    shop.run("/storage wal enable --path /data/wal --sync-mode fsync")
    shop.rolled_back()
    answer = shop.run("/storage wal replay --path /data/wal --verify")
    assert answer.code == 0, answer.err
    assert answer.json["operations_replayed"] == 5


def test_a_replay_that_is_repeated_changes_nothing(shop: Shop) -> None:
    shop.rolled_back()
    assert shop.run("/storage wal replay --verify").json["operations_replayed"] == 5
    digest = shop.run("/collection stats products").json["digest"]
    again = shop.run("/storage wal replay").json
    assert (again["operations_replayed"], again["collections_affected"]) == (0, [])
    assert shop.run("/collection stats products").json["digest"] == digest


def test_lists_are_filtered_by_collection(shop: Shop) -> None:
    """``/storage snapshot list [--collection products]``"""
    shop.snapshot()
    everything = shop.run("/storage snapshot list").json
    assert everything["total"] == len(everything["snapshots"]) > 0
    assert shop.names["snap-2024-01-20-103045"] == everything["snapshots"][0]["id"]
    assert shop.run("/storage snapshot list --collection products").json["total"] > 0
    assert shop.run("/storage snapshot list --collection nobody").json == {"snapshots": [], "total": 0}


def test_disaster_recovery_as_the_specification_tells_it(shop: Shop) -> None:
    """Restore, replay since then, look at the statistics: the digest is that of what was lost."""
    shop.snapshot()
    shop.db.collection("products").upsert(["after-the-snapshot"], [[1.0, 2.0]])
    lost = shop.run("/collection stats products").json
    steps = [
        "/storage snapshot restore /backups/snapshots/snap-2024-01-20-103045.gz --verify --overwrite",
        '/storage wal replay --from "2024-01-20T02:00:00Z"',
        "/collection stats products",
    ]
    answers = [shop.run(step) for step in steps]
    assert [answer.code for answer in answers] == [0, 0, 0], [answer.err for answer in answers]
    recovered = answers[-1].json
    assert recovered["digest"] == lost["digest"]
    assert recovered["vectors"] == lost["vectors"] == VECTORS + 1


@pytest.mark.parametrize("command", ["create --help", "restore --help", "list -h"])
def test_help_is_a_common_option(shop: Shop, command: str) -> None:
    answer = shop.run(f"/storage snapshot {command}")
    assert (answer.code, answer.err) == (0, "")
    assert "--format" in answer.out
    assert "--verbose" in answer.out


def test_a_table_and_progress_are_common_options(shop: Shop) -> None:
    shop.three()
    answer = shop.run("/storage snapshot create -v --format table")
    assert answer.code == 0, answer.err
    assert "completed" in answer.out
    assert answer.err != "", "progress is shown on stderr"


def test_a_prompt_takes_the_same_lines(shop: Shop) -> None:
    shop.three()
    answer = shop.run("", stdin="/vector count products\n/storage snapshot create products --compress\n")
    assert answer.code == 0, answer.err
    assert '"count": 3' in answer.out
    assert '"compressed": true' in answer.out
