"""Reading page by page, and the bounds of what one reply may hold."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from holdfast.v1 import vector_pb2

from ..engine import prepare
from ..engine.points import Points
from ..engine.reading import ScrollPosition
from ..errors import InvalidArgument, ResourceExhausted
from ..model import Record
from .convert import chosen
from .convert_points import columns_of, in_messages
from .requests import bad_token, decode_token, encode_token, page_size

MAX_SCROLL_PAGE = 10_000
_ORDERS: Mapping[int, str] = {
    vector_pb2.SCROLL_ORDER_UNSPECIFIED: "id",
    vector_pb2.SCROLL_ORDER_ID: "id",
    vector_pb2.SCROLL_ORDER_TIMESTAMP: "timestamp",
}


def scroll(points: Points, request: vector_pb2.ScrollRequest, max_reply_bytes: int) -> vector_pb2.ScrollResponse:
    """One page. A page that would be larger than a reply may be is cut short; its token goes on from there."""
    if request.offset < 0:
        raise InvalidArgument(f"offset is {request.offset}, it cannot be negative", field="offset")
    limit = page_size(request.page_size, limit=MAX_SCROLL_PAGE)
    order = chosen(_ORDERS, request.order, "order")
    bond = _bond(request, order)
    vectors, payloads = request.include_vector, not request.omit_payload
    reading = points.reading(request.collection)
    records = reading.scroll(
        order=order,
        after=_position(request.page_token, bond),
        skip=request.offset,
        limit=limit + 1,
        filter_text=request.filter or None,
        vectors=vectors,
    )
    page = _first_run(records[:limit], max_reply_bytes, vectors=vectors, payloads=payloads)
    return vector_pb2.ScrollResponse(
        points=columns_of(page, vectors=vectors, payloads=payloads),
        sequence=reading.sequence,
        next_page_token=encode_token(bond, page[-1].sequence, page[-1].id) if len(page) < len(records) else "",
        total_count=reading.count(request.filter or None) if request.include_total else None,
    )


def check_ids(ids: Sequence[str]) -> None:
    """Raise InvalidArgument for a number of ids that a request may not have, and for ids that no point can have."""
    if not 1 <= len(ids) <= prepare.MAX_BATCH_ROWS:
        raise InvalidArgument(
            f"{len(ids)} ids are given; it can be 1 to {prepare.MAX_BATCH_ROWS}",
            field="ids",
            hint="ask for fewer at a time" if ids else "send at least one id",
        )
    prepare.check_ids(ids)


def check_reply(size: int, limit: int) -> None:
    """Raise ResourceExhausted if a reply of that many bytes could not be sent."""
    if size > limit:
        raise ResourceExhausted(
            f"the reply would have {size} bytes of vectors, the limit is {limit}",
            reason="REPLY_TOO_LARGE",
            hint="ask for fewer points at a time, or leave out the vectors",
            limit=limit,
        )


def _first_run(records: list[Record], size: int, *, vectors: bool, payloads: bool) -> list[Record]:
    runs = in_messages([records], rows=MAX_SCROLL_PAGE, size=size, vectors=vectors, payloads=payloads)
    return next(runs, [])


def _bond(request: vector_pb2.ScrollRequest, order: str) -> int:
    """Ties a page token to the request that it belongs to."""
    return zlib.crc32("\0".join((request.collection, request.filter, order)).encode())


def _position(token: str, bond: int) -> ScrollPosition | None:
    if not token:
        return None
    own, sequence, last_id = decode_token(token, tuple[int, int, str])
    if own != bond:
        raise bad_token()
    return ScrollPosition(sequence, last_id)
