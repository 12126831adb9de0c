"""WAL segments copied into an archive: what is sent is what was checked, in bounded memory, under its name at last."""

from __future__ import annotations

import pytest

from holdfastd.errors import Corruption
from holdfastd.storage.bulk import unpaced
from holdfastd.storage.log_copy import beginning, checked_up_to, copy_piece, copy_sealed
from holdfastd.storage.wal_scan import PIECE_BYTES
from tests.support.logs import LogKit, flip
from tests.support.memfs import MemFileSystem

TARGET = "/archive/copy"
MIB = 1 << 20


def filled(*sizes: int, segment_size: int = 64 * MIB) -> LogKit:
    kit = LogKit(segment_size=segment_size, max_payload=MIB)
    kit.fs.mkdir("/archive")
    kit.create()
    for size in sizes:
        kit.append(size)
    return kit


class Watched(MemFileSystem):
    """Remembers how much was read at once, and may change what it reads the second time."""

    longest = 0
    changing = ""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        found = super().read(path, offset, length)
        self.longest = max(self.longest, len(found))
        if path == self.changing:
            self.damage(path, offset + len(found) // 2, b"\xff\xff\xff\xff")
        return found


def test_a_copy_of_many_megabytes_holds_few_of_them_at_a_time() -> None:
    fs = Watched()
    kit = LogKit(fs, segment_size=64 * MIB, max_payload=MIB)
    fs.mkdir("/archive")
    kit.create()
    for size in [700_000] * 20 + [3 * MIB, 17]:
        kit.append(size)
    kit.wal.rotate()
    sealed = kit.wal.files[0]
    ended = copy_sealed(fs, sealed.path, sealed.header, TARGET, pace=unpaced)
    assert fs.longest <= PIECE_BYTES
    assert fs.read(TARGET) == fs.read(sealed.path)
    assert (ended.offset, ended.link.sequence) == (sealed.size_bytes, sealed.last_sequence)
    assert fs.listdir("/archive") == ["copy"]


def test_what_changes_behind_the_check_is_not_what_is_sent() -> None:
    fs = Watched()
    kit = LogKit(fs, segment_size=64 * MIB)
    fs.mkdir("/archive")
    kit.create()
    kit.append(*[1000] * 300)
    kit.wal.rotate()
    sealed = kit.wal.files[0]
    good = fs.read(sealed.path)
    fs.changing = sealed.path
    try:
        copy_sealed(fs, sealed.path, sealed.header, TARGET, pace=unpaced)
    except Corruption:
        assert fs.listdir("/archive") == []
    else:
        fs.changing = ""
        assert fs.read(TARGET) == good


def test_pieces_joined_are_the_log() -> None:
    kit = filled(100, 200)
    header, path = kit.wal.files[0].header, kit.wal.synced_position.path
    place, joined = beginning(path, header), b""
    for number, size in enumerate((300, 40, 5000)):
        end = kit.wal.synced_position.offset
        place = copy_piece(kit.fs, place, header, end, f"{TARGET}{number}", pace=unpaced)
        joined += kit.fs.read(f"{TARGET}{number}")
        assert (place.offset, place) == (end, checked_up_to(kit.fs, path, header, end))
        kit.append(size)
    assert kit.fs.read(path)[: len(joined)] == joined


@pytest.mark.parametrize("offset", [20, 90, 150, 700, 1300])
def test_damage_is_refused_and_leaves_nothing(offset: int) -> None:
    kit = filled(300, 300, 300, 300)
    kit.wal.rotate()
    sealed = kit.wal.files[0]
    flip(kit.fs, sealed.path, offset)
    with pytest.raises(Corruption) as caught:
        copy_sealed(kit.fs, sealed.path, sealed.header, TARGET, pace=unpaced)
    assert caught.value.path == sealed.path
    assert caught.value.offset is not None
    assert caught.value.offset <= offset
    assert kit.fs.listdir("/archive") == []


def test_a_file_that_ends_early_is_refused() -> None:
    kit = filled(300, 300)
    path, end = kit.wal.synced_position.path, kit.wal.synced_position.offset
    header = kit.wal.files[0].header
    file = kit.fs.open(path)
    file.truncate(end - 8)
    with pytest.raises(Corruption):
        copy_piece(kit.fs, beginning(path, header), header, end, TARGET, pace=unpaced)
    assert kit.fs.listdir("/archive") == []


def test_nothing_is_replaced() -> None:
    kit = filled(300)
    kit.wal.rotate()
    sealed = kit.wal.files[0]
    kit.fs.create(TARGET).pwrite([b"somebody else's"], 0)
    with pytest.raises(FileExistsError):
        copy_sealed(kit.fs, sealed.path, sealed.header, TARGET, pace=unpaced)
    assert kit.fs.read(TARGET) == b"somebody else's"
    assert kit.fs.listdir("/archive") == ["copy"]


def test_what_is_only_preallocated_is_not_copied() -> None:
    kit = filled(300, segment_size=8192)
    kit.wal.close_log()
    closed = kit.wal.files[-1]
    ended = copy_sealed(kit.fs, closed.path, closed.header, TARGET, pace=unpaced)
    assert ended.closed
    assert kit.fs.size(TARGET) == ended.offset == closed.size_bytes < kit.fs.size(closed.path)
