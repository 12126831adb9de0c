"""The payloads of a batch travel and are logged as one JSON array; each is kept as the very bytes that were sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import cast

import msgspec

from ..errors import InvalidArgument

MAX_POINT_PAYLOAD_BYTES = 1 << 20
"""Largest JSON object of one point."""

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_SPACE = frozenset(" \t\r\n")
_first_byte = itemgetter(0)
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
        raise payload_fault(f"payloads has {len(items)} items for {count} ids", "send one object or null per id")
    # An item is valid JSON without surrounding space: its first byte tells its type.
    kinds = set(map(_first_byte, items))
    if not kinds <= {_OBJECT, _NULL} or max(map(len, items), default=0) > MAX_POINT_PAYLOAD_BYTES:
        raise _first_fault(items)
    if _NULL in kinds:
        return [None if item == b"null" else item for item in items]
    return cast("list[bytes | None]", items)


def join_payloads(payloads: Sequence[bytes | None]) -> bytes:
    """The block that ``split_payloads`` splits into ``payloads``; empty when no row has one."""
    if not any(payload is not None for payload in payloads):
        return b""
    return b"[" + b",".join([b"null" if payload is None else payload for payload in payloads]) + b"]"


def merge_patch(target: bytes, patch: bytes) -> bytes:
    """The object ``target`` after the JSON merge patch ``patch`` (RFC 7396); what it does not name stays verbatim."""
    members = _decode_members(target)
    for name, value in _decode_members(patch).items():
        written = bytes(value)
        if written == b"null":
            members.pop(name, None)
        elif written[0] == _OBJECT:
            old = bytes(members.get(name, b"{}"))
            members[name] = msgspec.Raw(merge_patch(old if old[0] == _OBJECT else b"{}", written))
        else:
            members[name] = value
    return msgspec.json.encode(members)


def _decode(block: bytes) -> list[msgspec.Raw]:
    try:
        # The JSON decoder passes strings through unseen, so UTF-8 is checked apart.
        block.decode()
        return _decode_array(block)
    except UnicodeDecodeError as error:
        what = f"payloads is not UTF-8: byte {error.start} of the array"
        raise payload_fault(what, "encode payloads as UTF-8") from None
    except (RecursionError, msgspec.MsgspecError) as error:
        raise _fault_in(block.decode(), error) from None


def _fault_in(block: str, error: Exception) -> InvalidArgument:
    """Why ``block`` is no JSON array of Unicode text, with the row at fault where those before it are whole."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    at, row, opening = _after_space(block, 0), 0, "["
    while block[at : at + 1] == opening:
        field = f"payloads[{row}]"
        try:
            value, end = decoder.raw_decode(block, _after_space(block, at + 1))
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            what = f"{field} holds half of a surrogate pair, such as \\ud800, which is no character"
            return payload_fault(what, "write the character whole", field)
        except RecursionError:
            return payload_fault(f"{field} is nested too deeply", "flatten the object", field)
        except ValueError as fault:
            why = fault.msg if isinstance(fault, json.JSONDecodeError) else str(fault)
            return payload_fault(f"{field} is not JSON: {why}", "send an object or null", field)
        at, row, opening = _after_space(block, end), row + 1, ","
    return payload_fault(f"payloads is not a JSON array: {error}", "send one JSON array with one item per id")


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE:
        at += 1
    return at


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _first_fault(items: list[bytes]) -> InvalidArgument:
    for row, item in enumerate(items):
        field = f"payloads[{row}]"
        if item[0] not in (_OBJECT, _NULL):
            return payload_fault(f"{field} is neither a JSON object nor null", "wrap the value in an object", field)
        if len(item) > MAX_POINT_PAYLOAD_BYTES:
            what = f"{field} has {len(item)} bytes, the limit is {MAX_POINT_PAYLOAD_BYTES}"
            return payload_fault(what, "keep large values elsewhere and a reference here", field)
    raise AssertionError("no item is at fault")


def payload_fault(message: str, hint: str, field: str = "payloads") -> InvalidArgument:
    """The error for what is wrong with a block, or with the row that ``field`` names."""
    return InvalidArgument(message, field=field, hint=hint)
