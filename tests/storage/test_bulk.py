"""Large files arrive whole, checksummed and paced, or leave nothing behind."""

from __future__ import annotations

import errno
import hashlib
import random
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from holdfastd.format.npy import npy_view
from holdfastd.format.segment import KILL_DTYPE, FileInfo
from holdfastd.storage.bulk import PIECE_BYTES, BulkWriter, write_document, write_npy
from holdfastd.storage.files import FileSystem
from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.write_buffer import BLOCK_BYTES
from tests.support.memfs import MemFileSystem


@pytest.fixture(params=["os", "memory"])
def fs(request: pytest.FixtureRequest) -> FileSystem:
    return OsFileSystem() if request.param == "os" else MemFileSystem()


@pytest.fixture
def path(fs: FileSystem, tmp_path: Path) -> str:
    return "/f" if isinstance(fs, MemFileSystem) else str(tmp_path / "f")


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5]
)
def test_what_is_written_is_what_is_read_checksummed(fs: FileSystem, path: str, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    with BulkWriter(fs, path, size, sha256=True) as out:
        for start in range(0, size, 100_003):
            out.write(data[start : start + 100_003])
        assert out.size == size
        info = out.close()
    assert fs.read(path) == data
    assert info == FileInfo(size, google_crc32c.value(data))
    assert out.sha256 == hashlib.sha256(data).digest()


def test_more_and_less_than_reserved_is_fine(fs: FileSystem, path: str) -> None:
    for number, count in enumerate((10, 2 * PIECE_BYTES)):
        with BulkWriter(fs, f"{path}{number}", PIECE_BYTES) as out:
            out.write(b"x" * count)
            assert out.close().size == count
        assert fs.size(f"{path}{number}") == count


def test_each_piece_waits_for_the_pace(fs: FileSystem, path: str) -> None:
    asked: list[int] = []
    with BulkWriter(fs, path, 0, pace=asked.append) as out:
        out.write(bytes(2 * PIECE_BYTES + 5))
        assert asked == [PIECE_BYTES, PIECE_BYTES]
        out.close()
    assert asked == [PIECE_BYTES, PIECE_BYTES, BLOCK_BYTES]


def test_leaving_early_removes_the_file(fs: FileSystem, path: str) -> None:
    def interrupted() -> None:
        with BulkWriter(fs, path, 100) as out:
            out.write(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not fs.exists(path)


def test_arrays_are_written_as_numpy_reads_them(tmp_path: Path) -> None:
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    path = str(tmp_path / "a.npy")
    info = write_npy(OsFileSystem(), path, "<f4", (3, 4), [array[:1], array[1:1], array[1:].tobytes()], align=4096)
    assert np.array_equal(np.load(path), array)
    assert info.size == 4096 + array.nbytes


def test_structured_and_strided_arrays(fs: FileSystem, path: str) -> None:
    kills = np.zeros(6, KILL_DTYPE)
    kills["row"] = range(6)
    write_npy(fs, path, KILL_DTYPE, (3,), [kills[::2]])
    assert np.array_equal(npy_view(fs.map(path).array)["row"], [0, 2, 4])


def test_chunks_that_do_not_fit_the_array_are_refused(fs: FileSystem, path: str) -> None:
    with pytest.raises(ValueError, match="float64"):
        write_npy(fs, path, "<f4", (2,), [np.zeros(2)])
    with pytest.raises(ValueError, match="an array of"):
        write_npy(fs, path, "<f4", (2,), [np.zeros(3, "<f4")])
    with pytest.raises(ValueError, match="an array of"):
        write_npy(fs, path, "<f4", (2,), [])
    assert not fs.exists(path)


def test_a_digest_that_was_not_asked_for_is_an_error(fs: FileSystem, path: str) -> None:
    with BulkWriter(fs, path, 0) as out:
        out.close()
    with pytest.raises(ValueError, match="SHA-256"):
        _ = out.sha256


@pytest.mark.parametrize("kind", ["resize", "write", "sync"])
def test_a_failing_disk_leaves_no_file(kind: str) -> None:
    fs = MemFileSystem()
    fs.fail_on(kind, "*", errno.ENOSPC)
    with pytest.raises(OSError) as caught:
        write_document(fs, "/f", b"data")
    assert caught.value.errno == errno.ENOSPC
    assert fs.listdir("/") == []


def test_a_closed_file_is_durable() -> None:
    fs = MemFileSystem()
    write_document(fs, "/f", b"x" * (PIECE_BYTES + 1))
    fs.sync_dir("/")
    assert {fs.crash(random.Random(seed)).read("/f") for seed in range(20)} == {b"x" * (PIECE_BYTES + 1)}


def test_a_file_is_closed_beside_whoever_writes_the_next(path: str, fs: FileSystem) -> None:
    """Durable once that is over, and checksummed at once."""
    data = np.random.default_rng(5).bytes(3 * PIECE_BYTES + 7)
    with BulkWriter(fs, path, len(data), piece_bytes=BLOCK_BYTES, large=True) as out:
        out.write(data)
        info, closing = out.close_beside()
    assert info == FileInfo(len(data), google_crc32c.value(data))
    closing.result()
    assert fs.read(path) == data


def test_what_closing_beside_runs_into_is_told_by_its_result() -> None:
    fs = MemFileSystem()
    with BulkWriter(fs, "/f", 0) as out:
        out.write(b"x" * 10)
        fs.fail_on("sync", "/f")
        _, closing = out.close_beside()
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        closing.result()
