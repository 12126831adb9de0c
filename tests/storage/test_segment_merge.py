"""Segments that become one: what stays is as it was, what is dropped leaves a tombstone, damage goes nowhere."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.errors import Corruption
from holdfastd.format.hashing import hash_ids, hash_rows
from holdfastd.format.manifest import SegmentEntry
from holdfastd.format.norms import row_norms
from holdfastd.model import Int64Array
from holdfastd.storage import names
from holdfastd.storage.files import make_dirs
from holdfastd.storage.names import Layout
from holdfastd.storage.segment import Segment, SegmentColumns, open_segment, write_segment
from holdfastd.storage.segment_files import name_segment, write_files
from holdfastd.storage.segment_merge import Taken, merged, prove
from tests.support.memfs import MemFileSystem

COLLECTION = uuid.UUID(int=1)
LAYOUT = Layout("/data")
NONE: Int64Array = np.zeros(0, np.int64)


def segment_of(fs: MemFileSystem, ordinal: int, count: int, *, dimensions: int = 3, first: int = 0) -> Segment:
    """Row i has the id ``<ordinal>-i``, a payload unless i is even, and the sequence ``first + i + 1``."""
    ids = [f"{ordinal}-{number}".encode() * (1 + number % 3) for number in range(count)]
    payloads = [None if number % 2 == 0 else b'{"n":%d}' % number for number in range(count)]
    vectors = np.random.default_rng(ordinal).standard_normal((count, dimensions), np.float32)
    columns = SegmentColumns(
        ids=ids,
        vectors=[vectors],
        norms=row_norms(vectors),
        payloads=payloads,
        sequences=np.arange(first + 1, first + 1 + count, dtype=np.uint64),
        times=np.arange(count, dtype=np.uint64) + 7,
        versions=np.arange(count, dtype=np.uint32) + 1,
        hashes=hash_rows(ids, vectors, payloads),
        id_hashes=hash_ids(ids),
    )
    segment_id = uuid.UUID(int=100 + ordinal)
    info = write_segment(fs, LAYOUT, COLLECTION, segment_id, ordinal, columns)
    return open_segment(fs, LAYOUT, COLLECTION, SegmentEntry(segment_id, ordinal, count, info.size_bytes))


def fresh() -> MemFileSystem:
    fs = MemFileSystem()
    make_dirs(fs, LAYOUT.collections)
    return fs


def written(fs: MemFileSystem, taken: list[Taken], number: int = 9) -> Segment:
    for each in taken:
        prove(each.segment)
    content, segment_id = merged(taken), uuid.UUID(int=number)
    files = write_files(fs, LAYOUT, COLLECTION, segment_id, content)
    info = name_segment(fs, LAYOUT, COLLECTION, segment_id, number, content, files)
    return open_segment(fs, LAYOUT, COLLECTION, SegmentEntry(segment_id, number, info.rows, info.size_bytes))


def everything(segment: Segment, rows: Int64Array) -> list[tuple[object, ...]]:
    facts = segment.facts_at(rows)
    fixed = ("sequence", "time_us", "version", "hash_high", "hash_low", "flags")
    return [
        (id, payload, vector.tobytes(), float(norm), *(int(fact[name]) for name in fixed))
        for id, payload, vector, norm, fact in zip(
            segment.ids_at(rows),
            segment.payloads_at(rows),
            segment.vectors[rows],
            segment.norms[rows],
            facts,
            strict=True,
        )
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), max_size=40), min_size=1, max_size=4), st.integers(1, 5))
def test_what_stays_is_as_it_was_in_the_order_in_which_it_was_written(keep: list[list[bool]], dimensions: int) -> None:
    fs = fresh()
    taken = []
    for ordinal, marks in enumerate(keep):
        segment = segment_of(fs, ordinal, len(marks), dimensions=dimensions, first=1000 * ordinal)
        taken.append(Taken(segment, np.flatnonzero(marks), NONE, NONE))
    one = written(fs, taken)
    expected = [row for each in taken for row in everything(each.segment, each.rows)]
    assert everything(one, np.arange(one.rows_count)) == expected
    sequences = [row[4] for row in expected]
    assert (one.info.first_sequence, one.info.last_sequence) == ((sequences[0], sequences[-1]) if sequences else (0, 0))
    assert one.tombstones is None
    one.verify(deep=True)


def test_of_rows_that_are_dropped_a_tombstone_may_stay_and_be_handed_on() -> None:
    fs = fresh()
    old, young = segment_of(fs, 0, 6), segment_of(fs, 1, 4, first=100)
    old.kill(np.array([1, 2, 5]), np.array([201, 202, 203], np.uint64))
    young.kill(np.array([0]), np.array([204], np.uint64))
    first = written(
        fs,
        [
            Taken(old, np.array([0, 3, 4]), np.array([2, 5]), NONE),
            Taken(young, np.array([1, 2, 3]), np.array([0]), NONE),
        ],
    )
    table = first.tombstones
    assert table is not None
    assert len(table) == 3
    all_of_them = table.at(table.killed_after(0))
    assert all_of_them.ids == [*old.ids_at(np.array([2, 5])), *young.ids_at(np.array([0]))]
    assert all_of_them.killed.tolist() == [202, 203, 204]
    assert all_of_them.sequences.tolist() == [3, 6, 101]
    facts = old.facts_at(np.array([2, 5]))
    assert all_of_them.hashes[:2].tolist() == np.column_stack((facts["hash_high"], facts["hash_low"])).tolist()
    assert (table.count_after(202), table.count_after(202), table.count_after(0)) == (2, 2, 3)
    second = written(fs, [Taken(first, np.arange(6), NONE, table.killed_after(202))], 10)
    assert second.tombstones is not None
    assert second.tombstones.at(np.arange(2)).ids == all_of_them.ids[1:]
    first.verify(deep=True)
    second.verify(deep=True)


def test_nothing_but_tombstones_is_a_segment_and_nothing_at_all_is_none() -> None:
    fs = fresh()
    segment = segment_of(fs, 0, 3)
    segment.kill(np.arange(3), np.array([5, 6, 7], np.uint64))
    dead = Taken(segment, NONE, np.arange(3), NONE)
    assert not merged([dead]).is_empty
    assert merged([replace(dead, buried=NONE)]).is_empty
    one = written(fs, [dead])
    assert one.tombstones is not None
    assert one.tombstones.at(np.arange(3)).ids == segment.ids_at(np.arange(3))
    assert one.vectors.shape == (0, 3)
    one.verify(deep=True)


@pytest.mark.parametrize("name", [names.VECTORS, names.NORMS, names.ROWS, names.IDS, names.PAYLOADS])
def test_damage_is_not_copied_but_told_and_leaves_no_file(name: str) -> None:
    fs = fresh()
    segment_of(fs, 0, 5)
    path = f"{LAYOUT.segment_dir(COLLECTION, uuid.UUID(int=100))}/{name}"
    data = bytearray(fs.read(path))
    data[-1] ^= 1
    fs.unlink(path)
    file = fs.create(path)
    file.pwrite([bytes(data)], 0)
    file.close()
    entry = SegmentEntry(uuid.UUID(int=100), 0, 5, 0)
    damaged = open_segment(fs, LAYOUT, COLLECTION, entry)
    before = fs.listdir(LAYOUT.collection_dir(COLLECTION))
    with pytest.raises(Corruption) as told:
        written(fs, [Taken(damaged, np.arange(5), NONE, NONE)])
    assert told.value.path == path
    assert fs.listdir(LAYOUT.collection_dir(COLLECTION)) == before
