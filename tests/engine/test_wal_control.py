"""The log by command: verifying it, reading it, marks, and where it lies."""

from __future__ import annotations

import pytest

from holdfastd.errors import FailedPrecondition
from tests.support.engines import ROOT, Kit
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
