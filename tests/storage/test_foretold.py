"""What a start looked into tells whether another one will do the same; what it left alone does not matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.foretold import Foretold
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem

LOOKS: dict[str, Callable[[MemFileSystem, str], object]] = {
    "read": lambda fs, path: fs.read(path),
    "a part": lambda fs, path: fs.read(path, 1, 1),
    "reader": lambda fs, path: fs.reader(path).read(0, 1),
    "map": lambda fs, path: fs.map(path),
    "size": lambda fs, path: fs.size(path),
    "size when open": lambda fs, path: fs.open(path).size(),
    "modified_ns": lambda fs, path: fs.modified_ns(path),
    "facts": lambda fs, path: fs.facts(path),
}


def disk_with(**files: bytes) -> Disk:
    """A directory ``/d`` with these files."""
    fs = MemFileSystem()
    fs.mkdir("/d")
    for name, content in files.items():
        file = fs.create(f"/d/{name}")
        file.pwrite([content], 0)
        file.close()
    return fs.kill_disk_at(fs.ops)


def noted(disk: Disk, look: Callable[[MemFileSystem, str], object], path: str) -> Foretold[str]:
    foretold = Foretold[str]()
    fs = MemFileSystem(disk)
    look(fs, path)
    foretold.note(disk, fs, "as before")
    return foretold


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_what_was_looked_into_has_to_be_the_same(look: Callable[[MemFileSystem, str], object]) -> None:
    foretold = noted(disk_with(a=b"123", b=b"1"), look, "/d/a" if look is not LOOKS["facts"] else "/d")
    assert foretold.find(disk_with(a=b"123", b=b"1")) == "as before"
    assert foretold.find(disk_with(a=b"124", b=b"1")) is None
    assert foretold.find(disk_with(a=b"1234", b=b"1")) is None


def test_what_nobody_has_looked_into_may_differ() -> None:
    foretold = noted(disk_with(a=b"123", b=b"1"), MemFileSystem.read, "/d/a")
    assert foretold.find(disk_with(a=b"123", b=b"2")) == "as before"
    assert foretold.find(disk_with(a=b"123", b=b"")) == "as before"


def test_names_have_to_be_the_same() -> None:
    foretold = noted(disk_with(a=b"123", b=b"1"), MemFileSystem.read, "/d/a")
    assert foretold.find(disk_with(a=b"123", c=b"1")) is None
    assert foretold.find(disk_with(a=b"123")) is None
    assert foretold.find(disk_with(a=b"123", b=b"1", c=b"")) is None


def test_two_names_of_one_file_are_not_two_files() -> None:
    """After a power cut a renamed file may have both names: what is done to one shows in the other."""
    apart, linked = disk_with(a=b"123", b=b"123"), disk_with(a=b"123", b=b"123")
    names = next(entries for entries in linked.directories.values() if "a" in entries)
    names["b"] = names["a"]
    assert noted(apart, MemFileSystem.read, "/d/a").find(linked) is None
    assert linked.digest() == apart.digest()


def test_a_file_is_told_from_a_directory() -> None:
    fs = MemFileSystem()
    for name in ("/d", "/d/a", "/d/b"):
        fs.mkdir(name)
    with_directories = fs.kill_disk_at(fs.ops)
    assert noted(disk_with(a=b"", b=b""), MemFileSystem.listdir, "/d").find(with_directories) is None
