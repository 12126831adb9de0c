"""``requests-<S>.json``: the request ids that are remembered with a checkpoint (FORMAT.md, requests-<S>.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from .document import decode_document, encode_document

REQUESTS_VERSION = 1

RequestRow: TypeAlias = tuple[str, int, int, int, tuple[str, ...]]
"""Request id, sequence of the operation, points affected, time in microseconds, names that it took from others."""


class _Row(msgspec.Struct, array_like=True):
    request_id: str
    sequence: int
    count: int
    time_us: int
    names: tuple[str, ...] = ()


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
    written = tuple(row if row[-1] else row[:-1] for row in rows)
    return encode_document("requests", _Written(written), indent=-1)


def decode_requests(data: bytes) -> tuple[RequestRow, ...]:
    """The rows of ``requests-<S>.json``. Raises ValueError, or UnsupportedFormat, as ``decode_document``."""
    rows = decode_document("requests", data, _Requests, REQUESTS_VERSION).requests
    return tuple((row.request_id, row.sequence, row.count, row.time_us, row.names) for row in rows)
