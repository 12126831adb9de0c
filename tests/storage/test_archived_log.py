"""An archive reads like the log it was made of: whole files, pieces, pieces that overlap, and what is missing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.errors import Corruption, FailedPrecondition
from holdfastd.storage.archived_log import ArchivedLog
from holdfastd.storage.names import PieceName, parse_piece_name, parse_wal_name, piece_name
from holdfastd.storage.wal_files import find_wal_files, store_in
from holdfastd.storage.wal_reader import read_log
from holdfastd.storage.wal_verify import verify_log
from tests.support.logs import DIRECTORY, STORE, LogKit, payload_of
from tests.support.memfs import MemFileSystem

ARCHIVE = "/archive"


def put(fs: MemFileSystem, name: str, content: bytes) -> None:
    if not fs.exists(ARCHIVE):
        fs.mkdir(ARCHIVE)
    file = fs.create(f"{ARCHIVE}/{name}")
    file.pwrite([content], 0)
    file.close()


def put_pieces(fs: MemFileSystem, name: str, content: bytes, cuts: list[tuple[int, int]]) -> None:
    for start, end in cuts:
        put(fs, piece_name(PieceName(name, start, end)), content[start:end])


def filled() -> LogKit:
    kit = LogKit()
    kit.create()
    for size in (900, 1800, 700, 1500, 40, 2000, 3000, 10):
        kit.append(size)
    kit.wal.sync()
    return kit


def contents(kit: LogKit) -> dict[str, bytes]:
    """The WAL segments as far as they are synced."""
    upto = kit.wal.synced_position
    names = [name for name in kit.fs.listdir(DIRECTORY) if parse_wal_name(name)]
    found = {name: kit.fs.read(f"{DIRECTORY}/{name}") for name in names}
    last = upto.path.rpartition("/")[2]
    return found | {last: found[last][: upto.offset]}


def read_back(fs: MemFileSystem) -> list[tuple[int, bytes]]:
    archived = ArchivedLog(fs, ARCHIVE)
    return [(record.sequence, bytes(record.payload)) for record in read_log(archived, [ARCHIVE], store_id=STORE)]


def test_the_sizes_of_a_piece_stand_in_its_name() -> None:
    piece = PieceName("00000001-00000000000000000003.wal", 4096, 10**11)
    assert parse_piece_name(piece_name(piece)) == piece
    for name in ("00000001-00000000000000000003.wal", f"{piece.of}.5-9", f"{piece.of}.{9:012d}-{9:012d}", "x.wal.1-2"):
        assert parse_piece_name(name) is None


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_log_in_pieces_of_any_size_reads_like_the_log(data: st.DataObject) -> None:
    kit = filled()
    for name, content in contents(kit).items():
        if data.draw(st.booleans()):
            put(kit.fs, name, content)
            continue
        inner = data.draw(st.sets(st.integers(1, len(content) - 1), max_size=6))
        cuts = list(itertools.pairwise([0, *sorted(inner), len(content)]))
        # What a merge has put together and not yet removed, and what an interrupted one left behind.
        more = [(0, end) for _, end in cuts if data.draw(st.booleans())]
        put_pieces(kit.fs, name, content, sorted({*cuts, *more}))
    assert read_back(kit.fs) == [(record.sequence, bytes(record.payload)) for record in kit.wal.read(1)]
    archived = ArchivedLog(kit.fs, ARCHIVE)
    assert store_in(archived, ARCHIVE) == STORE
    assert verify_log(archived, [ARCHIVE], store_id=STORE).sound
    sizes = {file.path.rpartition("/")[2]: file.size for file in find_wal_files(archived, [ARCHIVE], store_id=STORE)}
    assert sizes == {name: len(content) for name, content in contents(kit).items()}


def test_bytes_missing_between_two_pieces_are_named() -> None:
    kit = filled()
    name, content = next(iter(contents(kit).items()))
    put_pieces(kit.fs, name, content, [(0, 1000), (1400, len(content))])
    with pytest.raises(Corruption, match="bytes from 1000 on") as caught:
        read_back(kit.fs)
    assert (caught.value.reason, caught.value.metadata["path"]) == ("ARCHIVE_PIECE_MISSING", f"{ARCHIVE}/{name}")


def test_a_piece_that_is_shorter_than_its_name_says_is_named() -> None:
    kit = filled()
    name, content = next(iter(contents(kit).items()))
    put_pieces(kit.fs, name, content, [(0, 1000)])
    short = piece_name(PieceName(name, 1000, len(content)))
    put(kit.fs, short, content[1000:-8])
    with pytest.raises(Corruption, match="the file ends after") as caught:
        read_back(kit.fs)
    assert caught.value.metadata["path"] == f"{ARCHIVE}/{short}"


def test_what_is_replaced_while_it_is_read_is_found_again() -> None:
    kit = filled()
    name, content = next(iter(contents(kit).items()))
    put_pieces(kit.fs, name, content, [(0, 1000), (1000, len(content))])
    reading = read_log(ArchivedLog(kit.fs, ARCHIVE), [ARCHIVE], store_id=STORE)
    found = [next(reading)]
    for each in kit.fs.listdir(ARCHIVE):
        kit.fs.unlink(f"{ARCHIVE}/{each}")
    put(kit.fs, name, content)
    found += reading
    assert [bytes(record.payload) for record in found] == [
        payload_of(record.sequence, len(record.payload)) for record in found
    ]
    assert len(found) > 1


def test_no_archive_is_no_log() -> None:
    kit = filled()
    with pytest.raises(FailedPrecondition, match="does not exist"):
        find_wal_files(ArchivedLog(kit.fs, ARCHIVE), [ARCHIVE], store_id=STORE)
    put(kit.fs, "something-else", b"x")
    assert find_wal_files(ArchivedLog(kit.fs, ARCHIVE), [ARCHIVE], store_id=STORE) == []
