"""What is written behind is all there, in its place, when the file is closed; what fails is told and leaves nothing."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from holdfastd.storage.bulk import LARGE_BYTES, LARGE_PIECE_BYTES, LARGEST_PIECE_BYTES, PIECE_BYTES, BulkWriter
from holdfastd.storage.files import Buffer, FileSystem
from holdfastd.storage.osfiles import OsFile, OsFileSystem
from holdfastd.storage.write_behind import DEPTH
from tests.support.memfs import MemFileSystem


@pytest.fixture
def fs() -> Iterator[FileSystem]:
    """A file system with threads to spare."""
    with ThreadPoolExecutor(4) as threads:
        yield OsFileSystem(threads.submit)


@pytest.mark.parametrize("extra", [0, 1, LARGE_PIECE_BYTES - 1, 7 * LARGE_PIECE_BYTES + 4097])
def test_a_large_file_holds_every_byte_in_its_place(fs: FileSystem, tmp_path: Path, extra: int) -> None:
    data = np.random.default_rng(extra).bytes(LARGE_BYTES + extra)
    path = str(tmp_path / "f")
    with BulkWriter(fs, path, len(data), sha256=True) as out:
        for start in range(0, len(data), 700_001):
            piece = bytearray(data[start : start + 700_001])
            out.write(piece)
            piece[:] = bytes(len(piece))
        info = out.close()
    assert info.size == len(data)
    assert Path(path).read_bytes() == data


class Listener:
    """Hears whether anybody is in the foreground, and is asked before each piece."""

    def __init__(self) -> None:
        self.quiet = True
        self.pieces: list[int] = []

    def writer(self, fs: FileSystem, path: str, reserve: int) -> BulkWriter:
        return BulkWriter(fs, path, reserve, pace=self.pieces.append, quiet=lambda: self.quiet)


def test_pieces_grow_while_it_is_quiet_and_shrink_when_somebody_comes(fs: FileSystem, tmp_path: Path) -> None:
    listener, path = Listener(), tmp_path / "f"
    data = np.random.default_rng(3).bytes(2 * LARGEST_PIECE_BYTES + 6 * LARGE_PIECE_BYTES + 5)
    somebody_comes = LARGEST_PIECE_BYTES + 2 * LARGE_PIECE_BYTES + 7
    gone_again = somebody_comes + 3 * LARGE_PIECE_BYTES
    with listener.writer(fs, str(path), len(data)) as out:
        out.write(data[:somebody_comes])
        assert listener.pieces == [LARGEST_PIECE_BYTES]
        listener.quiet = False
        out.write(data[somebody_comes:gone_again])
        assert listener.pieces[1:] == [3 * LARGE_PIECE_BYTES, LARGE_PIECE_BYTES, LARGE_PIECE_BYTES]
        listener.quiet = True
        out.write(data[gone_again:])
        out.close()
    assert listener.pieces[4:] == [LARGEST_PIECE_BYTES, LARGE_PIECE_BYTES + 4096]
    assert path.read_bytes() == data


def test_the_pieces_of_a_small_file_stay_small(fs: FileSystem, tmp_path: Path) -> None:
    listener = Listener()
    with listener.writer(fs, str(tmp_path / "f"), 3 * PIECE_BYTES) as out:
        out.write(bytes(3 * PIECE_BYTES))
        out.close()
    assert listener.pieces == [PIECE_BYTES] * 3


def test_so_many_pieces_are_on_their_way_and_no_more(
    fs: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow where the disk is slow."""
    pwrite, lock, under_way, most = OsFile.pwrite, threading.Lock(), [0], [0]
    together = threading.Barrier(DEPTH, timeout=10)

    def slow(file: OsFile, buffers: Sequence[Buffer], offset: int) -> int:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        together.wait()
        done = pwrite(file, buffers, offset)
        with lock:
            under_way[0] -= 1
        return done

    monkeypatch.setattr(OsFile, "pwrite", slow)
    with BulkWriter(fs, str(tmp_path / "f"), 4 * LARGE_BYTES) as out:
        out.write(bytes(4 * LARGE_BYTES))
        out.close()
    assert most[0] == DEPTH


@pytest.mark.parametrize("failing", [0, 3, 15])
def test_a_write_that_fails_is_told_and_leaves_no_file(
    fs: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    pwrite = OsFile.pwrite

    def broken(file: OsFile, buffers: Sequence[Buffer], offset: int) -> int:
        if offset == failing * LARGE_PIECE_BYTES:
            raise OSError(errno.ENOSPC, "no room")
        return pwrite(file, buffers, offset)

    monkeypatch.setattr(OsFile, "pwrite", broken)
    path = tmp_path / "f"

    def write() -> None:
        with BulkWriter(fs, str(path), 4 * LARGE_BYTES) as out:
            out.write(bytes(4 * LARGE_BYTES))
            out.close()

    with pytest.raises(OSError, match="no room"):
        write()
    assert not path.exists()


def test_leaving_early_waits_for_what_is_on_its_way(fs: FileSystem, tmp_path: Path) -> None:
    path = tmp_path / "f"

    def leave() -> None:
        with BulkWriter(fs, str(path), 4 * LARGE_BYTES) as out:
            out.write(bytes(3 * LARGE_BYTES))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not path.exists()


def test_a_large_file_is_durable_when_it_is_closed() -> None:
    fs = MemFileSystem()
    data = np.random.default_rng(1).bytes(LARGE_BYTES + 5)
    with BulkWriter(fs, "/f", len(data)) as out:
        out.write(data)
        out.close()
    fs.sync_dir("/")
    assert all(fs.crash(random.Random(seed)).read("/f") == data for seed in range(5))
