"""What an upsert costs does not grow with the collection (RULES 22): file operations, probes and bytes are counted."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from holdfastd.storage.id_index import FANOUT
from holdfastd.storage.id_run import Run
from tests.support.engines import CALLER, ROOT, Kit

CHECKPOINTS = 3 * FANOUT**2 + 2 * FANOUT + 5
ROWS = 4


class Ingest:
    """A store that takes ``ROWS`` new points and a checkpoint at a time, and what each turn did."""

    def __init__(self) -> None:
        self.kit = Kit(segment_size=1 << 20)
        self.kit.create()
        self.made: list[list[tuple[str, str]]] = []

    def turn(self) -> None:
        number = len(self.made)
        done: list[tuple[str, str]] = []
        self.kit.upsert(ids_of(number))
        self.kit.fs.on_operation = lambda kind, path: done.append((kind, path))
        self.kit.engine.checkpoint()
        self.kit.fs.on_operation = None
        self.made.append(done)

    @property
    def runs(self) -> tuple[Run, ...]:
        return self.kit.engine._applier.catalog.resolve("c").index.runs

    def created(self, turn: int, ending: str) -> list[str]:
        return [path for kind, path in self.made[turn] if kind == "create" and path.endswith(ending)]


def ids_of(turn: int) -> list[str]:
    return [f"{turn}-{row}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def ingest() -> Ingest:
    ingest = Ingest()
    most = 0
    for number in range(1, CHECKPOINTS + 1):
        ingest.turn()
        # As many runs as the digits of the number of checkpoints add up to, in base FANOUT.
        assert len(ingest.runs) == sum(digits(number))
        most = max(most, len(ingest.runs))
    assert most <= (FANOUT - 1) * len(digits(CHECKPOINTS))
    return ingest


def digits(number: int) -> list[int]:
    return [number] if number < FANOUT else [*digits(number // FANOUT), number % FANOUT]


def test_no_vector_is_merged_in_bulk_ingest(ingest: Ingest) -> None:
    """Each checkpoint writes the vectors of its own rows into one new segment; nobody touches those before."""
    folders = set()
    for turn in range(CHECKPOINTS):
        (vectors,) = ingest.created(turn, "/vectors.npy")
        folders.add(vectors.rpartition("/")[0])
    assert len(folders) == CHECKPOINTS
    sizes = [segment.rows_count for segment in ingest.kit.engine._applier.catalog.resolve("c").segments]
    assert sizes == [ROWS] * CHECKPOINTS
    touched = Counter(path for turn in ingest.made for kind, path in turn if path.endswith("/vectors.npy"))
    assert max(touched.values()) == min(touched.values()), "a file of vectors was touched again later"


def test_the_number_of_runs_stays_logarithmic_while_every_id_is_found(ingest: Ingest) -> None:
    assert [run.entry.level for run in ingest.runs] == sorted(run.entry.level for run in ingest.runs)
    assert sum(run.rows_count for run in ingest.runs) == CHECKPOINTS * ROWS
    every = [id for turn in range(CHECKPOINTS) for id in ids_of(turn)]
    assert [record.id for record in ingest.kit.engine.points.get("c", every)] == every
    assert ingest.kit.engine.points.get("c", [f"{id}-unknown" for id in every[:50]]) == []


def test_each_row_of_the_index_is_rewritten_a_logarithmic_number_of_times(ingest: Ingest) -> None:
    """Each row's entry is written once per level that it has risen to, never once per checkpoint."""
    levels = [
        int(path.rpartition("/run-")[2][:2])
        for turn in range(CHECKPOINTS)
        for path in ingest.created(turn, "-rows.npy")
    ]
    rows_written = sum(ROWS * FANOUT**level for level in levels)
    assert rows_written <= len(digits(CHECKPOINTS)) * CHECKPOINTS * ROWS


def test_a_checkpoint_does_as_much_at_the_end_as_at_the_beginning(ingest: Ingest) -> None:
    """Compared are checkpoints that merge no runs: those behind a multiple of the fan-out, one early and one late."""
    early, late = (work(ingest.made[turn]) for turn in (2 * FANOUT, CHECKPOINTS - 5))
    assert early == late


def work(operations: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Operations by kind and file name, without what differs by number or is drawn at random."""
    names = ((kind, path.removeprefix(ROOT).rpartition("/")[2]) for kind, path in operations)
    return Counter((kind, name.rpartition("-")[2] if "." in name else "a directory") for kind, name in names)


def test_an_upsert_asks_the_files_for_as_much_as_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of new ids and of ids in old segments: one write, one sync, and at most one search per run."""
    ingest = Ingest()
    ingest.turn()
    first = cost_of(ingest, monkeypatch, ids_of(0))
    for _ in range(FANOUT**2 - 1):
        ingest.turn()
    assert len(ingest.runs) == 1
    assert cost_of(ingest, monkeypatch, ids_of(0)) == first
    assert cost_of(ingest, monkeypatch, ["new-1", "new-2"]) == first
    for _ in range(FANOUT + 3):
        ingest.turn()
    operations, searches = cost_of(ingest, monkeypatch, ids_of(1))
    assert operations == first[0]
    assert searches == len(ingest.runs) == 1 + 1 + 3


def cost_of(ingest: Ingest, monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> tuple[Counter[str], int]:
    """File operations by kind, and searches in runs, of one upsert."""
    operations: Counter[str] = Counter()
    searches = 0
    find: Callable[..., object] = Run.find

    def counted(run: Run, hashes: object) -> object:
        nonlocal searches
        searches += 1
        return find(run, hashes)

    ingest.kit.fs.on_operation = lambda kind, path: operations.update([kind])
    with monkeypatch.context() as patched:
        patched.setattr(Run, "find", counted)
        ingest.kit.upsert(ids)
    ingest.kit.fs.on_operation = None
    return operations, searches


def test_a_batch_is_let_go_with_its_memtable_and_needs_no_collector() -> None:
    kit = Kit()
    kit.create()
    count = 200
    vectors = np.ones((count, 2), np.float32)
    vectors.flags.writeable = False
    watched = weakref.ref(vectors)
    gc.collect()
    gc.disable()
    try:
        points = kit.engine.points
        points.commit(points.prepare_upsert("c", [f"id-{n}" for n in range(count)], vectors, b"", caller=CALLER))
        del vectors
        assert watched() is not None, "it was to be kept as it came"
        kit.engine.checkpoint()
        assert watched() is None
    finally:
        gc.enable()


def test_opening_sealed_rows_takes_no_step_and_no_read_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    opened_with(10, monkeypatch)  # what a process does once, is done
    few, many = opened_with(10, monkeypatch), opened_with(5_000, monkeypatch)
    assert many.reads == few.reads
    assert many.bytes - few.bytes < 200, "only numbers in documents get longer"
    assert abs(many.calls - few.calls) <= few.calls // 50


class Opening:
    """What a start on sealed rows did: files read, bytes of them, and calls of functions, of C included."""

    def __init__(self) -> None:
        self.reads = self.bytes = self.calls = 0


def opened_with(rows: int, monkeypatch: pytest.MonkeyPatch) -> Opening:
    # Behind few rows and behind many, the rest of a WAL segment of this size is read in as many pieces.
    kit = Kit(segment_size=15 << 20)
    kit.create()
    kit.upsert([f"{row:06d}" for row in range(rows)])
    kit.engine.checkpoint()
    kit.engine.stop()
    kit.fs.locked.clear()
    done, read = Opening(), kit.fs.read

    def counted(path: str, offset: int = 0, length: int | None = None) -> bytes:
        data = read(path, offset, length)
        done.reads += 1
        done.bytes += len(data)
        return data

    def called(_frame: object, event: str, _argument: object) -> None:
        done.calls += event in ("call", "c_call")

    monkeypatch.setattr(kit.fs, "read", counted)
    gc.collect()
    sys.setprofile(called)
    try:
        again = Kit(kit.fs)
    finally:
        sys.setprofile(None)
    assert again.engine._applier.catalog.resolve("c").count == rows
    return done
