"""On an empty machine: snapshots and the log of a store that is gone bring everything back, in one step."""

from __future__ import annotations

import itertools
import random

import pytest

from holdfastd.engine.history import Ending
from holdfastd.errors import Corruption, FailedPrecondition, NotFound, OutOfRange
from holdfastd.model import SyncMode
from holdfastd.storage.names import PieceName, parse_wal_name, piece_name
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.replays import WAL, ReplayKit, content, found_again, lost_store
from tests.support.restores import assert_sound, directories

LOG = "/archive"


def archived(kit: ReplayKit, *, pieces: int = 0) -> dict[str, bytes]:
    """The WAL segments of a store as an archive has them, the last one in pieces."""
    log = kit.engine._committer.log
    assert log is not None
    log.sync()
    upto = log.synced_position
    found = {name: kit.fs.read(f"{WAL}/{name}") for name in kit.fs.listdir(WAL) if parse_wal_name(name)}
    last = upto.path.rpartition("/")[2]
    content = found.pop(last)[: upto.offset]
    cuts = sorted({0, len(content), *(len(content) * n // (pieces + 1) for n in range(1, pieces + 1))})
    parts = {piece_name(PieceName(last, start, end)): content[start:end] for start, end in itertools.pairwise(cuts)}
    return found | parts


def empty_machine(lost: ReplayKit, log: dict[str, bytes], seed: int = 8, *, adopt: bool = True) -> ReplayKit:
    """A new store, with the lost one's snapshots in /backups and its log in LOG."""
    kit = ReplayKit(seed=seed)
    kit.engine.start()
    for snapshot in lost.engine.snapshots.list():
        kit.put(f"/backups/{snapshot.path.rpartition('/')[2]}", lost.fs.read(snapshot.path))
    for name, data in log.items():
        kit.put(f"{LOG}/{name}", data)
    for directory in ("/", "/backups", LOG):
        kit.fs.sync_dir(directory)
    if adopt:
        kit.engine.snapshots.list(path="/backups")
    return kit


def many_files(seed: int = 7) -> ReplayKit:
    """A snapshot at sequence 2 of /backups' only collection, then a WAL segment for each of the next operations."""
    kit = ReplayKit(seed=seed)
    kit.create("c")
    kit.upsert(["a"], 1)
    kit.snapshot()
    log = kit.engine._committer.log
    assert log is not None
    for value in range(2, 8):
        log.rotate()
        kit.clock.advance_us(1_000_000)
        kit.upsert(["a"], value)
    return kit


def without(log: dict[str, bytes], first: int, last: int) -> dict[str, bytes]:
    """The log with the WAL segments lost that begin with one of these sequences."""
    return {name: data for name, data in log.items() if not first <= int(name.split("-")[1].split(".")[0]) <= last}


@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_everything_is_brought_back_up_to_the_last_moment_that_was_archived(pieces: int) -> None:
    lost = lost_store()
    found = empty_machine(lost, archived(lost, pieces=pieces))
    result = found.restore("latest", wal_path=LOG, ending=Ending(), verify=True)
    assert content(found) == content(lost)
    assert result["restored_through_sequence"] == lost.engine.sequence
    assert_sound(found, observe(found.engine))


def test_it_is_the_same_as_a_restore_and_a_replay() -> None:
    lost = lost_store()
    found = empty_machine(lost, archived(lost))
    found.restore("latest", wal_path=LOG, ending=Ending())
    again = found_again(lost)
    again.replay(path="/old")
    assert content(found) == content(again)


def test_a_moment_of_it_comes_back_by_sequence_and_by_the_name_of_a_mark() -> None:
    lost = ReplayKit()
    lost.create("c")
    lost.upsert(["a"], 1)
    lost.snapshot()
    lost.engine.wal.mark("wanted", caller=CALLER)
    lost.upsert(["a"], 2)
    found = empty_machine(lost, archived(lost))
    mark = found.engine.wal.find_mark("wanted", LOG)
    found.restore("latest", wal_path=LOG, ending=Ending(mark.sequence))
    assert found.values("c") == {"a": 1.0}
    assert found.engine.snapshots.list()[0].record.sequence < mark.sequence
    with pytest.raises(NotFound, match="has no mark 'other'"):
        found.engine.wal.find_mark("other", LOG)
    with pytest.raises(NotFound):
        found.engine.wal.find_mark("wanted")


def test_the_log_of_another_store_than_the_snapshot_is_refused() -> None:
    lost, other = lost_store(), many_files(seed=9)
    found = empty_machine(lost, without(archived(other), 1, 2))
    (snapshot,) = found.engine.snapshots.list()
    before, there = observe(found.engine), directories(found)
    with pytest.raises(FailedPrecondition, match="is of store"):
        found.restore(snapshot.id, wal_path=LOG, ending=Ending())
    with pytest.raises(OutOfRange, match="There is no whole snapshot"):
        found.restore("latest", wal_path=LOG, ending=Ending())
    assert (observe(found.engine), directories(found)) == (before, there)


def test_a_place_without_a_log_is_refused() -> None:
    found = empty_machine(lost_store(), {"readme": b"x"})
    with pytest.raises(FailedPrecondition, match="holds no log"):
        found.restore("latest", wal_path=LOG, ending=Ending())
    with pytest.raises(FailedPrecondition, match="does not exist"):
        found.restore("latest", wal_path="/nowhere", ending=Ending())


def test_without_any_snapshot_a_log_from_the_beginning_brings_everything_back() -> None:
    lost = lost_store()
    found = empty_machine(lost, archived(lost), adopt=False)
    found.restore("latest", wal_path=LOG, ending=Ending(), verify=True)
    assert content(found) == content(lost)


def test_without_a_snapshot_a_later_log_says_how_to_show_it_to_the_daemon() -> None:
    lost = many_files()
    found = empty_machine(lost, without(archived(lost), 1, 2), adopt=False)
    with pytest.raises(OutOfRange, match="There is no whole snapshot") as caught:
        found.restore("latest", wal_path=LOG, ending=Ending())
    assert caught.value.hint is not None
    assert "holdfast storage snapshot list --path DIR|URL" in caught.value.hint
    found.engine.snapshots.list(path="/backups")
    found.restore("latest", wal_path=LOG, ending=Ending())
    assert content(found) == content(lost)


def test_the_only_collection_of_the_lost_store_need_not_be_named() -> None:
    lost = many_files()
    found = empty_machine(lost, archived(lost))
    found.restore("latest", wal_path=LOG, ending=Ending(), collection="copy")
    assert found.values("copy") == {"a": 7.0}


# Something is missing ------------------------------------------------------------------------------------------------


def test_wal_segments_that_are_missing_end_the_window_and_are_named() -> None:
    lost = many_files()
    found = empty_machine(lost, without(archived(lost), 5, 6))
    with pytest.raises(OutOfRange, match="WAL segments are missing where this log lies between sequence 4 and 7"):
        found.restore("latest", wal_path=LOG, ending=Ending())
    with pytest.raises(OutOfRange, match="what was done by then is in no log, for WAL segments are missing"):
        found.restore("latest", wal_path=LOG, ending=Ending(6))
    found.restore("latest", wal_path=LOG, ending=Ending(4))
    assert found.values("c") == {"a": 3.0}


def test_a_snapshot_from_behind_what_is_missing_leads_on() -> None:
    lost = many_files()
    lost.clock.advance_us(1_000_000)
    lost.snapshot()
    lost.upsert(["b"], 9)
    found = empty_machine(lost, without(archived(lost), 5, 6))
    found.restore("latest", wal_path=LOG, ending=Ending())
    assert content(found) == content(lost)


@pytest.mark.parametrize("named", [False, True], ids=["latest", "named"])
def test_a_snapshot_that_is_newer_than_the_archive_is_not_passed_over_for_an_older_one(named: bool) -> None:
    """The archive was out of reach for the last days of the machine; snapshots were made all the same."""
    lost = many_files()
    log = archived(lost)
    ended = lost.engine.sequence
    lost.clock.advance_us(1_000_000)
    lost.upsert(["a"], 99)
    newest = lost.snapshot()["snapshot_id"]
    found = empty_machine(lost, log)
    result = found.restore(newest if named else "latest", wal_path=LOG, ending=Ending(), verify=True)
    assert (result["snapshot_id"], result["restored_through_sequence"]) == (newest, ended + 1)
    assert found.values() == {"a": 99}
    assert any(f"ends with sequence {ended}, before {newest} was made" in said for said in result["warnings"])


def test_a_snapshot_of_a_history_that_was_cut_is_not_newer_than_the_archive() -> None:
    lost = ReplayKit(sync_mode=SyncMode.ASYNC)
    lost.create("c")
    lost.upsert(["a"], 1)
    lost.sync_log()
    before = lost.fs.crash(random.Random(1))
    lost.upsert(["a"], 99)
    cut_off = lost.snapshot()
    data = lost.fs.read(cut_off["path"])
    lost.fs = before
    lost.reopen()
    lost.clock.advance_us(1_000_000)
    lost.snapshot()
    assert lost.engine.timeline == 2
    found = empty_machine(lost, archived(lost))
    found.put(f"/backups/{cut_off['path'].rpartition('/')[2]}", data)
    found.engine.snapshots.list(path="/backups")
    found.restore("latest", wal_path=LOG, ending=Ending())
    assert found.values() == {"a": 1}


HURT = {
    "zeros": lambda data: data[:-40] + bytes(40),
    "another byte": lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
    "cut short": lambda data: data[:-40],
}


@pytest.mark.parametrize("how", HURT)
def test_damage_at_the_end_of_an_archive_is_no_torn_write(how: str) -> None:
    """What lies there was synced when it was put there: less of it is not the last moment that was archived."""
    lost = many_files()
    log = archived(lost)
    last = max(log)
    log[last] = HURT[how](log[last])
    found = empty_machine(lost, log)
    before = lost.engine.sequence - 1
    with pytest.raises(Corruption) as caught:
        found.restore("latest", wal_path=LOG, ending=Ending())
    assert caught.value.hint.endswith(f"ends with --to {before}")
    if how != "cut short":
        assert not found.engine.wal.verify(LOG).sound
    found.restore("latest", wal_path=LOG, ending=Ending(before))
    assert found.values() == {"a": 6}


@pytest.mark.parametrize("how", HURT)
def test_a_replay_along_an_archive_with_damage_at_its_end_goes_up_to_it(how: str) -> None:
    lost = many_files()
    log = archived(lost)
    log[max(log)] = HURT[how](log[max(log)])
    found = empty_machine(lost, log)
    before = lost.engine.sequence - 1
    found.restore(found.engine.snapshots.list(path="/backups")[0].id)
    for more in ({}, {"to_sequence": before + 1}, {"to_us": lost.clock.wall_us}):
        with pytest.raises(Corruption):
            found.replay(path=LOG, **more)
    found.replay(path=LOG, to_sequence=before)
    assert found.values() == {"a": 6}


def test_a_time_in_what_is_missing_is_refused() -> None:
    lost = many_files()
    log = archived(lost)
    times = {op.record.sequence: op.record.timestamp_us for op in lost.engine.wal.records(from_sequence=3)}
    found = empty_machine(lost, without(log, 5, 6))
    for time_us in (times[5], times[6], times[7] - 1):
        with pytest.raises(OutOfRange, match="WAL segments are missing"):
            found.restore("latest", wal_path=LOG, ending=Ending(time_us=time_us))
    found.restore("latest", wal_path=LOG, ending=Ending(time_us=times[4]))
    assert found.values("c") == {"a": 3.0}


def test_damage_is_named_and_nothing_restored() -> None:
    lost = many_files()
    log = archived(lost)
    name = sorted(log)[2]
    log[name] = log[name][:-20] + b"\xff" + log[name][-19:]
    found = empty_machine(lost, log)
    before, there = observe(found.engine), directories(found)
    for verify in (False, True):
        with pytest.raises(Corruption) as caught:
            found.restore("latest", wal_path=LOG, ending=Ending(), verify=verify)
        assert name in str(caught.value)
        assert (observe(found.engine), directories(found)) == (before, there)


def test_damage_before_the_snapshot_is_in_nobodys_way() -> None:
    lost = many_files()
    lost.clock.advance_us(1_000_000)
    lost.snapshot()
    lost.upsert(["b"], 9)
    log = archived(lost)
    name = sorted(log)[1]
    log[name] = log[name][:-20] + b"\xff" + log[name][-19:]
    found = empty_machine(lost, log)
    found.restore("latest", wal_path=LOG, ending=Ending(), verify=True)
    assert content(found) == content(lost)


def test_cut_off_by_a_crash_at_any_operation_all_of_it_or_nothing_is_there() -> None:
    lost = lost_store()
    found = empty_machine(lost, archived(lost, pieces=3))
    before = content(found)
    begun = found.fs.ops
    found.restore("latest", wal_path=LOG, ending=Ending())
    ended = found.fs.ops
    found.engine.stop()
    seen = set()
    for index in range(begun, ended + 1):
        again = ReplayKit(found.fs.crash_at(index, random.Random(index)), seed=700 + index)
        assert content(again) in (before, content(lost))
        seen.add(content(again) == before)
        again.engine.stop()
    assert seen == {True, False}


def test_without_a_moment_the_whole_log_is_what_is_meant() -> None:
    lost = many_files()
    found = empty_machine(lost, archived(lost))
    found.restore("latest", wal_path=LOG, ending=Ending(), collection="copy", from_collection="c")
    assert found.values("copy") == {"a": 7.0}


def test_where_the_log_alone_does_not_tell_of_a_restore_the_snapshots_are_asked_for_first() -> None:
    """A drill that stayed: nobody has shown the daemon the snapshots yet, one of which lies behind it."""
    lost = ReplayKit()
    lost.create("c")
    lost.upsert(["a"], 1)
    lost.restore(lost.snapshot()["snapshot_id"], collection="drill")
    drilled = lost.engine.sequence
    lost.later()
    lost.upsert(["a"], 2)
    found = empty_machine(lost, archived(lost), adopt=False)
    with pytest.raises(OutOfRange, match=f"sequence {drilled} restored drill from snap-") as caught:
        found.restore("latest", wal_path=LOG, ending=Ending())
    hint = str(caught.value.hint)
    assert hint.startswith("show the daemon where the snapshots of store ")
    assert f"holdfast storage snapshot list --path DIR|URL; or choose a moment before it (--before {drilled})" in hint
    found.engine.snapshots.list(path="/backups")
    found.restore("latest", wal_path=LOG, ending=Ending())
    assert content(found) == content(lost)
