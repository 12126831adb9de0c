"""Row types of a segment, and segment.json."""

from __future__ import annotations

import dataclasses
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import UnsupportedFormat
from holdfastd.format.segment import (
    KILL_DTYPE,
    ROW_DTYPE,
    ROW_HAS_PAYLOAD,
    RUN_HASH_DTYPE,
    RUN_ROW_DTYPE,
    TOMBSTONE_DTYPE,
    TOMBSTONE_ROW_DTYPE,
    FileInfo,
    SegmentInfo,
    check_component,
    decode_segment_info,
    encode_segment_info,
)
from tests.format.flips import unnoticed_flips

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
INFOS = st.builds(
    SegmentInfo,
    id=st.uuids(),
    collection_id=st.uuids(),
    ordinal=U32,
    rows=U32,
    dimensions=st.integers(1, 65_536),
    first_sequence=st.integers(0, 1000),
    last_sequence=st.integers(1000, 2**64 - 1),
    files=st.dictionaries(NAMES, st.builds(FileInfo, U64, U32), max_size=4),
)
EXAMPLE = SegmentInfo(
    uuid.UUID(int=1), uuid.UUID(int=2), 3, 100, 8, 5, 9, {"vectors.npy": FileInfo(4096 + 3200, 0xDEADBEEF)}
)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (ROW_DTYPE, 64),
        (KILL_DTYPE, 16),
        (TOMBSTONE_DTYPE, 32),
        (TOMBSTONE_ROW_DTYPE, 24),
        (RUN_HASH_DTYPE, 8),
        (RUN_ROW_DTYPE, 8),
    ],
)
def test_rows_on_disk_are_little_endian_without_holes(dtype: np.dtype, size: int) -> None:
    assert dtype.itemsize == size
    fields = [dtype[name] for name in dtype.names or ()] or [dtype]
    assert sum(field.itemsize for field in fields) == size
    assert all(field.newbyteorder("<") == field for field in fields)


def test_values_on_disk_never_change() -> None:
    assert ROW_HAS_PAYLOAD == 1


@given(INFOS)
def test_what_is_encoded_is_decoded(info: SegmentInfo) -> None:
    assert decode_segment_info(encode_segment_info(info)) == info


def test_every_single_bit_flip_is_noticed() -> None:
    assert unnoticed_flips(decode_segment_info, encode_segment_info(EXAMPLE)) == []


def test_a_newer_version_is_not_damage() -> None:
    with pytest.raises(UnsupportedFormat, match=r"segment has format version 2"):
        decode_segment_info(encode_segment_info(dataclasses.replace(EXAMPLE, format_version=2)))


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": 2**32},
        {"ordinal": 2**32},
        {"first_sequence": -1},
        {"first_sequence": 10},
        {"last_sequence": 2**64},
        {"dimensions": 0},
        {"files": {"../../etc/passwd": FileInfo(1, 1)}},
        {"files": {"vectors.npy": FileInfo(-1, 1)}},
        {"files": {"vectors.npy": FileInfo(1, 2**32)}},
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"segment|plain"):
        decode_segment_info(encode_segment_info(dataclasses.replace(EXAMPLE, **change)))


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/a", "a\0b", "../a"])
def test_a_name_that_leaves_its_directory_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        check_component(name)


def test_size_is_the_sum_of_its_files() -> None:
    assert dataclasses.replace(EXAMPLE, files={"a": FileInfo(3, 0), "b": FileInfo(4, 0)}).size_bytes == 7
