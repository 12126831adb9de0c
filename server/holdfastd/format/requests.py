"""``requests-<S>.json``: the request ids that are remembered with a checkpoint (FORMAT.md, requests-<S>.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import xxhash

from .document import decode_document, encode_document

REQUESTS_VERSION = 1

RequestRow: TypeAlias = tuple[str, int, int, int, tuple[str, ...], int, bool]
"""Request id, sequence of the operation, points affected, time in microseconds, names that it took from others, digest
of what was asked for (0: not known), whether it changed the catalog or the marks."""
_REQUIRED = 4
"""Members that every row has."""
_ABSENT = b"\xff"
"""Stands for None: no UTF-8."""


class _Row(msgspec.Struct, array_like=True):
    request_id: str
    sequence: int
    count: int
    time_us: int
    names: tuple[str, ...] = ()
    digest: int = 0
    catalog: bool = False


@dataclass(frozen=True, slots=True)
class _Written:
    requests: tuple[tuple[object, ...], ...]
    format_version: int = REQUESTS_VERSION


@dataclass(frozen=True, slots=True)
class _Requests:
    requests: tuple[_Row, ...]
    format_version: int = REQUESTS_VERSION


def encode_requests(rows: Sequence[RequestRow]) -> bytes:
    """The bytes of ``requests-<S>.json``. ``rows``: oldest first."""
    written = tuple(map(_without_defaults, rows))
    return encode_document("requests", _Written(written), indent=-1)


def decode_requests(data: bytes) -> tuple[RequestRow, ...]:
    """The rows of ``requests-<S>.json``. Raises ValueError, or UnsupportedFormat, as ``decode_document``."""
    rows = decode_document("requests", data, _Requests, REQUESTS_VERSION).requests
    return tuple(
        (row.request_id, row.sequence, row.count, row.time_us, row.names, row.digest, row.catalog) for row in rows
    )


def _without_defaults(row: RequestRow) -> tuple[object, ...]:
    """What of a row has to be written: all but the empty members at its end."""
    length = len(row)
    while not row[length - 1] and length > _REQUIRED:
        length -= 1
    return row[:length]


def request_digest(kind: str, *arguments: str | int | bytes | memoryview | None) -> int:
    """A u64, never 0, that tells one request from another: 8 bytes of XXH3 over the kind and each length and argument.

    It is stored, so a kind and the order of its arguments are never changed: a request sent again after an upgrade
    would be taken for another one. It detects mistakes, not attackers.
    """
    hasher = xxhash.xxh3_64(kind.encode())
    for argument in arguments:
        data = _ABSENT if argument is None else argument
        if isinstance(data, str | int):
            data = str(data).encode()
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.intdigest() or 1
