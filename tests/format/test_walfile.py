"""The header of a WAL segment."""

from __future__ import annotations

import dataclasses
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import UnsupportedFormat
from holdfastd.format.checksum import crc32c
from holdfastd.format.walfile import (
    FILE_HEADER_SIZE,
    WAL_MAGIC,
    WAL_VERSION,
    Damaged,
    Incomplete,
    WalFileFlag,
    WalFileHeader,
    decode_file_header,
    encode_file_header,
)
from tests.format.flips import bit_flips

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
HEADERS = st.builds(
    WalFileHeader,
    store_id=st.uuids(),
    timeline=U32,
    chain=U32,
    salt=U64,
    first_sequence=U64,
    previous_sequence=U64,
    created_us=U64,
    flags=st.sampled_from([0, WalFileFlag.GAP_BEFORE]),
)
EXAMPLE = WalFileHeader(uuid.UUID(int=3), 1, 0, 99, 1, 0, 1_700_000_000_000_000)


def resealed(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<I", crc32c(data[:-4]))


def test_values_on_disk_never_change() -> None:
    assert (FILE_HEADER_SIZE, WAL_MAGIC, WAL_VERSION) == (80, b"HOLDWAL\0", 1)
    assert {flag.name: flag.value for flag in WalFileFlag} == {"GAP_BEFORE": 1}


@given(HEADERS)
def test_what_is_encoded_is_decoded(header: WalFileHeader) -> None:
    data = encode_file_header(header)
    assert len(data) == FILE_HEADER_SIZE
    assert decode_file_header(data + b"records") == header
    assert decode_file_header(memoryview(data)) == header


def test_a_gap_is_a_flag() -> None:
    flagged = dataclasses.replace(EXAMPLE, flags=WalFileFlag.GAP_BEFORE)
    assert flagged.gap_before
    assert not EXAMPLE.gap_before


def test_every_single_bit_flip_is_noticed() -> None:
    for bit, damaged in bit_flips(encode_file_header(EXAMPLE)):
        assert isinstance(decode_file_header(damaged), Damaged), bit


@pytest.mark.parametrize("size", range(FILE_HEADER_SIZE))
def test_a_short_file_is_incomplete(size: int) -> None:
    assert isinstance(decode_file_header(encode_file_header(EXAMPLE)[:size]), Incomplete)


def test_a_header_never_written_is_incomplete() -> None:
    assert isinstance(decode_file_header(bytes(4096)), Incomplete)


def test_a_newer_version_is_not_damage_and_both_versions_are_named() -> None:
    newer = encode_file_header(dataclasses.replace(EXAMPLE, version=2))
    with pytest.raises(UnsupportedFormat, match=r"version 2, .* up to version 1"):
        decode_file_header(newer)


def test_version_zero_does_not_exist() -> None:
    assert isinstance(decode_file_header(encode_file_header(dataclasses.replace(EXAMPLE, version=0))), Damaged)


@pytest.mark.parametrize("place", [12, 72], ids=["flags", "reserved"])
def test_unknown_flags_and_reserved_bytes_belong_to_the_future(place: int) -> None:
    data = bytearray(encode_file_header(EXAMPLE))
    data[place] = 2
    with pytest.raises(UnsupportedFormat, match="does not know"):
        decode_file_header(resealed(bytes(data)))


@given(st.binary(max_size=160))
def test_random_bytes_are_never_a_header_and_never_an_exception(data: bytes) -> None:
    assert isinstance(decode_file_header(data), Incomplete | Damaged)
