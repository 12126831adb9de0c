"""The log by command: verifying it, reading it, marks, and where it lies."""

from __future__ import annotations

import errno

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import (
    AlreadyExists,
    DataDirectoryLocked,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from holdfastd.model import Mark
from tests.support.engines import CALLER, ROOT, Kit, open_engine
from tests.support.logs import flip

WAL = f"{ROOT}/wal"


@pytest.fixture
def kit() -> Kit:
    """Six operations in one WAL segment."""
    made = Kit(segment_size=1 << 16)
    made.create()
    for number in range(5):
        made.upsert([f"p{number}"])
    return made


def places(kit: Kit) -> list[tuple[str, int]]:
    """Path and offset of each operation."""
    return [(each.record.path, each.record.offset) for each in kit.engine.wal.records()]


def copied_elsewhere(kit: Kit, directory: str = "/backup/wal") -> str:
    """A copy of the log, as it lies on the disk."""
    for path in ("/backup", directory):
        kit.fs.mkdir(path)
    for name in kit.fs.listdir(WAL):
        file = kit.fs.create(f"{directory}/{name}")
        file.pwrite([kit.fs.read(f"{WAL}/{name}")], 0)
    return directory


class TestVerify:
    def test_a_sound_log(self, kit: Kit) -> None:
        check = kit.engine.wal.verify()
        assert (check.sound, check.operations, check.first_sequence, check.last_sequence) == (True, 6, 1, 6)

    @pytest.mark.parametrize("unlogged", [0, 1])
    def test_a_time_without_a_log_is_a_gap_where_something_was_done_in_it(self, kit: Kit, unlogged: int) -> None:
        kit.engine.wal.disable(caller=CALLER)
        for _ in range(unlogged):
            kit.upsert(["unlogged"])
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        kit.upsert(["logged"])
        check = kit.engine.wal.verify()
        assert (check.sound, check.gaps) == (True, unlogged)

    def test_every_problem_is_listed(self, kit: Kit) -> None:
        damaged = places(kit)[1::2]
        for path, offset in damaged:
            flip(kit.fs, path, offset + 70)
        check = kit.engine.wal.verify()
        assert [(problem.path, problem.offset) for problem in check.problems] == damaged
        assert (check.sound, check.operations) == (False, 3)

    def test_a_log_in_another_directory(self, kit: Kit) -> None:
        directory = copied_elsewhere(kit)
        assert kit.engine.wal.verify(directory).operations == 6
        damaged = [(path.replace(WAL, directory), offset) for path, offset in places(kit)[2:4]]
        for path, offset in damaged:
            flip(kit.fs, path, offset + 70)
        check = kit.engine.wal.verify(directory)
        assert [(problem.path, problem.offset) for problem in check.problems] == damaged
        assert kit.engine.wal.verify().sound

    def test_the_log_of_another_store(self, kit: Kit) -> None:
        directory = copied_elsewhere(kit)
        other = Kit(seed=8)
        for path in ("/backup", directory):
            other.fs.mkdir(path)
        for name in kit.fs.listdir(directory):
            other.fs.create(f"{directory}/{name}").pwrite([kit.fs.read(f"{directory}/{name}")], 0)
        assert other.engine.wal.verify(directory).operations == 6
        assert [each.record.sequence for each in other.engine.wal.records(path=directory)] == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("path", ["/nowhere", f"{ROOT}/LOCK/x", f"{ROOT}/MANIFEST.json"])
    def test_where_there_is_no_log(self, kit: Kit, path: str) -> None:
        with pytest.raises(FailedPrecondition):
            kit.engine.wal.verify(path)

    @pytest.mark.parametrize("path", [f"{ROOT}/snapshots", "collections", "/backup"])
    def test_a_directory_without_a_log_is_none_that_is_sound(self, kit: Kit, path: str) -> None:
        copied_elsewhere(kit)
        kit.fs.mkdir(f"{ROOT}/snapshots") if not kit.fs.exists(f"{ROOT}/snapshots") else None
        for read in (kit.engine.wal.verify, lambda path: list(kit.engine.wal.records(path=path))):
            with pytest.raises(FailedPrecondition, match="holds no log") as caught:
                read(path)
            assert caught.value.reason == "LOG_NOT_FOUND"


class TestMarks:
    def test_they_survive_restarts_and_end_with_the_log(self, kit: Kit) -> None:
        made = kit.engine.wal.mark("here", caller=CALLER)
        kit.reopen()
        assert kit.engine.wal.status().marks == (made,)
        kit.engine.checkpoint()
        kit.restart()
        assert kit.engine.wal.find_mark("here") == made
        kit.engine.wal.disable(caller=CALLER)
        assert kit.engine.wal.status().marks == ()

    def test_a_name_is_taken_until_the_log_is_trimmed_beyond_it(self) -> None:
        kit = Kit(segment_size=4096)
        kit.create()
        first = kit.engine.wal.mark("here", caller=Caller(request_id="r"))
        assert kit.engine.wal.mark("here", caller=Caller(request_id="r")) == first
        with pytest.raises(AlreadyExists):
            kit.engine.wal.mark("here", caller=CALLER)
        for number in range(60):
            kit.upsert([f"p{number}"])
        kit.clock.advance_us(48 * 3600 * 1_000_000)
        for _ in range(2):
            kit.engine.checkpoint()
        assert kit.engine.wal.status().marks == ()
        assert kit.engine.wal.mark("here", caller=CALLER).sequence > first.sequence

    def test_one_of_which_the_log_holds_no_record_is_not_listed(self, kit: Kit) -> None:
        kit.engine.wal.disable(caller=CALLER)
        kit.upsert(["unlogged"])
        kit.engine._applier.marks = {"lost": Mark("lost", kit.engine.sequence, kit.engine._applier.time_us)}
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        assert kit.engine.wal.status().marks == ()


class TestOutside:
    """A WAL directory outside the data directory is locked like the data directory."""

    OUTSIDE = "/disk2/wal"
    LOCK = "/disk2/wal/LOCK"

    def move(self, kit: Kit, path: str = OUTSIDE) -> None:
        kit.engine.wal.enable(WalChanges(path=path), caller=CALLER)

    def test_it_is_locked_while_it_holds_a_part_of_the_log(self, kit: Kit) -> None:
        self.move(kit)
        assert self.LOCK in kit.fs.locked
        kit.upsert(["a"])
        kit.restart()
        assert self.LOCK in kit.fs.locked
        assert "a" in kit.values()
        self.move(kit, "wal")
        kit.upsert(["b"])
        assert self.LOCK in kit.fs.locked, "recovery still needs the log in it"
        kit.clock.advance_us(48 * 3600 * 1_000_000)
        for _ in range(3):
            kit.engine.checkpoint()
        assert self.LOCK not in kit.fs.locked
        kit.engine.stop()
        assert not kit.fs.locked

    def test_stopping_and_a_failed_start_release_it(self, kit: Kit) -> None:
        self.move(kit)
        kit.engine.stop()
        assert not kit.fs.locked
        held = kit.fs.lock(self.LOCK)
        with pytest.raises(DataDirectoryLocked) as caught:
            open_engine(kit.fs)
        assert (caught.value.reason, caught.value.metadata["path"]) == ("WAL_DIRECTORY_LOCKED", self.OUTSIDE)
        assert kit.fs.locked == {self.LOCK}
        held.release()
        assert open_engine(kit.fs).points.get("c", ["p1"])

    def test_one_that_another_daemon_holds_is_refused(self, kit: Kit) -> None:
        for path in ("/disk2", self.OUTSIDE):
            kit.fs.mkdir(path)
        kit.fs.lock(self.LOCK)
        with pytest.raises(DataDirectoryLocked):
            self.move(kit)
        assert kit.engine.wal.status().path == WAL
        kit.upsert(["a"])
        kit.reopen()
        assert "a" in kit.values()

    def test_one_that_holds_another_log_is_refused_and_let_go(self, kit: Kit) -> None:
        directory = copied_elsewhere(kit)
        with pytest.raises(FailedPrecondition) as caught:
            self.move(kit, directory)
        assert caught.value.reason == "WAL_DIRECTORY_IN_USE"
        assert kit.fs.locked == {f"{ROOT}/LOCK"}
        kit.upsert(["a"])
        kit.reopen()
        assert "a" in kit.values()

    @pytest.mark.parametrize("path", ["collections", "collections/wal", "snapshots", f"{ROOT}/operations", "staging/x"])
    def test_the_stores_own_directories_are_refused(self, kit: Kit, path: str) -> None:
        with pytest.raises(InvalidArgument):
            self.move(kit, path)
        assert kit.engine.wal.status().path == WAL


def test_a_log_that_could_not_move_back_is_found_where_a_start_goes_on_with_it() -> None:
    kit = Kit()
    kit.create()
    kit.engine.wal.enable(WalChanges(path="/elsewhere/log"), caller=CALLER)
    kit.fs.fail_on("write", "/data/MANIFEST.json.tmp", errno.ENOSPC)
    with pytest.raises(ResourceExhausted):
        kit.engine.wal.enable(WalChanges(path="wal"), caller=CALLER)
    kit.engine.checkpoint()
    kit.reopen()
    assert kit.upsert(["a"]).durable
    kit.reopen()
    assert kit.values() == {"a": 1}
