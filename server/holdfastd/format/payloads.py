"""The payloads of a batch travel and are logged as one JSON array; each is kept as the very bytes that were sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import cast

import msgspec

from ..errors import InvalidArgument

MAX_POINT_PAYLOAD_BYTES = 1 << 20
"""Largest JSON object of one point."""


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


_scan = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_no_json).raw_decode
_space = re.compile(r"[ \t\n\r]*").match
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
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
        row = _row_at(block.decode(errors="replace"), len(block[: error.start].decode()))
        what = f"{_field(row)} is not UTF-8: byte {error.start} of the array"
        raise payload_fault(what, "encode payloads as UTF-8", row) from None
    except (RecursionError, msgspec.MsgspecError) as error:
        raise _fault_in(block.decode(), error) from None


def _fault_in(block: str, error: Exception) -> InvalidArgument:
    """Why ``block`` is no JSON array of Unicode text, with the row at fault where those before it are whole."""
    for row, _, fault in _walk(block):
        if isinstance(fault, UnicodeEncodeError):
            what = f"{_field(row)} holds half of a surrogate pair, such as \\ud800, which is no character"
            return payload_fault(what, "write the character whole", row)
        if isinstance(fault, RecursionError):
            return payload_fault(f"{_field(row)} is nested too deeply", "flatten the object", row)
        if fault is not None:
            why = fault.msg if isinstance(fault, json.JSONDecodeError) else str(fault)
            return payload_fault(f"{_field(row)} is not JSON: {why}", "send an object or null", row)
    return payload_fault(f"payloads is not a JSON array: {error}", "send one JSON array with one item per id")


def _row_at(text: str, place: int) -> int | None:
    """The item that holds the character at ``place``, or the first one at fault before it; None for the array."""
    return next((row for row, end, fault in _walk(text) if fault is not None or place < end), None)


def _walk(text: str) -> Iterator[tuple[int, int, Exception | None]]:
    """Each item of the array: its row, where it ends, and what is wrong with it; the first one at fault is the last."""
    position, row = _after_space(text, 0), 0
    if not text.startswith("[", position):
        return
    while text[(position := _after_space(text, position + 1)) : position + 1] not in ("", "]"):
        try:
            value, position = _scan(text, position)
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as fault:
            yield row, len(text), fault
            return
        yield row, position, None
        position = _after_space(text, position)
        if not text.startswith(",", position):
            if text[position : position + 1] not in ("", "]"):
                yield row, len(text), ValueError("no comma stands behind it")
            return
        row += 1


def _after_space(text: str, position: int) -> int:
    found = _space(text, position)
    return found.end() if found else position


def _first_fault(items: list[bytes]) -> InvalidArgument:
    for row, item in enumerate(items):
        if item[0] not in (_OBJECT, _NULL):
            return payload_fault(f"{_field(row)} is neither a JSON object nor null", "wrap the value in an object", row)
        if len(item) > MAX_POINT_PAYLOAD_BYTES:
            what = f"{_field(row)} has {len(item)} bytes, the limit is {MAX_POINT_PAYLOAD_BYTES}"
            return payload_fault(what, "keep large values elsewhere and a reference here", row)
    raise AssertionError("no item is at fault")


def payload_fault(message: str, hint: str, row: int | None = None) -> InvalidArgument:
    """The error for what is wrong with a block, or with one row of it."""
    return InvalidArgument(message, field=_field(row), reason="INVALID_PAYLOAD", hint=hint, row=row)


def _field(row: int | None) -> str:
    return "payloads" if row is None else f"payloads[{row}]"
