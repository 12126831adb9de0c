"""Record headers: exact, and never mistaken for anything else."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import UnsupportedFormat
from holdfastd.format.checksum import crc32c
from holdfastd.format.record import (
    ALIGNMENT,
    HEADER_SIZE,
    MAX_PAYLOAD_BYTES,
    RECORD_MAGIC,
    Damaged,
    Incomplete,
    RecordFlag,
    RecordHeader,
    RecordKind,
    decode_header,
    encode_header,
    find_headers,
    padded_size,
)
from tests.format.flips import bit_flips

SALT, OFFSET = 0x1122_3344_5566_7788, 80
PLENTY = 1 << 40
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)

FIELDS = {
    "kind": 1,
    "flags": 1,
    "payload_length": 13,
    "payload_crc": 0xCAFE_F00D,
    "sequence": 7,
    "previous": 6,
    "timestamp_us": 1_700_000_000_000_001,
    "wall_us": 1_700_000_000_000_000,
    "durable_offset": 80,
    "chain": 0xABCD_EF01,
}


def header(offset: int = OFFSET, salt: int = SALT, **changes: int) -> bytes:
    return encode_header(**{**FIELDS, **changes}, salt=salt, offset=offset)[0]


def decode(data: bytes, remaining: int = PLENTY) -> RecordHeader | Incomplete | Damaged:
    return decode_header(data, 0, salt=SALT, offset=OFFSET, remaining=remaining)


def resealed(data: bytes) -> bytes:
    """The header ``data`` with a checksum that fits what it says."""
    return data[:-4] + struct.pack("<I", crc32c(struct.pack("<QQ", SALT, OFFSET), data[:-4]))


def test_values_on_disk_never_change() -> None:
    assert {kind.name: kind.value for kind in RecordKind} == {"OPERATION": 1, "MARKER": 2, "CLOSED": 3}
    assert {flag.name: flag.value for flag in RecordFlag} == {"LAST": 1}
    assert (HEADER_SIZE, ALIGNMENT, RECORD_MAGIC) == (64, 8, 0xFFC14648)


def test_no_finite_float_and_no_text_holds_the_magic() -> None:
    magic = struct.pack("<I", RECORD_MAGIC)
    assert np.isnan(np.frombuffer(magic, "<f4")[0])
    with pytest.raises(UnicodeDecodeError):
        magic.decode()


@given(
    kind=st.sampled_from(RecordKind),
    flags=st.integers(0, 1),
    payload_length=st.integers(0, MAX_PAYLOAD_BYTES),
    payload_crc=U32,
    numbers=st.tuples(U64, U64, U64, U64, U64),
    chain=U32,
    salt=U64,
    offset=U64,
)
def test_what_is_encoded_is_decoded(
    kind: int,
    flags: int,
    payload_length: int,
    payload_crc: int,
    numbers: tuple[int, int, int, int, int],
    chain: int,
    salt: int,
    offset: int,
) -> None:
    names = ("sequence", "previous", "timestamp_us", "wall_us", "durable_offset")
    fields = {"kind": kind, "flags": flags, "payload_length": payload_length, "payload_crc": payload_crc}
    fields |= dict(zip(names, numbers, strict=True)) | {"chain": chain}
    data, crc = encode_header(**fields, salt=salt, offset=offset)
    assert len(data) == HEADER_SIZE
    shifted = b"abc" + data
    assert decode_header(shifted, 3, salt=salt, offset=offset, remaining=PLENTY) == RecordHeader(**fields, crc=crc)


def test_every_single_bit_flip_is_noticed() -> None:
    for bit, damaged in bit_flips(header()):
        assert isinstance(decode(damaged), Damaged), bit


@pytest.mark.parametrize("bit", range(64))
def test_a_header_of_another_file_or_place_is_noticed(bit: int) -> None:
    assert isinstance(decode(header(salt=SALT ^ 1 << bit)), Damaged)
    assert isinstance(decode(header(offset=OFFSET ^ 1 << bit)), Damaged)


def test_zeros_are_the_end_of_the_log() -> None:
    assert decode(bytes(HEADER_SIZE)) == Incomplete("end of log")


@pytest.mark.parametrize("size", range(HEADER_SIZE))
def test_a_header_cut_short_is_incomplete(size: int) -> None:
    assert isinstance(decode(header()[:size]), Incomplete)
    assert isinstance(decode(header(), remaining=size), Incomplete)


def test_a_payload_beyond_the_end_of_the_file_is_incomplete() -> None:
    size = padded_size(FIELDS["payload_length"])
    assert isinstance(decode(header(), remaining=size), RecordHeader)
    assert isinstance(decode(header(), remaining=size - 1), Incomplete)


def test_a_length_beyond_the_limit_is_damage() -> None:
    assert isinstance(decode(header(payload_length=MAX_PAYLOAD_BYTES)), RecordHeader)
    assert isinstance(decode(header(payload_length=MAX_PAYLOAD_BYTES + 1)), Damaged)


@pytest.mark.parametrize("change", [{"kind": 0}, {"kind": 4}, {"kind": 255}, {"flags": 2}, {"flags": 129}])
def test_an_intact_header_of_the_future_is_refused_and_not_called_damage(change: dict[str, int]) -> None:
    with pytest.raises(UnsupportedFormat, match="does not know"):
        decode(header(**change))


def test_reserved_bytes_belong_to_the_future() -> None:
    data = bytearray(header())
    data[6] = 1
    with pytest.raises(UnsupportedFormat, match="does not know"):
        decode(resealed(bytes(data)))


def test_a_wrong_magic_with_a_good_checksum_is_damage() -> None:
    assert isinstance(decode(resealed(b"HF\xc1\xfe" + header()[4:])), Damaged)


@given(st.binary(min_size=0, max_size=200), U64, st.integers(0, 300))
def test_random_bytes_are_never_a_header_and_never_an_exception(data: bytes, salt: int, remaining: int) -> None:
    result = decode_header(data, 0, salt=salt, offset=0, remaining=remaining)
    assert isinstance(result, Incomplete | Damaged)


@given(st.binary(min_size=60, max_size=60))
def test_a_good_checksum_over_random_bytes_is_never_another_exception(body: bytes) -> None:
    try:
        result = decode(resealed(struct.pack("<I", RECORD_MAGIC) + body))
    except UnsupportedFormat:
        return
    assert isinstance(result, RecordHeader | Damaged)


@given(st.integers(0, 100_000))
def test_records_are_padded_to_the_next_eighth_byte(length: int) -> None:
    size = padded_size(length)
    assert size % ALIGNMENT == 0
    assert 0 <= size - HEADER_SIZE - length < ALIGNMENT


def file_with_headers(places: list[int], size: int) -> bytes:
    data = bytearray(np.random.default_rng(3).integers(0, 256, size, np.uint8).tobytes())
    for place in places:
        data[place : place + HEADER_SIZE] = header(offset=place, sequence=place)
    return bytes(data)


def found(data: bytes, base: int = 0) -> list[int]:
    places = []
    for place, record in find_headers(data, base, SALT):
        assert record.sequence == place
        places.append(place)
    return places


def test_headers_are_found_wherever_they_are_intact() -> None:
    assert found(file_with_headers([80, 152, 1000, 1064, 4032], 4096)) == [80, 152, 1000, 1064, 4032]
    assert found(b"") == found(bytes(HEADER_SIZE - 1)) == []


def test_a_planted_image_of_a_header_is_not_found() -> None:
    data = bytearray(4096)
    data[80 : 80 + HEADER_SIZE] = header(offset=88)
    data[800 : 800 + HEADER_SIZE] = header(offset=800, salt=SALT + 1)
    data[1604 : 1604 + HEADER_SIZE] = header(offset=1604)
    assert found(bytes(data)) == []


def test_a_header_cut_by_the_end_is_not_found() -> None:
    data = file_with_headers([80, 4032], 4096)
    assert found(data[:-1]) == [80]


def test_kinds_and_lengths_are_not_judged_when_searching() -> None:
    data = header(kind=9, flags=0xF0, payload_length=2**32 - 1)
    assert [(place, record.kind) for place, record in find_headers(data, OFFSET, SALT)] == [(OFFSET, 9)]


@given(st.sets(st.integers(0, 50), max_size=12), st.lists(st.integers(1, 400), max_size=12))
def test_pieces_that_overlap_find_what_the_whole_finds(slots: set[int], cuts: list[int]) -> None:
    places = [slot * 72 for slot in sorted(slots)]
    data = file_with_headers(places, 51 * 72)
    bounds = [0, *(sum(cuts[: n + 1]) for n in range(len(cuts))), len(data)]
    pieces = set()
    for start, end in itertools.pairwise(bounds):
        pieces.update(found(data[start : min(end, len(data)) + HEADER_SIZE - 1], start))
    assert sorted(pieces) == found(data) == places
