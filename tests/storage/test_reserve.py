"""The reserve file: taken, given back in parts, found again, and never half taken."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.reserve import HEAD_BYTES, Reserve
from tests.support.memfs import MemFileSystem

SIZE = 1 << 18
PATH = "/RESERVE"


def found(fs: MemFileSystem) -> tuple[int, int]:
    reserve = Reserve(fs, PATH)
    reserve.find()
    return reserve.size, reserve.nominal


@pytest.fixture
def fs() -> MemFileSystem:
    return MemFileSystem(capacity=1 << 20)


@pytest.fixture
def reserve(fs: MemFileSystem) -> Reserve:
    reserve = Reserve(fs, PATH)
    reserve.find()
    assert (reserve.size, reserve.nominal) == (0, 0)
    reserve.take(SIZE)
    return reserve


def test_what_is_taken_nobody_else_can_use(fs: MemFileSystem, reserve: Reserve) -> None:
    assert (reserve.size, reserve.nominal) == found(fs) == (SIZE, SIZE)
    assert fs.free_bytes("/") == (1 << 20) - SIZE
    with pytest.raises(OSError, match="no space"):
        fs.create("/other", (1 << 20) - SIZE + 1)


def test_it_is_given_back_in_parts_down_to_its_head(fs: MemFileSystem, reserve: Reserve) -> None:
    assert reserve.give_back(SIZE // 4)
    assert (reserve.size, reserve.nominal) == found(fs) == (SIZE // 4, SIZE)
    assert fs.free_bytes("/") == (1 << 20) - SIZE // 4
    assert not reserve.give_back(SIZE // 4), "there is nothing more to give"
    assert reserve.give_back(0)
    assert found(fs) == (HEAD_BYTES, SIZE)
    assert not reserve.give_back(0)
    reserve.take(SIZE)
    assert found(fs) == (SIZE, SIZE)


def test_without_room_nothing_is_taken(fs: MemFileSystem, reserve: Reserve) -> None:
    reserve.give_back(0)
    fs.create("/other", fs.free_bytes("/") - 1000).close()
    with pytest.raises(OSError, match="no space"):
        reserve.take(SIZE)
    assert found(fs) == (HEAD_BYTES, SIZE)
    assert fs.free_bytes("/") == 1000


def test_a_reserve_that_cannot_be_begun_leaves_no_room_taken(fs: MemFileSystem) -> None:
    fs.create("/other", fs.free_bytes("/") - 1000).close()
    with pytest.raises(OSError, match="no space"):
        Reserve(fs, PATH).take(SIZE)
    assert found(fs) == (0, 0)
    assert fs.free_bytes("/") == 1000


@pytest.mark.parametrize(
    "content", [b"", b"x", b"something else".ljust(SIZE), b"holdfast reserve of 9 bytes;".ljust(SIZE)]
)
def test_a_file_that_makes_no_sense_is_removed(fs: MemFileSystem, content: bytes) -> None:
    fs.create(PATH).pwrite([content], 0)
    assert found(fs) == (0, 0)
    assert not fs.exists(PATH)


def test_what_the_disk_refuses_is_said(fs: MemFileSystem, reserve: Reserve) -> None:
    fs.fail_on("resize", PATH, errno.EIO)
    with pytest.raises(OSError, match="injected"):
        reserve.give_back(0)
    assert reserve.size == SIZE


def test_on_a_real_file_system_it_takes_real_blocks(tmp_path: Path) -> None:
    path = str(tmp_path / "RESERVE")
    reserve = Reserve(OsFileSystem(), path)
    reserve.take(SIZE)
    assert Path(path).stat().st_blocks * 512 >= SIZE
    assert Path(path).read_bytes().startswith(b"holdfast reserve of 262144 bytes;")
    reserve.give_back(0)
    assert Path(path).stat().st_blocks * 512 <= 2 * HEAD_BYTES
    reserve.remove()
    assert not Path(path).exists()
