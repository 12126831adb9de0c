"""Torn or corrupt: every named damage of the table is cut or refused as the rules of the log say."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from holdfastd.errors import Corruption, EngineFailed, UnsupportedFormat
from holdfastd.format.checksum import crc32c
from holdfastd.format.walfile import FILE_HEADER_SIZE
from tests.support.log_damages import Corrupt, Torn
from tests.support.log_file_damages import SIZE, TABLE, A, B, C, at, table_log
from tests.support.log_surgery import rewrite, rewrite_file_header, truncate
from tests.support.logs import LogKit, flip, payload_of


def plain(message: str) -> str:
    """A message without its place and its checksums, and with short names for the files."""
    message = re.sub(r"0x[0-9a-f]{8}", "0x#", message.split(": ", 1)[1])
    for letter, path in (("A", A), ("B", B), ("C", C)):
        message = message.replace(path, letter)
    return message


def contents(kit: LogKit) -> dict[str, bytes]:
    """Every file as it is, unfinished ones left out."""
    paths = [f"{directory}/{name}" for directory in kit.directories for name in kit.fs.listdir(directory)]
    return {path: kit.fs.read(path) for path in paths}


def damaged(name: str) -> LogKit:
    kit = table_log()
    TABLE[name][0](kit)
    return kit


@pytest.mark.parametrize("name", [name for name, (_, outcome) in TABLE.items() if isinstance(outcome, Torn)])
def test_a_torn_tail_is_cut_after_a_copy(name: str) -> None:
    kit = damaged(name)
    before = kit.fs.read(C)
    recovered = kit.recover()
    assert recovered.last_sequence == cast(Torn, TABLE[name][1]).last
    assert recovered.problem is None
    assert recovered.tail is not None
    cut = before[recovered.tail.offset :].rstrip(b"\0")
    assert recovered.cut_bytes == len(cut)
    assert [kit.fs.read(copy) for copy in recovered.copies] == ([cut] if cut else [])
    assert not kit.fs.read(C, recovered.tail.offset).strip(b"\0")
    kit.reopen(recovered)
    kit.append(SIZE)
    assert kit.sequences() == [*range(1, recovered.last_sequence + 1), recovered.last_sequence + 1]


@pytest.mark.parametrize("name", [name for name, (_, outcome) in TABLE.items() if isinstance(outcome, Corrupt)])
def test_damage_is_refused_and_nothing_is_touched(name: str) -> None:
    kit = damaged(name)
    before = contents(kit)
    expected = cast(Corrupt, TABLE[name][1])
    with pytest.raises(Corruption) as caught:
        kit.recover()
    error = caught.value
    assert (error.path, error.offset, plain(error.message)) == (expected.path, expected.offset, expected.message)
    assert "--recovery=point-in-time" in str(error.hint)
    assert contents(kit) == before
    with pytest.raises(Corruption):
        kit.read()


@pytest.mark.parametrize("name", [name for name, (_, outcome) in TABLE.items() if isinstance(outcome, Corrupt)])
def test_point_in_time_ends_the_log_before_the_damage_and_deletes_nothing(name: str) -> None:
    kit = damaged(name)
    before = contents(kit)
    last = cast(Corrupt, TABLE[name][1]).last
    assert [sequence for sequence, _ in kit.read(mode="point-in-time")] == list(range(1, last + 1))
    recovered = kit.recover(mode="point-in-time")
    assert recovered.last_sequence == last
    assert recovered.problem is not None
    kept = contents(kit)
    for path, content in before.items():
        whole = content.rstrip(b"\0")
        assert any(each.rstrip(b"\0") == whole for each in kept.values()), f"the content of {path} is gone"
    if recovered.closed:
        return
    kit.reopen(recovered, timeline=2)
    kit.append(SIZE)
    kit.wal.close()
    assert kit.sequences() == [*range(1, last + 1), last + 1]
    assert kit.recover().last_sequence == last + 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda kit: rewrite(kit, C, at(1), kind=9), "the record at offset 448 is of kind 9"),
        (lambda kit: rewrite(kit, C, at(4), flags=3), "the record at offset 1552 is of kind 1 with flags 0x03"),
        (lambda kit: rewrite_file_header(kit, B, version=2), "the WAL segment has format version 2"),
        (lambda kit: rewrite_file_header(kit, C, flags=2), "the WAL segment has flags 0x2"),
    ],
)
def test_what_a_newer_version_wrote_is_no_damage(damage: Callable[[LogKit], None], message: str) -> None:
    kit = table_log()
    damage(kit)
    before = contents(kit)
    with pytest.raises(UnsupportedFormat) as caught:
        kit.recover(mode="point-in-time")
    assert message in caught.value.message
    assert caught.value.message.startswith("/wal/")
    assert contents(kit) == before


def test_a_cut_below_what_the_manifest_reflects_is_corruption() -> None:
    kit = table_log()
    truncate(kit, C, at(2))
    assert kit.recover().last_sequence == 8
    with pytest.raises(Corruption, match="the log ends after sequence 8, but the manifest reflects sequence 9"):
        kit.recover(required=9)
    assert kit.recover(required=9, mode="point-in-time").last_sequence == 8


def test_a_log_that_vanished_is_corruption() -> None:
    kit = table_log()
    for path in (A, B, C):
        kit.fs.unlink(path)
    with pytest.raises(Corruption, match="there is no WAL segment, but the manifest reflects sequence 9"):
        kit.recover(required=9)
    assert kit.recover().tail is None


def test_a_log_that_begins_too_late_is_corruption() -> None:
    kit = table_log()
    kit.fs.unlink(A)
    assert kit.recover(from_sequence=4).last_sequence == 11
    with pytest.raises(Corruption, match="the log begins after sequence 3, but recovery needs it from 3 on"):
        kit.recover(from_sequence=3)


def test_damage_before_what_recovery_needs_does_not_keep_it_from_starting() -> None:
    kit = table_log()
    flip(kit.fs, A, at(1) + 100)
    assert kit.recover(from_sequence=7).last_sequence == 11


def test_every_flipped_byte_is_either_refused_or_in_the_unproven_tail() -> None:
    """Of 11 operations the first 9 are proven durable: no flip may lose one of them, or change one, unnoticed."""
    written = [(sequence, payload_of(sequence, SIZE)) for sequence in range(1, 12)]
    silent = []
    kit = table_log()
    for path in (A, B, C):
        for offset in range(at(5) if path == C else at(3)):
            flip(kit.fs, path, offset, 1 << offset % 8)
            try:
                records = kit.read()
            except Corruption:
                continue
            finally:
                flip(kit.fs, path, offset, 1 << offset % 8)
            assert records == written[: len(records)]
            silent.append((path, offset, len(records)))
    unproven = [(C, offset, 9 + (offset >= at(4))) for offset in range(at(3), at(5))]
    assert silent == unproven


def test_a_last_file_cut_at_any_byte_recovers_to_whole_operations() -> None:
    for size in range(at(5), at(3) - 2, -1):
        kit = table_log()
        truncate(kit, C, size)
        whole = (size - FILE_HEADER_SIZE) // (at(1) - at(0))
        recovered = kit.recover()
        assert recovered.last_sequence == 6 + whole
        assert kit.sequences() == list(range(1, 7 + whole))


def test_a_record_image_planted_by_a_client_proves_nothing() -> None:
    """Its sender knows neither the file's salt nor the offset that it will get."""
    kit = LogKit()
    kit.create()
    kit.append(SIZE)
    image = kit.fs.read(A, at(0), at(1) - at(0))
    planted = kit.entry(0)
    for copies in (1, 7):
        payload = image * copies
        crc = crc32c(payload)
        kit.wal.append([replace(planted, parts=[payload], payload_length=len(payload), payload_crc=crc)])
        planted = kit.entry(0)
    kit.wal.close()
    flip(kit.fs, A, at(1) + 9)
    assert kit.recover().last_sequence == 1


def test_recovery_does_not_believe_the_page_cache() -> None:
    """After a failed sync the cache shows what the disk never got: only what is read from the disk counts."""
    kit = table_log()
    kit.reopen()
    kit.wal.append(kit.group(SIZE))
    kit.fs.fail_on("sync", C, times=1)
    with pytest.raises(EngineFailed):
        kit.wal.sync()
    kit.wal.close()
    assert kit.sequences()[-1] == 12
    assert kit.recover().last_sequence == 11


def test_the_accepted_tail_is_written_again_and_synced() -> None:
    kit = table_log()
    seen: list[tuple[str, str]] = []
    kit.fs.on_operation = lambda kind, path: seen.append((kind, path))
    recovered = kit.recover()
    assert seen == [("drop_cache", C), ("write", C), ("sync", C)]
    assert recovered.tail is not None
    after = kit.fs.crash(random.Random(1), "subset")
    assert LogKit(after).sequences() == list(range(1, 12))
