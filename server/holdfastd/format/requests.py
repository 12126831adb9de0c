"""``requests-<S>.json``: the request ids that are remembered with a checkpoint (FORMAT.md, requests-<S>.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .document import decode_document, encode_document

REQUESTS_VERSION = 1

RequestRow: TypeAlias = tuple[str, int, int, int]
"""Request id, sequence of the operation, points affected, time in microseconds."""


@dataclass(frozen=True, slots=True)
class _Requests:
    requests: tuple[RequestRow, ...]
    format_version: int = REQUESTS_VERSION


def encode_requests(rows: Sequence[RequestRow]) -> bytes:
    """The bytes of ``requests-<S>.json``. ``rows``: oldest first."""
    return encode_document("requests", _Requests(tuple(rows)), indent=-1)


def decode_requests(data: bytes) -> tuple[RequestRow, ...]:
    """The rows of ``requests-<S>.json``. Raises ValueError, or UnsupportedFormat, as ``decode_document``."""
    return decode_document("requests", data, _Requests, REQUESTS_VERSION).requests
