"""A sealed segment gives back what was put in, knows its dead, and notices when a byte of it has changed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.errors import Corruption, UnsupportedFormat
from holdfastd.format.document import encode_document
from holdfastd.format.hashing import hash_ids, hash_rows
from holdfastd.format.manifest import SegmentEntry
from holdfastd.format.norms import row_norms
from holdfastd.format.segment import SEGMENT_VERSION
from holdfastd.storage import names
from holdfastd.storage.files import FileSystem, make_dirs
from holdfastd.storage.kills import Kills
from holdfastd.storage.names import Layout
from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.segment import Segment, SegmentColumns, open_segment, write_segment
from tests.support.memfs import MemFileSystem

COLLECTION = uuid.UUID(int=1)
SEGMENT = uuid.UUID(int=2)
LAYOUT = Layout("/data")


def columns(ids: list[bytes], payloads: list[bytes | None], dimensions: int = 5, seed: int = 0) -> SegmentColumns:
    count = len(ids)
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dimensions), np.float32)
    return SegmentColumns(
        ids=ids,
        vectors=[vectors[: count // 2], vectors[count // 2 :]],
        norms=row_norms(vectors),
        payloads=payloads,
        sequences=np.arange(100, 100 + count, dtype=np.uint64),
        times=np.arange(count, dtype=np.uint64) + 7,
        versions=np.arange(count, dtype=np.uint32) + 1,
        hashes=hash_rows(ids, vectors, payloads),
        id_hashes=hash_ids(ids),
    )


def many(count: int = 1000) -> SegmentColumns:
    ids = [f"id-{number}".encode() * (1 + number % 3) for number in range(count)]
    payloads = [None if number % 5 == 0 else b'{"n":%d}' % number for number in range(count)]
    return columns(ids, payloads)


def sealed(fs: FileSystem, content: SegmentColumns, layout: Layout = LAYOUT) -> Segment:
    write_segment(fs, layout, COLLECTION, SEGMENT, 3, content)
    return reopened(fs, content, layout=layout)


def reopened(fs: FileSystem, content: SegmentColumns, kills: str | None = None, layout: Layout = LAYOUT) -> Segment:
    entry = names_entry(len(content.ids), kills)
    return open_segment(fs, layout, COLLECTION, entry)


def names_entry(rows: int, kills: str | None = None) -> SegmentEntry:
    return SegmentEntry(SEGMENT, 3, rows, 0, kills)


def fresh() -> MemFileSystem:
    fs = MemFileSystem()
    make_dirs(fs, "/data")
    return fs


def path_of(name: str) -> str:
    return f"{LAYOUT.segment_dir(COLLECTION, SEGMENT)}/{name}"


@pytest.mark.parametrize("where", ["os", "memory"])
def test_everything_comes_back(where: str, tmp_path: Path) -> None:
    fs: FileSystem = OsFileSystem() if where == "os" else fresh()
    layout = Layout(str(tmp_path)) if where == "os" else LAYOUT
    content = many()
    segment = sealed(fs, content, layout)
    vectors = np.concatenate(list(content.vectors))
    assert (segment.ordinal, segment.rows_count) == (3, 1000)
    assert np.array_equal(segment.vectors[:], vectors)
    assert np.array_equal(segment.norms[:], content.norms)
    assert np.array_equal(segment.rows[:]["sequence"], content.sequences)
    assert np.array_equal(segment.rows[:]["time_us"], content.times)
    assert np.array_equal(segment.rows[:]["version"], content.versions)
    assert np.array_equal(segment.rows[:]["hash_low"], content.hashes[:, 1])
    assert (segment.info.first_sequence, segment.info.last_sequence) == (100, 1099)
    rows = np.random.default_rng(1).permutation(1000)[:300]
    assert segment.ids_at(rows) == [content.ids[row] for row in rows]
    assert segment.payloads_at(rows) == [content.payloads[row] for row in rows]
    assert segment.ids_at(np.arange(1000)) == content.ids
    assert np.array_equal(segment.facts_at(rows), segment.rows[rows])
    assert segment.ids_at(np.zeros(0, np.int64)) == []
    residence = segment.files.residence()
    assert residence.mapped == segment.size_bytes == residence.resident or where == "os"
    assert segment.tombstones is None
    segment.files.populate()
    segment.verify(deep=True)


def test_other_tools_read_the_files(tmp_path: Path) -> None:
    content = many(10)
    segment = sealed(OsFileSystem(), content, Layout(str(tmp_path)))
    directory = Path(segment.directory)
    assert np.array_equal(np.load(directory / "vectors.npy", mmap_mode="r"), np.concatenate(list(content.vectors)))
    assert np.load(directory / "payloads.npy").tobytes() == b"".join(text for text in content.payloads if text)
    assert np.load(directory / "vectors.npy", mmap_mode="r").offset == 4096


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=40), st.none() | st.binary(max_size=30) | st.just(b'{"x":"' + b"y" * 9000)
        ),
        min_size=1,
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_any_ids_and_payloads_come_back(rows: list[tuple[bytes, bytes | None]], order: random.Random) -> None:
    content = columns([id_ for id_, _ in rows], [payload for _, payload in rows])
    segment = sealed(fresh(), content)
    picked = [order.randrange(len(rows)) for _ in range(30)]
    assert segment.ids_at(np.array(picked)) == [rows[row][0] for row in picked]
    assert segment.payloads_at(np.array(picked)) == [rows[row][1] for row in picked]
    for some in (picked, sorted(picked), picked[:1], []):
        where = np.array(some, np.int64)
        assert segment.joined_ids(where) == b"".join(rows[row][0] for row in some)
        assert segment.joined_payloads(where) == b"".join(rows[row][1] or b"" for row in some)
    segment.verify(deep=True)


def test_columns_of_different_lengths_are_refused() -> None:
    content = many(4)
    fs = fresh()
    for wrong in (
        replace(content, norms=content.norms[:3]),
        replace(content, payloads=content.payloads[:3]),
        replace(content, hashes=content.hashes[:, 0]),
        replace(content, vectors=[]),
        replace(content, vectors=[np.zeros((3, 5), np.float32)]),
        replace(content, vectors=[np.zeros((4, 5))]),
        replace(content, ids=[b"x" * 65536, *content.ids[1:]]),
    ):
        with pytest.raises(ValueError, match=r"."):
            write_segment(fs, LAYOUT, COLLECTION, SEGMENT, 3, wrong)
        assert not fs.exists(LAYOUT.segment_dir(COLLECTION, SEGMENT))


def test_every_failure_while_writing_leaves_no_segment() -> None:
    content = many(50)
    healthy = fresh()
    write_segment(healthy, LAYOUT, COLLECTION, SEGMENT, 3, content)
    for index in range(fresh().ops, healthy.ops):
        fs = fresh()
        fs.fail_at(index, errno.EIO)
        with pytest.raises(OSError, match="injected"):
            write_segment(fs, LAYOUT, COLLECTION, SEGMENT, 3, content)
        left = fs.listdir(LAYOUT.collections) if fs.exists(LAYOUT.collections) else []
        assert all(not fs.listdir(f"{LAYOUT.collections}/{name}") for name in left), index


@pytest.mark.parametrize("model", ["prefix", "subset"])
def test_a_written_segment_is_durable_as_a_whole(model: str) -> None:
    fs = fresh()
    write_segment(fs, LAYOUT, COLLECTION, SEGMENT, 3, many(50))
    for seed in range(30):
        after = fs.crash(random.Random(seed), "prefix" if model == "prefix" else "subset")
        reopened(after, many(50)).verify(deep=True)


# Kills.


def test_rows_die_at_their_sequence_and_not_before() -> None:
    segment = sealed(fresh(), many(6))
    assert segment.killed is None
    assert segment.live_mask(10**9) is None
    assert segment.dead_count(10**9) == 0
    segment.kill(np.array([1, 3]), np.array([200, 201], np.uint64))
    segment.kill(np.array([5]), np.array([300], np.uint64))
    assert segment.killed is not None
    assert segment.killed.tolist() == [0, 200, 0, 201, 0, 300]
    dead = {sequence: [] for sequence in (199, 200, 201, 299, 300, 2**64 - 1)}
    for sequence, expected in dead.items():
        mask = segment.live_mask(sequence)
        assert mask is not None
        expected += np.flatnonzero(~mask).tolist()
        assert segment.dead_count(sequence) == len(expected)
    assert dead == {199: [], 200: [1], 201: [1, 3], 299: [1, 3], 300: [1, 3, 5], 2**64 - 1: [1, 3, 5]}


def test_a_row_keeps_its_first_kill() -> None:
    segment = sealed(fresh(), many(4))
    segment.kill(np.array([0, 2]), np.array([200, 200], np.uint64))
    segment.kill(np.array([2, 3]), np.array([201, 201], np.uint64))
    segment.kill(np.array([0]), np.array([300], np.uint64))
    assert segment.killed is not None
    assert segment.killed.tolist() == [200, 0, 200, 201]
    assert segment.dead_count(10**6) == 3


def test_a_mask_that_a_reader_holds_never_changes() -> None:
    segment = sealed(fresh(), many(4))
    segment.kill(np.array([0]), np.array([200], np.uint64))
    mask = segment.live_mask(200)
    assert mask is not None
    assert segment.live_mask(200) is mask
    segment.kill(np.array([1]), np.array([201], np.uint64))
    assert mask.tolist() == [False, True, True, True]
    assert segment.live_mask(200) is not mask
    newest = segment.live_mask(201)
    assert newest is not None
    assert newest.tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = True


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(1, 50)), max_size=30), st.integers(0, 60))
def test_kills_agree_with_a_model(kills: list[tuple[int, int]], sequence: int) -> None:
    table, model = Kills(20), dict[int, int]()
    for row, killed_at in sorted(kills, key=lambda kill: kill[1]):
        table.add(np.array([row]), np.array([killed_at], np.uint64))
        model.setdefault(row, killed_at)
    alive = [model.get(row, 99) > sequence for row in range(20)]
    mask = table.live_mask(sequence)
    assert (mask is None and not model) or (mask is not None and mask.tolist() == alive)
    assert table.count(sequence) == alive.count(False)


def test_a_kills_file_holds_all_kills_through_its_sequence_and_no_later_one() -> None:
    fs, content = fresh(), many(6)
    segment = sealed(fs, content)
    segment.kill(np.array([4, 1]), np.array([200, 201], np.uint64))
    segment.kill(np.array([5]), np.array([300], np.uint64))
    name = segment.write_kills(fs, LAYOUT, 299)
    again = reopened(fs, content, name)
    assert again.kills_file == name
    assert again.killed is not None
    assert again.killed.tolist() == [0, 201, 0, 0, 200, 0]
    assert again.entry(name) == SegmentEntry(SEGMENT, 3, 6, again.size_bytes, name)
    again.verify(deep=False)
    later = segment.write_kills(fs, LAYOUT, 300)
    assert later != name
    assert reopened(fs, content, later).dead_count(300) == 3
    assert segment.write_kills(fs, LAYOUT, 300) == later
    for seed in range(20):
        after = fs.crash(random.Random(seed))
        assert reopened(after, content, later).dead_count(300) == 3


def test_no_kills_make_an_empty_file() -> None:
    fs, content = fresh(), many(3)
    name = sealed(fs, content).write_kills(fs, LAYOUT, 5)
    assert reopened(fs, content, name).killed is None


# Damage.


def test_a_damaged_or_missing_kills_file_is_refused() -> None:
    fs, content = fresh(), many(6)
    segment = sealed(fs, content)
    segment.kill(np.array([4]), np.array([200], np.uint64))
    name = segment.write_kills(fs, LAYOUT, 200)
    good = reopened(fs, content, name)
    fs.damage(path_of(name), fs.size(path_of(name)) - 9, b"\x07")
    with pytest.raises(Corruption, match="checksum"):
        reopened(fs, content, name)
    with pytest.raises(Corruption, match="checksum"):
        good.verify(deep=False)
    fs.unlink(path_of(name))
    with pytest.raises(Corruption, match="missing"):
        reopened(fs, content, name)
    with pytest.raises(Corruption, match="no holdfastd writes"):
        reopened(fs, content, "kills-1.npy")


def test_kills_of_another_segment_are_refused() -> None:
    fs, content = fresh(), many(6)
    other = Kills(10)
    sealed(fs, content)
    other.add(np.array([9]), np.array([5], np.uint64))
    name = other.write(fs, LAYOUT.segment_dir(COLLECTION, SEGMENT), 5)
    with pytest.raises(Corruption, match="6 rows"):
        reopened(fs, content, name)


@pytest.mark.parametrize("name", [names.VECTORS, names.NORMS, names.ROWS, names.IDS, names.PAYLOADS])
def test_a_changed_byte_is_found_with_its_offset(name: str) -> None:
    fs, content = fresh(), many(200)
    segment = sealed(fs, content)
    at = fs.size(path_of(name)) - 3
    fs.damage(path_of(name), at, bytes([fs.read(path_of(name), at, 1)[0] ^ 64]))
    again = reopened(fs, content)
    with pytest.raises(Corruption) as caught:
        again.verify(deep=False)
    assert caught.value.path == path_of(name)
    if name != names.ROWS:  # the last bytes of a row are reserved: no row's hash covers them
        assert caught.value.offset is not None
        assert at - 64 < caught.value.offset <= at
    del segment


def test_every_flipped_bit_of_a_small_segment_is_found() -> None:
    fs, content = fresh(), many(3)
    sealed(fs, content)
    for name in (names.NORMS, names.ROWS, names.IDS, names.PAYLOADS):
        data = fs.read(path_of(name))
        for at in range(len(data)):
            fs.damage(path_of(name), at, bytes([data[at] ^ (1 << at % 8)]))
            with pytest.raises(Corruption):
                reopened(fs, content).verify(deep=False)
            fs.damage(path_of(name), at, data[at : at + 1])
    reopened(fs, content).verify(deep=True)


def test_rows_sealed_with_a_wrong_hash_are_found_by_a_deep_check() -> None:
    content = many(20)
    hashes = content.hashes.copy()
    hashes[17, 0] += 1
    segment = sealed(fresh(), replace(content, hashes=hashes))
    segment.verify(deep=False)
    with pytest.raises(Corruption, match="row 17") as caught:
        segment.verify(deep=True)
    assert caught.value.offset == segment.info.files[names.ROWS].size - 3 * 64


def test_a_row_that_points_outside_is_corruption_not_a_short_id() -> None:
    fs, content = fresh(), many(3)
    sealed(fs, content)
    length_at = fs.size(path_of(names.ROWS)) - 64 + 52
    fs.damage(path_of(names.ROWS), length_at, b"\xff\xff")
    with pytest.raises(Corruption, match="beyond the end"):
        reopened(fs, content).ids_at(np.array([2]))
    with pytest.raises(Corruption, match="points beyond the end"):
        reopened(fs, content).joined_ids(np.array([1, 2]))


def cut(fs: MemFileSystem) -> None:
    fs.open(path_of(names.VECTORS)).truncate(100)


def remove(fs: MemFileSystem) -> None:
    fs.unlink(path_of(names.ROWS))


def remove_json(fs: MemFileSystem) -> None:
    fs.unlink(path_of(names.SEGMENT_JSON))


def damage_json(fs: MemFileSystem) -> None:
    fs.damage(path_of(names.SEGMENT_JSON), 150, b"\xff")


def damage_header(fs: MemFileSystem) -> None:
    fs.damage(path_of(names.IDS), 0, b"?")


def other_type(fs: MemFileSystem) -> None:
    header = fs.read(path_of(names.NORMS), 0, 64).replace(b"<f4", b"<i4")
    fs.damage(path_of(names.NORMS), 0, header)


@pytest.mark.parametrize("harm", [cut, remove, remove_json, damage_json, damage_header, other_type])
def test_a_segment_that_is_not_whole_is_not_opened(harm: Callable[[MemFileSystem], None]) -> None:
    fs, content = fresh(), many(10)
    sealed(fs, content)
    harm(fs)
    with pytest.raises(Corruption) as caught:
        reopened(fs, content)
    assert caught.value.path.startswith(LAYOUT.segment_dir(COLLECTION, SEGMENT))


def test_a_segment_of_another_collection_or_place_is_not_opened() -> None:
    fs, content = fresh(), many(10)
    sealed(fs, content)
    for entry in (replace(names_entry(10), ordinal=4), replace(names_entry(10), rows=9)):
        with pytest.raises(Corruption, match="describes segment"):
            open_segment(fs, LAYOUT, COLLECTION, entry)


def test_a_newer_segment_is_no_corruption() -> None:
    fs, content = fresh(), many(10)
    segment = sealed(fs, content)
    newer = encode_document("segment", replace(segment.info, format_version=SEGMENT_VERSION + 1))
    fs.unlink(path_of(names.SEGMENT_JSON))
    fs.create(path_of(names.SEGMENT_JSON)).pwrite([newer], 0)
    with pytest.raises(UnsupportedFormat) as caught:
        reopened(fs, content)
    assert caught.value.metadata["path"] == path_of(names.SEGMENT_JSON)


def test_an_unreadable_block_is_reported_with_its_offset() -> None:
    fs, content = fresh(), many(10)
    segment = sealed(fs, content)
    fs.fail_on("read", path_of(names.IDS))
    with pytest.raises(Corruption, match="cannot be read") as caught:
        segment.verify(deep=False)
    assert (caught.value.path, caught.value.offset) == (path_of(names.IDS), 0)


def test_files_may_go_while_the_segment_is_read(tmp_path: Path) -> None:
    content = many(100)
    segment = sealed(OsFileSystem(), content, Layout(str(tmp_path)))
    shutil.rmtree(segment.directory)
    assert segment.ids_at(np.arange(100)) == content.ids
    segment.files.populate()


def test_populating_a_truncated_map_is_an_error_not_the_end(tmp_path: Path) -> None:
    segment = sealed(OsFileSystem(), many(100), Layout(str(tmp_path)))
    os.truncate(segment.path(names.VECTORS), 0)
    with pytest.raises(Corruption, match="a block cannot be read from the disk"):
        segment.files.populate()
    with pytest.raises(Corruption, match="a block cannot be read from the disk") as caught:
        list(segment.checked(names.VECTORS, 4096))
    assert (caught.value.path, caught.value.offset) == (segment.path(names.VECTORS), 0)


def test_a_checked_copy_is_proven_by_its_end(tmp_path: Path) -> None:
    segment = sealed(OsFileSystem(), many(1000), Layout(str(tmp_path)))
    for name in segment.info.files:
        assert b"".join(map(bytes, segment.checked(name, 4096))) == Path(segment.path(name)).read_bytes()
    path = Path(segment.path(names.VECTORS))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corruption, match="does not match its checksum") as caught:
        list(segment.checked(names.VECTORS, 4096))
    assert caught.value.path == str(path)


def test_a_kernel_that_cannot_tell_is_no_damage() -> None:
    fs = MemFileSystem()
    segment = sealed(fs, many(10), Layout("/data"))
    fs.fail_on("populate", code=errno.EINVAL, forever=True)
    assert len(b"".join(map(bytes, segment.checked(names.ROWS)))) == segment.info.files[names.ROWS].size
