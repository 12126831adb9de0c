"""What is missing from an archive is found by its links, told of where it was lost, and listed for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfastd.engine import log_archiver
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.model import StorageKind
from holdfastd.storage.log_archive_chain import ArchiveChain, Gap
from holdfastd.storage.log_archive_listing import list_log_archive
from holdfastd.storage.names import parse_piece_name
from tests.engine.test_log_archive_retention import away, cap, later
from tests.support.archives import ARCHIVE, ArchiveKit

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US


@pytest.fixture
def kit() -> ArchiveKit:
    """An archive that goes further back than the log."""
    kit = ArchiveKit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=SECOND_US), caller=Caller())
    for _ in range(3):
        kit.write(12)
        kit.clock.advance_us(60 * SECOND_US)
        kit.round()
        kit.engine.checkpoint()
    kit.round()
    assert kit.log is not None
    assert kit.log.files[0].first_sequence > 12
    return kit


def gaps(kit: ArchiveKit) -> list[Gap]:
    """What is missing, once the archive was looked over."""
    kit.archiver.flush()
    return list(kit.archiver.status().gaps)


def cut(kit: ArchiveKit, name: str, size: int) -> None:
    content = kit.fs.read(f"{ARCHIVE}/{name}")
    kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.fs.create(f"{ARCHIVE}/{name}").pwrite([content[:size]], 0)


def test_a_sound_archive_has_no_gap_and_says_what_it_holds(kit: ArchiveKit) -> None:
    status = kit.archiver.status()
    assert status.gaps == ()
    assert status.state == "archiving"
    assert status.contents is not None
    assert status.contents.segments == len(kit.whole()) + 1
    assert status.contents.size_bytes == sum(kit.fs.size(f"{ARCHIVE}/{name}") for name in kit.names())
    assert status.through.sequence == kit.engine.sequence
    assert (status.behind_us, status.waiting.segments, status.waiting.bytes) == (0, 0, 0)
    assert [link.name for link in status.contents.chain.unbroken] == [*kit.whole(), status.through.file]


@pytest.mark.parametrize("count", [1, 2])
def test_segments_that_were_deleted_in_the_middle_are_named(kit: ArchiveKit, count: int) -> None:
    gone = kit.whole()[1 : 1 + count]
    headers = [int(name[9:29]) for name in kit.whole()]
    for name in gone:
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    (gap,) = gaps(kit)
    assert (gap.kind, gap.first, gap.last) == ("missing", headers[1], headers[1 + count] - 1)
    assert gap.first_us < gap.last_us
    assert kit.whole()[0] in gap.why
    assert "ARCHIVE_GAP" in kit.codes()
    assert kit.archiver.status().contents.chain.unbroken[0].name == kit.whole()[1]


def test_segments_that_were_deleted_at_the_beginning_are_no_gap(kit: ArchiveKit) -> None:
    for name in kit.whole()[:2]:
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    assert gaps(kit) == []


def test_a_beginning_that_no_snapshot_leads_to_is_an_alarm(kit: ArchiveKit) -> None:
    """The bucket was emptied; or archiving begins with a log that was trimmed, in a store without snapshots."""
    for name in kit.whole():
        if name not in kit.complete_names():
            kit.fs.unlink(f"{ARCHIVE}/{name}")
    assert gaps(kit) == []
    begins = kit.log.files[0].header.previous_sequence
    said = kit.text("ARCHIVE_GAP")
    assert f"sequences up to {begins}, done by 2023-11-14T22:1" in said
    assert "the archive begins behind them, and no snapshot leads there" in said
    kit.clock.advance_us(SECOND_US)
    kit.snapshot()
    assert kit.codes() == []


def test_a_beginning_that_a_snapshot_leads_to_is_none(kit: ArchiveKit) -> None:
    kit.clock.advance_us(SECOND_US)
    kit.snapshot()
    for name in kit.whole()[:4]:
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    assert gaps(kit) == []
    assert kit.codes() == []


def test_a_gap_stays_an_alarm_until_every_collection_is_in_a_snapshot_behind_it(kit: ArchiveKit) -> None:
    kit.create("d")
    kit.create("volatile", storage=StorageKind.MEMORY)
    kit.fs.unlink(f"{ARCHIVE}/{kit.whole()[1]}")
    assert len(gaps(kit)) == 1
    kit.clock.advance_us(SECOND_US)
    kit.snapshot(collection="c")
    assert "ARCHIVE_GAP" in kit.codes()
    kit.clock.advance_us(SECOND_US)
    kit.snapshot(collection="d")
    assert "ARCHIVE_GAP" not in kit.codes()


def test_what_is_deleted_is_found_by_the_hourly_look(kit: ArchiveKit) -> None:
    kit.fs.unlink(f"{ARCHIVE}/{kit.whole()[1]}")
    kit.round()
    assert "ARCHIVE_GAP" not in kit.codes()
    kit.clock.advance_us(HOUR_US)
    kit.round()
    assert "ARCHIVE_GAP" in kit.codes()


@pytest.mark.parametrize("kept", [40, 80, 200, -8])
def test_a_file_that_was_cut_short_is_named(kit: ArchiveKit, kept: int) -> None:
    name = kit.whole()[1]
    cut(kit, name, kept if kept > 0 else kit.fs.size(f"{ARCHIVE}/{name}") + kept)
    (gap,) = gaps(kit)
    last = int(kit.whole()[2][9:29]) - 1
    assert (gap.kind, gap.last) == ("missing", last)
    assert int(name[9:29]) <= gap.first <= last
    assert name in gap.why
    assert "ARCHIVE_GAP" in kit.codes()


def test_bytes_missing_between_two_pieces_are_named() -> None:
    kit = ArchiveKit(segment_size=4096)
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=SECOND_US), caller=Caller())
    for _ in range(4):
        kit.write()
        kit.round()
    pieces = kit.pieces()
    held = {name: kit.fs.read(f"{ARCHIVE}/{name}") for name in pieces}
    kit.write(30)
    kit.clock.advance_us(60 * SECOND_US)
    kit.round()
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    of = parse_piece_name(pieces[0]).of
    kit.fs.unlink(f"{ARCHIVE}/{of}")
    for name in (pieces[0], pieces[2], pieces[3]):
        kit.fs.create(f"{ARCHIVE}/{name}").pwrite([held[name]], 0)
    (gap,) = gaps(kit)
    assert gap.why == f"bytes of {of} from {parse_piece_name(pieces[0]).end} on are not there"


def test_a_time_without_a_log_is_told_and_no_alarm() -> None:
    kit = ArchiveKit()
    kit.create()
    kit.write(5)
    last = kit.engine.sequence
    kit.engine.wal.disable(caller=Caller())
    kit.write(4)
    kit.engine.wal.enable(WalChanges(), caller=Caller())
    kit.write(3)
    kit.round()
    (gap,) = gaps(kit)
    assert (gap.kind, gap.first, gap.last) == ("disabled", last + 1, last + 4)
    assert gap.why == f"the log was disabled behind sequence {last}"
    assert kit.codes() == []


def test_what_is_missing_before_a_time_without_a_log_is_a_loss(kit: ArchiveKit) -> None:
    kit.write(9)
    kit.engine.wal.disable(caller=Caller())
    kit.round()
    kit.write(4)
    kit.engine.wal.enable(WalChanges(), caller=Caller())
    for _ in range(2):
        kit.write(3)
        kit.clock.advance_us(60 * SECOND_US)
        kit.round()
        kit.engine.checkpoint()
    (gap,) = gaps(kit)
    assert gap.kind == "disabled"
    closed = max(name for name in kit.whole() if int(name[9:29]) < gap.first)
    kit.fs.unlink(f"{ARCHIVE}/{closed}")
    (gap,) = gaps(kit)
    assert (gap.kind, gap.first) == ("missing", int(closed[9:29]))
    assert "ARCHIVE_GAP" in kit.codes()


def test_what_was_given_up_is_listed_once(kit: ArchiveKit) -> None:
    through = kit.archiver.status().through.sequence
    away(kit)
    kit.write(9)
    cap(kit, 1500)
    later(kit)
    kit.fs.heal()
    kit.round()
    (gap,) = gaps(kit)
    assert (gap.kind, gap.first) == ("given_up", through + 1)
    kit.clock.advance_us(SECOND_US)
    kit.snapshot()
    assert "ARCHIVE_GAP" not in kit.codes()
    assert gaps(kit) == [gap]
    kit.reopen()
    kit.round()
    assert gaps(kit) == [gap]


def test_a_look_goes_only_so_far_and_the_next_one_goes_on(kit: ArchiveKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_archiver, "LINKS_AT_ONCE", 2)
    kit.fs.unlink(f"{ARCHIVE}/{kit.whole()[1]}")
    kit.reopen()
    unread = []
    for _ in range(20):
        kit.round()
        unread.append(kit.archiver._contents.chain.unread)
        assert kit.archiver.pause_seconds == (1 if unread[-1] else 60)
    assert unread[0] == len(kit.whole()) + 1 - len(kit.log.files) - 2
    assert unread[-1] == 0
    assert "ARCHIVE_GAP" in kit.codes()


def test_a_status_says_what_was_seen_last_and_when_and_asks_nothing(
    kit: ArchiveKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = kit.archiver.status().contents
    assert seen is not None
    kit.clock.advance_us(60 * SECOND_US)
    monkeypatch.setattr(kit.fs, "facts", pytest.fail)
    monkeypatch.setattr(kit.fs, "listdir", pytest.fail)
    assert kit.archiver.status().contents == seen
    assert seen.time_us <= kit.clock.wall_us - 60 * SECOND_US


def test_a_flush_sees_that_everything_is_there(kit: ArchiveKit) -> None:
    name = kit.complete_names()[0]
    kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.round()
    assert name not in kit.whole()
    kit.archiver.flush()
    assert name in kit.whole()
    contents = kit.archiver.status().contents
    assert contents is not None
    assert contents.size_bytes == sum(kit.fs.size(f"{ARCHIVE}/{each}") for each in kit.names())
    assert [link.name for link in contents.chain.unbroken] == [*kit.whole(), parse_piece_name(kit.pieces()[0]).of]


def test_a_stop_does_not_wait_for_a_look_over_the_whole_archive(kit: ArchiveKit) -> None:
    kit.reopen()
    kit.write()
    kit.archiver.hurry()
    kit.round()
    status = kit.archiver.status()
    assert (status.through.sequence, status.contents) == (kit.engine.sequence, None)


def test_another_store_s_segment_in_the_middle_is_foreign(kit: ArchiveKit) -> None:
    other = ArchiveKit(seed=99)
    other.create()
    other.write(6)
    other.round()
    name = kit.whole()[1]
    kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.fs.create(f"{ARCHIVE}/{name}").pwrite([other.fs.read(f"{ARCHIVE}/{other.whole()[0]}")], 0)
    kit.reopen()
    kit.archiver.status()
    kit.archiver.round()
    assert "ARCHIVE_FOREIGN" in kit.codes()


def test_what_is_waiting_is_counted_and_since_when(kit: ArchiveKit) -> None:
    kit.fs.fail_on("create", f"{ARCHIVE}/*.part", forever=True)
    kit.write()
    since = kit.clock.wall_us
    kit.write(9)
    kit.archiver.round()
    kit.clock.advance_us(30 * SECOND_US)
    status = kit.archiver.status()
    assert status.state == "failing"
    assert status.failure is not None
    assert 30 * SECOND_US <= status.behind_us <= kit.clock.wall_us - since + 100
    assert status.waiting.segments >= 2
    assert status.waiting.bytes > 1200
    kit.fs.heal()
    assert kit.archiver.status().state == "failing"
    kit.round()
    assert kit.archiver.status().state == "archiving"


def test_the_newest_segment_without_its_beginning_is_named() -> None:
    kit = ArchiveKit(segment_size=4096)
    kit.create()
    kit.write(30)
    kit.round()
    for _ in range(2):
        kit.write()
        kit.round()
    first = kit.pieces()[0]
    listing = list_log_archive(kit.fs, ARCHIVE)
    pieces = {name: tuple(piece for piece in found if piece.start) for name, found in listing.pieces.items()}
    chain = ArchiveChain(kit.fs, ARCHIVE).look(replace(listing, pieces=pieces), 100)
    (gap,) = chain.gaps
    assert gap.why == f"{parse_piece_name(first).of}: its beginning is not there"
    assert gap.first > gap.last
    assert [link.name for link in chain.unbroken] == kit.whole()
