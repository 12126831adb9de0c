"""A log over its life: it moves, is disabled and enabled, trimmed, restarted, and used by several threads."""

from __future__ import annotations

import errno
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from holdfastd.errors import EngineFailed, FailedPrecondition
from holdfastd.storage.clock import SystemClock, SystemRandomness
from holdfastd.storage.osfiles import OsFileSystem
from holdfastd.storage.wal import Wal
from holdfastd.storage.wal_reader import read_log
from holdfastd.storage.wal_recovery import recover_tail
from tests.support.logs import DIRECTORY, STORE, LogKit


@pytest.fixture
def kit() -> LogKit:
    kit = LogKit()
    kit.create()
    return kit


# Several directories -------------------------------------------------------------------------------------------------


def test_a_log_that_moves_is_read_across_directories(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.rotate(directory="/fast/wal")
    kit.append(10)
    kit.wal.rotate(directory=DIRECTORY)
    kit.append(10)
    assert [file.directory for file in kit.wal.files] == [DIRECTORY, "/fast/wal", DIRECTORY]
    assert list(kit.wal.directories) == [DIRECTORY, "/fast/wal"]
    assert [record.sequence for record in kit.wal.read(0)] == [1, 2, 3]
    kit.directories = ["/fast/wal", DIRECTORY]
    assert kit.recover().last_sequence == 3
    kit.wal.trim(3)
    assert list(kit.wal.directories) == [DIRECTORY]


def test_a_file_without_operations_is_taken_along(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.rotate()
    kit.wal.rotate(directory="/fast")
    kit.append(10)
    assert [file.directory for file in kit.wal.files] == [DIRECTORY, "/fast"]
    assert kit.fs.listdir(DIRECTORY) == ["00000001-00000000000000000001.wal"]
    kit.directories.append("/fast")
    assert kit.sequences() == [1, 2]


def test_a_file_with_only_markers_is_taken_along_with_its_place_in_the_chain(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.marker()
    kit.wal.close()
    kit.reopen(timeline=2)
    kit.wal.append([])
    kit.wal.rotate(directory="/fast")
    kit.append(10)
    kit.directories.append("/fast")
    assert kit.sequences() == [1, 2]
    assert kit.recover().last_sequence == 2


def test_a_move_that_the_disk_refuses_leaves_the_log_where_it_was(kit: LogKit) -> None:
    kit.append(10)
    kit.fs.fail_on("mkdir", "/fast", errno.EACCES)
    with pytest.raises(FailedPrecondition, match="no WAL segment of 4096 bytes can be made in /fast"):
        kit.wal.rotate(directory="/fast")
    kit.append(10)
    assert kit.sequences() == [1, 2]


def test_a_file_of_another_log_is_never_overwritten(kit: LogKit) -> None:
    kit.append(10)
    stranger = LogKit(kit.fs, directory="/fast", seed=8)
    stranger.create(first_sequence=2, previous_sequence=1)
    stranger.sequence = 1
    stranger.append(10)
    with pytest.raises(FailedPrecondition, match="exists already and would be overwritten"):
        kit.wal.rotate(directory="/fast")
    assert stranger.sequences() == [2]


# Disabled and enabled ------------------------------------------------------------------------------------------------


def test_disabling_is_the_last_durable_record(kit: LogKit) -> None:
    kit.append(10, sync=False)
    kit.wal.close_log()
    with pytest.raises(FailedPrecondition, match="the log is closed"):
        kit.wal.append(kit.group(10))
    recovered = LogKit(kit.fs.crash(random.Random(3), "subset")).recover()
    assert recovered.closed
    assert recovered.last_sequence == 1
    with pytest.raises(FailedPrecondition, match="the log is closed"):
        kit.reopen(recovered)


def begin_anew(kit: LogKit, sequence: int) -> None:
    older = kit.wal.files
    kit.wal.close()
    kit.create(first_sequence=sequence + 1, previous_sequence=sequence, gap_before=True, older=older)
    kit.sequence = sequence


def test_enabling_again_flags_the_gap(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.close_log()
    begin_anew(kit, 50)
    kit.append(10)
    assert [file.header.gap_before for file in kit.wal.files] == [False, True]
    assert kit.recover(from_sequence=51).last_sequence == 51
    assert kit.sequences(from_sequence=51) == [51]


def test_enabling_and_disabling_without_writes_leaves_one_file_for_the_place(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.close_log()
    for directory in (DIRECTORY, DIRECTORY, "/fast", DIRECTORY):
        kit.directory = directory
        begin_anew(kit, 50)
        kit.wal.close_log()
    begin_anew(kit, 50)
    kit.append(10)
    assert len(kit.wal.files) == 2
    assert kit.fs.listdir("/fast") == []
    assert kit.sequences(from_sequence=51) == [51]


def test_a_gap_moves_along_with_its_file(kit: LogKit) -> None:
    kit.append(10)
    kit.wal.close_log()
    begin_anew(kit, 50)
    kit.wal.rotate(directory="/fast")
    kit.append(10)
    assert [file.header.gap_before for file in kit.wal.files] == [False, True]
    kit.directories.append("/fast")
    assert kit.recover(from_sequence=51).last_sequence == 51


def test_the_newer_of_two_files_for_one_place_counts_though_the_clock_went_back(kit: LogKit) -> None:
    """The power goes when the log has begun anew elsewhere and the file that it replaces is still there."""
    kit.append(10)
    kit.wal.close_log()
    begin_anew(kit, 50)
    kit.wal.close_log()
    kit.clock.jump_us(-3_600_000_000)
    kit.directory = "/fast"
    kit.directories = ["/fast", DIRECTORY]
    kit.fs.fail_on("unlink", "*")
    with pytest.raises(EngineFailed):
        begin_anew(kit, 50)
    recovered = kit.recover(from_sequence=51)
    assert not recovered.closed
    assert recovered.tail is not None
    assert recovered.tail.path.startswith("/fast/")


# Trimming ------------------------------------------------------------------------------------------------------------


def three_files(kit: LogKit) -> None:
    for _ in range(2):
        kit.append(10, 10)
        kit.wal.rotate()
    kit.append(10, 10)


@pytest.mark.parametrize(("before", "left"), [(0, [1, 3, 5]), (2, [1, 3, 5]), (3, [3, 5]), (4, [3, 5]), (100, [5])])
def test_only_whole_files_are_trimmed_and_never_the_active_one(kit: LogKit, before: int, left: list[int]) -> None:
    three_files(kit)
    removed = kit.wal.trim(before)
    assert [file.first_sequence for file in kit.wal.files] == left
    assert [file.first_sequence for file in removed] == [first for first in (1, 3, 5) if first not in left]
    assert kit.sequences() == list(range(left[0], 7))


def test_a_trim_that_loses_power_leaves_no_hole(kit: LogKit) -> None:
    three_files(kit)
    start = kit.fs.ops
    kit.wal.trim(100)
    rng = random.Random(2)
    for cut in range(start, kit.fs.ops + 1):
        for _ in range(10):
            sequences = LogKit(kit.fs.crash_at(cut, rng, "subset")).sequences()
            assert sequences == list(range(sequences[0], 7))


def test_a_file_that_cannot_be_removed_is_kept_and_named(kit: LogKit) -> None:
    three_files(kit)
    kit.fs.fail_on("unlink", "*", errno.EPERM)
    with pytest.raises(FailedPrecondition, match="cannot be removed"):
        kit.wal.trim(100)
    assert len(kit.wal.files) == 3
    assert len(kit.wal.trim(100)) == 2


# What it says of itself ----------------------------------------------------------------------------------------------


def test_files_say_the_same_before_and_after_a_restart(kit: LogKit) -> None:
    three_files(kit)
    kit.wal.marker()
    before = kit.wal.files
    recovered = kit.recover()
    after = [replace(file, size_bytes=0) for file in recovered.files]
    assert after == [replace(file, size_bytes=0) for file in before]
    assert [file.last_sequence for file in before] == [2, 4, 6]
    assert kit.wal.size_bytes == sum(file.size_bytes for file in before)
    assert kit.reopen(recovered).files == before


def test_the_time_of_the_last_operation_is_known_after_a_restart_in_an_empty_file(kit: LogKit) -> None:
    kit.append(10)
    last_us = kit.wal.last_timestamp_us
    kit.wal.rotate()
    kit.wal.close()
    recovered = kit.recover(from_sequence=2)
    assert recovered.last_timestamp_us == last_us
    kit.reopen(recovered)
    with pytest.raises(ValueError, match="does not follow"):
        kit.wal.append([replace(kit.entry(1), timestamp_us=last_us)])


def test_closing_twice_is_allowed(kit: LogKit) -> None:
    kit.wal.close()
    kit.wal.close()
    with pytest.raises(FailedPrecondition):
        kit.wal.append(kit.group(1))


# On a real disk, with threads ----------------------------------------------------------------------------------------


def test_syncs_reads_and_trims_while_another_thread_appends(tmp_path: Path) -> None:
    fs, directory = OsFileSystem(), str(tmp_path / "wal")
    kit = LogKit()
    wal = Wal.create(
        fs,
        SystemClock(),
        SystemRandomness(),
        threading.Lock,
        directory,
        store_id=STORE,
        timeline=1,
        segment_size_bytes=16384,
    )
    done = threading.Event()
    failures: list[BaseException] = []

    def meanwhile() -> None:
        try:
            while not done.is_set():
                synced = wal.sync()
                wal.prepare_next()
                wal.trim(synced - 200)
                first = max(1, synced - 50)
                sequences = [record.sequence for record in wal.read(first)]
                assert sequences == list(range(first, first + len(sequences)))
                assert first + len(sequences) > synced
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=meanwhile)
    thread.start()
    for _ in range(400):
        wal.append(kit.group(700, 30, 1))
    done.set()
    thread.join()
    assert failures == []
    assert wal.sync() == 1200
    wal.marker()
    wal.close()
    assert recover_tail(fs, [directory], store_id=STORE).last_sequence == 1200
    read = [record.sequence for record in read_log(fs, [directory], store_id=STORE)]
    assert read == list(range(read[0], 1201))
