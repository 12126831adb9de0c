"""What the log keeps for its archive, when it gives that up all the same, and what is said then."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from tests.support.archives import ARCHIVE, ArchiveKit
from tests.support.engines import abandon

SECOND_US = 1_000_000


@pytest.fixture
def kit() -> ArchiveKit:
    kit = ArchiveKit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=SECOND_US), caller=Caller())
    kit.write(12)
    return kit


def later(kit: ArchiveKit) -> None:
    """Two checkpoints later, nobody else needs the log up to now."""
    for _ in range(2):
        kit.clock.advance_us(60 * SECOND_US)
        kit.write()
        kit.engine.checkpoint()


def first(kit: ArchiveKit) -> int:
    assert kit.log is not None
    return kit.log.files[0].first_sequence


def away(kit: ArchiveKit) -> None:
    kit.fs.fail_on("create", f"{ARCHIVE}/*.part", forever=True)


def cap(kit: ArchiveKit, size: int) -> None:
    """Let the log take so many bytes, which is less than the command allows."""
    kit.engine._keeper.update(
        lambda manifest: replace(manifest, wal_settings=replace(manifest.wal_settings, max_wal_bytes=size))
    )


def test_what_is_not_archived_is_not_trimmed_however_old(kit: ArchiveKit) -> None:
    later(kit)
    assert first(kit) == 1
    kit.reopen()
    later(kit)
    assert first(kit) == 1


def test_a_failed_upload_never_lets_the_log_go(kit: ArchiveKit) -> None:
    away(kit)
    for _ in range(5):
        assert kit.archiver.round() is not None
        later(kit)
    assert first(kit) == 1
    kit.fs.heal()
    kit.round()
    assert kit.archived()[0][0] == 1
    assert kit.archived()[-1][0] == kit.engine.sequence


def test_what_is_archived_goes_with_the_round_that_archived_it(kit: ArchiveKit) -> None:
    later(kit)
    kit.round()
    assert first(kit) > 10
    assert kit.archived()[0][0] == 1


def test_only_what_is_whole_in_the_archive_counts(kit: ArchiveKit) -> None:
    kit.round()
    assert kit.log is not None
    assert kit.archiver.keeps_from(kit.log.files) == kit.log.files[-1].first_sequence


def test_what_is_archived_goes_once_it_was_looked_at_though_nothing_can_be_written_there(kit: ArchiveKit) -> None:
    kit.round()
    kit.reopen()
    kit.fs.fail_on("create", f"{ARCHIVE}/*", forever=True)
    later(kit)
    assert kit.archiver.round() is not None
    assert first(kit) > 10


@pytest.mark.parametrize("how", ["an older copy", "not mounted", "does not answer"])
def test_nothing_goes_on_the_word_of_a_note_alone(kit: ArchiveKit, how: str) -> None:
    """What becomes of the archive while the daemon is down, nobody tells it."""
    kit.round()
    everything = kit.archived()
    abandon(kit.fs)
    if how == "an older copy":
        kit.fs.unlink(f"{ARCHIVE}/{kit.whole()[-1]}")
    elif how == "not mounted":
        for name in kit.fs.listdir(ARCHIVE):
            kit.fs.unlink(f"{ARCHIVE}/{name}")
    else:
        kit.fs.fail_on("read", f"{ARCHIVE}/*", forever=True)
    kit.reopen()
    later(kit)
    assert first(kit) == 1
    if how == "an older copy":
        kit.round()
        assert kit.archived()[: len(everything)] == everything
    else:
        assert kit.archiver.round() is not None
        later(kit)
        assert first(kit) == 1


def test_an_archive_that_is_gone_keeps_the_log_from_being_trimmed(kit: ArchiveKit) -> None:
    """Somebody else's was mounted in its place."""
    kit.round()
    for name in kit.fs.listdir(ARCHIVE):
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.write()
    assert "is empty, though the log was archived there" in str(kit.archiver.round())
    later(kit)
    assert first(kit) == 1


def test_the_log_yields_to_its_cap_and_the_alarm_names_what_no_archive_has(kit: ArchiveKit) -> None:
    kit.round()
    through = kit.archived()[-1][0]
    away(kit)
    kit.write(9)
    cap(kit, 1500)
    later(kit)
    assert first(kit) > through + 1
    lost = kit.log.files[0].header.previous_sequence
    said = kit.text("ARCHIVE_GAP")
    assert f"sequences {through + 1} to {lost}, from 2023-11-14T22:13:" in said
    assert "the log gave it up before it was archived" in said


@pytest.mark.parametrize("how", ["goes on", "restarts"])
def test_a_gap_is_told_of_until_a_snapshot_is_made_behind_it(kit: ArchiveKit, how: str) -> None:
    kit.round()
    kit.snapshot()
    away(kit)
    kit.write(9)
    cap(kit, 1500)
    later(kit)
    if how == "restarts":
        kit.reopen()
    kit.archiver.round()
    assert "ARCHIVE_GAP" in kit.codes()
    kit.fs.heal()
    kit.round()
    assert "ARCHIVE_GAP" in kit.codes()
    kit.clock.advance_us(SECOND_US)
    kit.snapshot()
    assert "ARCHIVE_GAP" not in kit.codes()
    kit.reopen()
    assert "ARCHIVE_GAP" not in kit.codes()


def test_a_gap_is_found_though_the_note_was_older_than_it(kit: ArchiveKit) -> None:
    """The log gave way, and the daemon was killed before it could note so."""
    kit.round()
    noted = kit.fs.read("/data/ARCHIVE.json")
    away(kit)
    kit.write(9)
    cap(kit, 1500)
    later(kit)
    abandon(kit.fs)
    kit.fs.unlink("/data/ARCHIVE.json")
    kit.fs.create("/data/ARCHIVE.json").pwrite([noted], 0)
    kit.fs.heal()
    kit.reopen()
    kit.round()
    assert "ARCHIVE_GAP" in kit.codes()


@pytest.mark.parametrize("closed", [False, True], ids=["logging", "switched off and on"])
def test_a_note_that_could_not_be_kept_makes_no_gap(kit: ArchiveKit, closed: bool) -> None:
    """The archive is ahead of it, and the log has let go of what is there."""
    kit.round()
    kit.fs.fail_on("create", "/data/ARCHIVE.json*", errno.ENOSPC, forever=True)
    kit.write(9)
    if closed:
        kit.engine.wal.disable(caller=Caller())
        kit.archiver.round()
        kit.write(2)
        kit.engine.wal.enable(WalChanges(), caller=Caller())
        kit.write(9)
    for _ in range(2):
        later(kit)
        assert "ARCHIVE.json" in str(kit.archiver.round())
    assert first(kit) > 20
    kit.fs.heal()
    kit.reopen()
    assert "ARCHIVE_GAP" not in kit.codes()
    kit.round()
    assert kit.codes() == []
    assert kit.archived()[-1][0] == kit.engine.sequence


def test_what_waits_yields_to_a_full_disk_and_not_to_need(kit: ArchiveKit) -> None:
    away(kit)
    later(kit)
    assert first(kit) == 1
    kit.engine._retention.give_way(kit.log, lambda: first(kit) > 5)
    assert first(kit) > 5
    assert "ARCHIVE_GAP" in kit.codes()


def test_a_damaged_note_is_moved_aside_and_made_anew_from_the_archive(kit: ArchiveKit) -> None:
    kit.round()
    kit.fs.damage("/data/ARCHIVE.json", 40, b"x")
    kit.reopen()
    assert "ARCHIVE.json was damaged" in kit.engine.recovery.warnings[0]
    later(kit)
    assert first(kit) == 1
    kit.round()
    assert first(kit) > 10
    assert kit.codes() == []


def test_the_log_that_is_switched_off_is_no_gap(kit: ArchiveKit) -> None:
    kit.round()
    kit.engine.wal.disable(caller=Caller())
    kit.round()
    kit.write(4)
    kit.engine.wal.enable(WalChanges(), caller=Caller())
    kit.write(9)
    later(kit)
    kit.round()
    later(kit)
    kit.round()
    assert first(kit) > 20
    assert "ARCHIVE_GAP" not in kit.codes()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_that_is_trimmed_during_a_round_is_no_failure(kit: ArchiveKit, restarted: bool) -> None:
    """Behind a restart the round also looks into what is archived already, and was let go of just now."""
    if restarted:
        kit.round()
        kit.reopen()
    archiver = kit.archiver
    really = archiver._now
    before = [really()]
    cap(kit, 1500)
    later(kit)
    assert first(kit) > 5
    archiver._now = lambda: before.pop() if before else really()
    kit.round()
    assert before == []
    assert kit.archived()[-1][0] == kit.engine.sequence
    assert "ARCHIVE_FAILING" not in kit.codes()
