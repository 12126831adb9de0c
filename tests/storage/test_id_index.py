"""The id index finds every place of every id, through merges, failures and power cuts."""

from __future__ import annotations

import errno
import itertools
import random
import uuid
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.errors import Corruption, UnsupportedFormat
from holdfastd.format.document import encode_document
from holdfastd.format.run import RUN_VERSION
from holdfastd.format.segment import RUN_ROW_DTYPE
from holdfastd.model import Uint64Array
from holdfastd.storage.bulk import unpaced
from holdfastd.storage.files import FileSystem, make_dirs
from holdfastd.storage.id_index import FANOUT, SORT_FROM, IdIndex, open_index
from holdfastd.storage.id_merge import Source, write_run
from holdfastd.storage.id_run import FEW, Run, RunEntry, fence_bits, open_run
from holdfastd.storage.names import Layout
from holdfastd.storage.osfiles import OsFileSystem
from tests.support.memfs import MemFileSystem

COLLECTION = uuid.UUID(int=1)
LAYOUT = Layout("/data")
Place = tuple[int, int]


def fresh() -> MemFileSystem:
    fs = MemFileSystem()
    make_dirs(fs, "/data")
    return fs


def hashes_of(*numbers: int) -> Uint64Array:
    return np.array(numbers, np.uint64)


def uniform(count: int, seed: int) -> Uint64Array:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


def all_rows(hashes: Uint64Array) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.arange(len(hashes), dtype=np.uint32)


def added(fs: FileSystem, index: IdIndex, ordinal: int, hashes: Uint64Array) -> IdIndex:
    """One more segment; obsolete files go at once."""
    index, obsolete = index.with_run(fs, LAYOUT, COLLECTION, hashes, ordinal, all_rows(hashes))
    for path in obsolete:
        fs.unlink(path)
    return index


def found(index: IdIndex, queries: Uint64Array) -> list[list[Place]]:
    """Per query its candidates, in the order in which they came."""
    out: list[list[Place]] = [[] for _ in queries]
    for position, ordinal, row in zip(*(column.tolist() for column in index.lookup(queries)), strict=True):
        out[position].append((ordinal, row))
    return out


class Model:
    def __init__(self) -> None:
        self.places: dict[int, set[Place]] = defaultdict(set)

    def add(self, ordinal: int, hashes: Uint64Array) -> None:
        for row, value in enumerate(hashes.tolist()):
            self.places[value].add((ordinal, row))

    def agrees(self, index: IdIndex, queries: Uint64Array) -> bool:
        return all(
            set(places) == self.places.get(value, set()) and len(places) == len(set(places))
            for value, places in zip(queries.tolist(), found(index, queries), strict=True)
        )


def test_an_empty_index_finds_nothing() -> None:
    positions, ordinals, rows = IdIndex().lookup(hashes_of(1, 2))
    assert (len(positions), len(ordinals), len(rows)) == (0, 0, 0)
    assert IdIndex().entries == ()


@pytest.mark.parametrize("count", [1, 2, FEW, FEW + 1, 100, SORT_FROM - 1, SORT_FROM, 5000])
def test_any_number_of_queries_finds_all_places(count: int) -> None:
    fs, index, model = fresh(), IdIndex(), Model()
    for ordinal, size in enumerate((1, 2, 3, 1000, 40, 1)):
        hashes = uniform(size, ordinal)
        index = added(fs, index, ordinal, hashes)
        model.add(ordinal, hashes)
    known = np.array(list(model.places), np.uint64)
    rng = np.random.default_rng(5)
    for _ in range(5):
        queries = np.where(rng.random(count) < 0.5, rng.choice(known, count), rng.integers(0, 2**64, count, np.uint64))
        assert model.agrees(index, queries)
        assert model.agrees(index, queries + np.uint64(1))


EDGES = [0, 1, 2, 2**32, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(EDGES) | st.integers(0, 2**64 - 1), max_size=60), max_size=2 * FANOUT),
    st.lists(st.sampled_from(EDGES), min_size=1, max_size=40),
)
def test_equal_hashes_and_edges_agree_with_a_model(segments: list[list[int]], extra: list[int]) -> None:
    fs, index, model = fresh(), IdIndex(), Model()
    for ordinal, values in enumerate(segments):
        index = added(fs, index, ordinal, hashes_of(*values))
        model.add(ordinal, hashes_of(*values))
    for queries in ([*model.places, *extra], extra[:1], extra * 40):
        assert model.agrees(index, hashes_of(*queries))


def test_skewed_hashes_are_found_as_well() -> None:
    fs, model = fresh(), Model()
    hashes = np.concatenate([np.arange(5000, dtype=np.uint64), np.full(300, 2**64 - 1, np.uint64), uniform(10, 1)])
    index = added(fs, IdIndex(), 0, hashes)
    model.add(0, hashes)
    assert model.agrees(index, np.unique(hashes))
    assert model.agrees(index, np.arange(4990, 5100, dtype=np.uint64))


def test_newer_candidates_come_first() -> None:
    fs, index = fresh(), IdIndex()
    for ordinal in range(2 * FANOUT + 3):
        index = added(fs, index, ordinal, hashes_of(7, 7))
    ordinals = [ordinal for ordinal, _ in found(index, hashes_of(7))[0]]
    assert ordinals == sorted(ordinals, reverse=True)
    assert len(ordinals) == 2 * (2 * FANOUT + 3)


def test_a_run_of_everything_never_takes_a_name_that_was_given_before() -> None:
    """Files of such a name may still wait to be removed, while a manifest that is older names them."""
    fs = fresh()
    index, given = IdIndex(), set[str]()
    for ordinal in range(2):
        index = added(fs, index, ordinal, hashes_of(ordinal, 7))
        given |= {run.entry.name for run in index.runs}
        for _ in range(3):
            index, _ = index.as_one_run(fs, LAYOUT, COLLECTION, range(ordinal + 1))
            (run,) = index.runs
            assert run.entry.name not in given
            given.add(run.entry.name)


def test_full_levels_become_one_run_of_the_next() -> None:
    fs, index, model = fresh(), IdIndex(), Model()
    for ordinal in range(FANOUT**2 + FANOUT + 1):
        hashes = uniform(3, ordinal)
        index = added(fs, index, ordinal, hashes)
        model.add(ordinal, hashes)
        levels = [run.entry.level for run in index.runs]
        assert levels == sorted(levels)
        assert all(levels.count(level) < FANOUT for level in levels)
        assert sum(entry.rows for entry in index.entries) == 3 * (ordinal + 1)
    assert levels == [0, 1, 2]
    assert model.agrees(index, np.array(list(model.places), np.uint64))
    assert len(fs.listdir(LAYOUT.ids_dir(COLLECTION))) == 4 * 3


def test_an_index_is_immutable_and_opens_as_it_was(tmp_path: Path) -> None:
    fs, layout = OsFileSystem(), Layout(str(tmp_path))
    first = second = IdIndex()
    for ordinal in range(FANOUT):
        hashes = uniform(500, ordinal)
        first, (second, obsolete) = second, second.with_run(fs, layout, COLLECTION, hashes, ordinal, all_rows(hashes))
    assert (len(first.runs), len(second.runs), len(obsolete)) == (FANOUT - 1, 1, 4 * (FANOUT - 1))
    queries = np.concatenate([uniform(20, 3), uniform(20, FANOUT - 1), uniform(20, 99)])
    assert [bool(places) for places in found(first, queries)] == [True] * 20 + [False] * 40
    assert [bool(places) for places in found(second, queries)] == [True] * 40 + [False] * 20
    again = open_index(fs, layout, COLLECTION, second.entries)
    assert again.entries == second.entries
    assert found(again, queries) == found(second, queries)
    for path in obsolete:
        fs.unlink(path)
    assert [bool(places) for places in found(first, queries)] == [True] * 20 + [False] * 40
    again.verify()
    assert all(run.opened.residence().mapped == run.size_bytes for run in again.runs)


def test_a_merge_leaves_out_segments_that_are_gone() -> None:
    fs, index = fresh(), IdIndex()
    for ordinal in range(FANOUT - 1):
        index = added(fs, index, ordinal, hashes_of(ordinal, 100))
    merged, _ = index.with_run(
        fs, LAYOUT, COLLECTION, hashes_of(50), FANOUT - 1, all_rows(hashes_of(50)), live_ordinals=[2, 5]
    )
    assert [entry.rows for entry in merged.entries] == [5]
    assert found(merged, hashes_of(100, 2, 3, 50)) == [[(5, 1), (2, 1)], [(2, 0)], [], [(FANOUT - 1, 0)]]


@pytest.mark.parametrize("block_rows", [1, 7, 64, 1000, 10**6])
def test_a_merge_in_blocks_equals_one_sort(block_rows: int) -> None:
    fs = fresh()
    make_dirs(fs, LAYOUT.ids_dir(COLLECTION))
    sources = []
    for ordinal in range(5):
        hashes = np.sort(np.concatenate([uniform(200, ordinal), np.full(30, 2**40, np.uint64), hashes_of(2**64 - 1)]))
        places = np.zeros(len(hashes), RUN_ROW_DTYPE)
        places["segment"], places["row"] = ordinal, range(len(hashes))
        sources.append(Source(hashes, places))
    files = LAYOUT.run_files(COLLECTION, "run")
    info = write_run(fs, files, sources, None, unpaced, block_rows)
    run = Run(fs, files, RunEntry("run", 1, info.rows), info)
    hashes = np.concatenate([source.hashes for source in sources])
    order = np.argsort(hashes, kind="stable")
    assert np.array_equal(run.hashes[:], hashes[order])
    assert np.array_equal(run.places[:], np.concatenate([source.places for source in sources])[order])
    run.verify(unpaced)
    position, at = run.find(np.unique(hashes))
    assert sorted(at.tolist()) == list(range(len(hashes)))
    assert np.array_equal(np.unique(hashes)[position], run.hashes[at])


def test_a_merge_never_holds_more_than_a_block() -> None:
    from holdfastd.storage import id_merge

    sources = [Source(np.sort(uniform(10_000, seed)), np.zeros(10_000, RUN_ROW_DTYPE)) for seed in range(8)]
    sizes = [len(block.hashes) for block in id_merge._blocks(sources, None, 4096)]
    assert sum(sizes) == 80_000
    assert max(sizes) <= 4096
    assert len(sizes) < 60


@pytest.mark.parametrize(
    ("rows", "bits"), [(0, 1), (1, 1), (8, 1), (9, 2), (16, 2), (17, 3), (1_000_000, 18), (2**32 - 1, 30)]
)
def test_two_to_four_rows_share_a_fence(rows: int, bits: int) -> None:
    assert fence_bits(rows) == bits


def test_a_segment_is_added_once() -> None:
    fs = fresh()
    index = added(fs, IdIndex(), 3, hashes_of(1))
    with pytest.raises(ValueError, match="already"):
        added(fs, index, 3, hashes_of(2))


def test_every_failure_while_adding_leaves_the_index_as_it_was() -> None:
    def prepared() -> tuple[MemFileSystem, IdIndex]:
        fs, index = fresh(), IdIndex()
        for ordinal in range(FANOUT - 1):
            index = added(fs, index, ordinal, uniform(20, ordinal))
        return fs, index

    fs, index = prepared()
    before = fs.ops
    added(fs, index, FANOUT - 1, uniform(20, FANOUT))
    steps = fs.ops - before - 4 * (FANOUT - 1)
    for step in range(steps):
        fs, index = prepared()
        names = fs.listdir(LAYOUT.ids_dir(COLLECTION))
        fs.fail_at(fs.ops + step, errno.ENOSPC)
        with pytest.raises(OSError, match="injected"):
            added(fs, index, FANOUT - 1, uniform(20, FANOUT))
        if step < steps - 1:  # the last step is the sync of the directory: the files stand, and are replaced next time
            assert fs.listdir(LAYOUT.ids_dir(COLLECTION)) == names
        open_index(fs, LAYOUT, COLLECTION, index.entries).verify()
        index = added(fs, index, FANOUT - 1, uniform(20, FANOUT))
        assert all(found(index, uniform(20, FANOUT)))


@pytest.mark.parametrize("model", ["prefix", "subset"])
def test_an_added_run_is_durable_and_so_are_those_before(model: str) -> None:
    fs, index = fresh(), IdIndex()
    for ordinal in range(FANOUT + 2):
        hashes = uniform(30, ordinal)
        before = index
        index, obsolete = index.with_run(fs, LAYOUT, COLLECTION, hashes, ordinal, all_rows(hashes))
        for seed in range(5):
            after = fs.crash(random.Random(seed), "prefix" if model == "prefix" else "subset")
            for entries in (before.entries, index.entries):
                open_index(after, LAYOUT, COLLECTION, entries).verify()
        for path in obsolete:
            fs.unlink(path)


def test_every_flipped_bit_is_found() -> None:
    fs = fresh()
    index = added(fs, IdIndex(), 0, uniform(9, 1))
    for path in index.runs[0].files:
        data = fs.read(path)
        for at in range(len(data)):
            fs.damage(path, at, bytes([data[at] ^ (1 << at % 8)]))
            with pytest.raises(Corruption) as caught:
                open_index(fs, LAYOUT, COLLECTION, index.entries).verify()
            assert caught.value.path == path
            fs.damage(path, at, data[at : at + 1])
    open_index(fs, LAYOUT, COLLECTION, index.entries).verify()


def test_a_run_that_is_not_whole_is_not_opened() -> None:
    fs = fresh()
    entry = added(fs, IdIndex(), 0, uniform(9, 1)).entries[0]
    for path in LAYOUT.run_files(COLLECTION, entry.name):
        data = fs.read(path)
        fs.open(path).truncate(len(data) - 1)
        with pytest.raises(Corruption):
            open_run(fs, LAYOUT, COLLECTION, entry)
        fs.unlink(path)
        with pytest.raises(Corruption, match="missing"):
            open_run(fs, LAYOUT, COLLECTION, entry)
        fs.create(path).pwrite([data], 0)
    with pytest.raises(Corruption, match="the manifest 8"):
        open_run(fs, LAYOUT, COLLECTION, replace(entry, rows=8))


def test_a_newer_run_is_no_corruption() -> None:
    fs = fresh()
    index = added(fs, IdIndex(), 0, uniform(9, 1))
    run = index.runs[0]
    fs.unlink(run.files.info)
    newer = encode_document("run", replace(run.info, format_version=RUN_VERSION + 1))
    fs.create(run.files.info).pwrite([newer], 0)
    with pytest.raises(UnsupportedFormat) as caught:
        open_index(fs, LAYOUT, COLLECTION, index.entries)
    assert caught.value.metadata["path"] == run.files.info


def test_random_checkpoints_and_reopenings_agree_with_a_model() -> None:
    rng = random.Random(2)
    fs, index, model = fresh(), IdIndex(), Model()
    for ordinal in itertools.count():
        hashes = uniform(rng.choice((0, 1, 5, 300)), ordinal)
        if model.places and rng.random() < 0.5:
            hashes = np.concatenate([hashes, hashes_of(*rng.sample(list(model.places), min(5, len(model.places))))])
        index = added(fs, index, ordinal, hashes)
        model.add(ordinal, hashes)
        if rng.random() < 0.2:
            index = open_index(fs, LAYOUT, COLLECTION, index.entries)
        if ordinal == 80:
            break
    assert model.agrees(index, np.concatenate([np.array(list(model.places), np.uint64), uniform(500, 1000)]))
