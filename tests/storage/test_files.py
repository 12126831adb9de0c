"""One contract for both file systems: what the tests run on behaves as what the daemon runs on."""

from __future__ import annotations

import errno
import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from holdfastd.errors import DataDirectoryLocked
from holdfastd.storage.files import FileSystem, make_dirs, make_lasting_dir, parent_of, remove_tree, replace_file
from holdfastd.storage.osfiles import BUFFERS_PER_CALL, OsFile, OsFileSystem
from tests.support.memfs import MemFileSystem


@pytest.fixture(params=["os", "memory"])
def fs(request: pytest.FixtureRequest) -> FileSystem:
    return OsFileSystem() if request.param == "os" else MemFileSystem()


@pytest.fixture
def root(fs: FileSystem, tmp_path: Path) -> str:
    path = str(tmp_path / "data")
    if isinstance(fs, MemFileSystem):
        path = "/data"
    make_dirs(fs, path)
    return path


def content(fs: FileSystem, path: str) -> bytes:
    return fs.read(path)


def write(fs: FileSystem, path: str, data: bytes) -> None:
    file = fs.create(path)
    file.pwrite([data], 0)
    file.close()


def test_a_write_joins_its_buffers_at_the_offset(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f")
    assert file.pwrite([b"abc", bytearray(b"de"), memoryview(b"f")], 2) == 6
    assert file.size() == 8
    assert fs.read(f"{root}/f") == b"\0\0abcdef"
    assert fs.read(f"{root}/f", 3, 2) == b"bc"
    assert fs.read(f"{root}/f", 7, 100) == b"f"
    assert fs.read(f"{root}/f", 100, 5) == b""


def test_a_write_of_more_buffers_than_the_kernel_takes_at_once_is_whole(fs: FileSystem, root: str) -> None:
    pieces = [bytes([number % 251]) * 3 for number in range(2 * BUFFERS_PER_CALL + 7)]
    file = fs.create(f"{root}/f")
    assert file.pwrite(pieces, 0) == 3 * len(pieces)
    assert content(fs, f"{root}/f") == b"".join(pieces)


def test_the_sizes_in_a_directory_are_those_of_its_files(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/b", b"12")
    write(fs, f"{root}/a", b"")
    fs.mkdir(f"{root}/below")
    write(fs, f"{root}/below/c", b"123")
    assert {name: facts.size for name, facts in fs.facts(root).items()} == {"a": 0, "b": 2}
    reader = fs.reader(f"{root}/b")
    assert (reader.size, reader.read(1, 5), reader.read(2, 1)) == (2, b"2", b"")
    with pytest.raises(FileNotFoundError):
        fs.reader(f"{root}/c")


def test_create_refuses_an_existing_name_and_open_a_missing_one(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/f", b"kept")
    with pytest.raises(FileExistsError):
        fs.create(f"{root}/f")
    with pytest.raises(FileNotFoundError):
        fs.open(f"{root}/g")
    assert content(fs, f"{root}/f") == b"kept"


def test_create_with_a_size_reserves_zeros_and_allocate_never_shrinks(fs: FileSystem, root: str) -> None:
    file = fs.create(f"{root}/f", 8192)
    file.pwrite([b"x"], 100)
    file.allocate(4096)
    assert file.size() == 8192
    assert content(fs, f"{root}/f") == bytes(100) + b"x" + bytes(8091)
    file.truncate(101)
    file.truncate(103)
    assert content(fs, f"{root}/f") == bytes(100) + b"x\0\0"


def test_direct_writes_end_up_in_the_file(fs: FileSystem, root: str) -> None:
    padded = np.full(3 * 4096, 7, np.uint8)
    start = -padded.ctypes.data % 4096
    file = fs.create(f"{root}/f", 8192, direct=True)
    file.pwrite([memoryview(padded[start : start + 8192])], 0)
    file.truncate(5000)
    file.sync()
    assert content(fs, f"{root}/f") == b"\x07" * 5000


def test_rename_replaces_and_an_open_file_follows_its_content(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/old", b"old")
    file = fs.create(f"{root}/new")
    file.pwrite([b"new"], 0)
    fs.rename(f"{root}/new", f"{root}/old")
    file.pwrite([b"!"], 3)
    assert content(fs, f"{root}/old") == b"new!"
    assert fs.listdir(root) == ["old"]
    fs.unlink(f"{root}/old")
    file.pwrite([b"?"], 4)
    assert file.size() == 5
    file.close()
    file.close()


def test_directories(fs: FileSystem, root: str) -> None:
    make_dirs(fs, f"{root}/a/b/c")
    make_dirs(fs, f"{root}/a/b/c")
    write(fs, f"{root}/a/b/f", b"")
    assert fs.listdir(f"{root}/a/b") == ["c", "f"]
    assert fs.is_dir(f"{root}/a/b/c")
    assert not fs.is_dir(f"{root}/a/b/f")
    assert not fs.is_dir(f"{root}/nothing")
    with pytest.raises(OSError) as caught:
        fs.rmdir(f"{root}/a/b")
    assert caught.value.errno == errno.ENOTEMPTY
    with pytest.raises(FileExistsError):
        fs.mkdir(f"{root}/a")
    fs.rename(f"{root}/a/b", f"{root}/moved")
    assert fs.exists(f"{root}/moved/c")
    remove_tree(fs, f"{root}/moved")
    remove_tree(fs, f"{root}/moved")
    assert fs.listdir(root) == ["a"]


def test_replace_file_survives_a_leftover_of_an_earlier_try(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/f.tmp", b"left over")
    replace_file(fs, f"{root}/f", b"one")
    replace_file(fs, f"{root}/f", b"two")
    assert content(fs, f"{root}/f") == b"two"
    assert fs.listdir(root) == ["f"]


def test_a_map_is_read_only_and_outlives_the_name(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/f", b"0123456789")
    mapping = fs.map(f"{root}/f")
    array = mapping.array
    fs.unlink(f"{root}/f")
    mapping.advise("random")
    mapping.populate()
    assert mapping.size == 10
    assert mapping.resident_bytes() == 10
    del mapping
    gc.collect()
    assert array.tobytes() == b"0123456789"
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_an_empty_file_maps_to_an_empty_array(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/f", b"")
    mapping = fs.map(f"{root}/f")
    mapping.advise("sequential")
    mapping.populate()
    assert mapping.array.shape == (0,)
    assert mapping.resident_bytes() == 0


def test_cache_and_space(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/f", bytes(10_000))
    fs.sync_dir(root)
    fs.drop_cache(f"{root}/f", 0, 10_000)
    assert content(fs, f"{root}/f") == bytes(10_000)
    assert fs.free_bytes(root) > 0


def test_a_second_lock_is_refused_with_the_holder_named(fs: FileSystem, root: str) -> None:
    lock = fs.lock(f"{root}/LOCK")
    with pytest.raises(DataDirectoryLocked) as caught:
        fs.lock(f"{root}/LOCK")
    assert caught.value.metadata["pid"] == str(os.getpid())
    lock.release()
    lock.release()
    fs.lock(f"{root}/LOCK").release()


@pytest.mark.parametrize(
    ("path", "parent"), [("/a/b", "/a"), ("/a/b/", "/a"), ("/a", "/"), ("a", "."), ("a/b", "a"), ("/", "/")]
)
def test_parent(path: str, parent: str) -> None:
    assert parent_of(path) == parent


def test_a_short_write_of_the_kernel_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., int] = os.pwritev

    def short(descriptor: int, buffers: list[bytes], offset: int) -> int:
        return real(descriptor, [memoryview(b"".join(buffers))[:5]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    file = OsFileSystem().create(str(tmp_path / "f"))
    numbers = np.frombuffer(b"efgh", np.uint16)
    assert file.pwrite([b"abc", b"d", numbers.data, b"ijkl"], 1) == 12
    assert (tmp_path / "f").read_bytes() == b"\0abcdefghijkl"


def test_a_write_that_makes_no_progress_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OsFileSystem().create(str(tmp_path / "f"))
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    with pytest.raises(OSError) as caught:
        file.pwrite([b"abc"], 0)
    assert caught.value.errno == errno.EIO


def test_a_direct_write_that_is_refused_goes_through_the_cache(tmp_path: Path) -> None:
    file = OsFileSystem().create(str(tmp_path / "f"), direct=True)
    assert file.pwrite([b"unaligned"], 0) == 9
    assert (tmp_path / "f").read_bytes() == b"unaligned"


def test_a_file_system_without_direct_mode_gets_a_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags & ~os.O_DIRECT, mode)
        if flags & os.O_DIRECT:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no direct mode here", path)
        return descriptor

    monkeypatch.setattr(os, "open", refuse)
    file = OsFileSystem().create(str(tmp_path / "f"), 100, direct=True)
    file.pwrite([b"x"], 0)
    assert (tmp_path / "f").stat().st_size == 100


def test_a_reservation_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: OsFile, size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(OsFile, "allocate", full)
    with pytest.raises(OSError, match="full"):
        OsFileSystem().create(str(tmp_path / "f"), 100)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_durable_whichever_killed_processes_were_making_it() -> None:
    def made(fs: MemFileSystem) -> MemFileSystem:
        make_lasting_dir(fs, "/a/b/c")
        return fs

    undisturbed = made(MemFileSystem())
    for first in range(undisturbed.ops + 1):
        second = made(undisturbed.killed_at(first))
        for cut in range(second.ops + 1):
            third = made(second.killed_at(cut))
            after = MemFileSystem(third.crash_disk_at(third.ops, random.Random(1), "nothing"))
            assert after.is_dir("/a/b/c")


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    fs = OsFileSystem()
    fs.mkdir(str(tmp_path / "d"))
    fs.create(str(tmp_path / "d" / "f")).close()
    assert (tmp_path / "d").stat().st_mode & 0o077 == 0
    assert (tmp_path / "d" / "f").stat().st_mode & 0o077 == 0


def test_maps_hold_no_descriptors_and_go_with_their_last_array(tmp_path: Path) -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(tmp_path))

    (tmp_path / "f").write_bytes(bytes(8192))
    before = open_descriptors()
    views = [OsFileSystem().map(str(tmp_path / "f")).array[4096:].view(np.uint64) for _ in range(5)]
    # Fewer, where the collector closes what earlier tests have left.
    assert open_descriptors() <= before
    assert mapped() >= 1
    assert sum(int(view.sum()) for view in views) == 0
    del views
    gc.collect()
    assert mapped() == 0


def test_populate_reports_a_truncated_file_where_a_read_would_kill(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(4 * 4096))
    mapping = OsFileSystem().map(str(tmp_path / "f"))
    os.truncate(tmp_path / "f", 4096)
    with pytest.raises(OSError) as caught:
        mapping.populate()
    assert caught.value.errno == errno.EFAULT
    assert caught.value.filename == str(tmp_path / "f")


def test_pages_can_be_pinned(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(4 * 4096))
    mapping = OsFileSystem().map(str(tmp_path / "f"))
    mapping.lock(4096, 4096)
    locked = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck")]
    mapping.unlock(4096, 4096)
    assert locked[0].split()[1] == "4"


def test_what_is_pinned_is_counted(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(4 * 4096))
    mapping = OsFileSystem().map(str(tmp_path / "f"))
    mapping.lock(0, 8192)
    mapping.lock(12288, 4096)
    assert mapping.pinned_bytes == 12288
    mapping.unlock(0, 8192)
    assert mapping.pinned_bytes == 4096


def test_what_is_resident_is_counted_to_the_byte(tmp_path: Path) -> None:
    """Of the last page only what the file has of it."""
    path = tmp_path / "f"
    path.write_bytes(bytes(9 * 4096 + 10))
    drop(path)
    mapping = OsFileSystem().map(str(path))
    mapping.advise("random")
    if mapping.resident_bytes():
        pytest.skip("this file system keeps everything in memory")
    mapping.array.take([9 * 4096 + 3])
    assert mapping.resident_bytes() == 10
    assert mapping.resident_pages().tolist() == [False] * 9 + [True]
    mapping.array.take([2 * 4096])
    assert mapping.resident_bytes() == 4096 + 10
    assert mapping.resident_pages(2 * 4096 + 7, 4096).tolist() == [True, False]
    mapping.prefetch(0, mapping.size)
    mapping.populate()
    assert mapping.resident_bytes() == mapping.size
    assert mapping.resident_pages(5, 0).tolist() in ([], [True])


def drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_held_file_is_read_at_any_place_and_outlives_the_name(fs: FileSystem, root: str) -> None:
    write(fs, f"{root}/f", b"0123456789")
    held = fs.hold(f"{root}/f")
    fs.unlink(f"{root}/f")
    for advice in ("normal", "random", "sequential"):
        held.advise(advice)
    out = memoryview(bytearray(4))
    assert (held.size, held.read_into(3, out), out.tobytes()) == (10, 4, b"3456")
    assert (held.read_into(8, out), out.tobytes()) == (2, b"8956")
    assert held.read_into(10, out) == held.read_into(0, out[:0]) == 0
    with pytest.raises(FileNotFoundError):
        fs.hold(f"{root}/none")


def test_a_held_file_is_closed_with_its_last_user(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    path = tmp_path / "f"
    held = OsFileSystem().hold(str(path))
    assert path in holders()
    del held
    assert path not in holders()


def holders() -> list[Path]:
    """The files that this process has open."""
    return [Path(os.path.realpath(link)) for link in Path("/proc/self/fd").iterdir()]


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    script = (
        "import sys; from holdfastd.storage.osfiles import OsFileSystem; "
        f"lock = OsFileSystem().lock({str(tmp_path / 'LOCK')!r}); print('held', flush=True); sys.stdin.read()"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirectoryLocked, match=str(holder.pid)):
            OsFileSystem().lock(str(tmp_path / "LOCK"))
        holder.send_signal(signal.SIGKILL)
    OsFileSystem().lock(str(tmp_path / "LOCK")).release()


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "snap-2026-01-01-000000.snap"
    os.mkfifo(path)
    with pytest.raises(OSError, match="Illegal seek"):
        OsFileSystem().read(str(path))
