"""The payloads of a batch travel and are logged as one JSON array; each is kept as the very bytes that were sent."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..errors import InvalidArgument

MAX_POINT_PAYLOAD_BYTES = 1 << 20
"""Largest JSON object of one point."""

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_OBJECT = ord("{")
_NULL = ord("n")


def split_payloads(block: bytes, count: int) -> list[bytes | None]:
    """The ``count`` items of the JSON array ``block``, verbatim; None for ``null``. An empty block is all None.

    Raises InvalidArgument, naming the row where there is one: not valid UTF-8 or JSON, not an array, another number of
    items, an item that is neither an object nor null, an object above MAX_POINT_PAYLOAD_BYTES.
    """
    if not block:
        return [None] * count
    items = list(map(bytes, _decode(block)))
    if len(items) != count:
        raise _invalid(f"payloads has {len(items)} items for {count} ids", "send one object or null per id")
    # An item is valid JSON without surrounding space: its first byte tells its type.
    kinds = {item[0] for item in items}
    if not kinds <= {_OBJECT, _NULL} or max(map(len, items), default=0) > MAX_POINT_PAYLOAD_BYTES:
        raise _first_fault(items)
    if _NULL in kinds:
        return [None if item == b"null" else item for item in items]
    return list(items)


def join_payloads(payloads: Sequence[bytes | None]) -> bytes:
    """The block that ``split_payloads`` splits into ``payloads``; empty when no row has one."""
    if not any(payload is not None for payload in payloads):
        return b""
    return b"[" + b",".join([b"null" if payload is None else payload for payload in payloads]) + b"]"


def _decode(block: bytes) -> list[msgspec.Raw]:
    try:
        # The JSON decoder passes strings through unseen, so UTF-8 is checked apart.
        block.decode()
        return _decode_array(block)
    except UnicodeDecodeError as error:
        raise _invalid(f"payloads is not UTF-8: byte {error.start} of the array", "encode payloads as UTF-8") from None
    except RecursionError:
        raise _invalid("payloads is nested too deeply", "flatten the objects") from None
    except msgspec.MsgspecError as error:
        raise _invalid(f"payloads is not a JSON array: {error}", "send one JSON array with one item per id") from None


def _first_fault(items: list[bytes]) -> InvalidArgument:
    for row, item in enumerate(items):
        field = f"payloads[{row}]"
        if item[0] not in (_OBJECT, _NULL):
            return _invalid(f"{field} is neither a JSON object nor null", "wrap the value in an object", field)
        if len(item) > MAX_POINT_PAYLOAD_BYTES:
            what = f"{field} has {len(item)} bytes, the limit is {MAX_POINT_PAYLOAD_BYTES}"
            return _invalid(what, "keep large values elsewhere and a reference here", field)
    raise AssertionError("no item is at fault")


def _invalid(message: str, hint: str, field: str = "payloads") -> InvalidArgument:
    return InvalidArgument(message, field=field, hint=hint)
