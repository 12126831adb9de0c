"""Which of a few ids a logged operation names, told without an object for each of its rows.

An id stands in the payload behind a tag and its length, in front of everything large. Where those bytes do not occur
there, no row has that id; where they do, they may be part of something else, and the decoded ids decide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from holdfast.v1.log_pb2 import DeleteBody, LogOperation, UpsertBody

from .operation import varint

_MOST_SEARCHED = 8
"""For more ids than these a set of all rows' ids is faster than as many searches."""


class IdSearch:
    """Looks for these ids, in any number of operations. Immutable."""

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = frozenset(ids)
        self._needles = [_on_the_wire(id) for id in self._ids] if len(self._ids) <= _MOST_SEARCHED else None

    def found(self, operation: LogOperation, payload: bytes | memoryview) -> list[str]:
        """Those of the ids that ``operation``, decoded from ``payload``, writes or deletes, in its order."""
        body = _body_with_ids(operation)
        if body is None or not self._may_be_in(body, payload):
            return []
        return [id for id in body.ids if id in self._ids]

    def _may_be_in(self, body: UpsertBody | DeleteBody, payload: bytes | memoryview) -> bool:
        if self._needles is None:
            return not self._ids.isdisjoint(body.ids)
        matrix = len(body.vectors) if isinstance(body, UpsertBody) else 0
        beginning = bytes(payload[: len(payload) - matrix])
        return any(needle in beginning for needle in self._needles)


def first_ids(operation: LogOperation, most: int) -> Sequence[str]:
    """The first ids that it writes or deletes, ``most`` at most."""
    body = _body_with_ids(operation)
    return [] if body is None else list(islice(body.ids, most))


def count_ids(operation: LogOperation) -> int:
    """How many points it writes or deletes by id."""
    body = _body_with_ids(operation)
    return 0 if body is None else len(body.ids)


def _body_with_ids(operation: LogOperation) -> UpsertBody | DeleteBody | None:
    match operation.WhichOneof("body"):
        case "upsert":
            return operation.upsert
        case "delete":
            return operation.delete
        case _:
            return None


def _on_the_wire(id: str) -> bytes:
    key = id.encode()
    # Field 1 of both bodies, of the wire type for bytes.
    return bytes([UpsertBody.IDS_FIELD_NUMBER << 3 | 2]) + varint(len(key)) + key
