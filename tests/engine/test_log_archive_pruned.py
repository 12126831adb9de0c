"""What is said of an archive that was pruned: it begins there on purpose, and how that is known."""

from __future__ import annotations

import errno

import pytest

from holdfastd.engine.log_archive_status import ArchiveContents
from holdfastd.engine.log_findings import Range, Wanted
from holdfastd.engine.log_names import LogNames
from holdfastd.engine.log_search import LogSearch
from holdfastd.errors import Corruption, HoldfastError, OutOfRange
from holdfastd.storage.archived_log import ArchivedLog
from holdfastd.storage.names import parse_wal_name
from holdfastd.storage.wal_verify import verify_log
from tests.support.archives import ARCHIVE, ArchiveKit, lived_in

MINUTE_US = 60_000_000


@pytest.fixture
def kit() -> ArchiveKit:
    """A store whose archive was pruned up to the newest of its snapshots."""
    kit, _ = lived_in()
    assert not kit.prune(before=kit.ids()[0]).runs[0].keep
    return kit


def contents(kit: ArchiveKit) -> ArchiveContents:
    found = kit.archiver.status().contents
    assert found is not None
    return found


def begins_after(kit: ArchiveKit) -> int:
    found = contents(kit).begins_after
    assert found
    return found


def looked(kit: ArchiveKit) -> list[str]:
    """The alarms, once the archive was looked over."""
    kit.archiver.flush()
    assert kit.archiver.status().gaps == ()
    return kit.codes()


def delete_snapshots(kit: ArchiveKit) -> None:
    for each in kit.ids():
        kit.engine.snapshots.delete(each)


def test_what_was_pruned_is_no_alarm_while_a_snapshot_stands_behind_it(kit: ArchiveKit) -> None:
    assert kit.codes() == looked(kit) == []
    kit.reopen()
    assert looked(kit) == []
    for older in kit.ids()[1:]:
        kit.engine.snapshots.delete(older)
    assert looked(kit) == []


def test_it_is_one_once_none_stands_there_any_more(kit: ArchiveKit) -> None:
    held = kit.fs.read(kit.engine.snapshots.get(kit.ids()[0]).path)
    path = kit.engine.snapshots.get(kit.ids()[0]).path
    kit.fs.unlink(path)
    assert looked(kit) == ["ARCHIVE_GAP"]
    said = kit.text("ARCHIVE_GAP")
    assert f"sequences up to {begins_after(kit)}, " in said
    assert said.endswith("the archive was pruned of them, and not every collection is in a snapshot from behind them")
    kit.put(path, held)
    assert looked(kit) == []
    delete_snapshots(kit)
    assert looked(kit) == ["ARCHIVE_GAP"]
    kit.later()
    assert looked(kit) == []


def test_what_somebody_else_removed_behind_it_is_told_apart(kit: ArchiveKit) -> None:
    pruned_to = begins_after(kit)
    kit.day()
    kit.fs.unlink(f"{ARCHIVE}/{kit.whole()[0]}")
    assert looked(kit) == []
    assert begins_after(kit) > pruned_to
    assert contents(kit).why_it_begins == "nothing older lies there"
    delete_snapshots(kit)
    assert looked(kit) == ["ARCHIVE_GAP"]
    assert kit.text("ARCHIVE_GAP").endswith("the archive begins behind them, and no snapshot leads there")


def test_the_status_tells_of_the_new_beginning_as_soon_as_it_was_pruned() -> None:
    kit, _ = lived_in()
    before = contents(kit)
    kit.clock.advance_us(MINUTE_US)
    pruned = kit.prune()
    assert pruned.begins is not None
    found = contents(kit)
    assert found.time_us >= before.time_us + MINUTE_US
    assert found.segments == sum(run.segments for run in pruned.runs if run.keep) < before.segments
    assert found.chain.unbroken[0].name == found.listing.begins == pruned.begins.name
    kit.clock.advance_us(MINUTE_US)
    kit.round()
    assert contents(kit) == found
    kit.write(9)
    kit.round()
    assert contents(kit).begins_after == found.begins_after
    assert contents(kit).time_us >= found.time_us + MINUTE_US


def test_it_tells_of_it_where_what_is_in_front_could_not_be_removed() -> None:
    kit, _ = lived_in()
    kit.fs.fail_on("unlink", f"{ARCHIVE}/*", errno.EIO)
    with pytest.raises(HoldfastError) as caught:
        kit.prune()
    assert "files were removed, then" in caught.value.message
    found = contents(kit)
    assert found.begins_where_pruned
    assert found.listing.pruned
    assert "the archive was pruned" in found.why_it_begins
    assert looked(kit) == []


def test_a_dry_run_changes_nothing_that_is_told_but_its_age() -> None:
    kit, _ = lived_in()
    before = contents(kit)
    kit.clock.advance_us(MINUTE_US)
    assert not kit.prune(validate_only=True).runs[0].keep
    found = contents(kit)
    assert found.time_us >= before.time_us + MINUTE_US
    assert (found.listing, found.chain) == (before.listing, before.chain)


def test_a_start_trims_nothing_before_it_saw_the_pruned_archive(kit: ArchiveKit) -> None:
    kit.write(12)
    kit.later()
    kit.round()
    beginning = contents(kit).listing.begins
    kit.reopen()
    assert kit.archiver.status().contents is None
    first = kit.log.files[0].first_sequence
    assert kit.archiver.keeps_from(kit.log.files) == first
    kit.clock.advance_us(MINUTE_US)
    kit.write()
    for _ in range(2):
        kit.engine.checkpoint()
    assert kit.log.files[0].first_sequence == first
    kit.round()
    assert contents(kit).listing.begins == beginning
    assert kit.log.files[0].first_sequence > first
    assert looked(kit) == []


def test_a_prune_is_a_look_as_that_of_a_round_is(kit: ArchiveKit) -> None:
    """It may be what comes first after a start."""
    kit.write(12)
    kit.round()
    kit.reopen()
    first = kit.log.files[0].first_sequence
    kit.prune()
    assert kit.archiver.keeps_from(kit.log.files) > first
    assert kit.codes() == []


def test_a_pruned_archive_is_no_log_that_was_killed(kit: ArchiveKit) -> None:
    """What is damaged at its end is no torn write, though it has nothing but whole WAL segments."""
    for name in kit.names():
        if not parse_wal_name(name) and not name.endswith(".begins"):
            kit.fs.unlink(f"{ARCHIVE}/{name}")
    assert ArchivedLog(kit.fs, ARCHIVE).is_archive
    path = f"{ARCHIVE}/{kit.whole()[-1]}"
    kit.put(path, kit.fs.read(path)[:-40])
    with pytest.raises(Corruption):
        list(kit.engine.wal.records(path=ARCHIVE))
    for name in kit.names():
        if name.endswith(".begins"):
            kit.fs.unlink(f"{ARCHIVE}/{name}")
    assert not ArchivedLog(kit.fs, ARCHIVE).is_archive
    check = verify_log(ArchivedLog(kit.fs, ARCHIVE), [ARCHIVE], store_id=kit.engine.store_id)
    assert check.problems == ()


@pytest.mark.parametrize("where", [Range(from_sequence=1, path=ARCHIVE), Range(to_sequence=1, path=ARCHIVE)])
def test_what_is_asked_in_front_of_it_is_told_where_it_begins(kit: ArchiveKit, where: Range) -> None:
    def search() -> OutOfRange:
        search = LogSearch(kit.engine.wal, Wanted(), LogNames(()), look_around=False)
        with pytest.raises(OutOfRange) as caught:
            list(search.runs(where))
        return caught.value

    told = search()
    first = kit.archived()[0][0]
    assert told.reason == "LOG_TRIMMED"
    assert told.message.endswith(f"the log begins after sequence {first - 1}, since this archive was pruned")
    assert told.hint == (
        f"what is left begins with sequence {first}: begin there, or leave the start out; the snapshots hold what was "
        "before"
    )
    for name in kit.names():
        if name.endswith(".begins"):
            kit.fs.unlink(f"{ARCHIVE}/{name}")
    told = search()
    assert told.message.endswith(f"the log begins after sequence {first - 1}")
    assert told.hint == f"what is left begins with sequence {first}: begin there, or leave the start out"
