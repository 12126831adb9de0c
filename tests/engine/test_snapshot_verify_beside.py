"""Large members of a plain snapshot are proven two at a time, and what is told of them is what one at a time tells."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from holdfastd.format.snapshot import data_members
from holdfastd.storage import archive_bytes, archive_survey, read_ahead
from holdfastd.storage.archive_reader import ArchiveReader
from tests.support.snapshots import SnapshotKit

PATH = "/copy.snap"
PIECE = 4096
ONE_AT_A_TIME = 1 << 40


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> SnapshotKit:
    """Three collections, whose vectors take several pieces each, in a snapshot at PATH."""
    for module in (archive_bytes, read_ahead):
        monkeypatch.setattr(module, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(archive_survey, "LARGE_BYTES", PIECE)
    kit = SnapshotKit(seed=3)
    for name in ("a", "b", "c"):
        kit.create(name, 64)
        kit.upsert([f"{row}" for row in range(60)], payloads=[b'{"n":1}'] * 60, name=name)
    kit.put(PATH, kit.fs.read(kit.snapshot()["path"]))
    return kit


def told(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, large: int) -> tuple[list[Any], int, int]:
    monkeypatch.setattr(archive_survey, "LARGE_BYTES", large)
    result = kit.verify(PATH, level=2)
    found = sorted((each["level"], each["path"], each["message"], each["offset"]) for each in result["problems"])
    return found, result["bytes_read"], result["rows_checked"]


def test_a_sound_one_is_read_once_and_in_turns(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    read, offsets = kit.fs.read, []

    def noted(path: str, offset: int = 0, length: int | None = None) -> bytes:
        if path == PATH and length == PIECE:
            offsets.append(offset)
        return read(path, offset, length)

    monkeypatch.setattr(kit.fs, "read", noted)
    in_turns = told(kit, monkeypatch, PIECE)
    assert in_turns[0] == []
    assert in_turns[2] == 180
    assert (np.diff(offsets) < 0).sum() >= 3, "back and forth between two of them"
    in_turns_offsets, offsets[:] = sorted(offsets), []
    assert told(kit, monkeypatch, ONE_AT_A_TIME) == in_turns
    assert (np.diff(offsets) < 0).sum() == 0
    assert sorted(offsets) == in_turns_offsets


@pytest.mark.parametrize("way", ["flip", "cut"])
def test_any_damage_is_told_alike(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    good = kit.fs.read(PATH)
    # A file that is shorter than its members is refused at once.
    members = sum(member.size for member in data_members(ArchiveReader(kit.fs, PATH).manifest))
    for at in range(4096, len(good), 3001) if way == "flip" else range(members, len(good), 701):
        flipped = good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :]
        kit.put(PATH, flipped if way == "flip" else good[:at])
        found = told(kit, monkeypatch, PIECE)
        assert found == told(kit, monkeypatch, ONE_AT_A_TIME), at
        assert found[0], at


def test_damage_in_each_of_them_is_told_in_their_order(kit: SnapshotKit) -> None:
    data = bytearray(kit.fs.read(PATH))
    at, wanted = -1, []
    while (at := data.find(b"/0/vectors.npy\0", at + 1)) >= 0:
        data[at + 3 * PIECE] ^= 1
        start = data.rfind(b"collections/", 0, at)
        wanted.append(f"{PATH}:{data[start : at + 14].decode()}")
    kit.put(PATH, bytes(data))
    assert len(wanted) == 3
    assert [each["path"] for each in kit.verify(PATH, level=2)["problems"]] == wanted


def test_a_block_that_cannot_be_read_hides_nothing_of_the_other(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(kit.fs.read(PATH))
    first = data.find(b"/0/vectors.npy\0")
    second = data.find(b"/0/vectors.npy\0", first + 1)
    data[second + 3 * PIECE] ^= 1
    kit.put(PATH, bytes(data))
    read = kit.fs.read

    def bad(path: str, offset: int = 0, length: int | None = None) -> bytes:
        if path == PATH and length == PIECE and offset <= first + 2 * PIECE < offset + length:
            raise OSError(errno.EIO, "bad block", path)
        return read(path, offset, length)

    monkeypatch.setattr(kit.fs, "read", bad)
    problems = kit.verify(PATH, level=2)["problems"]
    assert len(problems) == 2
    assert "cannot be read: bad block" in problems[0]["message"]
    assert "does not match its SHA-256" in problems[1]["message"]
