"""The crash file system itself: what it may lose, what it must keep, and that it does lose what it may."""

from __future__ import annotations

import errno
import random

import pytest

from holdfastd.storage.files import FileSystem, make_dirs, replace_file
from tests.support.memdisk import DirectoryModel
from tests.support.memfs import MemFileSystem

DRAWS = 300
MODELS: tuple[DirectoryModel, ...] = ("prefix", "subset")


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> DirectoryModel:
    found: DirectoryModel = request.param
    return found


def fresh() -> MemFileSystem:
    fs = MemFileSystem()
    make_dirs(fs, "/d")
    return fs


def put(fs: FileSystem, path: str, data: bytes, *, sync: bool = True) -> None:
    file = fs.create(path)
    file.pwrite([data], 0)
    if sync:
        file.sync()
    file.close()


def states(fs: MemFileSystem, model: DirectoryModel, path: str) -> set[bytes | None]:
    """Every content, or absence, of ``path`` over many power cuts."""
    rng = random.Random(7)
    found: set[bytes | None] = set()
    for _ in range(DRAWS):
        after = fs.crash(rng, model)
        found.add(after.read(path) if after.exists(path) else None)
    return found


def test_a_created_file_may_vanish_until_its_directory_is_synced(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"data")
    assert states(fs, model, "/d/f") == {None, b"data"}
    fs.sync_dir("/d")
    assert states(fs, model, "/d/f") == {b"data"}


def test_a_directory_may_vanish_with_synced_files_in_it(model: DirectoryModel) -> None:
    fs = fresh()
    fs.mkdir("/d/sub")
    put(fs, "/d/sub/f", b"data")
    fs.sync_dir("/d/sub")
    assert states(fs, model, "/d/sub/f") == {None, b"data"}
    fs.sync_dir("/d")
    assert states(fs, model, "/d/sub/f") == {b"data"}


def test_a_rename_may_be_lost_until_its_directory_is_synced(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"old")
    put(fs, "/d/f.tmp", b"new")
    fs.sync_dir("/d")
    fs.rename("/d/f.tmp", "/d/f")
    assert states(fs, model, "/d/f") == {b"old", b"new"}
    fs.sync_dir("/d")
    assert states(fs, model, "/d/f") == {b"new"}
    assert states(fs, model, "/d/f.tmp") == {None}


def test_a_rename_between_directories_needs_both_synced(model: DirectoryModel) -> None:
    fs = fresh()
    make_dirs(fs, "/d/a")
    make_dirs(fs, "/d/b")
    put(fs, "/d/a/f", b"x")
    fs.sync_dir("/d/a")
    fs.rename("/d/a/f", "/d/b/f")
    fs.sync_dir("/d/b")
    assert states(fs, model, "/d/b/f") == {None, b"x"}
    fs.sync_dir("/d/a")
    assert states(fs, model, "/d/b/f") == {b"x"}


def test_a_file_made_again_under_a_moved_name_stays_apart_from_it(model: DirectoryModel) -> None:
    fs = fresh()
    make_dirs(fs, "/d/a")
    make_dirs(fs, "/d/b")
    put(fs, "/d/a/f", b"first")
    fs.sync_dir("/d/a")
    fs.rename("/d/a/f", "/d/b/f")
    put(fs, "/d/a/f", b"second")
    fs.sync_dir("/d/a")
    fs.sync_dir("/d/b")
    assert states(fs, model, "/d/a/f") == {b"second"}
    assert states(fs, model, "/d/b/f") == {b"first"}


def test_an_unlinked_file_may_come_back_until_its_directory_is_synced(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"data")
    fs.sync_dir("/d")
    fs.unlink("/d/f")
    assert states(fs, model, "/d/f") == {None, b"data"}
    fs.sync_dir("/d")
    assert states(fs, model, "/d/f") == {None}


def test_only_the_subset_model_keeps_a_later_name_and_loses_an_earlier_one() -> None:
    fs = fresh()
    put(fs, "/d/first", b"1")
    put(fs, "/d/second", b"2")

    def hole(model: DirectoryModel) -> bool:
        rng = random.Random(3)
        crashes = [fs.crash(rng, model) for _ in range(DRAWS)]
        return any(after.exists("/d/second") and not after.exists("/d/first") for after in crashes)

    assert hole("subset")
    assert not hole("prefix")


def test_synced_bytes_are_never_lost(model: DirectoryModel) -> None:
    fs = fresh()
    file = fs.create("/d/f")
    fs.sync_dir("/d")
    file.pwrite([b"s" * 1000], 0)
    file.sync()
    file.pwrite([b"u" * 3000], 1000)
    found = states(fs, model, "/d/f")
    assert all(content is not None and content[:1000] == b"s" * 1000 for content in found)
    assert b"s" * 1000 in found
    assert b"s" * 1000 + b"u" * 3000 in found


def test_unsynced_sectors_are_kept_and_lost_in_any_combination(model: DirectoryModel) -> None:
    fs = fresh()
    file = fs.create("/d/f", 4 * 512)
    file.sync()
    fs.sync_dir("/d")
    file.pwrite([b"x" * 2048], 0)
    patterns = {bytes(content[512 * i] for i in range(4)) for content in states(fs, model, "/d/f") if content}
    assert len(patterns) == 16


def test_a_sector_is_old_or_new_never_mixed(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"o" * 512)
    fs.sync_dir("/d")
    file = fs.open("/d/f")
    file.pwrite([b"n" * 512], 0)
    assert states(fs, model, "/d/f") == {b"o" * 512, b"n" * 512}


def test_writes_to_one_sector_reach_the_disk_in_order(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"....")
    fs.sync_dir("/d")
    file = fs.open("/d/f")
    file.pwrite([b"1"], 0)
    file.pwrite([b"2"], 1)
    assert states(fs, model, "/d/f") == {b"....", b"1...", b"12.."}


def test_sizes_follow_in_order_and_what_was_cut_reads_as_zeros(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"a" * 600)
    fs.sync_dir("/d")
    file = fs.open("/d/f")
    file.truncate(100)
    file.truncate(600)
    found = states(fs, model, "/d/f")
    assert found == {b"a" * 600, b"a" * 100, b"a" * 100 + bytes(500)}


def test_a_growing_write_may_leave_any_size_between(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"")
    fs.sync_dir("/d")
    fs.open("/d/f").pwrite([b"x" * 100], 0)
    sizes = {len(content) for content in states(fs, model, "/d/f") if content is not None}
    assert {0, 100} < sizes
    assert max(sizes) == 100


def test_after_a_failed_sync_no_later_sync_saves_the_writes(model: DirectoryModel) -> None:
    fs = fresh()
    file = fs.create("/d/f", 1024)
    file.sync()
    fs.sync_dir("/d")
    fs.fail_on("sync", "/d/f")
    file.pwrite([b"x" * 512], 0)
    with pytest.raises(OSError, match="injected"):
        file.sync()
    file.pwrite([b"y" * 512], 512)
    file.sync()
    assert fs.read("/d/f") == b"x" * 512 + b"y" * 512
    assert states(fs, model, "/d/f") == {bytes(512) + b"y" * 512, b"x" * 512 + b"y" * 512}


def test_dropping_the_cache_shows_what_a_failed_sync_lost() -> None:
    fs = fresh()
    file = fs.create("/d/f", 1024)
    file.sync()
    fs.fail_on("sync", "/d/f")
    file.pwrite([b"x" * 1024], 0)
    with pytest.raises(OSError, match="injected"):
        file.sync()
    fs.drop_cache("/d/f", 512, 512)
    assert fs.read("/d/f") == b"x" * 512 + bytes(512)
    file.pwrite([b"x" * 1024], 0)
    file.sync()
    fs.drop_cache("/d/f", 0, 0)
    assert fs.read("/d/f") == b"x" * 1024


def test_what_is_written_while_a_sync_runs_is_not_covered_by_it(model: DirectoryModel) -> None:
    fs = fresh()
    file = fs.create("/d/f", 1024)
    file.sync()
    fs.sync_dir("/d")
    file.pwrite([b"x" * 512], 0)

    def overtake(kind: str, path: str) -> None:
        if kind == "sync":
            fs.on_operation = None
            file.pwrite([b"y" * 512], 512)

    fs.on_operation = overtake
    file.sync()
    assert states(fs, model, "/d/f") == {b"x" * 512 + bytes(512), b"x" * 512 + b"y" * 512}


def test_every_operation_can_be_crashed_at_without_running_again(model: DirectoryModel) -> None:
    fs = fresh()
    replace_file(fs, "/d/f", b"one")
    done_one = fs.ops
    replace_file(fs, "/d/f", b"two")
    done_two = fs.ops
    put(fs, "/d/g", b"more")
    rng = random.Random(5)
    for index in [*range(fs.ops + 1), done_one, 0]:
        for _ in range(40):
            after = fs.crash_at(index, rng, model)
            found = after.read("/d/f") if after.exists("/d/f") else None
            if index < done_one:
                assert found in (None, b"one")
            elif index < done_two:
                assert found in (b"one", b"two")
            else:
                assert found == b"two"


def test_a_recorded_crash_equals_a_live_one(model: DirectoryModel) -> None:
    def scenario(fs: MemFileSystem) -> None:
        make_dirs(fs, "/d/e")
        put(fs, "/d/e/f", b"x" * 2000)
        put(fs, "/d/g", b"y" * 700, sync=False)
        fs.rename("/d/g", "/d/e/g")
        fs.open("/d/e/f").truncate(10)

    fs = MemFileSystem()
    scenario(fs)
    for seed in range(50):
        live = fs.crash(random.Random(seed), model).state_digest()
        assert fs.crash_at(fs.ops, random.Random(seed), model).state_digest() == live


def test_a_crashed_file_system_works_on_and_crashes_again(model: DirectoryModel) -> None:
    fs = fresh()
    put(fs, "/d/f", b"1" * 600)
    fs.sync_dir("/d")
    fs.open("/d/f").pwrite([b"2" * 600], 0)
    rng = random.Random(1)
    for _ in range(DRAWS):
        after = fs.crash(rng, model)
        before = after.read("/d/f")
        file = after.open("/d/f")
        file.pwrite([b"3" * 600], 600)
        file.sync()
        again = after.crash(rng, model)
        assert again.read("/d/f") == before + b"3" * 600
        assert again.ops == 0
    assert fs.read("/d/f") == b"2" * 600


def test_distinct_states_have_distinct_digests() -> None:
    fs = fresh()
    before = fs.state_digest()
    put(fs, "/d/f", b"x")
    assert fs.state_digest() == before
    fs.sync_dir("/d")
    after = fs.state_digest()
    assert after != before
    fs.damage("/d/f", 0, b"y")
    assert fs.state_digest() != after


def test_an_operation_fails_by_number_and_its_first_half_is_written() -> None:
    fs = fresh()
    file = fs.create("/d/f")
    fs.fail_at(fs.ops + 1, errno.EIO)
    file.pwrite([b"good"], 0)
    with pytest.raises(OSError, match="injected"):
        file.pwrite([b"half"], 4)
    assert fs.read("/d/f") == b"goodha"
    file.pwrite([b"good"], 4)
    fs.fail_at(fs.ops, errno.EIO, forever=True)
    for _ in range(3):
        with pytest.raises(OSError, match="injected"):
            fs.unlink("/d/f")
    fs.heal()
    fs.unlink("/d/f")


def test_kinds_fail_on_patterns_as_often_as_asked() -> None:
    fs = fresh()
    put(fs, "/d/f.wal", b"x")
    fs.fail_on("read", "*.wal", errno.EIO, times=2)
    for _ in range(2):
        with pytest.raises(OSError, match="injected"):
            fs.read("/d/f.wal")
    assert fs.read("/d/f.wal") == b"x"
    fs.fail_on("rename", "*", errno.EXDEV)
    with pytest.raises(OSError) as caught:
        fs.rename("/d/f.wal", "/d/g")
    assert caught.value.errno == errno.EXDEV
    assert fs.listdir("/d") == ["f.wal"]


def test_a_full_disk_takes_what_fits_and_has_room_again_after_an_unlink() -> None:
    fs = MemFileSystem(capacity=1000)
    put(fs, "/a", b"a" * 600)
    file = fs.create("/b")
    with pytest.raises(OSError) as caught:
        file.pwrite([b"b" * 600], 0)
    assert caught.value.errno == errno.ENOSPC
    assert fs.read("/b") == b"b" * 400
    assert fs.free_bytes("/") == 0
    with pytest.raises(OSError) as caught:
        file.allocate(401)
    assert caught.value.errno == errno.ENOSPC
    file.pwrite([b"c" * 400], 0)
    fs.unlink("/a")
    assert fs.free_bytes("/") == 600
    file.allocate(1000)
    with pytest.raises(OSError) as caught:
        fs.create("/c", 1)
    assert caught.value.errno == errno.ENOSPC
    assert fs.listdir("/") == ["b"]


def test_unaligned_direct_writes_are_refused() -> None:
    file = fresh().create("/d/f", direct=True)
    with pytest.raises(OSError, match="unaligned"):
        file.pwrite([b"x"], 0)


def test_a_file_system_that_does_not_record_says_so() -> None:
    with pytest.raises(ValueError, match="record=False"):
        MemFileSystem(record=False).crash_at(0, random.Random(0))
