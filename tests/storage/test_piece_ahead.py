"""A piece on its way is the one announced, or it is read again; what is wrong with it is told when it is wanted."""

from __future__ import annotations

import errno
from collections.abc import Callable

import numpy as np
import pytest

from holdfastd.storage.beside import Done
from holdfastd.storage.piece_ahead import PieceAhead, Place
from holdfastd.storage.write_buffer import BLOCK_BYTES
from tests.support.memfs import MemFileSystem

SIZE = 5 * BLOCK_BYTES + 200
DATA = np.random.default_rng(3).bytes(SIZE)


class Watched(MemFileSystem):
    """Holds two files, and notes where they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Place] = []
        for path in ("/f", "/g"):
            file = self.create(path)
            file.pwrite([DATA], 0)
            file.close()

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        assert length is not None
        self.reads.append(Place(path, offset, length))
        return super().read(path, offset, length)


@pytest.fixture
def fs() -> Watched:
    return Watched()


def test_what_was_begun_is_read_once(fs: Watched) -> None:
    pieces = PieceAhead(fs, fs.beside)
    pieces.begin(Place("/f", 10, 20))
    assert fs.reads == [Place("/f", 0, BLOCK_BYTES)]
    assert pieces.read(Place("/f", 10, 20)) == DATA[10:30]
    assert fs.reads == [Place("/f", 0, BLOCK_BYTES)]


def test_what_two_pieces_have_in_common_is_read_once(fs: Watched) -> None:
    pieces = PieceAhead(fs, fs.beside)
    for start, end in ((10, 9000), (8500, 13000), (12999, SIZE), (SIZE - 1, SIZE)):
        pieces.begin(Place("/f", start, end - start))
        assert pieces.read(Place("/f", start, end - start)) == DATA[start:end]
    # Each but the last from where the one before held no whole block any more.
    assert [(place.offset, place.length) for place in fs.reads] == [
        (0, 3 * BLOCK_BYTES),
        (2 * BLOCK_BYTES, 2 * BLOCK_BYTES),
        (3 * BLOCK_BYTES, 3 * BLOCK_BYTES),
        (5 * BLOCK_BYTES, BLOCK_BYTES),
    ]


def test_what_is_written_behind_a_piece_is_read(fs: Watched) -> None:
    """Of a log that grows, what lies behind a piece in its last block is not yet what it will be."""
    pieces = PieceAhead(fs, fs.beside)
    pieces.begin(Place("/f", 0, 5000))
    assert pieces.read(Place("/f", 0, 5000)) == DATA[:5000]
    file = fs.open("/f")
    file.pwrite([b"new"], 5000)
    file.close()
    pieces.begin(Place("/f", 4900, 200))
    assert pieces.read(Place("/f", 4900, 200)) == DATA[4900:5000] + b"new" + DATA[5003:5100]


def test_a_piece_stays_what_it_was(fs: Watched) -> None:
    pieces = PieceAhead(fs, fs.beside, 1000)
    kept = []
    for start in range(0, 20000, 500):
        pieces.begin(Place("/f", start, 1000))
        kept.append(pieces.read(Place("/f", start, 1000))[100:200])
    assert [bytes(part) for part in kept] == [DATA[start + 100 : start + 200] for start in range(0, 20000, 500)]


@pytest.mark.parametrize("other", [Place("/f", 11, 20), Place("/f", 10, 21), Place("/g", 10, 20)])
def test_another_piece_than_was_begun_is_read_by_itself(fs: Watched, other: Place) -> None:
    pieces = PieceAhead(fs, fs.beside)
    pieces.begin(Place("/f", 10, 20))
    assert pieces.read(other) == DATA[other.offset : other.offset + other.length]
    assert fs.reads[1:] == [other]
    assert pieces.read(Place("/f", 10, 20)) == DATA[10:30]
    assert len(fs.reads) == 3


def test_behind_the_end_of_a_file_comes_what_follows_it(fs: Watched) -> None:
    pieces = PieceAhead(fs, fs.beside)
    pieces.begin(Place("/f", SIZE, 0))
    assert fs.reads == []
    pieces.then = Place("/g", 0, 5)
    pieces.begin(Place("/f", SIZE, 0))
    assert fs.reads == [Place("/g", 0, BLOCK_BYTES)]
    assert pieces.read(Place("/g", 0, 5)) == DATA[:5]


def test_nothing_is_read_ahead_where_nothing_reads_beside(fs: Watched) -> None:
    pieces = PieceAhead(fs)
    pieces.begin(Place("/f", 10, 20))
    assert fs.reads == []
    assert pieces.read(Place("/f", 10, 20)) == DATA[10:30]


def test_an_error_is_told_when_the_piece_is_wanted(fs: Watched) -> None:
    def broken(_work: Callable[[], object]) -> Done:
        def fail() -> None:
            raise OSError(errno.EIO, "bad block")

        return Done(fail)

    pieces = PieceAhead(fs, broken)
    pieces.begin(Place("/f", 10, 20))
    assert pieces.read(Place("/f", 0, 5)) == DATA[:5]
    pieces.begin(Place("/f", 10, 20))
    with pytest.raises(OSError, match="bad block"):
        pieces.read(Place("/f", 10, 20))
