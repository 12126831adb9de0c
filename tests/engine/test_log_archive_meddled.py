"""An archive that people have had their hands in: not mounted, emptied, copied and not to the end."""

from __future__ import annotations

import pytest

from tests.support.archives import ARCHIVE, ArchiveKit


@pytest.fixture
def kit() -> ArchiveKit:
    kit = ArchiveKit()
    kit.create()
    return kit


def test_a_directory_that_is_not_mounted_is_not_taken_for_an_empty_archive(kit: ArchiveKit) -> None:
    kit.write(6)
    kit.round()
    held = {name: kit.fs.read(f"{ARCHIVE}/{name}") for name in kit.names()}
    for name in kit.fs.listdir(ARCHIVE):
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.reopen()
    assert "is empty, though the log was archived there" in str(kit.archiver.round())
    kit.fs.unlink(f"{ARCHIVE}/LOCK")
    kit.fs.rmdir(ARCHIVE)
    kit.reopen()
    assert "is not there, though the log was archived there" in str(kit.archiver.round())
    assert not kit.fs.exists(ARCHIVE)
    kit.fs.mkdir(ARCHIVE)
    for name, content in held.items():
        kit.fs.create(f"{ARCHIVE}/{name}").pwrite([content], 0)
    kit.round()
    assert kit.archived() == kit.logged()


def test_a_directory_that_is_emptied_while_it_is_written_to_is_not_filled_anew(kit: ArchiveKit) -> None:
    kit.write(6)
    kit.round()
    for name in kit.fs.listdir(ARCHIVE):
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.write(3)
    for _ in range(3):
        assert "is empty, though the log was archived there" in str(kit.archiver.round())
    assert kit.names() == []


def test_a_lock_that_somebody_has_removed_is_taken_again(kit: ArchiveKit) -> None:
    kit.write(6)
    kit.round()
    kit.fs.unlink(f"{ARCHIVE}/LOCK")
    kit.write(3)
    kit.round()
    assert kit.fs.exists(f"{ARCHIVE}/LOCK")
    assert kit.archived() == kit.logged()


def replace_there(kit: ArchiveKit, name: str, content: bytes) -> None:
    kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.fs.create(f"{ARCHIVE}/{name}").pwrite([content], 0)


@pytest.mark.parametrize("count", [0, 1, 100, -1])
def test_a_piece_that_was_cut_short_is_sent_again(kit: ArchiveKit, count: int) -> None:
    """The archive was copied from one place to another, and the copy broke off."""
    kit.write(6)
    kit.round()
    (name,) = kit.pieces()
    replace_there(kit, name, kit.fs.read(f"{ARCHIVE}/{name}")[:count])
    kit.reopen()
    kit.round()
    assert kit.archived() == kit.logged()
    assert kit.codes() == []


@pytest.mark.parametrize("count", [0, 20, 100, -1, -8])
def test_a_whole_file_that_was_cut_short_is_called_that_and_is_sent_again_once_it_is_removed(
    kit: ArchiveKit, count: int
) -> None:
    kit.write(12)
    kit.round()
    name = kit.whole()[1]
    replace_there(kit, name, kit.fs.read(f"{ARCHIVE}/{name}")[:count])
    kit.reopen()
    error = kit.archiver.round()
    assert error is not None
    assert (error.reason, "remove it from the archive" in error.hint) == ("ARCHIVE_CUT_SHORT", True)
    assert kit.codes() == ["ARCHIVE_FAILING"]
    kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.round()
    assert kit.archived() == kit.logged()
    assert kit.codes() == []


@pytest.mark.parametrize("which", ["whole", "piece"])
def test_what_is_short_and_different_is_another_history_and_left_alone(kit: ArchiveKit, which: str) -> None:
    kit.write(12)
    kit.round()
    name = (kit.whole() if which == "whole" else kit.pieces())[0]
    content = kit.fs.read(f"{ARCHIVE}/{name}")[:-8]
    replace_there(kit, name, content[:-1] + bytes([content[-1] ^ 1]))
    before = kit.names()
    kit.reopen()
    error = kit.archiver.round()
    assert error is not None
    assert error.reason == "ARCHIVE_FOREIGN"
    assert kit.names() == before
