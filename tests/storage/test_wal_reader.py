"""Reading the log: across files, in pieces, while it is written, up to a time; and verifying it past damage."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.errors import Corruption, FailedPrecondition, OutOfRange, Unavailable
from holdfastd.format.record import RecordKind
from holdfastd.format.records import RecordArray
from holdfastd.format.walfile import FILE_HEADER_SIZE
from holdfastd.storage import wal_scan, wal_verify
from holdfastd.storage.beside import Pending
from holdfastd.storage.wal_reader import LogReader, read_log, sequence_at_time
from holdfastd.storage.wal_verify import verify_log
from tests.support.log_damages import SIZE, STEP, A, B, C, at, table_log
from tests.support.log_surgery import header_at, rewrite, truncate, zero
from tests.support.logs import DIRECTORY, STORE, LogKit, flip, payload_of
from tests.support.memfs import MemFileSystem


@pytest.fixture
def kit() -> LogKit:
    kit = LogKit()
    kit.create()
    return kit


def reader(kit: LogKit, **options: object) -> LogReader:
    return LogReader(kit.fs, kit.directories, store_id=STORE, **options)  # type: ignore[arg-type]


# Everything that was written comes back ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(0, 1500), min_size=1, max_size=4), max_size=12),
    piece_bytes=st.integers(1, 5000),
    marks=st.sets(st.integers(0, 11)),
)
def test_what_was_written_comes_back_in_pieces_of_any_size(
    groups: list[list[int]], piece_bytes: int, marks: set[int]
) -> None:
    kit = LogKit(max_payload=400)
    kit.create()
    written = []
    for index, sizes in enumerate(groups):
        kit.append(*sizes)
        written += [(kit.sequence + 1 - len(sizes) + n, size) for n, size in enumerate(sizes)]
        if index in marks:
            kit.wal.marker()
    records = reader(kit, piece_bytes=piece_bytes).read(kit.wal.synced_position)
    assert [(r.sequence, bytes(r.payload)) for r in records] == [(n, payload_of(n, size)) for n, size in written]
    records = reader(kit, piece_bytes=piece_bytes).read()
    assert [record.sequence for record in records] == [sequence for sequence, _ in written]
    for upto in (kit.wal.synced_position, None):
        records = reader(kit, piece_bytes=piece_bytes, beside=kit.fs.beside).read(upto)
        assert [(r.sequence, bytes(r.payload)) for r in records] == [(n, payload_of(n, size)) for n, size in written]


def test_the_run_and_the_single_record_are_read_alike(kit: LogKit, monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in ([10, 20], [3000], [500, 0, 9000], [7]):
        kit.append(*sizes)
        kit.wal.marker()

    def everything() -> list[tuple[object, ...]]:
        records = reader(kit, operations_only=False).read()
        return [(r.kind, r.sequence, r.timestamp_us, bytes(r.payload), r.path, r.offset, r.header) for r in records]

    by_the_run = everything()
    monkeypatch.setattr(wal_scan, "intact_run", no_run)
    assert everything() == by_the_run
    assert len(by_the_run) == 11


def no_run(buf: bytes | memoryview, position: int, **_: object) -> tuple[RecordArray | list[object], list[int]]:
    return [], []


class Reads:
    """Notes what is read of a log behind the heads of its files, and what of that on another thread's behalf."""

    def __init__(self, kit: LogKit, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places: list[tuple[str, int, int]] = []
        self.ahead = 0
        self._read, self._beside = kit.fs.read, kit.fs.beside
        monkeypatch.setattr(kit.fs, "read", self.read)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        if offset and length:
            self.places.append((path, offset, length))
        return self._read(path, offset, length)

    def beside(self, work: Callable[[], object]) -> Pending:
        self.ahead += 1
        return self._beside(work)


def test_each_piece_is_on_its_way_while_the_one_before_is_dealt_with_and_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kit = table_log()
    alone = Reads(kit, monkeypatch)
    wanted = [(r.sequence, bytes(r.payload)) for r in reader(kit, piece_bytes=2 * STEP).read(kit.wal.synced_position)]
    assert len({path for path, _, _ in alone.places}) > 2
    monkeypatch.undo()
    ahead = Reads(kit, monkeypatch)
    records = reader(kit, piece_bytes=2 * STEP, beside=ahead.beside).read(kit.wal.synced_position)
    assert next(records).sequence == wanted[0][0]
    assert ahead.ahead == 1, "the next one, before this one's first record is dealt with"
    assert [(r.sequence, bytes(r.payload)) for r in records] == wanted[1:]
    # All but the first, and what is larger than a piece, are read ahead, by whole blocks, of which each file has one.
    by_itself = [place for index, place in enumerate(alone.places) if not index or place[2] > 2 * STEP]
    assert ahead.places == by_itself
    assert ahead.ahead == len(alone.places) - len(by_itself)


@pytest.mark.parametrize("nth", range(1, 9))
def test_damage_is_told_where_it_stands_however_far_ahead_it_is_read(nth: int) -> None:
    def outcome(**options: object) -> tuple[list[int], str, int | None]:
        kit = table_log()
        *sealed, _ = [file.path for file in kit.wal.files]
        flip(kit.fs, sealed[nth % len(sealed)], FILE_HEADER_SIZE + nth * 131)
        found: list[int] = []
        try:
            found.extend(record.sequence for record in reader(kit, piece_bytes=STEP, **options).read())
        except Corruption as error:
            return found, error.message, error.offset
        return found, "", None

    alone = outcome()
    assert alone[1]
    assert outcome(beside=MemFileSystem().beside) == alone


def test_records_say_where_they_stand(kit: LogKit) -> None:
    kit = LogKit(max_payload=100)
    kit.create()
    kit.append(50, 250, 50)
    for record in reader(kit).read():
        first = header_at(kit, record.path, record.offset)
        assert (first.sequence, first.kind) == (record.sequence, RecordKind.OPERATION)
        assert record.header.is_last
        assert record.timestamp_us == record.header.timestamp_us


def test_markers_are_read_where_they_are_asked_for(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.marker()
    kit.append(10)
    kit.wal.close_log()
    kinds = [(record.kind, record.sequence) for record in reader(kit, operations_only=False).read()]
    assert kinds == [(1, 1), (2, 1), (1, 2), (3, 2)]


def test_memory_is_bounded_by_one_piece_and_the_largest_record(kit: LogKit) -> None:
    for size in (100, 200, 3000, 100, 9000, 100):
        kit.append(size)
    asked: list[int] = []
    read = kit.fs.read

    def watched(path: str, offset: int = 0, length: int | None = None) -> bytes:
        asked.append(len(data := read(path, offset, length)))
        return data

    kit.fs.read = watched  # type: ignore[method-assign]
    assert len(list(reader(kit, piece_bytes=1000).read(kit.wal.synced_position))) == 6
    assert max(asked) == 9064
    assert sum(asked) < 40000


def test_payloads_stay_readable_after_the_reader_has_moved_on(kit: LogKit) -> None:
    for _ in range(20):
        kit.append(500)
    records = list(reader(kit, piece_bytes=1000).read())
    kit.wal.trim(100)
    assert [bytes(record.payload) for record in records] == [payload_of(n, 500) for n in range(1, 21)]


# From where, up to where ----------------------------------------------------------------------------------------------


def test_reading_begins_in_the_file_that_holds_the_first_record_wanted() -> None:
    kit = table_log()
    flip(kit.fs, A, at(1) + 100)
    assert kit.sequences(from_sequence=4) == list(range(4, 12))
    assert kit.sequences(from_sequence=6) == list(range(6, 12))
    with pytest.raises(Corruption):
        kit.sequences(from_sequence=3)


def test_reading_from_beyond_the_end_is_empty(kit: LogKit) -> None:
    assert kit.sequences() == []
    kit.append(10)
    assert kit.sequences(from_sequence=2) == []
    assert kit.sequences(from_sequence=200) == []


def test_what_was_trimmed_is_not_passed_over() -> None:
    kit = table_log()
    kit.fs.unlink(A)
    assert kit.sequences(from_sequence=4) == list(range(4, 12))
    assert kit.sequences() == list(range(4, 12))
    with pytest.raises(OutOfRange, match="the log begins after sequence 3") as caught:
        kit.sequences(from_sequence=3)
    assert caught.value.reason == "LOG_TRIMMED"


def test_a_file_trimmed_while_it_is_read_is_named(kit: LogKit) -> None:
    for _ in range(10):
        kit.append(1000)
    records = reader(kit, piece_bytes=1200).read(kit.wal.synced_position)
    assert next(records).sequence == 1
    kit.wal.trim(100)
    with pytest.raises(OutOfRange, match="was removed while it was read"):
        list(records)


def test_a_gap_is_crossed_only_on_request(kit: LogKit) -> None:
    kit.append(10, 10)
    kit.wal.close_log()
    kit.wal.close()
    kit.create(first_sequence=8, previous_sequence=7, gap_before=True, older=kit.wal.files)
    kit.sequence = 7
    kit.append(10)
    records = reader(kit).read()
    assert [next(records).sequence, next(records).sequence] == [1, 2]
    with pytest.raises(OutOfRange, match="the log was disabled between sequence 2 and 8") as caught:
        next(records)
    assert caught.value.reason == "LOG_GAP"
    assert [record.sequence for record in reader(kit, allow_gaps=True).read()] == [1, 2, 8]
    assert kit.sequences(from_sequence=8) == [8]
    with pytest.raises(OutOfRange, match="the log was disabled"):
        kit.sequences(from_sequence=2)


def test_a_torn_tail_is_left_out_and_damage_is_not() -> None:
    kit = table_log()
    flip(kit.fs, C, at(3) + 80)
    assert kit.sequences() == list(range(1, 10))
    flip(kit.fs, C, at(1) + 80)
    with pytest.raises(Corruption):
        kit.sequences()
    ends_early = reader(kit, mode="point-in-time")
    assert [record.sequence for record in ends_early.read()] == list(range(1, 8))
    assert ends_early.problem is not None
    assert (ends_early.problem.path, ends_early.problem.offset) == (C, at(1))
    assert list(ends_early.read()) == []


def test_a_directory_that_is_not_there_is_named(kit: LogKit) -> None:
    with pytest.raises(FailedPrecondition, match="the WAL directory /mnt/wal does not exist"):
        list(read_log(kit.fs, [DIRECTORY, "/mnt/wal"], store_id=STORE))


# While it is being written --------------------------------------------------------------------------------------------


def test_a_reader_follows_a_log_that_grows_and_rotates(kit: LogKit) -> None:
    follower = reader(kit)
    seen = []
    for step in range(30):
        kit.append(*[300] * (step % 4 + 1), sync=step % 3 != 0)
        seen += [record.sequence for record in follower.read(kit.wal.synced_position)]
        assert seen == list(range(1, kit.wal.synced_sequence + 1))
    kit.wal.sync()
    kit.wal.rotate(directory="/elsewhere")
    kit.append(10)
    follower = reader(kit, from_sequence=kit.sequence)
    kit.directories.append("/elsewhere")
    follower = reader(kit, from_sequence=kit.sequence)
    assert [record.sequence for record in follower.read(kit.wal.synced_position)] == [kit.sequence]


def test_a_follower_reads_only_what_is_new(kit: LogKit) -> None:
    for _ in range(10):
        kit.append(300)
    follower = reader(kit)
    assert len(list(follower.read(kit.wal.synced_position))) == 10
    kit.append(20)
    reads: list[tuple[int, int | None]] = []
    read = kit.fs.read

    def watched(path: str, offset: int = 0, length: int | None = None) -> bytes:
        reads.append((offset, length))
        return read(path, offset, length)

    kit.fs.read = watched  # type: ignore[method-assign]
    assert [record.sequence for record in follower.read(kit.wal.synced_position)] == [11]
    assert sum(length or 0 for offset, length in reads if offset) == 88


def test_a_reader_that_stops_half_way_goes_on_there(kit: LogKit) -> None:
    kit.append(*[10] * 10)
    follower = reader(kit)
    first: Iterator[wal_scan.LoggedRecord] = follower.read(kit.wal.synced_position)
    assert [next(first).sequence for _ in range(4)] == [1, 2, 3, 4]
    assert [record.sequence for record in follower.read(kit.wal.synced_position)] == [5, 6, 7, 8, 9, 10]


def test_damage_below_the_synced_place_of_a_live_log_is_no_torn_tail(kit: LogKit) -> None:
    kit.append(10)
    kit.append(10)
    path, end = kit.wal.synced_position.path, kit.wal.synced_position.offset
    zero(kit, path, end - 80, end)
    with pytest.raises(Corruption, match="the log seems to end here, below the place synced last"):
        list(kit.wal.read(0))


def test_a_log_that_moved_away_says_so(kit: LogKit) -> None:
    upto = kit.wal.synced_position
    kit.wal.rotate(directory="/elsewhere")
    with pytest.raises(Unavailable, match="left the log while it was read"):
        list(reader(kit).read(upto))


def test_an_error_of_the_disk_is_not_taken_for_the_end(kit: LogKit) -> None:
    kit.append(10)
    for attempt in (kit.sequences, kit.recover, lambda: verify(kit)):
        kit.fs.fail_on("read", "*", errno.EIO)
        with pytest.raises(Corruption, match="it cannot be read: injected: Input/output error"):
            attempt()
        kit.fs.fail_on("read", "*", errno.EACCES)
        with pytest.raises(FailedPrecondition, match="cannot be read: injected: Permission denied"):
            attempt()


# Times ----------------------------------------------------------------------------------------------------------------


def timed_log() -> LogKit:
    """Operations 1 to 9 at 1000, 2000, ... microseconds, three to a file, with markers between."""
    kit = LogKit()
    kit.create()
    for sequence in range(1, 10):
        kit.wal.append([replace(kit.entry(10), timestamp_us=sequence * 1000)])
        if sequence % 3 == 0:
            kit.wal.marker()
            kit.wal.rotate()
    return kit


@pytest.mark.parametrize(
    ("time_us", "sequence"),
    [(0, None), (999, None), (1000, 1), (1999, 1), (2000, 2), (3999, 3), (4000, 4), (8500, 8), (9000, 9), (1 << 50, 9)],
)
def test_the_sequence_at_a_time_is_the_last_one_not_later(time_us: int, sequence: int | None) -> None:
    kit = timed_log()
    found = sequence_at_time(kit.fs, kit.directories, time_us, store_id=STORE)
    assert found == sequence
    live = sequence_at_time(kit.fs, kit.directories, time_us, store_id=STORE, upto_synced=kit.wal.synced_position)
    assert live == sequence


def test_a_time_before_a_trimmed_log_has_no_sequence() -> None:
    kit = timed_log()
    kit.wal.trim(5)
    assert sequence_at_time(kit.fs, kit.directories, 3999, store_id=STORE) is None
    assert sequence_at_time(kit.fs, kit.directories, 4000, store_id=STORE) == 4


# Verifying ------------------------------------------------------------------------------------------------------------


def verify(kit: LogKit) -> tuple[int, int, int, int, list[tuple[str, int]]]:
    check = verify_log(kit.fs, kit.directories, store_id=STORE)
    places = [(problem.path, problem.offset) for problem in check.problems]
    return check.files, check.operations, check.first_sequence, check.last_sequence, places


def test_a_sound_log_is_counted() -> None:
    kit = table_log()
    check = verify_log(kit.fs, kit.directories, store_id=STORE)
    assert check.sound
    assert (check.files, check.records, check.operations, check.bytes) == (3, 11, 11, 11 * SIZE)
    assert (check.first_sequence, check.last_sequence, check.gaps, check.torn_bytes) == (1, 11, 0, 0)


def test_a_torn_tail_is_counted_and_is_no_problem() -> None:
    kit = table_log()
    flip(kit.fs, C, at(4) + 80)
    check = verify_log(kit.fs, kit.directories, store_id=STORE)
    assert check.sound
    assert (check.operations, check.torn_bytes) == (10, STEP - 2)


def test_verifying_goes_on_behind_damage() -> None:
    kit = table_log()
    flip(kit.fs, A, at(1) + 80)
    flip(kit.fs, B, at(0) + 10)
    flip(kit.fs, B, at(2) + 80)
    flip(kit.fs, C, at(1) + 80)
    assert verify(kit) == (3, 7, 1, 11, [(A, at(1)), (B, at(0)), (B, at(2)), (C, at(1))])


def test_missing_and_strange_files_are_listed() -> None:
    kit = table_log()
    kit.fs.unlink(B)
    assert verify(kit) == (2, 8, 1, 11, [(C, 0)])
    kit = table_log()
    flip(kit.fs, B, 3)
    assert verify(kit) == (3, 8, 1, 11, [(B, 0)])
    kit = table_log()
    truncate(kit, B, at(2))
    assert verify(kit) == (3, 10, 1, 11, [(C, 0)])


def test_a_record_out_of_its_chain_is_listed() -> None:
    kit = table_log()
    rewrite(kit, C, at(3), chain=7)
    assert verify(kit)[-1] == [(C, at(3))]


def test_a_live_log_is_verified_up_to_where_it_is_synced(kit: LogKit) -> None:
    kit.append(10)
    kit.append(3000)
    upto = kit.wal.synced_position
    kit.append(2000, sync=False)
    check = verify_log(kit.fs, kit.directories, store_id=STORE, upto_synced=upto)
    assert (check.sound, check.last_sequence, check.torn_bytes) == (True, 2, 0)


@pytest.mark.parametrize("nth", range(0, 30, 3))
def test_a_log_is_verified_alike_however_far_ahead_it_is_read(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_verify, "scan_file", partial(wal_scan.scan_file, piece_bytes=STEP + 64))
    kit = table_log()
    for file in kit.wal.files:
        flip(kit.fs, file.path, FILE_HEADER_SIZE + nth * 37)
    alone = verify_log(kit.fs, kit.directories, store_id=STORE)
    assert alone.problems
    assert verify_log(kit.fs, kit.directories, store_id=STORE, beside=kit.fs.beside) == alone


def test_nothing_is_changed_by_reading_or_verifying() -> None:
    kit = table_log()
    flip(kit.fs, C, at(3) + 80)
    before = kit.fs.ops
    kit.sequences()
    verify(kit)
    assert kit.fs.ops == before
    assert isinstance(kit.fs, MemFileSystem)
