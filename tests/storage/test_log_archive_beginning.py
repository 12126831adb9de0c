"""Where a pruned archive begins: said by a name, counted by whoever lists it, put there whole or not at all."""

from __future__ import annotations

import errno
import random

import pytest

from holdfastd.storage.archived_log import ArchivedLog
from holdfastd.storage.files import make_dirs
from holdfastd.storage.log_archive_beginning import publish_beginning
from holdfastd.storage.log_archive_listing import list_log_archive
from holdfastd.storage.names import beginning_name, parse_beginning_name
from tests.support.memfs import MemFileSystem

PLACE = "/archive"


def name(first: int, timeline: int = 1) -> str:
    return f"{timeline:08d}-{first:020d}.wal"


@pytest.fixture
def fs() -> MemFileSystem:
    """Whole WAL segments, pieces of one that has its end alone, a piece that is too short, and what is none of it."""
    fs = MemFileSystem()
    make_dirs(fs, PLACE)
    sizes = {
        name(1): 100,
        f"{name(1)}.{0:012d}-{50:012d}": 50,
        f"{name(11)}.{50:012d}-{80:012d}": 30,
        f"{name(11)}.{80:012d}-{90:012d}": 5,
        name(21): 100,
        name(31): 100,
        f"{name(41)}.{0:012d}-{10:012d}": 10,
        f"{name(41)}.{10:012d}-{20:012d}.part": 3,
        "LOCK": 0,
        "notes.txt": 7,
    }
    for each, size in sizes.items():
        fs.create(f"{PLACE}/{each}").pwrite([bytes(size)], 0)
    return fs


def test_without_one_all_of_it_counts(fs: MemFileSystem) -> None:
    found = list_log_archive(fs, PLACE)
    assert found.names == [name(1), name(11), name(21), name(31), name(41)]
    assert (found.begins, found.pruned, found.size_bytes) == ("", {}, 395)
    assert found.unfinished == (f"{PLACE}/{name(41)}.{10:012d}-{20:012d}.part",)
    assert not ArchivedLog(fs, PLACE).pruned


def test_what_lies_in_front_of_the_newest_counts_no_more(fs: MemFileSystem) -> None:
    publish_beginning(fs, PLACE, name(11))
    publish_beginning(fs, PLACE, name(31))
    found = list_log_archive(fs, PLACE)
    assert (found.begins, found.names, found.size_bytes) == (name(31), [name(31), name(41)], 110)
    assert found.short == {}
    assert [(path.removeprefix(f"{PLACE}/"), size) for path, size in found.pruned.items()][:4] == [
        (f"{name(1)}.{0:012d}-{50:012d}", 50),
        (name(1), 100),
        (f"{name(11)}.{50:012d}-{80:012d}", 30),
        (f"{name(11)}.{80:012d}-{90:012d}", 5),
    ]
    assert list(found.pruned)[-2:] == [f"{PLACE}/{beginning_name(name(11))}", f"{PLACE}/{name(21)}"]
    archived = ArchivedLog(fs, PLACE)
    assert archived.listdir(PLACE) == [name(31), name(41)]
    assert archived.pruned


def test_a_timeline_goes_before_a_sequence(fs: MemFileSystem) -> None:
    fs.create(f"{PLACE}/{name(25, timeline=2)}").pwrite([bytes(9)], 0)
    publish_beginning(fs, PLACE, name(25, timeline=2))
    publish_beginning(fs, PLACE, name(31))
    assert list_log_archive(fs, PLACE).names == [name(25, timeline=2)]


@pytest.mark.parametrize("wrong", ["begins", f"{name(1)}.begins.part", f"{name(1)}.ends", "1-1.wal.begins", name(1)])
def test_no_other_name_says_so(wrong: str) -> None:
    assert parse_beginning_name(wrong) is None
    assert parse_beginning_name(beginning_name(name(1))) == name(1)


@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename"])
def test_a_failure_leaves_nothing(fs: MemFileSystem, kind: str) -> None:
    names = fs.listdir(PLACE)
    fs.fail_on(kind, f"{PLACE}/*", errno.EIO)
    with pytest.raises(OSError, match=r"I/O|Input"):
        publish_beginning(fs, PLACE, name(31))
    assert fs.listdir(PLACE) == names


def test_it_is_durable_on_return(fs: MemFileSystem) -> None:
    fs.sync_dir(PLACE)
    fs.sync_dir("/")
    publish_beginning(fs, PLACE, name(31))
    for seed in range(10):
        assert list_log_archive(fs.crash(random.Random(seed)), PLACE).begins == name(31)


def test_what_a_kill_leaves_of_it_is_unfinished(fs: MemFileSystem) -> None:
    fs.create(f"{PLACE}/{beginning_name(name(31))}.part")
    found = list_log_archive(fs, PLACE)
    assert found.begins == ""
    assert f"{PLACE}/{beginning_name(name(31))}.part" in found.unfinished
