"""Pruning an archive: what goes, what stays and why, what is refused, and what is read of it from then on."""

from __future__ import annotations

import errno
import re

import pytest

from holdfastd.engine import log_archive_prune
from holdfastd.engine.history import Ending
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.log_archive_prune import CUT_SHORT, ArchivePruneRequest
from holdfastd.engine.snapshots import PruneRequest
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Cancelled, FailedPrecondition, HoldfastError, InvalidArgument, NotFound, OutOfRange
from holdfastd.model import StorageKind
from holdfastd.storage.log_archive_note import load_note
from holdfastd.storage.names import Layout, parse_beginning_name, parse_wal_name
from tests.support.archives import ARCHIVE, ArchiveKit, Idle, lived_in, read_archive
from tests.support.engines import abandon
from tests.support.replays import ReplayKit

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US


class Kit(ArchiveKit, ReplayKit):
    """It replays as well."""


def lived() -> tuple[Kit, list[int]]:
    kit = Kit()
    return kit, lived_in(kit)[1]


def ids(kit: ArchiveKit) -> list[str]:
    """The oldest first."""
    return kit.ids()[::-1]


def first_held(kit: ArchiveKit) -> int:
    return kit.archived()[0][0]


def beginnings(kit: ArchiveKit) -> list[str]:
    return [name for name in kit.names() if parse_beginning_name(name)]


def test_what_lies_in_front_of_the_oldest_snapshot_goes() -> None:
    kit, (oldest, *_) = lived()
    before, names = kit.archived(), kit.names()
    pruned = kit.prune()
    gone, *kept = pruned.runs
    assert not gone.keep
    assert gone.segments == len(names) - len(kit.names()) + 1
    assert gone.first == 1
    assert gone.last <= oldest
    assert all(run.keep and run.reasons[0].startswith(f"needed by {ids(kit)[0]}") for run in kept)
    assert kept[0].first <= oldest + 1 <= kept[0].last
    assert pruned.begins is not None
    assert pruned.begins.begins_after <= oldest
    assert kit.archived() == [each for each in before if each[0] > pruned.begins.begins_after]
    second = min(int(name[9:29]) for name in kit.whole() if int(name[9:29]) > pruned.begins.first)
    assert second > oldest + 1
    (beginning,) = beginnings(kit)
    assert parse_beginning_name(beginning) == pruned.begins.name
    assert f"what was before {ids(kit)[0]} (sequence {oldest}) can no longer be brought back" in pruned.warnings[0]


def test_what_stays_rolls_the_oldest_snapshot_forward_to_the_end() -> None:
    kit, _ = lived()
    kit.prune()
    wanted, path = kit.digest(), kit.engine.snapshots.get(ids(kit)[0]).path
    there = Kit(seed=9)
    there.engine.start()
    there.put("/copied/" + path.rpartition("/")[2], kit.fs.read(path))
    there.engine.snapshots.list("/copied")
    for name in kit.names():
        there.put(f"/other/{name}", kit.fs.read(f"{ARCHIVE}/{name}"))
    document = there.restore("latest", wal_path="/other", ending=Ending())
    assert document["restored_through_sequence"] == kit.engine.sequence
    assert there.digest() == wanted


def test_a_second_prune_has_nothing_to_do_and_a_later_one_goes_on() -> None:
    kit, (_, second, *_) = lived()
    kit.prune()
    names = kit.names()
    again = kit.prune()
    assert [run.keep for run in again.runs] == [True] * len(again.runs)
    assert (kit.names(), again.warnings) == (names, ())
    kit.engine.snapshots.delete(ids(kit)[0])
    gone = kit.prune().runs[0]
    assert not gone.keep
    assert first_held(kit) <= second + 1
    assert len(beginnings(kit)) == 1


def test_an_increment_needs_what_is_behind_its_own_moment() -> None:
    kit, _ = lived()
    moment = kit.day(incremental=True)
    increment = kit.engine.snapshots.get(kit.ids()[0])
    assert increment.record.base_id
    kit.day()
    pruned = kit.prune(before=increment.id)
    assert pruned.begins is not None
    assert pruned.begins.begins_after <= moment <= pruned.begins.last
    said = f"{kit.ids()[2]} and 2 more can be restored as before, and no longer be rolled forward with this archive"
    assert said in pruned.warnings


def test_rounds_go_on_and_send_nothing_again() -> None:
    kit, _ = lived()
    kit.prune()
    kit.clock.advance_us(HOUR_US)
    assert kit.archiver.flush().bytes == 0
    kit.write(9)
    kit.round()
    kit.reopen()
    kit.round()
    assert kit.archiver.flush().bytes == 0
    assert kit.archived()[-1][0] == kit.engine.sequence
    assert kit.codes() == []


def test_a_start_whose_note_is_older_than_the_archive_misses_nothing() -> None:
    kit = Kit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=SECOND_US), caller=Caller())
    kit.day()
    note = kit.fs.read("/data/ARCHIVE.json")
    kit.day()
    kit.day()
    kit.prune(before=kit.ids()[0])
    kit.put("/data/ARCHIVE.json", note)
    kit.reopen()
    kit.round()
    assert load_note(kit.fs, Layout("/data"), ARCHIVE)[0].gaps == ()
    assert kit.archiver.status().gaps == ()
    assert kit.codes() == []


def test_the_status_says_that_it_was_pruned_and_there_is_no_gap() -> None:
    kit, _ = lived()
    contents = kit.archiver.status().contents
    assert contents is not None
    assert contents.why_it_begins == "the log begins there"
    pruned = kit.prune()
    assert pruned.begins is not None
    for _ in range(2):
        status = kit.archiver.status()
        assert status.contents is not None
        assert status.contents.chain.unbroken[0].name == pruned.begins.name
        assert status.contents.why_it_begins == (
            f"the archive was pruned: what came before sequence {pruned.begins.begins_after + 1} was removed from it"
        )
        assert status.contents.size_bytes == sum(run.size_bytes for run in pruned.runs if run.keep)
        assert (status.gaps, status.state, kit.codes()) == ((), "archiving", [])
        kit.clock.advance_us(HOUR_US)
        kit.reopen()
        kit.round()


def test_gaps_in_front_of_the_beginning_are_forgotten_and_others_are_not() -> None:
    kit, _ = lived()
    alone = [name for name in kit.whole() if name not in kit.complete_names()]
    for name in (alone[1], alone[-2]):
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.archiver.flush()
    first, second = kit.archiver.status().gaps
    kit.prune()
    assert kit.archiver.status().gaps == (second,)
    assert first.last < second.first


def test_a_moment_in_front_of_the_beginning_is_refused_with_the_window_and_why() -> None:
    kit, (oldest, *_) = lived()
    pruned = kit.prune()
    assert pruned.begins is not None
    begins_after = pruned.begins.begins_after
    with pytest.raises(OutOfRange) as caught:
        kit.restore("latest", wal_path=ARCHIVE, ending=Ending(3), collection="back", from_collection="c")
    assert caught.value.reason == "PITR_OUT_OF_WINDOW"
    assert "The window begins at" in caught.value.message
    assert f"({ids(kit)[0]}, sequence {oldest})" in caught.value.message
    assert f"and the archive was pruned up to sequence {begins_after}" in caught.value.message
    kit.prune(before=ids(kit)[-1])
    with pytest.raises(OutOfRange, match="is pruned from this archive"):
        kit.restore(ids(kit)[0], wal_path=ARCHIVE, ending=Ending(oldest + 5), collection="back", from_collection="c")


def test_without_a_snapshot_the_archive_is_the_backup() -> None:
    kit = ArchiveKit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=SECOND_US), caller=Caller())
    kit.day(snapshot=False)
    names = kit.names()
    with pytest.raises(
        FailedPrecondition, match="the only backup there is: no whole snapshot that it leads on"
    ) as caught:
        kit.prune()
    assert caught.value.reason == "ARCHIVE_STANDS_ALONE"
    assert "holdfast storage snapshot create" in (caught.value.hint or "")
    assert kit.names() == names


def test_a_snapshot_from_before_the_archive_began_is_nothing_to_stand_on() -> None:
    kit, _ = lived()
    for name in kit.whole()[:-1]:
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    last = int(kit.whole()[0][9:29])
    for each in ids(kit):
        if kit.engine.snapshots.get(each).record.sequence >= last - 1:
            kit.engine.snapshots.delete(each)
    assert kit.ids()
    with pytest.raises(FailedPrecondition, match="leads on from"):
        kit.prune()


def test_a_collection_in_no_snapshot_keeps_an_archive_that_has_all_of_it() -> None:
    kit = ArchiveKit()
    kit.create("c")
    kit.create("d")
    kit.create("m", storage=StorageKind.MEMORY)
    kit.engine.wal.enable(WalChanges(retention_us=SECOND_US), caller=Caller())
    kit.day(snapshot=False)
    for _ in range(2):
        kit.day(collection="c")
    with pytest.raises(FailedPrecondition, match=r"no whole snapshot holds d$"):
        kit.prune()
    kit.day(collection="d")
    assert not kit.prune().runs[0].keep
    # Now nothing leads to it without a snapshot, whatever goes.
    kit.create("e")
    kit.engine.snapshots.delete(kit.ids()[0])
    kit.engine.snapshots.delete(kit.ids()[-1])
    assert not kit.prune().runs[0].keep


def test_one_that_is_missing_keeps_what_it_needs_and_nothing_stands_on_it() -> None:
    kit, _ = lived()
    first, second, third = (kit.engine.snapshots.get(each) for each in ids(kit))
    held = kit.fs.read(first.path)
    kit.fs.unlink(first.path)
    pruned = kit.prune(validate_only=True)
    assert pruned.runs[1].reasons[0] == f"needed by {first.id}"
    assert pruned.warnings[-1] == (
        f"{first.id} is missing, and what leads on from it was kept; delete it by name if nobody needs it: "
        f"holdfast storage snapshot delete {first.id}"
    )
    for each in (second, third):
        kit.fs.unlink(each.path)
    with pytest.raises(FailedPrecondition, match="no whole snapshot"):
        kit.prune()
    with pytest.raises(FailedPrecondition, match=f"{first.id} is missing"):
        kit.prune(before=first.id)
    kit.put(first.path, held)
    assert not kit.prune().runs[0].keep


def test_before_a_snapshot_that_is_not_known_or_no_id() -> None:
    kit, _ = lived()
    with pytest.raises(NotFound):
        kit.prune(before="snap-2020-01-01-000000")
    with pytest.raises(InvalidArgument):
        kit.prune(before="latest")


def test_what_is_younger_stays() -> None:
    kit, (oldest, *_) = lived()
    within = kit.prune(within_us=HOUR_US, validate_only=True)
    assert within.runs[0].reasons[0].startswith("within 1h")
    young = kit.prune(within_us=7 * 60 * SECOND_US, validate_only=True)
    assert [run.keep for run in young.runs][:2] == [False, True]
    assert young.runs[1].reasons == ("within 7m",)
    # Nothing grows old while nothing is written.
    kit.clock.advance_us(1000 * HOUR_US)
    assert kit.prune(within_us=HOUR_US, validate_only=True).runs == within.runs
    assert first_held(kit) < oldest


def test_what_the_log_still_has_stays() -> None:
    kit = ArchiveKit()
    kit.create()
    for _ in range(3):
        kit.day()
    pruned = kit.prune()
    assert [run.keep for run in pruned.runs] == [True] * len(pruned.runs)
    assert all("still in the log" in run.reasons for run in pruned.runs)
    assert kit.archived() == kit.logged()


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    kit, _ = lived()
    names = kit.names()
    planned = kit.prune(validate_only=True)
    assert kit.names() == names
    done = kit.prune()
    assert (planned.runs, planned.begins, planned.warnings) == (done.runs, done.begins, done.warnings)


def test_another_store_s_archive_is_not_pruned() -> None:
    kit, _ = lived()
    name = kit.whole()[0]
    stranger = ArchiveKit(seed=99)
    stranger.create()
    stranger.write(8)
    stranger.round()
    kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.put(f"{ARCHIVE}/{name}", stranger.fs.read(f"{ARCHIVE}/{stranger.whole()[0]}"))
    kit.reopen()
    names = kit.names()
    with pytest.raises(FailedPrecondition) as caught:
        kit.prune()
    assert caught.value.reason == "ARCHIVE_FOREIGN"
    assert kit.names() == names


def test_an_archive_that_is_not_mounted_is_not_pruned() -> None:
    kit, _ = lived()
    for name in kit.fs.listdir(ARCHIVE):
        kit.fs.unlink(f"{ARCHIVE}/{name}")
    with pytest.raises(FailedPrecondition) as caught:
        kit.prune()
    assert caught.value.reason == "ARCHIVE_NOT_FOUND"


def test_what_cannot_be_removed_is_out_of_the_archive_and_the_next_prune_takes_it() -> None:
    kit, _ = lived()
    before = kit.archived()
    third = kit.whole()[2]
    kit.fs.fail_on("unlink", f"{ARCHIVE}/{third}", errno.EIO)
    with pytest.raises(HoldfastError) as caught:
        kit.prune()
    assert "of" in caught.value.message
    assert "the next prune removes what is left" in (caught.value.hint or "")
    kit.fs.heal()
    assert third in kit.names()
    found = kit.archived()
    assert found == before[-len(found) :]
    assert found[0][0] > 8
    kit.reopen()
    kit.round()
    assert kit.codes() == []
    again = kit.prune()
    assert again.runs[0].reasons == (CUT_SHORT,)
    assert not again.runs[0].keep
    assert again.runs[0].last == again.runs[1].first - 1
    assert again.runs[0].size_bytes > 0
    assert third not in kit.names()
    assert kit.archived() == found


class Impatient(Idle):
    """Work that is cancelled once it removes."""

    def report(self, **changes: object) -> None:
        if changes.get("phase") == "removing":
            raise Cancelled("it was", hint="nothing was changed")


def test_one_that_is_cancelled_says_what_it_has_done() -> None:
    kit, _ = lived()
    names = kit.names()
    with pytest.raises(Cancelled) as caught:
        kit.engine.archiving.prune(ArchivePruneRequest(), Impatient())  # type: ignore[arg-type]
    assert re.fullmatch(r"0 of \d+ files were removed, then: it was cancelled", caught.value.message)
    assert caught.value.hint == "the archive begins behind them already; the next prune removes what is left"
    assert [name for name in kit.names() if parse_wal_name(name)] == [name for name in names if parse_wal_name(name)]
    assert first_held(kit) > 1


def test_a_full_disk_is_no_obstacle() -> None:
    kit, _ = lived()
    oldest = kit.whole()[0]

    def until_there_is_room(kind: str, path: str) -> None:
        if kind == "create" and path.endswith(".begins.part") and oldest in kit.names():
            raise OSError(errno.ENOSPC, "no space left on device", path)

    kit.fs.on_operation = until_there_is_room
    kit.prune()
    kit.fs.on_operation = None
    assert oldest not in kit.names()
    assert len(beginnings(kit)) == 1
    assert kit.archived() == [each for each in kit.archived() if each[0] >= first_held(kit)]


def test_rounds_go_on_beside_the_removal_and_not_beside_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    kit, _ = lived()
    remove, publish, busy = log_archive_prune.remove_pieces, log_archive_prune.publish_beginning, []

    def between(*args: object) -> None:
        kit.write(9)
        kit.clock.advance_us(HOUR_US)
        kit.round()
        remove(*args)  # type: ignore[arg-type]
        kit.round()

    def held(*args: object) -> None:
        busy.append(kit.archiver._running.locked())
        publish(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(log_archive_prune, "AT_ONCE", 1)
    monkeypatch.setattr(log_archive_prune, "remove_pieces", between)
    monkeypatch.setattr(log_archive_prune, "publish_beginning", held)
    kit.prune()
    assert busy == [True]
    assert kit.archived()[-1][0] == kit.engine.sequence
    assert kit.codes() == []
    assert kit.archiver.status().gaps == ()


def test_nobody_deletes_what_it_comes_to_stand_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kit, _ = lived()
    refused = []
    publish = log_archive_prune.publish_beginning

    def meanwhile(*args: object) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            kit.engine.snapshots.delete(ids(kit)[0])
        refused.append(caught.value.reason)
        policy = PruneRequest(RetentionPolicy(last=1))
        assert len(kit.engine.snapshots.prune(policy).order) == 0
        publish(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(log_archive_prune, "publish_beginning", meanwhile)
    kit.prune()
    assert refused == ["SNAPSHOT_IN_USE"]


def test_what_was_deleted_since_it_was_looked_at_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    kit, _ = lived()
    footings = kit.engine.snapshots.footings
    look = footings.look

    def then_all_go(before: str | None) -> object:
        found = look(before)
        for each in kit.ids():
            kit.engine.snapshots.delete(each)
        return found

    monkeypatch.setattr(footings, "look", then_all_go)
    names = kit.names()
    with pytest.raises(FailedPrecondition, match="no whole snapshot"):
        kit.prune()
    assert kit.names() == names


def test_files_that_are_put_back_in_front_are_read_once_the_beginning_is_removed() -> None:
    kit, _ = lived()
    held = {name: kit.fs.read(f"{ARCHIVE}/{name}") for name in kit.whole()}
    before = kit.archived()
    kit.prune()
    for name in held.keys() - set(kit.names()):
        kit.put(f"{ARCHIVE}/{name}", held[name])
    assert len(kit.archived()) < len(before)
    (beginning,) = beginnings(kit)
    assert b"remove this file" in kit.fs.read(f"{ARCHIVE}/{beginning}")
    kit.fs.unlink(f"{ARCHIVE}/{beginning}")
    assert kit.archived() == before
    abandon(kit.fs)
    assert read_archive(kit.fs, kit.engine.store_id) == before
