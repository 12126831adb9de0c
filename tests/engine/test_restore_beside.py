"""A restore whose checks run as late as they can: each part is checked only when somebody must wait for it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from holdfastd.engine.meter import Advance
from holdfastd.engine.snapshot_stage import Stager
from holdfastd.errors import Cancelled, Corruption, FailedPrecondition, HoldfastError
from holdfastd.format.segment import ROW_DTYPE, FileInfo
from holdfastd.format.snapshot import SUMS
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR, Archive, SnapshotKit


class Late:
    """Is done when it is waited for."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work
        self._result: object = None
        self._error: BaseException | None = None

    def result(self) -> object:
        work, self._work = self._work, None
        if work is not None:
            try:
                self._result = work()
            except Exception as error:
                self._error = error
        if self._error is not None:
            raise self._error
        return self._result


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> SnapshotKit:
    kit = SnapshotKit(seed=3)
    monkeypatch.setattr(kit.fs, "beside", Late)
    return kit


@pytest.fixture(scope="module")
def three_parts() -> bytes:
    kit = SnapshotKit()
    kit.create("c")
    for ids in ("ab", "cd", "ef"):
        kit.upsert(list(ids), 1, 2)
        kit.engine.checkpoint()
    return kit.fs.read(kit.snapshot()["path"])


def with_rows(data: bytes, **wrong: str) -> bytes:
    """The archive with a field of row 0 of some parts (``p0``, ``p1``, …) out of all bounds, and sums that hold."""
    archive = Archive.of(data)
    pieces = [piece for piece in archive.pieces if piece.name.endswith("rows.npy")]
    for part, field in wrong.items():
        piece = pieces[int(part[1:])]
        head = len(piece.data) - 2 * ROW_DTYPE.itemsize
        rows = np.frombuffer(piece.data[head:], ROW_DTYPE).copy()
        rows[field][0] = 1 << 40 if field == "sequence" else 1 << 10
        piece.data = piece.data[:head] + rows.tobytes()
    return archive.tar()


def refused(kit: SnapshotKit, data: bytes, error: type[HoldfastError], message: str) -> None:
    """Nothing is left of a restore that is refused."""
    kit.put("/it.snap", data)
    with pytest.raises(error, match=re.escape(message)):
        kit.restore("/it.snap")
    assert kit.fs.listdir(COLLECTIONS_DIR) == []
    kit.reopen()
    assert observe(kit.engine).collections == {}


def test_what_is_sound_comes_back(late: SnapshotKit, three_parts: bytes) -> None:
    late.put("/it.snap", three_parts)
    late.restore("/it.snap", verify=True)
    assert len(late.values()) == 6


@pytest.mark.parametrize(
    "parts", [{"p0": "sequence"}, {"p2": "sequence"}, {"p0": "sequence", "p1": "id_length"}], ids=str
)
def test_the_first_wrong_row_is_what_is_told(late: SnapshotKit, three_parts: bytes, parts: dict[str, str]) -> None:
    refused(late, with_rows(three_parts, **parts), Corruption, "row 0 was written after the snapshot")


def test_damage_in_an_early_part_is_told_before_what_its_rows_look_like(late: SnapshotKit, three_parts: bytes) -> None:
    wrong = with_rows(three_parts, p0="id_length")
    sums = Archive.of(three_parts).find(SUMS).data
    archive = Archive.of(wrong)
    archive.find(SUMS).data = sums
    refused(late, archive.tar(seal=False), Corruption, "does not match its SHA-256")


def test_a_disk_that_fails_in_a_check_fails_the_restore(late: SnapshotKit, three_parts: bytes) -> None:
    # It is the check that writes this one.
    late.fs.fail_on("create", "*/segment.json*")
    refused(late, three_parts, FailedPrecondition, "segment.json")


def test_a_restore_that_is_cancelled_leaves_no_check_behind(
    late: SnapshotKit, three_parts: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[Late] = []

    def beside(work: Callable[[], object]) -> Late:
        checks.append(Late(work))
        return checks[-1]

    def copy(stager: Stager, path: str, size: int, advance: Advance) -> FileInfo:
        if len(stager._stagings[0].segments) == 1:
            raise Cancelled("enough")
        return copy_file(stager, path, size, advance)

    copy_file = Stager._copy
    monkeypatch.setattr(late.fs, "beside", beside)
    monkeypatch.setattr(Stager, "_copy", copy)
    late.put("/it.snap", three_parts)
    with pytest.raises(Cancelled, match="enough"):
        late.restore("/it.snap")
    assert [check for check in checks if check._work is not None] == []
    assert late.fs.listdir(COLLECTIONS_DIR) == []
