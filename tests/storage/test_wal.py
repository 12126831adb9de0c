"""The log's rules, each by the scenario that it closes."""

from __future__ import annotations

import errno
import random
from dataclasses import replace

import pytest

from holdfastd.errors import EngineFailed, FailedPrecondition, ResourceExhausted
from holdfastd.format.record import RecordHeader, RecordKind, padded_size
from holdfastd.format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header
from holdfastd.storage import wal_active
from holdfastd.storage.names import parse_wal_name
from tests.support.log_surgery import header_at
from tests.support.logs import DIRECTORY, LogKit
from tests.support.memfs import MemFileSystem

FIRST = f"{DIRECTORY}/00000001-00000000000000000001.wal"


@pytest.fixture
def kit() -> LogKit:
    kit = LogKit()
    kit.create()
    return kit


def operations(kit: LogKit) -> list[tuple[str, str]]:
    """A list that fills with what the file system is asked to change from now on: (kind, base name).

    A file in memory keeps the name under which it was made, so ``.next`` is left out.
    """
    seen: list[tuple[str, str]] = []
    kit.fs.on_operation = lambda kind, path: seen.append((kind, path.rpartition("/")[2].removesuffix(".next")))
    return seen


def headers(kit: LogKit, path: str = FIRST) -> list[RecordHeader]:
    """The record headers of one file, in order."""
    found = []
    offset = FILE_HEADER_SIZE
    while any(kit.fs.read(path, offset, 1)):
        found.append(header_at(kit, path, offset))
        offset += found[-1].size
    return found


# Writing -------------------------------------------------------------------------------------------------------------


def test_a_group_is_one_write(kit: LogKit) -> None:
    seen = operations(kit)
    kit.wal.append([kit.entry(100, parts=3), kit.entry(0), kit.entry(7)])
    assert seen == [("write", "00000001-00000000000000000001.wal")]
    kit.wal.sync()
    assert kit.sequences() == [1, 2, 3]


def test_records_are_aligned_and_chained(kit: LogKit) -> None:
    kit.append(1, 8, 13)
    kit.append(0)
    found = headers(kit)
    assert [header.chain for header in found] == [0, *(header.crc for header in found[:-1])]
    assert [header.previous for header in found] == [0, 1, 2, 3]
    assert kit.wal.position.offset == FILE_HEADER_SIZE + sum(padded_size(size) for size in (1, 8, 13, 0))


def test_holes_in_the_numbers_are_no_holes_in_the_chain(kit: LogKit) -> None:
    kit.wal.append([kit.entry(10, sequence=3), kit.entry(10, sequence=17)])
    kit.wal.append([kit.entry(10, sequence=40)])
    kit.wal.sync()
    assert kit.sequences() == [3, 17, 40]
    assert [header.previous for header in headers(kit)] == [0, 3, 17]
    assert kit.recover().last_sequence == 40


@pytest.mark.parametrize(("sequence", "later_us"), [(1, 1), (0, 1), (2, 0), (2, -1)])
def test_a_sequence_or_time_that_goes_back_is_not_written(kit: LogKit, sequence: int, later_us: int) -> None:
    kit.append(10)
    before = kit.fs.read(FIRST)
    time_us = kit.wal.last_timestamp_us + later_us
    with pytest.raises(ValueError, match="does not follow"):
        kit.wal.append([replace(kit.entry(10), sequence=sequence, timestamp_us=time_us)])
    assert kit.fs.read(FIRST) == before


def test_an_entry_that_lies_about_its_length_is_not_written(kit: LogKit) -> None:
    before = kit.fs.read(FIRST)
    with pytest.raises(ValueError, match="its parts have 10 bytes, it says 11"):
        kit.wal.append([kit.entry(5), replace(kit.entry(10), payload_length=11)])
    assert kit.fs.read(FIRST) == before


def test_a_group_never_spans_files(kit: LogKit) -> None:
    for _ in range(10):
        kit.append(600, 600, 600)
    firsts = [file.first_sequence for file in kit.wal.files]
    assert firsts == [1, 7, 13, 19, 25]
    assert kit.sequences() == list(range(1, 31))


def test_a_record_larger_than_a_file_gets_a_file_of_its_own(kit: LogKit) -> None:
    kit.append(10)
    kit.append(9000)
    kit.append(10)
    assert [(file.first_sequence, file.last_sequence) for file in kit.wal.files] == [(1, 1), (2, 2), (3, 3)]
    assert kit.wal.files[1].size_bytes == FILE_HEADER_SIZE + padded_size(9000)
    assert kit.sequences() == [1, 2, 3]
    assert kit.recover().last_sequence == 3


def test_a_file_without_operations_grows_instead_of_being_left(kit: LogKit) -> None:
    """Its successor would begin at the same sequence, and so bear the same name."""
    kit.append(9000)
    kit.append(10)
    assert [(file.first_sequence, file.last_sequence) for file in kit.wal.files] == [(1, 1), (2, 2)]
    kit.wal.rotate()
    kit.wal.rotate()
    assert len(kit.wal.files) == 3
    assert kit.recover().last_sequence == 2


def test_an_operation_may_span_continuation_records() -> None:
    kit = LogKit(max_payload=100)
    kit.create()
    kit.wal.append([kit.entry(100), kit.entry(250, parts=7), kit.entry(30)])
    kit.wal.sync()
    assert [(header.sequence, header.flags, header.payload_length) for header in headers(kit)] == [
        (1, 1, 100),
        (2, 0, 100),
        (2, 0, 100),
        (2, 1, 50),
        (3, 1, 30),
    ]
    assert [len(payload) for _, payload in kit.read()] == [100, 250, 30]
    assert kit.recover().last_sequence == 3


def test_an_incomplete_operation_is_cut_as_a_whole() -> None:
    kit = LogKit(max_payload=100)
    kit.create()
    kit.append(100)
    end = kit.wal.position.offset
    kit.append(250, sync=False)
    file = kit.fs.open(FIRST)
    file.truncate(end + 2 * padded_size(100))
    file.close()
    recovered = kit.recover()
    assert recovered.tail is not None
    assert (recovered.last_sequence, recovered.tail.offset) == (1, end)
    kit.reopen(recovered)
    kit.append(20)
    assert kit.sequences() == [1, 2]


# What is durable -----------------------------------------------------------------------------------------------------


def test_the_durable_offset_is_where_the_write_stood_when_the_last_sync_began(kit: LogKit) -> None:
    """What is appended during a sync is not covered by it."""
    kit.append(10, sync=False)
    began = kit.wal.position.offset

    def append_during(kind: str, path: str) -> None:
        if kind == "sync":
            kit.fs.on_operation = None
            kit.append(10, sync=False)

    kit.fs.on_operation = append_during
    assert kit.wal.sync() == 1
    assert kit.wal.synced_position.offset == began
    kit.append(10, sync=False)
    assert [header.durable_offset for header in headers(kit)] == [FILE_HEADER_SIZE, FILE_HEADER_SIZE, began]
    assert kit.wal.sync() == 3


def test_a_sync_with_nothing_new_does_not_ask_the_disk(kit: LogKit) -> None:
    kit.append(10)
    seen = operations(kit)
    assert kit.wal.sync() == 1
    assert seen == []


def test_readers_get_synced_records_only(kit: LogKit) -> None:
    kit.append(10)
    kit.append(10, sync=False)
    assert [record.sequence for record in kit.wal.read(0)] == [1]
    kit.wal.sync()
    assert [record.sequence for record in kit.wal.read(2)] == [2]


def test_a_marker_proves_the_last_group_of_an_idle_log(kit: LogKit) -> None:
    assert not kit.wal.marker()
    kit.append(10, sync=False)
    assert kit.wal.marker()
    assert not kit.wal.marker(), "there is nothing more to prove"
    marker = headers(kit)[-1]
    assert (marker.kind, marker.sequence, marker.previous) == (RecordKind.MARKER, 1, 1)
    assert marker.durable_offset == FILE_HEADER_SIZE + padded_size(10)
    assert kit.wal.last_sequence == 1
    kit.append(10)
    assert kit.sequences() == [1, 2]


def test_an_idle_store_that_is_restarted_writes_no_further_markers(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.marker()
    kit.wal.close()
    for _ in range(3):
        kit.reopen()
        assert not kit.wal.marker()
        kit.wal.close()


# Rotation ------------------------------------------------------------------------------------------------------------


def test_the_order_of_a_rotation(kit: LogKit) -> None:
    kit.append(3000)
    kit.append(500, sync=False)
    seen = operations(kit)
    kit.append(1000, sync=False)
    old, new = "00000001-00000000000000000001.wal", "00000001-00000000000000000003.wal"
    assert seen == [
        ("resize", old),
        ("sync", old),
        ("create", new),
        ("resize", new),
        ("write", new),
        ("sync", new),
        ("rename", new),
        ("sync_dir", "wal"),
        ("write", new),
    ]
    assert kit.wal.synced_sequence == 2


def test_a_prepared_successor_saves_the_allocation(kit: LogKit) -> None:
    kit.append(3000)
    assert kit.wal.prepare_next()
    assert not kit.wal.prepare_next()
    assert [name for name in kit.fs.listdir(DIRECTORY) if name.endswith(".next")]
    seen = operations(kit)
    kit.append(2000)
    assert "create" not in [kind for kind, _ in seen]
    assert not [name for name in kit.fs.listdir(DIRECTORY) if name.endswith(".next")]
    assert kit.sequences() == [1, 2]


# Zeros ahead ---------------------------------------------------------------------------------------------------------


def test_zeros_ahead_cover_the_rest_of_the_file_piece_by_piece(kit: LogKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_active, "STEP_BYTES", 1500)
    kit.append(100)
    seen = operations(kit)
    steps = 0
    while kit.wal.write_ahead():
        steps += 1
    assert seen == [("write", FIRST.rpartition("/")[2]), ("sync", FIRST.rpartition("/")[2])] * steps
    assert kit.wal.zeros_ahead == 4096 - kit.wal.position.offset
    assert steps == -(-kit.wal.zeros_ahead // 1500)
    assert kit.fs.size(FIRST) == 4096


def test_zeros_ahead_make_what_was_appended_durable_and_never_cover_it(kit: LogKit) -> None:
    kit.append(100, sync=False)
    assert kit.wal.synced_sequence == 0
    kit.wal.write_ahead()
    assert kit.wal.synced_sequence == 1
    kit.append(900, sync=False)
    assert kit.sequences() == [1, 2]
    assert LogKit(kit.fs.crash(random.Random(1))).recover().last_sequence >= 1


def test_after_zeros_ahead_a_sync_needs_no_new_metadata(kit: LogKit) -> None:
    kit.wal.write_ahead()
    size = kit.fs.size(FIRST)
    kit.append(100)
    kit.wal.sync()
    assert kit.fs.size(FIRST) == size


def test_no_room_for_zeros_is_no_failure(kit: LogKit) -> None:
    kit.append(100)
    kit.fs.fail_on("write", "*", errno.ENOSPC)
    assert kit.wal.write_ahead()
    assert not kit.wal.write_ahead()
    kit.fs.heal()
    kit.append(100)
    assert kit.sequences() == [1, 2]


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_a_disk_that_fails_under_zeros_is_final(kit: LogKit, kind: str) -> None:
    kit.append(100)
    kit.fs.fail_on(kind, "*", errno.EIO)
    with pytest.raises(EngineFailed):
        kit.wal.write_ahead()
    kit.fs.heal()
    with pytest.raises(EngineFailed):
        kit.append(100)


def test_an_unfinished_successor_is_removed_at_the_next_start(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.prepare_next()
    kit.reopen()
    assert kit.fs.listdir(DIRECTORY) == ["00000001-00000000000000000001.wal"]


def test_a_prepared_successor_of_the_wrong_size_or_place_is_given_back(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.prepare_next()
    kit.append(9000)
    kit.wal.prepare_next()
    kit.wal.rotate(directory="/elsewhere")
    kit.wal.prepare_next()
    kit.wal.close()
    assert not [name for name in kit.fs.listdir(DIRECTORY) + kit.fs.listdir("/elsewhere") if name.endswith(".next")]


def test_a_power_cut_in_a_rotation_leaves_no_torn_file_that_is_not_the_last(kit: LogKit) -> None:
    kit.append(3000)
    start = kit.fs.ops
    kit.append(2000)
    rng = random.Random(5)
    for cut in range(start, kit.fs.ops + 1):
        for _ in range(20):
            fs = kit.fs.crash_at(cut, rng, "subset")
            for name in fs.listdir(DIRECTORY):
                if parse_wal_name(name):
                    assert isinstance(decode_file_header(fs.read(f"{DIRECTORY}/{name}", 0, 80)), WalFileHeader)
            assert LogKit(fs).recover(required=1).last_sequence in (1, 2)


def test_a_new_timeline_begins_a_new_file_that_takes_up_the_chain(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.close()
    kit.reopen(timeline=2)
    kit.append(10)
    names = kit.fs.listdir(DIRECTORY)
    assert names == ["00000001-00000000000000000001.wal", "00000002-00000000000000000002.wal"]
    assert kit.sequences() == [1, 2]
    assert kit.recover().last_sequence == 2


def test_another_size_holds_from_the_next_file_on(kit: LogKit) -> None:
    kit.append(3000)
    kit.wal.resize(20000)
    kit.append(3000)
    kit.append(9000)
    assert [file.first_sequence for file in kit.wal.files] == [1, 2]


# Failures ------------------------------------------------------------------------------------------------------------


def test_out_of_space_inside_the_second_operation_does_not_bring_the_first_one_back(kit: LogKit) -> None:
    """Both are refused; after a power cut at any later moment, neither may be there."""
    kit.append(10)
    kit.fs.fail_on("write", "*.wal*", errno.ENOSPC)
    with pytest.raises(ResourceExhausted, match="no room for a write in /wal/"):
        kit.wal.append(kit.group(400, 1500))
    rng = random.Random(1)
    for _ in range(50):
        assert LogKit(kit.fs.crash(rng, "subset")).recover(required=1).last_sequence == 1
    kit.sequence = 1
    kit.append(20)
    assert kit.sequences() == [1, 2]


def test_a_full_disk_is_no_failure_and_writing_resumes(kit: LogKit) -> None:
    kit.append(3000)
    kit.fs.capacity = 5000
    for _ in range(3):
        with pytest.raises(ResourceExhausted) as caught:
            kit.wal.append(kit.group(2000))
        assert caught.value.reason == "NO_SPACE"
        kit.sequence = 1
    kit.append(200)
    kit.fs.capacity = None
    kit.append(2000)
    assert kit.sequences() == [1, 2, 3]
    assert kit.recover().last_sequence == 3


def test_a_full_disk_refuses_what_a_file_would_have_to_grow_for(kit: LogKit) -> None:
    kit.fs.capacity = 5000
    with pytest.raises(ResourceExhausted, match="no room for a write of 9064 bytes"):
        kit.wal.append(kit.group(9000))
    kit.sequence = 0
    kit.append(100)
    assert kit.sequences() == [1]


def test_a_failed_write_that_cannot_be_cut_off_is_a_failed_sync(kit: LogKit) -> None:
    for kind in ("resize", "sync"):
        kit = LogKit()
        kit.create()
        kit.append(10)
        kit.fs.fail_on("write", "*", errno.ENOSPC)
        kit.fs.fail_on(kind, "*")
        with pytest.raises(EngineFailed, match="the log after a failed write"):
            kit.wal.append(kit.group(100))
        with pytest.raises(EngineFailed):
            kit.wal.sync()


def test_a_failed_write_for_another_reason_is_final(kit: LogKit) -> None:
    kit.append(10)
    kit.fs.fail_on("write", "*", errno.EIO)
    with pytest.raises(EngineFailed):
        kit.wal.append(kit.group(100))
    assert kit.recover().last_sequence == 1


def test_a_failed_sync_is_final(kit: LogKit) -> None:
    kit.append(10)
    kit.append(10, sync=False)
    kit.fs.fail_on("sync", "*")
    with pytest.raises(EngineFailed, match="the log could not be made durable"):
        kit.wal.sync()
    seen = operations(kit)
    for attempt in (
        kit.wal.sync,
        kit.wal.marker,
        kit.wal.rotate,
        kit.wal.close_log,
        lambda: kit.wal.append(kit.group(10)),
        lambda: kit.wal.trim(1),
    ):
        with pytest.raises(EngineFailed):
            attempt()
    assert not kit.wal.prepare_next()
    assert seen == []
    assert kit.wal.synced_sequence == 1
    kit.wal.close()


@pytest.mark.parametrize("kind", ["sync", "rename", "sync_dir"])
def test_a_rotation_that_cannot_be_made_durable_is_final(kit: LogKit, kind: str) -> None:
    kit.append(10)
    kit.fs.fail_on(kind, "*2.wal.next" if kind == "sync" else "*")
    with pytest.raises(EngineFailed, match="a new WAL segment could not be made durable"):
        kit.wal.rotate()
    assert kit.recover().last_sequence == 1


def test_an_interrupted_write_is_cut_off(kit: LogKit) -> None:
    """A record of a longer group that nobody finished must not stand behind a shorter one."""
    kit.append(10)
    write = kit.fs.write_node

    def interrupted(node: int, path: str, offset: int, data: bytes) -> None:
        write(node, path, offset, data)
        raise KeyboardInterrupt

    kit.fs.write_node = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        kit.wal.append(kit.group(100, 100))
    kit.fs.write_node = write  # type: ignore[method-assign]
    kit.sequence = 1
    kit.append(100)
    assert kit.recover().last_sequence == 2


def test_every_file_operation_failing_in_turn_loses_nothing_acknowledged() -> None:
    """Count up: the n-th operation fails, once and for ever; what was acknowledged is there after a restart."""
    for forever in (False, True):
        for failing in range(200):
            fs = MemFileSystem()
            kit = LogKit(fs, segment_size=2048)
            fs.fail_at(failing, errno.EIO, forever)
            acknowledged = 0
            try:
                kit.create()
                for step in range(8):
                    kit.append(300, 300)
                    acknowledged = kit.wal.synced_sequence
                    if step % 3 == 2:
                        kit.wal.prepare_next()
                        kit.wal.rotate()
                        kit.wal.trim(2)
                kit.wal.marker()
            except (EngineFailed, FailedPrecondition):
                pass
            else:
                assert failing >= fs.ops
                break
            fs.heal()
            if fs.exists(DIRECTORY):
                crashed = LogKit(fs.crash(random.Random(failing), "subset"))
                if acknowledged:
                    assert crashed.recover(required=acknowledged).last_sequence >= acknowledged
        else:
            pytest.fail("the scenario never got through")
