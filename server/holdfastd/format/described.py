"""A logged operation without the matrix of an upsert, which is most of a log and tells a search of it nothing.

Decoding copies a matrix twice. The writer puts it last, so what comes before it is found, and decoded alone: where the
bytes in front of a tag and a length that reaches exactly to the end are whole fields, that is the last field.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np

from holdfast.v1.log_pb2 import LogOperation, UpsertBody

from .operation import decode, varint

Bytes: TypeAlias = bytes | memoryview

LEAST_BYTES = 1 << 16
"""A smaller payload is decoded sooner than its matrix is found."""
_PIECE_BYTES = 1 << 17
"""Of ids, hashes and payloads, in front of the matrix, looked through at a time."""
_UPSERT_TAG = LogOperation.UPSERT_FIELD_NUMBER << 3 | 2
_VECTORS_TAG = UpsertBody.VECTORS_FIELD_NUMBER << 3 | 2
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_LONGEST_VARINT = 10
_LONGEST_LENGTH = 5
_MOST_TRIED = 4
"""A client may put what looks like a matrix into a payload, any number of times."""


def described(payload: Bytes) -> tuple[LogOperation, Bytes]:
    """The operation in ``payload``, a large upsert without its matrix, and the bytes that it is decoded from.

    Raises as ``decode`` does, for the same payloads.
    """
    if len(payload) >= LEAST_BYTES:
        for shortened in islice(_without_matrix(memoryview(payload)), _MOST_TRIED):
            try:
                return decode(shortened), shortened
            except ValueError:
                # What looked like the matrix stands inside of something else.
                continue
    return decode(payload), payload


def upsert_body(payload: memoryview) -> memoryview | None:
    """The bytes of the ``UpsertBody`` that ends an operation; None where there is none, or something behind it."""
    found = _upsert_in(payload)
    return None if found is None else payload[found[1] :]


def _without_matrix(payload: memoryview) -> Iterator[bytes]:
    """The payload without what may be its matrix, for each place where that may begin."""
    found = _upsert_in(payload)
    if found is None:
        return
    tag, body = found
    for place in _places_of_matrix(payload, body):
        yield bytes(payload[:tag]) + varint(_UPSERT_TAG) + varint(place - body) + bytes(payload[body:place])


def _upsert_in(payload: memoryview) -> tuple[int, int] | None:
    """Where the upsert that ends the operation has its tag, and its first byte; None where there is no such thing."""
    position = 0
    while position < len(payload):
        start, (tag, position) = position, _varint_at(payload, position)
        kind = tag & 7
        if kind not in (_VARINT, _FIXED64, _BYTES):
            return None
        value, after = (8, position) if kind == _FIXED64 else _varint_at(payload, position)
        if tag == _UPSERT_TAG and after + value == len(payload):
            return start, after
        position = after if kind == _VARINT else after + value
    return None


def _varint_at(data: memoryview, position: int) -> tuple[int, int]:
    """The number that stands there, and what follows it; what is none reaches beyond any end."""
    value = 0
    for index, byte in enumerate(data[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    return len(data), len(data)


def _places_of_matrix(payload: memoryview, body: int) -> Iterator[int]:
    """Each place behind ``body`` with the tag of a matrix and a length that reaches exactly to the end."""
    for start in range(body, len(payload), _PIECE_BYTES):
        # One byte more: that behind the last tag.
        piece = np.frombuffer(payload[start : start + _PIECE_BYTES + 1], np.uint8)
        tags = np.flatnonzero(piece[:-1] == _VECTORS_TAG)
        # A length is of one to five bytes: of what is none, one in 25 has its low seven bits.
        digits = (len(payload) - start - 1 - tags - piece[tags + 1]) & 0x7F
        for at in tags[(digits >= 1) & (digits <= _LONGEST_LENGTH)].tolist():
            length, after = _varint_at(payload, start + at + 1)
            if after + length == len(payload):
                yield start + at
