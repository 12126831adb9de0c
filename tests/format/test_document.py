"""JSON documents that carry their own checksum."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import UnsupportedFormat
from holdfastd.format.document import decode_document, encode_document
from tests.format.flips import unnoticed_flips


@dataclass(frozen=True)
class Note:
    text: str
    numbers: tuple[int, ...] = ()
    format_version: int = 1


EXAMPLE = Note("größer", (1, 2**64 - 1))


def sealed(body: bytes, kind: str = "note") -> bytes:
    digits = hashlib.sha256(body).hexdigest().encode()
    return b'{"sha256": "' + digits + b'",\n"' + kind.encode() + b'": ' + body + b"}\n"


def decode(data: bytes) -> Note:
    return decode_document("note", data, Note, supported=1)


@given(st.builds(Note, st.text(), st.lists(st.integers(0, 2**64 - 1)).map(tuple)))
def test_what_is_encoded_is_decoded_and_is_plain_json(note: Note) -> None:
    data = encode_document("note", note)
    assert decode(data) == note
    assert json.loads(data)["note"] == {"text": note.text, "numbers": list(note.numbers), "format_version": 1}


def test_the_checksum_is_over_the_bytes_of_the_body_as_they_stand() -> None:
    first, rest = encode_document("note", EXAMPLE).split(b"\n", 1)
    body = rest.removeprefix(b'"note": ').removesuffix(b"}\n")
    assert hashlib.sha256(body).hexdigest() == json.loads(first.removesuffix(b",") + b"}")["sha256"]


def test_every_single_bit_flip_is_noticed() -> None:
    assert unnoticed_flips(decode, encode_document("note", EXAMPLE)) == []


def test_every_truncation_and_any_appended_byte_is_noticed() -> None:
    data = encode_document("note", EXAMPLE)
    for size in range(len(data)):
        with pytest.raises(ValueError, match="note"):
            decode(data[:size])
    for more in (b"\0", b"\n", b" ", b"}\n", data):
        with pytest.raises(ValueError, match="note"):
            decode(data + more)


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not a note"):
        decode(encode_document("poem", EXAMPLE))


def test_a_newer_version_is_not_damage_whatever_else_it_says() -> None:
    with pytest.raises(UnsupportedFormat, match=r"version 2, .* up to version 1"):
        decode(sealed(b'{"format_version": 2, "text": {"now": "an object"}}'))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"format_version": 0, "text": ""}',
        b'{"format_version": -1, "text": ""}',
        b'{"format_version": "1", "text": ""}',
        b'{"format_version": 1}',
        b'{"format_version": 1, "text": 5}',
        b'{"format_version": 1, "text": "", "numbers": [1.5]}',
        b'{"format_version": 1, "text": "\xff"}',
        b'{"format_version": 1, "text": "", "more": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"",
        b"\0",
    ],
    ids=range(12),
)
def test_an_intact_seal_over_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"note|version"):
        decode(sealed(body))


def test_fields_of_a_later_minor_change_are_passed_over() -> None:
    assert decode(sealed(b'{"format_version": 1, "text": "a", "later": [1]}')) == Note("a")


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    for file in (data, sealed(data)):
        with pytest.raises(ValueError, match=r"note|version"):
            decode(file)
