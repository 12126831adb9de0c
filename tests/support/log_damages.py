"""A table of named damages to a log, with what each is taken for and the exact words it is refused with.

The log of the table: three WAL segments A, B and C. The first two are full; in the last one operations 7, 8 and 9 were
synced one by one, 10 and 11 were written together and never synced. Each operation's header says what was durable
before it, so 9 is proven by 10 and 11, and nothing proves those two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfastd.format.record import HEADER_SIZE, RecordKind, encode_header
from holdfastd.format.walfile import FILE_HEADER_SIZE
from tests.support.log_surgery import (
    file_header,
    header_at,
    rewrite,
    truncate,
    zero,
)
from tests.support.logs import DIRECTORY, LogKit, flip, overwrite

SIZE = 302
STEP = HEADER_SIZE + 304
A, B, C = (f"{DIRECTORY}/00000001-{first:020d}.wal" for first in (1, 4, 7))


def table_log() -> LogKit:
    kit = LogKit()
    kit.create()
    for sequence in range(1, 10):
        kit.append(SIZE)
        if sequence in (3, 6):
            kit.wal.rotate()
    kit.append(SIZE, SIZE, sync=False)
    kit.wal.close()
    return kit


def at(index: int) -> int:
    """Where the ``index``-th record of a file starts."""
    return FILE_HEADER_SIZE + index * STEP


def after_the_end(kit: LogKit, kind: RecordKind, **changes: int) -> None:
    """A valid record behind operation 11, but for what ``changes`` says."""
    last = header_at(kit, C, at(4))
    fields = {
        "kind": kind,
        "flags": 1,
        "payload_length": 0,
        "payload_crc": 0,
        "sequence": last.sequence,
        "previous": last.sequence,
        "timestamp_us": last.timestamp_us,
        "wall_us": 0,
        "durable_offset": at(3),
        "chain": last.crc,
    } | changes
    raw, _ = encode_header(salt=file_header(kit, C).salt, offset=at(5), **fields)
    overwrite(kit.fs, C, at(5), raw)


@dataclass(frozen=True)
class Torn:
    """The log goes on after ``last``."""

    last: int


@dataclass(frozen=True)
class Corrupt:
    """Refused with these words, checksums left out; ``--recovery=point-in-time`` keeps everything through ``last``."""

    path: str
    offset: int
    message: str
    last: int


Damage = Callable[[LogKit], None]
TABLE: dict[str, tuple[Damage, Torn | Corrupt]] = {}


def case(outcome: Torn | Corrupt) -> Callable[[Damage], Damage]:
    def register(damage: Damage) -> Damage:
        TABLE[damage.__name__] = (damage, outcome)
        return damage

    return register


@case(Torn(11))
def nothing(kit: LogKit) -> None:
    """The log as it was written."""


@case(Torn(10))
def payload_of_the_last_record(kit: LogKit) -> None:
    flip(kit.fs, C, at(4) + HEADER_SIZE + 5)


@case(Torn(10))
def header_of_the_last_record(kit: LogKit) -> None:
    flip(kit.fs, C, at(4) + 20)


@case(Torn(9))
def unsynced_record_lost_before_one_that_arrived(kit: LogKit) -> None:
    zero(kit, C, at(3), at(4))


@case(Torn(9))
def first_sector_of_the_unsynced_group_lost(kit: LogKit) -> None:
    zero(kit, C, at(3), at(3) + 200)


@case(Torn(10))
def file_ends_inside_the_last_header(kit: LogKit) -> None:
    truncate(kit, C, at(4) + 40)


@case(Torn(10))
def file_ends_inside_the_last_payload(kit: LogKit) -> None:
    truncate(kit, C, at(4) + 100)


@case(Torn(10))
def file_ends_inside_the_last_padding(kit: LogKit) -> None:
    truncate(kit, C, at(5) - 1)


@case(Torn(11))
def file_ends_with_the_last_record(kit: LogKit) -> None:
    truncate(kit, C, at(5))


@case(Torn(11))
def garbage_behind_the_end(kit: LogKit) -> None:
    overwrite(kit.fs, C, at(5) + 3, b"garbage")


@case(Torn(11))
def record_of_another_file_behind_the_end(kit: LogKit) -> None:
    overwrite(kit.fs, C, at(5), kit.fs.read(A, at(2), STEP))


@case(Torn(11))
def record_of_another_place_behind_the_end(kit: LogKit) -> None:
    overwrite(kit.fs, C, at(5), kit.fs.read(C, at(4), STEP))


@case(Torn(8))
def last_synced_record_with_nothing_behind_it(kit: LogKit) -> None:
    truncate(kit, C, at(3))
    flip(kit.fs, C, at(2) + 70)


@case(Torn(11))
def operation_without_its_last_record(kit: LogKit) -> None:
    after_the_end(kit, RecordKind.OPERATION, flags=0, sequence=12, timestamp_us=1 << 60)


@case(
    Corrupt(
        C,
        at(2),
        "payload checksum of sequence 9 is 0x#, computed 0x#, but the record at offset 1184 (sequence "
        "10) was written when everything below 1184 was durable",
        8,
    )
)
def payload_of_a_proven_record(kit: LogKit) -> None:
    flip(kit.fs, C, at(2) + HEADER_SIZE)


@case(
    Corrupt(
        C,
        at(1),
        "header checksum is 0x#, computed 0x#, but the record at offset 816 (sequence 9) was written "
        "when everything below 816 was durable",
        7,
    )
)
def header_of_a_proven_record(kit: LogKit) -> None:
    flip(kit.fs, C, at(1) + 24)


@case(
    Corrupt(
        C,
        at(1),
        "no record starts here (magic 0x#), but the record at offset 816 (sequence 9) was written when "
        "everything below 816 was durable",
        7,
    )
)
def magic_of_a_proven_record(kit: LogKit) -> None:
    flip(kit.fs, C, at(1))


@case(
    Corrupt(
        C,
        at(1),
        "header checksum is 0x#, computed 0x#, but the record at offset 816 (sequence 9) was written "
        "when everything below 816 was durable",
        7,
    )
)
def huge_length_of_a_proven_record(kit: LogKit) -> None:
    overwrite(kit.fs, C, at(1) + 8, b"\xff\xff\xff\x7f")


@case(
    Corrupt(
        C,
        at(1),
        "header checksum is 0x#, computed 0x#, but the record at offset 816 (sequence 9) was written "
        "when everything below 816 was durable",
        7,
    )
)
def zero_length_of_a_proven_record(kit: LogKit) -> None:
    overwrite(kit.fs, C, at(1) + 8, bytes(4))


@case(
    Corrupt(
        C,
        at(1),
        "the file ends inside a record of 1048640 bytes, 3648 are left, but the record at offset 816 "
        "(sequence 9) was written when everything below 816 was durable",
        7,
    )
)
def length_beyond_the_file_under_a_valid_checksum(kit: LogKit) -> None:
    rewrite(kit, C, at(1), payload_length=1 << 20)


@case(
    Corrupt(
        C,
        at(1),
        "payload length 2147483647 exceeds the limit of 2147418112, but the record at offset 816 "
        "(sequence 9) was written when everything below 816 was durable",
        7,
    )
)
def length_beyond_the_limit_under_a_valid_checksum(kit: LogKit) -> None:
    rewrite(kit, C, at(1), payload_length=(1 << 31) - 1)


@case(
    Corrupt(
        C,
        at(2),
        "the padding after sequence 9 is not zero, but the record at offset 1184 (sequence 10) was "
        "written when everything below 1184 was durable",
        8,
    )
)
def padding_of_a_proven_record(kit: LogKit) -> None:
    flip(kit.fs, C, at(3) - 1)


@case(
    Corrupt(
        C,
        at(1),
        "the log seems to end here, but the record at offset 816 (sequence 9) was written when "
        "everything below 816 was durable",
        7,
    )
)
def zeros_over_a_proven_header(kit: LogKit) -> None:
    zero(kit, C, at(1), at(1) + HEADER_SIZE)


@case(
    Corrupt(
        C,
        at(0),
        "the log seems to end here, but the record at offset 1184 (sequence 10) was written when "
        "everything below 1184 was durable",
        6,
    )
)
def zeros_over_all_proven_records(kit: LogKit) -> None:
    zero(kit, C, at(0), at(3))


@case(
    Corrupt(
        C,
        at(4),
        "payload checksum of sequence 11 is 0x#, computed 0x#, but the record at offset 1920 (sequence "
        "11) was written when everything below 1920 was durable",
        10,
    )
)
def last_synced_record_before_a_marker(kit: LogKit) -> None:
    kit.reopen()
    kit.wal.marker()
    kit.wal.close()
    flip(kit.fs, C, at(4) + 70)


@case(
    Corrupt(
        C,
        at(4),
        "the record follows header checksum 0x#, the one before has 0x#, and no power cut leaves that behind",
        10,
    )
)
def other_chain(kit: LogKit) -> None:
    rewrite(kit, C, at(4), chain=1)


@case(
    Corrupt(C, at(4), "the record follows sequence 8, the one before has 10, and no power cut leaves that behind", 10)
)
def other_previous(kit: LogKit) -> None:
    rewrite(kit, C, at(4), previous=8)


@case(
    Corrupt(
        C,
        at(4),
        "operation 10 at 1700000000000014 us does not come after 10 at 1700000000000013 us, and no power "
        "cut leaves that behind",
        10,
    )
)
def sequence_that_does_not_increase(kit: LogKit) -> None:
    rewrite(kit, C, at(4), sequence=10)


@case(
    Corrupt(
        C,
        at(4),
        "operation 11 at 5 us does not come after 10 at 1700000000000013 us, and no power cut leaves that behind",
        10,
    )
)
def time_that_does_not_increase(kit: LogKit) -> None:
    rewrite(kit, C, at(4), timestamp_us=5)


@case(
    Corrupt(C, at(5), "a marker has sequence 12, the operation before it 11, and no power cut leaves that behind", 11)
)
def marker_with_a_sequence_of_its_own(kit: LogKit) -> None:
    after_the_end(kit, RecordKind.MARKER, sequence=12)


@case(
    Corrupt(
        C,
        at(4),
        "operation 10 is not finished before the next record (sequence 11), and no power cut leaves that behind",
        9,
    )
)
def operation_not_finished_before_the_next(kit: LogKit) -> None:
    rewrite(kit, C, at(3), flags=0)
    rewrite(kit, C, at(4), chain=header_at(kit, C, at(3)).crc, previous=9)


@case(Corrupt(C, at(4), "the record follows the one that closed the log, and no power cut leaves that behind", 9))
def record_behind_the_closing_one(kit: LogKit) -> None:
    rewrite(kit, C, at(3), kind=RecordKind.CLOSED, sequence=9, timestamp_us=header_at(kit, C, at(2)).timestamp_us)
    rewrite(kit, C, at(4), chain=header_at(kit, C, at(3)).crc, previous=9)
