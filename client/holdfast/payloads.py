"""Payloads of a batch as one JSON array in one ``bytes`` field: dicts are encoded, JSON bytes pass verbatim."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import JSONEncoder
from typing import Any, TypeAlias

from holdfast.errors import InvalidArgument

Payload: TypeAlias = "Mapping[str, Any] | bytes | str | None"
"""A JSON object as a dict, or as bytes or text that already are JSON; None for none."""


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode_any: Callable[[object], str] = JSONEncoder(separators=(",", ":"), allow_nan=False, default=_refuse).encode


def encode_payload(payload: Payload, row: int = 0) -> bytes:
    """One payload as JSON bytes, ``null`` for none; InvalidArgument, naming the row, for anything that is not JSON.

    Bytes are not parsed here: the daemon checks them, and a broken one is refused there with its row.
    """
    if type(payload) is not dict:
        if payload is None:
            return b"null"
        if isinstance(payload, bytes):
            return payload
        if isinstance(payload, str):
            return payload.encode()
        if not isinstance(payload, Mapping):
            raise _not_json(row, f"it is {type(payload).__name__}, not a JSON object")
        payload = dict(payload)
    try:
        return _encode_any(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(row, str(error)) from None


def encode_payloads(payloads: Sequence[Payload] | None, count: int) -> bytes:
    """The payloads of a batch as one JSON array, b"" for none; InvalidArgument unless there are ``count``."""
    if payloads is None:
        return b""
    payloads = payloads if isinstance(payloads, list) else list(payloads)
    if len(payloads) != count:
        raise InvalidArgument(
            f"{count} ids came with {len(payloads)} payloads",
            reason="COUNT_MISMATCH",
            hint="pass one payload per id; None where a point has none",
            metadata={"ids": str(count), "payloads": str(len(payloads))},
        )
    if all(type(payload) is dict for payload in payloads):
        try:
            return _encode_any(payloads).encode()
        except (TypeError, ValueError, RecursionError):
            pass  # encoded again one by one, to name the row
    return join_payloads([encode_payload(payload, row) for row, payload in enumerate(payloads)])


def join_payloads(encoded: Iterable[bytes]) -> bytes:
    """JSON values as one JSON array."""
    return b"[" + b",".join(encoded) + b"]"


def decode_payloads(block: bytes, count: int) -> list[dict[str, Any] | None]:
    """The payloads of a reply's rows; an empty block means that no row has one."""
    if not block:
        return [None] * count
    decoded: list[dict[str, Any] | None] = json.loads(block)
    return decoded


def _not_json(row: int, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"payloads[{row}] cannot be written as JSON: {why}",
        reason="BAD_PAYLOAD",
        hint="pass a dict of JSON values (NaN and Infinity are not JSON), or JSON bytes",
        metadata={"row": str(row)},
    )
