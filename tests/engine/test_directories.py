"""A directory whose name a power cut may take holds nothing durable: it is synced first, whoever made it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition
from tests.support.archives import ARCHIVE, ArchiveKit, read_archive
from tests.support.engines import CALLER, ROOT, Kit
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit

SEEDS = range(8)


def made(*paths: str) -> MemFileSystem:
    """A disk on which somebody has just made directories."""
    fs = MemFileSystem()
    for path in paths:
        fs.mkdir(path)
    return fs


def after_power_cuts(kit: Kit) -> list[dict[str, float]]:
    """What is found after each of several power cuts at this moment."""
    return [type(kit)(kit.fs.crash(random.Random(seed), "subset"), seed=90).values() for seed in SEEDS]


def move_the_log(kit: Kit) -> None:
    kit.engine.wal.enable(WalChanges(path="/other/log"), caller=CALLER)
    kit.upsert(["a"])


def checkpoint_again(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.fs.fail_on("sync_dir", f"{ROOT}/collections", errno.EIO)
    with pytest.raises(FailedPrecondition):
        kit.engine.checkpoint()
    kit.engine.checkpoint()


def checkpoint_again_where_it_stays(kit: Kit) -> None:
    kit.fs.fail_on("rmdir", f"{ROOT}/collections/*", errno.EIO)
    checkpoint_again(kit)


def move_the_log_again(kit: Kit) -> None:
    kit.fs.fail_on("sync_dir", "/", errno.EIO)
    with pytest.raises(FailedPrecondition):
        kit.engine.wal.enable(WalChanges(path="/log"), caller=CALLER)
    kit.engine.wal.enable(WalChanges(path="/log"), caller=CALLER)
    kit.upsert(["a"])


@pytest.mark.parametrize(
    ("paths", "write"),
    [
        ((ROOT,), lambda kit: kit.upsert(["a"])),
        (("/other", "/other/log"), move_the_log),
        ((), checkpoint_again),
        ((), checkpoint_again_where_it_stays),
        ((), move_the_log_again),
    ],
    ids=[
        "the data directory",
        "of the log",
        "whose sync has failed",
        "whose removal has failed, too",
        "of the log, whose sync has failed",
    ],
)
def test_what_is_acknowledged_outlives_a_power_cut_whatever_directory_it_is_in(
    paths: tuple[str, ...], write: Callable[[Kit], object]
) -> None:
    fs = made(*paths[:1])
    if len(paths) > 1:
        fs.sync_dir("/")
        fs.mkdir(paths[1])
    kit = Kit(fs)
    kit.create()
    write(kit)
    assert after_power_cuts(kit) == [{"a": 1}] * len(SEEDS)


def test_a_directory_is_as_lasting_as_what_is_made_in_it() -> None:
    kit = Kit()
    kit.create()
    kit.fs.mkdir("/other")
    move_the_log(kit)
    assert after_power_cuts(kit) == [{"a": 1}] * len(SEEDS)


def test_an_archive_of_the_log_in_a_directory_that_has_just_been_made_outlives_a_power_cut() -> None:
    kit = ArchiveKit()
    kit.create()
    kit.fs.mkdir(ARCHIVE)
    kit.round()
    archived = kit.archived()
    assert archived
    for seed in SEEDS:
        assert read_archive(kit.fs.crash(random.Random(seed), "subset"), kit.engine.store_id) == archived


def test_a_snapshot_in_a_directory_that_has_just_been_made_outlives_a_power_cut() -> None:
    kit = SnapshotKit()
    kit.create()
    kit.fs.mkdir("/backups")
    path = kit.snapshot(path="/backups")["path"]
    assert all(kit.fs.crash(random.Random(seed), "subset").exists(path) for seed in SEEDS)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_directory_whose_parent_cannot_be_synced_is_used_all_the_same(code: int) -> None:
    kit = Kit(made("/closed"))
    kit.fs.mkdir("/closed/log")
    kit.create()
    kit.fs.fail_on("sync_dir", "/closed", code, forever=True)
    kit.engine.wal.enable(WalChanges(path="/closed/log"), caller=CALLER)
    assert kit.upsert(["a"]).durable
