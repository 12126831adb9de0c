"""What a payload may not hold, although JSON's grammar allows it: numbers beyond float64, objects nested without end.

A number that float64 cannot hold is one value in one language, another in the next, and an error in a third; deep
nesting ends in whoever reads it. Both are refused at the door. Nearly every block holds nothing of the kind, so it is
looked at as an array of bytes first, for a few percent of what splitting it costs, and only what may be at fault is
parsed. Blocks in the log are not looked at: what was once taken stays readable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import numpy as np

from ..model import Int64Array, Uint8Array
from .payloads import payload_fault, split_payloads

MAX_PAYLOAD_DEPTH = 100
"""Objects and arrays within one another."""

_SMALL_BLOCK_BYTES = 1024
_SCANNED_AT_ONCE = 1 << 16
"""Bytes: what a core keeps close."""

_LONG_NUMBER = 200
"""Digits before the point from which on an exponent of two digits, or none at all, may be too many."""
_STRIDE = 25
_LONG_RUN = b"0" * (_LONG_NUMBER // _STRIDE)
_DIGITS_AS_0 = bytes(ord("0") if byte in b"0123456789" else ord(".") for byte in range(256))
_SUSPECT = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{%d}" % _LONG_NUMBER)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')

_IS_DIGIT = np.zeros(256, np.bool_)
_IS_DIGIT[list(b"0123456789")] = True
_IS_MANTISSA = _IS_DIGIT.copy()
_IS_MANTISSA[ord(".")] = True
_IS_BEFORE_NUMBER = np.zeros(256, np.bool_)
_IS_BEFORE_NUMBER[list(b"-,:[ \t\r\n")] = True
_LONGEST_WALK = 24


def accept_payloads(block: bytes, count: int) -> list[bytes | None]:
    """As ``split_payloads``, for what comes from a client.

    Raises InvalidArgument, naming the row, also for a number beyond float64 and for more than MAX_PAYLOAD_DEPTH objects
    and arrays within one another.
    """
    items = split_payloads(block, count)
    for row in _suspects(block, items):
        item = items[row]
        if item is not None:
            _check(row, item)
    return items


def _suspects(block: bytes, items: Sequence[bytes | None]) -> Iterable[int]:
    """The rows that have to be parsed: all that are at fault, and few others."""
    if len(block) < _SMALL_BLOCK_BYTES:
        deep = len(block) > 2 * MAX_PAYLOAD_DEPTH and block.count(b"{") + block.count(b"[") > MAX_PAYLOAD_DEPTH
        return range(len(items)) if deep or _SUSPECT.search(block) else ()
    if _LONG_RUN in block[::_STRIDE].translate(_DIGITS_AS_0):
        return range(len(items))
    longest = max(map(len, filter(None, items)), default=0)
    places = _places(np.frombuffer(block, np.uint8), longest)
    if not len(places):
        return ()
    lengths = np.array([4 if item is None else len(item) for item in items])
    ends = lengths.cumsum() + np.arange(1, len(lengths) + 1)
    if ends[-1] + 1 != len(block):  # space between the items: where each begins is not known
        return range(len(items))
    return set(np.searchsorted(ends, places, side="right").tolist())


def _places(block: Uint8Array, longest: int) -> Int64Array:
    """Offsets in the block at which an item may be at fault."""
    exponents: list[Int64Array] = []
    opened: list[Int64Array] = []
    for start in range(0, len(block), _SCANNED_AT_ONCE):
        # Pieces overlap by one byte, so that no pair is cut.
        piece = block[start : start + _SCANNED_AT_ONCE + 1]
        folded = piece | 0x20
        pairs = folded[:-1] == ord("e")
        pairs &= (piece[1:] - ord("+")) <= ord("9") - ord("+")
        if pairs.any():
            exponents.append(np.flatnonzero(pairs) + start)
        if longest > 2 * MAX_PAYLOAD_DEPTH:
            opened.append(np.flatnonzero(folded[:_SCANNED_AT_ONCE] == ord("{")) + start)  # "[" | 0x20 is "{"
    found = [_large(block, np.concatenate(exponents))] if exponents else []
    if opened:
        openers = np.concatenate(opened)
        close = openers[MAX_PAYLOAD_DEPTH:] - openers[:-MAX_PAYLOAD_DEPTH] < longest
        found.append(openers[:-MAX_PAYLOAD_DEPTH][close])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _large(block: Uint8Array, exponents: Int64Array) -> Int64Array:
    """Of the places of an ``e``, those with three digits behind it and a number before it: a hash is full of others."""
    exponents = exponents[(exponents > 0) & (exponents < len(block) - 3)]
    first, second, third = (block[exponents + step] for step in (1, 2, 3))
    large = (_IS_DIGIT[first] | (first == ord("+"))) & _IS_DIGIT[second] & _IS_DIGIT[third]
    exponents = exponents[large & _IS_DIGIT[block[exponents - 1]]]
    before = exponents - 1
    for _ in range(_LONGEST_WALK):
        inside = _IS_MANTISSA[block[before]]
        if not inside.any():
            break
        before -= inside
    return exponents[_IS_BEFORE_NUMBER[block[before]] | _IS_MANTISSA[block[before]]]


def _check(row: int, item: bytes) -> None:
    field = f"payloads[{row}]"
    depth = _depth(item)
    if depth > MAX_PAYLOAD_DEPTH:
        what = f"{field} has {depth} objects and arrays within one another, the limit is {MAX_PAYLOAD_DEPTH}"
        raise payload_fault(what, "flatten the object", row)
    try:
        _decode_numbers(item.decode())
    except _TooLarge as error:
        written = str(error)
        shown = written if len(written) <= 40 else f"{written[:20]}… ({len(written)} characters)"
        what = f"{field} holds the number {shown}, which float64 cannot hold"
        raise payload_fault(what, "write it as a string", row) from None


def _depth(item: bytes) -> int:
    """Objects and arrays within one another, or a bound on it where that is below the limit."""
    openers = item.count(b"{") + item.count(b"[")
    if openers <= MAX_PAYLOAD_DEPTH:
        return openers
    bare = np.frombuffer(_STRING.sub(b"", item), np.uint8) | 0x20
    return int(((bare == ord("{")).astype(np.int64) - (bare == ord("}"))).cumsum().max())


class _TooLarge(ValueError):
    """The text of a number beyond float64."""


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _TooLarge(text)
    return value


_decode_numbers = json.JSONDecoder(parse_int=_finite, parse_float=_finite).decode
