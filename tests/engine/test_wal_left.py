"""Directories that the log has left: those that the store made go with their last file, all others stay."""

from __future__ import annotations

import random

import pytest

from holdfastd.engine.wal_control import WalChanges
from tests.support.engines import CALLER, ROOT, Kit

HOUR_US = 3600 * 1_000_000


def move(kit: Kit, path: str) -> None:
    """The log goes elsewhere, with as little history as may be."""
    kit.engine.wal.enable(WalChanges(path=path, retention_us=HOUR_US), caller=CALLER)


def age(kit: Kit, checkpoints: int = 3) -> None:
    """Let the files of before grow old and be trimmed, and the checkpoints after that see it."""
    for number in range(checkpoints):
        kit.clock.advance_us(2 * HOUR_US)
        kit.upsert([f"later{number}"])
        kit.engine.checkpoint()


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    return kit


@pytest.mark.parametrize("path", ["/elsewhere/wal", f"{ROOT}/logs"])
def test_a_directory_that_the_store_made_goes_with_the_last_file_in_it(kit: Kit, path: str) -> None:
    move(kit, path)
    kit.upsert(["b"])
    move(kit, "/next")
    assert kit.fs.is_dir(path)
    age(kit)
    assert not kit.fs.exists(path)
    assert kit.engine._keeper.current.wal_directories == ("/next",)
    assert kit.engine._keeper.current.made_wal_directories == ("/next",)
    assert {file.directory for file in kit.engine.wal.status().files} == {"/next"}
    kit.reopen()
    assert {"a", "b"} <= set(kit.values())
    move(kit, path)
    age(kit)
    assert kit.fs.is_dir(path)
    assert not kit.fs.exists("/next")


def test_the_directory_of_the_log_in_the_data_directory_stays(kit: Kit) -> None:
    move(kit, "/elsewhere")
    age(kit)
    assert kit.engine._keeper.current.wal_directories == ("/elsewhere",)
    assert kit.fs.listdir(f"{ROOT}/wal") == []
    kit.fs.rmdir(f"{ROOT}/wal")
    move(kit, f"{ROOT}/wal")
    move(kit, "/elsewhere")
    age(kit)
    assert kit.fs.listdir(f"{ROOT}/wal") == []


def test_a_directory_that_was_there_before_stays(kit: Kit) -> None:
    kit.fs.mkdir("/mounted")
    move(kit, "/mounted")
    move(kit, "wal")
    age(kit)
    assert kit.engine._keeper.current.wal_directories == ("wal",)
    assert kit.fs.is_dir("/mounted")


def test_a_directory_with_anything_else_in_it_stays_until_that_is_gone(kit: Kit) -> None:
    move(kit, "/made")
    kit.fs.create("/made/notes").close()
    move(kit, "wal")
    age(kit)
    assert "notes" in kit.fs.listdir("/made")
    kit.fs.unlink("/made/notes")
    age(kit, 1)
    assert not kit.fs.exists("/made")


def test_a_directory_that_is_used_again_before_it_is_empty_stays(kit: Kit) -> None:
    move(kit, "/made")
    kit.upsert(["b"])
    move(kit, "wal")
    kit.upsert(["c"])
    move(kit, "/made")
    age(kit)
    assert {file.directory for file in kit.engine.wal.status().files} == {"/made"}
    assert kit.reopen().sequence > 0


def test_one_that_cannot_be_removed_is_tried_again(kit: Kit) -> None:
    move(kit, "/made")
    move(kit, "wal")
    kit.fs.fail_on("rmdir", forever=True)
    age(kit)
    assert kit.fs.is_dir("/made")
    assert kit.engine.failure is None
    kit.fs.heal()
    age(kit, 1)
    assert not kit.fs.exists("/made")


def test_one_that_another_daemon_has_locked_is_left_to_it(kit: Kit) -> None:
    move(kit, "/made")
    move(kit, "wal")
    kit.fs.fail_on("rmdir", forever=True)
    age(kit)
    kit.fs.heal()
    theirs = kit.fs.lock("/made/LOCK")
    age(kit, 1)
    assert kit.fs.is_dir("/made")
    theirs.release()
    age(kit, 1)
    assert not kit.fs.exists("/made")


def test_a_power_cut_at_any_moment_leaves_no_manifest_that_lists_what_is_gone() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["a"])
    move(kit, "/made")
    kit.upsert(["b"])
    move(kit, "wal")
    begun = kit.fs.ops
    age(kit)
    assert not kit.fs.exists("/made")
    rng = random.Random(5)
    for cut in range(begun, kit.fs.ops + 1):
        fs = kit.fs.crash_at(cut, rng)
        if not fs.exists("/made") and fs.exists(f"{ROOT}/MANIFEST.json"):
            # The manifest before does not rely on it either: it has to do when the current one is damaged.
            fs.unlink(f"{ROOT}/MANIFEST.json")
        again = Kit(fs, seed=11)
        assert {"a", "b"} <= set(again.values())
        again.clock.advance_us(24 * HOUR_US)
        age(again)
        assert not fs.exists("/made")
