"""Files are read in order with pieces on their way; whoever wants only the beginning reads no more."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from holdfastd.storage import archive_reader, read_ahead
from holdfastd.storage.archive_reader import FileInput
from holdfastd.storage.beside import Done
from holdfastd.storage.files import PathReader
from holdfastd.storage.osfiles import OsFileSystem
from tests.support.memfs import MemFileSystem

PATH = "/f"
PIECE = 4096
SIZE = 7 * PIECE + 5
DATA = np.random.default_rng(7).bytes(SIZE)


class Watched(MemFileSystem):
    """Notes where it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int | None]] = []
        file = self.create(PATH)
        file.pwrite([DATA], 0)
        file.close()

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads.append((offset, length))
        return super().read(path, offset, length)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(archive_reader, "FIRST_BYTES", 10)


@pytest.fixture
def fs() -> Watched:
    return Watched()


def ahead(fs: MemFileSystem, start: int, end: int) -> Iterator[bytes]:
    return read_ahead.read_ahead(fs, PATH, fs.reader(PATH), start, end)


@pytest.mark.parametrize(
    ("start", "end"), [(0, SIZE), (3, SIZE), (0, PIECE), (5, 5), (SIZE - 1, SIZE), (0, SIZE + PIECE)]
)
def test_the_pieces_are_the_file(fs: Watched, start: int, end: int) -> None:
    assert b"".join(ahead(fs, start, end)) == DATA[start:end]


def test_a_few_pieces_are_on_their_way_and_no_more(fs: Watched) -> None:
    pieces = ahead(fs, 0, SIZE)
    assert fs.reads == [], "nobody has asked yet"
    next(pieces)
    assert [offset for offset, _ in fs.reads] == [0, PIECE]
    next(pieces)
    assert [offset for offset, _ in fs.reads] == [0, PIECE, 2 * PIECE]


def test_what_cannot_be_read_is_told_in_its_turn(fs: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    read = fs.read

    def bad(path: str, offset: int = 0, length: int | None = None) -> bytes:
        if offset == PIECE:
            raise OSError(errno.EIO, "bad block", path)
        return read(path, offset, length)

    monkeypatch.setattr(fs, "read", bad)
    pieces = ahead(fs, 0, SIZE)
    assert next(pieces) == DATA[:PIECE]
    with pytest.raises(OSError, match="bad block"):
        next(pieces)


def test_an_object_is_left_to_its_own_reader(fs: Watched) -> None:
    """Which is for one thread, and has what comes next on its way by itself."""

    def never(work: Callable[[], object]) -> Done:
        raise AssertionError("on another thread")

    fs.beside = never  # type: ignore[method-assign]
    url = "s3://bucket/f"
    assert b"".join(read_ahead.read_ahead(fs, url, PathReader(fs, PATH), 0, SIZE)) == DATA


def test_on_threads_of_a_real_disk(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    with ThreadPoolExecutor(3) as pool:
        fs = OsFileSystem(pool.submit)
        assert b"".join(read_ahead.read_ahead(fs, str(path), fs.reader(str(path)), 0, SIZE)) == DATA


class TestInput:
    """The bytes of an archive's file, from its beginning."""

    def test_it_gives_all_of_it_and_tells_whoever_listens(self, fs: Watched) -> None:
        heard: list[bytes] = []
        source = FileInput(fs, PATH, fs.reader(PATH), lambda data: heard.append(bytes(data)))
        given = [bytes(data) for data in iter(lambda: source.read(333), b"")]
        assert b"".join(given) == b"".join(heard) == DATA
        assert source.position == SIZE
        assert not source.read(1)

    def test_the_beginning_costs_one_small_read(self, fs: Watched) -> None:
        source = FileInput(fs, PATH, fs.reader(PATH))
        assert b"".join([source.read(4), source.read(100)]) == DATA[:10]
        assert fs.reads == [(0, 10)]
