"""A file held open is read as it is, through the page cache, past it, or both, from any place to any."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from holdfastd.storage import osreader
from holdfastd.storage.files import Cache
from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.write_buffer import BLOCK_BYTES, write_buffer

SIZE = 5 * BLOCK_BYTES + 77
DATA = np.random.default_rng(5).bytes(SIZE)
ANY = pytest.mark.parametrize("cache", list(Cache))


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "f"
    file.write_bytes(DATA)
    return str(file)


@pytest.fixture
def direct_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of reads past the page cache."""
    offsets: list[int] = []
    read = osreader._read_direct

    def noted(descriptor: int, offset: int, buffer: memoryview) -> int:
        offsets.append(offset)
        return read(descriptor, offset, buffer)

    monkeypatch.setattr(osreader, "_read_direct", noted)
    return offsets


@ANY
@pytest.mark.parametrize("offset", [0, 1, 512, BLOCK_BYTES, 5 * BLOCK_BYTES, SIZE - 1, SIZE, 8 * BLOCK_BYTES])
@pytest.mark.parametrize("count", [1, 100, BLOCK_BYTES, 3 * BLOCK_BYTES, 8 * BLOCK_BYTES])
def test_any_bytes_of_it(path: str, cache: Cache, offset: int, count: int) -> None:
    fs = OsFileSystem()
    fs.drop_cache(path, 0, SIZE)
    reader = fs.reader(path, cache)
    buffer = write_buffer(count).data
    there = reader.read_into(offset, buffer)
    assert bytes(buffer[:there]) == DATA[offset : offset + count] == reader.read(offset, count)
    assert reader.size == SIZE


@ANY
def test_what_was_just_written_is_read(path: str, cache: Cache) -> None:
    reader = OsFileSystem().reader(path, cache)
    with Path(path).open("r+b") as file:
        file.write(b"new")
        file.seek(SIZE)
        file.write(b"more")
    buffer = write_buffer(8 * BLOCK_BYTES).data
    assert bytes(buffer[: reader.read_into(0, buffer)]) == b"new" + DATA[3:] + b"more"


def test_what_the_page_cache_has_is_read_from_it(path: str, direct_reads: list[int]) -> None:
    reader = OsFileSystem().reader(path, Cache.SPARE)
    assert reader.read_into(0, write_buffer(BLOCK_BYTES).data) == BLOCK_BYTES
    assert direct_reads == []


def test_what_it_does_not_have_stays_out_of_it(path: str, direct_reads: list[int]) -> None:
    fs = OsFileSystem()
    with Path(path).open("rb") as file:
        os.fsync(file)
    fs.drop_cache(path, 0, SIZE)
    mapping = fs.map(path)
    if mapping.resident_bytes():
        pytest.skip("this file system keeps files in memory")
    reader = fs.reader(path, Cache.SPARE)
    assert reader.read_into(0, write_buffer(BLOCK_BYTES).data) == BLOCK_BYTES
    assert direct_reads == [0]
    assert mapping.resident_bytes() == 0


@pytest.mark.parametrize("at", ["open", "read"])
def test_a_file_system_that_refuses_is_read_through_the_page_cache(
    path: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    open_, preadv = osreader.open_for_reading, os.preadv
    direct: list[int] = []

    def opened(path: str, flags: int = 0) -> int:
        if flags and at == "open":
            raise OSError(errno.EINVAL, "no direct reads", path)
        descriptor = open_(path)
        direct.extend([descriptor] if flags else [])
        return descriptor

    def read(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if descriptor in direct:
            raise OSError(errno.EINVAL, "no direct reads")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(osreader, "open_for_reading", opened)
    monkeypatch.setattr(os, "preadv", read)
    buffer = write_buffer(8 * BLOCK_BYTES).data
    reader = OsFileSystem().reader(path, Cache.BYPASS)
    assert bytes(buffer[: reader.read_into(0, buffer)]) == DATA


def test_a_bad_block_is_an_error_and_no_end(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv

    def read(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset >= BLOCK_BYTES:
            raise OSError(errno.EIO, "bad block")
        return preadv(descriptor, [buffers[0][:BLOCK_BYTES]], offset)

    monkeypatch.setattr(os, "preadv", read)
    for cache in Cache:
        with pytest.raises(OSError, match="bad block"):
            OsFileSystem().reader(path, cache).read_into(0, write_buffer(4 * BLOCK_BYTES).data)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@ANY
def test_nothing_stays_open(path: str, cache: Cache) -> None:
    before = descriptors()
    reader = OsFileSystem().reader(path, cache)
    assert descriptors() > before
    del reader
    assert descriptors() == before
