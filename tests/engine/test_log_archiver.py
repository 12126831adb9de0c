"""Rounds of archiving: what is in the archive behind each, what is not, and what a later start makes of it."""

from __future__ import annotations

import errno

import pytest

from holdfastd.engine import log_shipping
from holdfastd.engine.log_now import Stretch
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Corruption, FailedPrecondition
from holdfastd.model import SyncMode
from holdfastd.storage.archived_log import ArchivedLog
from holdfastd.storage.names import parse_piece_name
from tests.support.archives import ARCHIVE, ArchiveKit
from tests.support.engines import abandon, open_engine
from tests.support.logs import flip
from tests.support.memfs import MemFileSystem

HOUR_US = 3_600_000_000


@pytest.fixture
def kit() -> ArchiveKit:
    kit = ArchiveKit()
    kit.create()
    return kit


def test_a_round_brings_everything_that_is_durable_into_the_archive(kit: ArchiveKit) -> None:
    kit.write(12)
    kit.round()
    assert kit.archived() == kit.logged()
    assert kit.whole() == kit.complete_names()
    assert len(kit.whole()) > 2
    assert len(kit.pieces()) == 1


def test_a_whole_file_is_the_log_s_byte_for_byte(kit: ArchiveKit) -> None:
    kit.write(12)
    kit.round()
    for name in kit.whole():
        assert kit.fs.read(f"{ARCHIVE}/{name}") == kit.fs.read(f"/data/wal/{name}")


def test_each_round_adds_a_piece_from_where_the_last_one_ended() -> None:
    kit = ArchiveKit(segment_size=4096)
    kit.create()
    for _ in range(3):
        kit.write()
        kit.round()
    found = [parse_piece_name(name) for name in kit.pieces()]
    assert [(found[0].start, found[0].end), found[1].start, found[2].start] == [
        (0, found[0].end),
        found[0].end,
        found[1].end,
    ]
    assert kit.archived() == kit.logged()


def test_a_round_with_nothing_new_writes_nothing(kit: ArchiveKit) -> None:
    kit.write(3)
    kit.round()
    before = kit.fs.ops
    kit.round()
    assert kit.fs.ops == before


def test_nothing_is_archived_that_a_power_cut_could_take_back() -> None:
    kit = ArchiveKit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.write()
    kit.sync_log()
    durable = kit.logged()
    kit.write()
    kit.round()
    assert kit.archived() == durable
    kit.sync_log()
    kit.round()
    assert len(kit.archived()) == len(durable) + 1


def test_a_segment_without_an_operation_is_not_archived_since_another_may_take_its_name() -> None:
    kit = ArchiveKit()
    kit.round()
    assert kit.names() == []
    kit.engine.wal.enable(WalChanges(path="/elsewhere"), caller=Caller())
    kit.create()
    kit.write(12)
    kit.round()
    assert kit.archived() == kit.logged()


def test_a_whole_file_takes_the_place_of_its_pieces(kit: ArchiveKit) -> None:
    kit.write()
    kit.round()
    name = parse_piece_name(kit.pieces()[0]).of
    kit.write(12)
    kit.round()
    assert name in kit.whole()
    assert not any(piece.startswith(name) for piece in kit.pieces())


def test_too_many_pieces_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_shipping, "MOST_PIECES", 3)
    kit = ArchiveKit(segment_size=4096)
    kit.create()
    for _ in range(3):
        kit.write()
        kit.round()
    assert len(kit.pieces()) == 3
    kit.write()
    kit.round()
    assert len(kit.pieces()) == 1
    assert kit.archived() == kit.logged()


def test_a_round_is_the_same_after_a_restart(kit: ArchiveKit) -> None:
    kit.write(6)
    kit.round()
    before = kit.names()
    kit.reopen()
    kit.round()
    assert kit.names() == before
    kit.write(1)
    kit.round()
    assert kit.archived() == kit.logged()
    assert len(kit.pieces()) == 2


def test_no_segment_is_looked_for_among_all_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand of them a round would take minutes."""
    compared: list[object] = []
    monkeypatch.setattr(Stretch, "__eq__", lambda self, other: compared.append(other) or self is other)
    kit = ArchiveKit()
    kit.create()
    kit.write(30)
    kit.round()
    kit.reopen()
    kit.round()
    kit.write(9)
    kit.archiver.status()
    assert compared == []


def test_what_a_kill_leaves_half_written_is_removed_by_the_next_start(kit: ArchiveKit) -> None:
    kit.write(6)
    kit.round()
    for name in (f"{kit.whole()[0]}.part", f"{kit.pieces()[0]}.part"):
        kit.fs.create(f"{ARCHIVE}/{name}").close()
    kit.fs.create(f"{ARCHIVE}/somebody-elses.part").close()
    kit.reopen()
    kit.round()
    assert [name for name in kit.names() if name.endswith(".part")] == ["somebody-elses.part"]


def test_what_was_deleted_from_the_archive_is_sent_again_while_the_log_has_it(kit: ArchiveKit) -> None:
    kit.write(12)
    kit.round()
    kit.fs.unlink(f"{ARCHIVE}/{kit.whole()[1]}")
    kit.fs.unlink(f"{ARCHIVE}/{kit.pieces()[0]}")
    kit.clock.advance_us(HOUR_US)
    kit.round()
    assert kit.archived() == kit.logged()


def test_a_log_that_was_switched_off_is_archived_to_its_last_word(kit: ArchiveKit) -> None:
    kit.write(4)
    kit.round()
    kit.write(2)
    everything = kit.logged()
    kit.engine.wal.disable(caller=Caller())
    kit.round()
    assert kit.archived() == everything
    assert kit.pieces() == []
    kit.write(3)
    kit.engine.wal.enable(WalChanges(), caller=Caller())
    kit.write(2)
    kit.round()
    assert kit.archived()[: len(everything)] == everything
    assert kit.archived()[-1][0] == kit.engine.sequence
    assert kit.codes() == []


def test_a_flush_does_not_claim_what_was_written_without_a_log(kit: ArchiveKit) -> None:
    kit.write(2)
    everything = kit.logged()
    kit.engine.wal.disable(caller=Caller())
    assert kit.engine.archiving.flush().through_sequence == everything[-1][0]
    kit.write()
    with pytest.raises(FailedPrecondition, match=f"disabled since sequence {everything[-1][0]}") as caught:
        kit.engine.archiving.flush()
    assert caught.value.reason == "WAL_DISABLED"
    assert kit.archived() == everything


def test_a_restart_with_the_log_switched_off_archives_what_is_left_of_it(kit: ArchiveKit) -> None:
    kit.write(4)
    everything = kit.logged()
    kit.engine.wal.disable(caller=Caller())
    kit.reopen()
    kit.round()
    assert kit.archived() == everything
    kit.reopen()
    kit.round()
    assert kit.archived() == everything
    assert kit.codes() == ["WAL_DISABLED"]


def test_a_stop_archives_the_end_of_the_log(kit: ArchiveKit) -> None:
    kit.write(3)
    everything = kit.logged()
    kit.engine.stop()
    assert kit.archived() == everything
    kit.engine = kit._open()
    kit.round()
    assert kit.archived() == everything


def test_a_stop_does_not_fail_because_archiving_does(kit: ArchiveKit) -> None:
    kit.write(3)
    kit.fs.fail_on("create", f"{ARCHIVE}/*", forever=True)
    kit.engine.stop()
    kit.fs.heal()
    kit.engine = kit._open()
    kit.round()
    assert kit.archived() == kit.logged()


def test_another_timeline_goes_on_in_the_same_archive() -> None:
    kit = ArchiveKit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.write(2)
    kit.sync_log()
    kit.round()
    kit.write(2)
    kit.reopen()
    assert kit.engine.timeline == 2
    kit.write(2)
    kit.sync_log()
    kit.round()
    assert kit.archived() == kit.logged()


# What is not archived -------------------------------------------------------------------------------------------------


def test_a_damaged_segment_never_counts_as_archived_and_the_alarm_names_the_place(kit: ArchiveKit) -> None:
    kit.write(12)
    first, second = kit.complete_names()[:2]
    flip(kit.fs, f"/data/wal/{first}", 300)
    error = kit.archiver.round()
    assert isinstance(error, Corruption)
    assert first not in kit.whole()
    assert second in kit.whole()
    assert f"/data/wal/{first} at offset" in kit.text("ARCHIVE_DAMAGED")
    assert kit.archiver.keeps_from(kit.log.files) == 1
    flip(kit.fs, f"/data/wal/{first}", 300)
    kit.round()
    assert kit.codes() == []
    assert kit.archived() == kit.logged()


def test_a_damaged_segment_is_not_begun_to_be_sent_again_and_again(kit: ArchiveKit) -> None:
    kit.write(12)
    flip(kit.fs, f"/data/wal/{kit.complete_names()[0]}", 300)
    kit.archiver.round()
    created: list[str] = []
    kit.fs.on_operation = lambda kind, path: created.append(path) if kind == "create" else None
    kit.archiver.round()
    assert created == []


def test_a_segment_that_the_disk_cannot_read_is_damaged_too(kit: ArchiveKit) -> None:
    kit.write(12)
    kit.fs.fail_on("read", f"/data/wal/{kit.complete_names()[0]}", forever=True)
    kit.archiver.round()
    assert "cannot be read" in kit.text("ARCHIVE_DAMAGED")
    kit.fs.heal()
    kit.round()
    assert kit.codes() == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_round_that_fails_is_an_alarm_and_the_next_one_succeeds(kit: ArchiveKit, code: int) -> None:
    kit.write(12)
    kit.fs.fail_on("create", f"{ARCHIVE}/*", code, forever=True)
    assert kit.archiver.round() is not None
    assert kit.codes() == ["ARCHIVE_FAILING"]
    assert kit.archiver.pause_seconds == 1
    kit.archiver.round()
    assert kit.archiver.pause_seconds == 2
    assert kit.upsert(["x"]).durable
    kit.fs.heal()
    kit.round()
    assert kit.codes() == []
    assert kit.archiver.pause_seconds == 60
    assert kit.archived() == kit.logged()


def test_a_round_is_one_whatever_becomes_of_the_alarms(
    kit: ArchiveKit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On the thread that archives nobody would notice that it has died."""
    kit.write()
    monkeypatch.setattr(kit.archiver._alarms, "tell", lambda *_: 1 // 0)
    kit.round()
    assert kit.archived() == kit.logged()
    assert "ZeroDivisionError" in caplog.text


def test_an_archive_that_stays_away_is_tried_for_ever_and_then_told_of_as_behind(kit: ArchiveKit) -> None:
    kit.write()
    kit.fs.fail_on("create", f"{ARCHIVE}/*", forever=True)
    for _ in range(12):
        kit.archiver.round()
    assert kit.archiver.pause_seconds == 60
    kit.clock.advance_us(400 * 1_000_000)
    assert sorted(kit.codes()) == ["ARCHIVE_BEHIND", "ARCHIVE_FAILING"]
    kit.fs.heal()
    kit.round()
    assert kit.codes() == []


# Somebody else's ------------------------------------------------------------------------------------------------------


def test_the_log_of_another_store_is_refused_and_left_alone(kit: ArchiveKit) -> None:
    kit.write(6)
    kit.round()
    before = kit.names()
    abandon(kit.fs)
    kit.fs.rename("/data", "/old")
    other = ArchiveKit(kit.fs, seed=99)
    other.create()
    other.write(20)
    error = other.archiver.round()
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "ARCHIVE_FOREIGN"
    assert other.codes() == ["ARCHIVE_FOREIGN"]
    assert other.names() == before


def test_another_daemon_that_archives_there_now_is_named(kit: ArchiveKit) -> None:
    kit.write()
    kit.round()
    kit.fs.locked.discard("/data/LOCK")
    kit.fs.rename("/data", "/old")
    other = ArchiveKit(kit.fs, seed=99)
    assert "is written to by another daemon" in str(other.archiver.round())


def test_history_ahead_of_the_log_is_another_history(kit: ArchiveKit) -> None:
    kit.write(3)
    abandon(kit.fs)
    earlier = kit.fs.kill_disk_at(kit.fs.ops)
    kit.write(12)
    kit.round()
    held = {name: kit.fs.read(f"{ARCHIVE}/{name}") for name in kit.names()}
    back = ArchiveKit(MemFileSystem(earlier))
    back.fs.mkdir(ARCHIVE)
    for name, content in held.items():
        back.fs.create(f"{ARCHIVE}/{name}").pwrite([content], 0)
    assert "lies ahead of this log" in str(back.archiver.round())
    assert back.names() == sorted(held)


def test_a_log_that_was_cut_does_not_go_on_in_the_archive_of_the_one_before(kit: ArchiveKit) -> None:
    kit.write(4)
    kit.round()
    piece = kit.pieces()[0]
    local = f"/data/wal/{parse_piece_name(piece).of}"
    flip(kit.fs, local, parse_piece_name(piece).end - 30)
    flip(kit.fs, f"{ARCHIVE}/{piece}", 100)
    kit.reopen()
    error = kit.archiver.round()
    assert error is not None
    assert error.reason == "ARCHIVE_FOREIGN"


def cut_at(kit: ArchiveKit, name: str) -> None:
    """The header of a WAL segment is damaged, and the daemon started so that it goes on with what is before it."""
    flip(kit.fs, f"/data/wal/{name}", 3)
    abandon(kit.fs)
    kit.engine = open_engine(
        kit.fs,
        clock=kit.clock,
        randomness=kit.randomness,
        segment_size=kit.segment_size,
        archive_path=ARCHIVE,
        recovery="point-in-time",
    )
    assert kit.engine.timeline == 2


@pytest.mark.parametrize(("number", "said"), [(0, "goes on to sequence"), (-2, "among the WAL segments of this log")])
def test_a_log_that_was_cut_between_two_segments_does_not_go_on_there_either(
    kit: ArchiveKit, number: int, said: str
) -> None:
    """No name in the archive is one that the log still has: it would hold two histories, and neither be read."""
    kit.write(12)
    kit.round()
    before = kit.names()
    cut_at(kit, kit.complete_names()[number])
    kit.create("d")
    for _ in range(9):
        kit.upsert(["x"], name="d")
    error = kit.archiver.round()
    assert error is not None
    assert (error.reason, said in str(error)) == ("ARCHIVE_FOREIGN", True)
    assert kit.names() == before


def test_archives_read_by_the_reader_of_archives(kit: ArchiveKit) -> None:
    kit.write(9)
    kit.round()
    archived = ArchivedLog(kit.fs, ARCHIVE)
    assert archived.listdir(ARCHIVE) == [*kit.complete_names(), parse_piece_name(kit.pieces()[0]).of]
