"""What writes and reads give back, and how it is cut from the columns of a reply."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.payloads import decode_payloads
from holdfast.vectors import decode_matrix

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2


@dataclass(frozen=True, slots=True)
class WriteResult:
    """How a write was acknowledged.

    sequence: its place in the store's history; count: rows sent (or points deleted); durable: synced to the disk before
    this answer (False in the modes ``periodic`` and ``async``, and with the log disabled).
    """

    sequence: int
    count: int
    durable: bool


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """As `WriteResult`, with the versions that the points have now, in the order of the request."""

    sequence: int
    count: int
    durable: bool
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One point. vector: ``array.array('f')``, or None where it was not asked for; payload: a dict or None;
    version: counts the writes of this id, from 1."""

    id: str
    vector: array[float] | None
    payload: dict[str, Any] | None
    version: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result. score: a similarity for cosine and dot, a distance for euclidean."""

    id: str
    score: float
    payload: dict[str, Any] | None = None
    vector: array[float] | None = None


def records_of(columns: vector_pb2.PointColumns) -> list[Record]:
    """The rows of a reply."""
    count = len(columns.ids)
    return [
        Record(*row)
        for row in zip(
            columns.ids,
            _vectors(columns.vectors.data, count),
            decode_payloads(columns.payloads, count),
            columns.versions,
            strict=True,
        )
    ]


def hits_of(response: vector_pb2.SearchResponse) -> list[Hit]:
    """The rows of a search's reply, nearest first."""
    columns = response.points
    count = len(columns.ids)
    return [
        Hit(*row)
        for row in zip(
            columns.ids,
            response.scores,
            decode_payloads(columns.payloads, count),
            _vectors(columns.vectors.data, count),
            strict=True,
        )
    ]


def _vectors(data: bytes, count: int) -> Sequence[array[float] | None]:
    return decode_matrix(data, count) if data else [None] * count
