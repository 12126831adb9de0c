"""A run of records is accepted exactly where record after record would be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.format.checksum import crc32c
from holdfastd.format.record import HEADER_SIZE, RecordHeader, decode_header, encode_header, padded_size
from holdfastd.format.records import RECORD_DTYPE, header_of, intact_run

SALT = 0xFEED_5EED_0123_4567
OFFSET = 80


def encoded(payloads: list[bytes], *, chain: int = 5) -> bytes:
    """Records one after the other, as a file has them from byte OFFSET on."""
    raw = b""
    for sequence, payload in enumerate(payloads, 1):
        header, chain = encode_header(
            kind=1,
            flags=1,
            payload_length=len(payload),
            payload_crc=crc32c(payload),
            sequence=sequence,
            previous=sequence - 1,
            timestamp_us=1000 + sequence,
            wall_us=2000 + sequence,
            durable_offset=OFFSET,
            chain=chain,
            salt=SALT,
            offset=OFFSET + len(raw),
        )
        raw += header + payload + bytes(padded_size(len(payload)) - HEADER_SIZE - len(payload))
    return raw


def one_by_one(raw: bytes) -> list[RecordHeader]:
    """What the single decoder and the rules of FORMAT.md accept."""
    found: list[RecordHeader] = []
    position = 0
    while True:
        header = decode_header(raw, position, salt=SALT, offset=OFFSET + position, remaining=len(raw) - position)
        if not isinstance(header, RecordHeader):
            return found
        start, end = position + HEADER_SIZE, position + header.size
        payload, padding = raw[start : start + header.payload_length], raw[start + header.payload_length : end]
        if crc32c(payload) != header.payload_crc or any(padding) or (found and header.chain != found[-1].crc):
            return found
        found.append(header)
        position = end


PAYLOADS = st.lists(st.binary(max_size=40) | st.just(b"x" * 20000), max_size=6)


@settings(max_examples=100, deadline=None)
@given(payloads=PAYLOADS, cut=st.integers(0, 200), position=st.sampled_from([0, 8, 160]))
def test_a_run_is_what_the_single_decoder_gives(payloads: list[bytes], cut: int, position: int) -> None:
    raw = encoded(payloads)
    raw = raw[: max(0, len(raw) - cut)]
    rows, positions = intact_run(bytes(position) + raw, position, salt=SALT, offset=OFFSET)
    expected = one_by_one(raw)
    assert [header_of(row) for row in rows] == expected
    assert [at - position for at in positions] == [sum(h.size for h in expected[:n]) for n in range(len(expected))]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_ends_the_run_before_its_record(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(st.binary(max_size=30), min_size=1, max_size=5))
    raw = bytearray(encoded(payloads))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    rows, positions = intact_run(bytes(raw), 0, salt=SALT, offset=OFFSET)
    assert len(rows) == len(one_by_one(encoded(payloads)[:place]))
    assert all(at + HEADER_SIZE <= place for at in positions)


def test_a_run_of_nothing_is_empty() -> None:
    for raw in (b"", bytes(63), bytes(64), bytes(4096), b"\xff" * 200):
        rows, positions = intact_run(raw, 0, salt=SALT, offset=OFFSET)
        assert len(rows) == 0
        assert rows.dtype == RECORD_DTYPE
        assert positions == []


def test_a_run_belongs_to_its_place_and_its_file() -> None:
    raw = encoded([b"a", b"b"])
    assert len(intact_run(raw, 0, salt=SALT, offset=OFFSET)[0]) == 2
    assert len(intact_run(raw, 0, salt=SALT + 1, offset=OFFSET)[0]) == 0
    assert len(intact_run(raw, 0, salt=SALT, offset=OFFSET + 8)[0]) == 0


def test_a_huge_length_is_not_followed() -> None:
    raw = bytearray(encoded([b"a" * 100, b"b"]))
    raw[8:12] = b"\xff\xff\xff\xff"
    assert len(intact_run(bytes(raw), 0, salt=SALT, offset=OFFSET)[0]) == 0
