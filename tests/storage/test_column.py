"""Mapped or read, a column is the array that was written; and what cannot be read is an error that names the place."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfastd.errors import Corruption
from holdfastd.format.segment import ROW_DTYPE
from holdfastd.model import Advice, MmapSettings
from holdfastd.storage import mapped_column, read_column
from holdfastd.storage.bulk import write_npy
from holdfastd.storage.column import Column, Residence
from holdfastd.storage.columns import open_column
from holdfastd.storage.files import FileSystem, make_dirs
from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.texts import Texts
from tests.support.memfs import MemFileSystem

MODES = [MmapSettings(), MmapSettings(enabled=False)]
ROWS = 300
PATH = "/data/a.npy"


def written(
    array: NDArray[Any], settings: MmapSettings, fs: FileSystem | None = None, path: str = PATH
) -> tuple[Column, FileSystem]:
    if fs is None:
        fs = MemFileSystem()
        make_dirs(fs, "/data")
    info = write_npy(fs, path, array.dtype, array.shape, [array])
    return open_column(fs, path, info.size, array.dtype, array.shape, settings), fs


def matrix(rows: int = ROWS, width: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((rows, width)).astype(np.float32)


def facts() -> NDArray[Any]:
    rows = np.zeros(ROWS, ROW_DTYPE)
    rows["sequence"] = np.arange(ROWS)
    rows["time_us"] = np.arange(ROWS) * 7
    return rows


@pytest.mark.parametrize("array", [matrix(), matrix()[:, 0].copy(), facts()], ids=["matrix", "norms", "facts"])
@given(items=st.lists(st.integers(0, ROWS - 1), max_size=40), start=st.integers(0, ROWS), stop=st.integers(0, ROWS))
def test_both_ways_give_the_same_items(array: NDArray[Any], items: Sequence[int], start: int, stop: int) -> None:
    wanted = np.array(items, np.int64)
    for settings in MODES:
        column, _ = written(array, settings)
        assert (len(column), column.shape, column.nbytes) == (ROWS, array.shape, array.nbytes)
        assert column[start:stop].tobytes() == array[start:stop].tobytes()
        assert column[start:stop:7].tobytes() == array[start:stop:7].tobytes()
        assert column.take(wanted).tobytes() == column[wanted].tobytes() == array[wanted].tobytes()
        assert not column[start:stop].flags.writeable
        assert column.raw(0, 10).tobytes() == b"\x93NUMPY\x01\x00" + column.raw(8, 2).tobytes()


@given(
    values=st.lists(st.integers(0, 50), max_size=60).map(sorted), asked=st.lists(st.integers(0, 60), max_size=9),
    right=st.booleans(),
)  # fmt: skip
def test_both_ways_find_the_same_places(values: list[int], asked: list[int], right: bool) -> None:
    array = np.array(values, np.uint64)
    queries = np.array(asked, np.uint64)
    for settings in MODES:
        found = written(array, settings)[0].searchsorted(queries, "right" if right else "left")
        assert found.tolist() == array.searchsorted(queries, "right" if right else "left").tolist()


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_both_ways_give_the_same_texts(texts: list[bytes], rng: Any) -> None:
    array = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.array(list(map(len, texts)), np.int64)
    offsets = np.cumsum(lengths) - lengths
    which = [rng.randrange(len(texts)) for _ in range(20)]
    for settings in MODES:
        column = Texts(written(array, settings)[0])
        assert column.at(offsets[which], lengths[which]) == [texts[at] for at in which]
        assert column.joined(offsets, lengths) == b"".join(texts)
        assert column.at(offsets[:0], lengths[:0]) == []
        with pytest.raises(Corruption, match="points beyond the end"):
            column.at(offsets, lengths + len(array) + 1)


@pytest.mark.parametrize("settings", MODES)
def test_pieces_add_up_and_are_small_where_they_are_read(settings: MmapSettings) -> None:
    array = matrix()
    column, _ = written(array, settings)
    pieces, at = [], 0
    while at < ROWS:
        pieces.append(column.piece(at, ROWS))
        at += len(pieces[-1])
    assert np.array_equal(np.concatenate(pieces), array)
    assert column.piece(3, 5).shape == (2, 24)


def test_a_read_piece_and_a_cluster_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_column, "PIECE_BYTES", 1000)
    array = matrix()
    column, _ = written(array, MODES[1])
    assert len(column.piece(0, ROWS)) == 1000 // 96
    starts = np.arange(ROWS, dtype=np.int64) * 96
    clusters = list(read_column._clusters(starts, starts + 96))
    assert max(stop - first for _, first, stop in clusters) <= 1000 + 96
    assert sorted(np.concatenate([which for which, _, _ in clusters]).tolist()) == list(range(ROWS))
    assert np.array_equal(column[np.arange(ROWS)[::-1]], array[::-1])


def test_rows_that_lie_far_apart_are_read_alone() -> None:
    starts = np.array([0, 96, 1 << 20, 96], np.int64)
    clusters = [
        (sorted(which.tolist()), first, stop) for which, first, stop in read_column._clusters(starts, starts + 96)
    ]
    assert clusters == [([0, 1, 3], 0, 192), ([2], 1 << 20, (1 << 20) + 96)]


class Colder:
    """A map of which nothing is in memory until it is asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.warm = np.zeros(-(-inner.size // 4096), np.bool_)
        self.calls: list[tuple[str, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def resident_pages(self, offset: int = 0, length: int | None = None) -> Any:
        end = self._inner.size if length is None else offset + length
        return self.warm[offset // 4096 : -(-end // 4096)]

    def prefetch(self, offset: int, length: int) -> None:
        if length > 0:
            self.calls.append(("prefetch", offset, offset + length))

    def populate(self, offset: int = 0, length: int | None = None) -> None:
        assert length is not None
        self.calls.append(("populate", offset, offset + length))
        self.warm[offset // 4096 : -(-(offset + length) // 4096)] = True


def colder(array: NDArray[Any]) -> tuple[mapped_column.MappedColumn, Colder]:
    column, fs = written(array, MODES[0])
    assert isinstance(column, mapped_column.MappedColumn)
    cold: Any = Colder(fs.map(PATH))
    column._mapping = cold
    return column, cold


def test_a_cold_span_is_read_in_before_it_is_touched_a_piece_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_column, "PIECE_BYTES", 8192)
    array = matrix(200, 64)
    column, cold = colder(array)
    assert np.array_equal(column[:], array)
    populated = [(start, stop) for name, start, stop in cold.calls if name == "populate"]
    fetched = [(start, stop) for name, start, stop in cold.calls if name == "prefetch"]
    assert populated == fetched, "each piece is on its way before it is waited for"
    assert populated[0][0] == column.start
    assert populated[-1][1] == column.size_bytes
    # The second piece is asked for before the first is waited for.
    assert [name for name, _, _ in cold.calls[:3]] == ["prefetch", "prefetch", "populate"]
    cold.calls.clear()
    assert np.array_equal(column[:], array)
    assert cold.calls == []


def test_a_scan_of_what_is_cold_gets_pieces_and_of_what_is_warm_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_column, "PIECE_BYTES", 8192)
    array = matrix(200, 64)
    column, cold = colder(array)
    first = column.piece(0, 200)
    assert len(first) == 32
    assert cold.calls == [
        ("prefetch", column.start, column.start + 8192),
        ("prefetch", column.start + 8192, column.start + 16384),
        ("populate", column.start, column.start + 8192),
    ]
    cold.warm[:] = True
    assert len(column.piece(32, 200)) == 168


def test_scattered_items_that_are_cold_are_asked_for_together() -> None:
    array = matrix(4096, 64)
    column, cold = colder(array)
    items = np.arange(0, 4096, 64)
    cold.warm[:40] = True
    assert np.array_equal(column.take(items), array[items])
    pages = {(column.start + int(item) * 256) // 4096 for item in items}
    pages |= {(column.start + int(item) * 256 + 255) // 4096 for item in items}
    fetched = [page for _, start, stop in cold.calls for page in range(start // 4096, -(-stop // 4096))]
    assert sorted(fetched) == sorted(pages - set(range(40)))
    cold.calls.clear()
    column.take(items[:8])
    assert cold.calls == []


@pytest.mark.parametrize("settings", MODES)
def test_another_file_than_was_said_is_refused(settings: MmapSettings) -> None:
    column, fs = written(matrix(), settings)
    size = column.size_bytes
    for bad_size, dtype, shape in (
        (size + 1, np.dtype("<f4"), (ROWS, 24)),
        (size, np.dtype("<f4"), (ROWS, 25)),
        (size, np.dtype("<u4"), (ROWS, 24)),
        (size, np.dtype("<f4"), None),
    ):
        with pytest.raises(Corruption):
            open_column(fs, PATH, bad_size, dtype, shape, settings)
    with pytest.raises(Corruption, match="missing"):
        open_column(fs, "/data/none.npy", size, np.dtype("<f4"), (ROWS, 24), settings)


def test_a_block_that_cannot_be_read_is_told_with_its_place() -> None:
    array = matrix()
    column, fs = written(array, MODES[1])
    assert isinstance(fs, MemFileSystem)
    fs.fail_on("pread", PATH, errno.EIO)
    with pytest.raises(Corruption, match="a block cannot be read from the disk") as caught:
        column.take(np.array([10]))
    assert (caught.value.path, caught.value.offset) == (PATH, column.start + 960)
    fs.fail_on("pread", PATH, errno.EMFILE)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        column[0:1]


@pytest.mark.parametrize("settings", MODES)
def test_a_file_that_was_cut_is_an_error_and_not_the_end(settings: MmapSettings, tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    column, _ = written(matrix(4000), settings, OsFileSystem(), path)
    os.truncate(path, 4096)
    os.posix_fadvise(fd := os.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    with pytest.raises(Corruption) as caught:
        column[3000:3100]
    assert caught.value.path == path
    with pytest.raises(Corruption):
        column.raw(200_000, 4096)


@pytest.mark.parametrize("settings", MODES)
def test_the_file_may_go_and_every_advice_is_taken(settings: MmapSettings, tmp_path: Path) -> None:
    path, array = str(tmp_path / "a.npy"), matrix(4000)
    column, _ = written(array, settings, OsFileSystem(), path)
    Path(path).unlink()
    for advice in Advice:
        column.advise(advice)
        assert np.array_equal(column[100:200], array[100:200])
    done: list[int] = []
    column.populate(done.append)
    assert sum(done) == (column.size_bytes if settings.enabled else 0)
    mapped = column.size_bytes if settings.enabled else 0
    assert column.residence() == Residence(mapped, mapped, 0)
    assert Residence(1, 2, 3).plus(Residence(10, 20, 30)) == Residence(11, 22, 33)


def test_an_old_kernel_that_cannot_populate_reads_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    column, fs = written(matrix(), MODES[0])
    assert isinstance(fs, MemFileSystem)
    fs.fail_on("populate", PATH, errno.EINVAL, forever=True)
    done: list[int] = []
    column.populate(done.append)
    assert sum(done) == column.size_bytes
    assert np.array_equal(column[:], matrix())
