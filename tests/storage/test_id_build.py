"""The id index of a whole collection, built at once: the same as any index, whether it spills or not."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from holdfastd.storage.id_build import IndexBuilder
from holdfastd.storage.id_index import IdIndex, open_index
from holdfastd.storage.names import Layout
from tests.support.memfs import MemFileSystem

LAYOUT = Layout("/data")
COLLECTION = uuid.UUID(int=5)


def build(fs: MemFileSystem, batches: list[np.ndarray], spill_rows: int) -> IndexBuilder:
    builder = IndexBuilder(fs, LAYOUT, COLLECTION, spill_rows=spill_rows)
    for ordinal, hashes in enumerate(batches):
        half = len(hashes) // 2
        rows = np.arange(len(hashes), dtype=np.uint32)
        builder.add(hashes[:half], ordinal, rows[:half])
        builder.add(hashes[half:], ordinal, rows[half:])
    return builder


@pytest.mark.parametrize("spill_rows", [1, 100, 250, 10_000])
def test_every_row_is_found_and_nothing_else_is_left(spill_rows: int) -> None:
    fs = MemFileSystem()
    rng = np.random.default_rng(spill_rows)
    batches = [rng.integers(0, 2**64, size, np.uint64) for size in (300, 1, 120, 57)]
    run = build(fs, batches, spill_rows).finish()
    assert run is not None
    assert (run.entry.rows, run.entry.level) == (478, 0)
    index = open_index(fs, LAYOUT, COLLECTION, [run.entry])
    for ordinal, hashes in enumerate(batches):
        positions, ordinals, rows = index.lookup(hashes)
        assert positions.tolist() == list(range(len(hashes)))
        assert set(ordinals.tolist()) == {ordinal}
        assert rows.tolist() == list(range(len(hashes)))
    names = {path.rsplit("/", 1)[1] for path in run.files}
    assert set(fs.listdir(LAYOUT.ids_dir(COLLECTION))) == names


def test_no_rows_make_no_run() -> None:
    fs = MemFileSystem()
    assert IndexBuilder(fs, LAYOUT, COLLECTION).finish() is None
    assert not fs.exists(LAYOUT.ids_dir(COLLECTION))


def test_checkpoints_go_on_behind_it() -> None:
    fs = MemFileSystem()
    hashes = np.arange(10, dtype=np.uint64)
    run = build(fs, [hashes], 100).finish()
    assert run is not None
    index: IdIndex = open_index(fs, LAYOUT, COLLECTION, [run.entry])
    for ordinal in range(1, 20):
        rows = np.zeros(1, np.uint32)
        index, _ = index.with_run(fs, LAYOUT, COLLECTION, np.array([ordinal + 100], np.uint64), ordinal, rows)
    positions, ordinals, _ = index.lookup(np.array([3, 105, 119], np.uint64))
    assert dict(zip(positions.tolist(), ordinals.tolist(), strict=True)) == {0: 0, 1: 5, 2: 19}


@pytest.mark.parametrize(("rows", "level"), [(1, 0), (1 << 16, 0), ((1 << 16) + 8, 1), ((1 << 20) + 512, 2)])
def test_a_large_run_stands_where_checkpoints_would_have_brought_it(rows: int, level: int) -> None:
    fs = MemFileSystem(record=False)
    builder = IndexBuilder(fs, LAYOUT, COLLECTION)
    builder.add(np.arange(rows, dtype=np.uint64), 4, np.arange(rows, dtype=np.uint32))
    run = builder.finish()
    assert run is not None
    assert (run.entry.name, run.entry.level) == (f"run-{level:02d}-0000000004", level)
