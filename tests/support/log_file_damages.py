"""More of the table of named damages: those that concern whole files of the log."""

from __future__ import annotations

from holdfastd.format.record import RecordKind
from holdfastd.format.walfile import FILE_HEADER_SIZE
from tests.support.log_damages import SIZE, TABLE, A, B, C, Corrupt, at, case, table_log
from tests.support.log_surgery import copy_file, header_at, rewrite, rewrite_file_header, truncate, zero
from tests.support.logs import DIRECTORY, LogKit, flip, overwrite

__all__ = ["SIZE", "TABLE", "A", "B", "C", "at", "table_log"]


@case(Corrupt(C, 0, "file header: not a WAL segment (magic b'HO\\\\DWAL\\x00')", 6))
def file_header_magic(kit: LogKit) -> None:
    flip(kit.fs, C, 2)


@case(Corrupt(C, 0, "file header: header checksum is 0x#, computed 0x#", 6))
def file_header_checksum(kit: LogKit) -> None:
    flip(kit.fs, C, 50)


@case(Corrupt(C, 0, "file header: the header was never written", 6))
def file_header_zeroed(kit: LogKit) -> None:
    zero(kit, C, 0, FILE_HEADER_SIZE)


@case(Corrupt(C, 0, "file header: the file has 33 bytes, its header 80", 6))
def file_cut_inside_its_header(kit: LogKit) -> None:
    truncate(kit, C, 33)


@case(Corrupt(C, 0, "file header: the file has 0 bytes, its header 80", 6))
def file_emptied(kit: LogKit) -> None:
    truncate(kit, C, 0)


@case(
    Corrupt(
        C,
        0,
        "the file belongs to store 1818e811-892f-402b-923f-0824128b2f33, not to 6f6c6466-6173-4a00-8000-686f6c646661",
        6,
    )
)
def file_of_another_store(kit: LogKit) -> None:
    rewrite_file_header(kit, C, store_id=kit.rng.uuid4())


@case(
    Corrupt(
        "/wal/00000001-00000000000000000009.wal",
        0,
        "its name says timeline 1 from sequence 9, its header timeline 1 from sequence 7",
        6,
    )
)
def file_under_another_name(kit: LogKit) -> None:
    kit.fs.rename(C, C.replace("0007.wal", "0009.wal"))


@case(Corrupt(B, 0, "its name says timeline 1 from sequence 4, its header timeline 1 from sequence 7", 3))
def two_files_swapped(kit: LogKit) -> None:
    for source, target in ((B, "/wal/tmp"), (C, B), ("/wal/tmp", C)):
        kit.fs.rename(source, target)


@case(
    Corrupt(
        C,
        0,
        "it follows sequence 6 with header checksum 0x#, but A ends at offset 1184 after sequence 3 with "
        "0x#: records or a WAL segment between them are missing",
        3,
    )
)
def middle_file_missing(kit: LogKit) -> None:
    kit.fs.unlink(B)


@case(
    Corrupt(
        C,
        0,
        "it follows sequence 6 with header checksum 0x#, but B ends at offset 1184 after sequence 6 with "
        "0x#: records or a WAL segment between them are missing",
        6,
    )
)
def file_of_another_history(kit: LogKit) -> None:
    rewrite_file_header(kit, C, chain=1)


@case(
    Corrupt(B, at(1), "payload checksum of sequence 5 is 0x#, computed 0x#, in a WAL segment that is not the last", 4)
)
def full_file_damaged(kit: LogKit) -> None:
    flip(kit.fs, B, at(1) + 100)


@case(
    Corrupt(B, at(2), "payload checksum of sequence 6 is 0x#, computed 0x#, in a WAL segment that is not the last", 5)
)
def end_of_a_full_file_damaged(kit: LogKit) -> None:
    flip(kit.fs, B, at(2) + 100)


@case(
    Corrupt(
        B, at(2), "the file ends inside a record of 368 bytes, 268 are left, in a WAL segment that is not the last", 5
    )
)
def full_file_cut_inside_a_record(kit: LogKit) -> None:
    truncate(kit, B, at(3) - 100)


@case(
    Corrupt(
        C,
        0,
        "it follows sequence 6 with header checksum 0x#, but B ends at offset 816 after sequence 5 with "
        "0x#: records or a WAL segment between them are missing",
        5,
    )
)
def full_file_cut_between_records(kit: LogKit) -> None:
    truncate(kit, B, at(2))


@case(
    Corrupt(
        B, at(3), "the log seems to end here, but bytes follow at offset 1264 of a WAL segment that is not the last", 6
    )
)
def bytes_behind_a_full_file(kit: LogKit) -> None:
    overwrite(kit.fs, B, at(3) + 80, b"x")


@case(
    Corrupt(
        C,
        0,
        "B ends at offset 1184 after sequence 5 with the log closed, and this file does not say that "
        "history is missing",
        5,
    )
)
def log_closed_without_a_gap_behind(kit: LogKit) -> None:
    before = header_at(kit, B, at(1))
    fields = {"kind": RecordKind.CLOSED, "sequence": 5, "previous": 5, "timestamp_us": before.timestamp_us}
    rewrite(kit, B, at(2), **fields)
    rewrite_file_header(kit, C, chain=header_at(kit, B, at(2)).crc, previous_sequence=5)


@case(Corrupt(C, 0, "it goes back to sequence 4, but B ends at offset 1184 after sequence 6", 6))
def gap_that_goes_back(kit: LogKit) -> None:
    rewrite_file_header(kit, C, flags=1, previous_sequence=4)


@case(Corrupt(B, 0, "/second/00000001-00000000000000000004.wal holds the same place of the log (a copy?)", 6))
def file_copied_into_a_second_directory(kit: LogKit) -> None:
    kit.fs.mkdir("/second")
    copy_file(kit, B, B.replace(DIRECTORY, "/second"))
    kit.directories.append("/second")
