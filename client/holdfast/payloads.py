"""Payloads of a batch as one JSON array in one ``bytes`` field: dicts are encoded, JSON bytes pass verbatim.

What is JSON is decided by the standard library's encoder, with UUIDs and enumerations beside it. Batches go through
orjson, which is five times as fast and writes the same; what it refuses, or would write as a null that may be a NaN,
is left to the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from json.encoder import JSONEncoder
from typing import Any, TypeAlias

from holdfast.errors import InvalidArgument
from holdfast.json_cut import cut_values
from holdfast.json_text import from_json

Payload: TypeAlias = "Mapping[str, Any] | bytes | str | None"
"""A JSON object as a dict, or as bytes or text that already are JSON; None for none."""


_WORTH_AN_IMPORT = 32
"""Rows from which on a batch goes through orjson: fewer are not worth loading a library for."""


def _as_json(value: object) -> object:
    from uuid import UUID

    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_settings: Mapping[str, Any] = {"separators": (",", ":"), "allow_nan": False, "default": _as_json}
_encode_text: Callable[[object], str] = JSONEncoder(ensure_ascii=False, **_settings).encode
_encode_ascii: Callable[[object], str] = JSONEncoder(**_settings).encode


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
            return _encoded_text(payload, row)
        if not isinstance(payload, Mapping):
            raise _not_json(row, f"it is {type(payload).__name__}, not a JSON object")
        payload = dict(payload)
    try:
        return encode_value(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(row, str(error)) from None


def _encoded_text(payload: str, row: int) -> bytes:
    try:
        return payload.encode()
    except UnicodeEncodeError:
        raise _not_json(row, "it has half a surrogate pair") from None


def encode_payloads(payloads: Sequence[Payload] | None, count: int) -> bytes:
    """The payloads of a batch as one JSON array, b"" for none; InvalidArgument unless there are ``count``."""
    if payloads is None:
        return b""
    if isinstance(payloads, Mapping | str | bytes):
        raise InvalidArgument(
            f"payloads came as one {type(payloads).__name__}", reason="BAD_PAYLOAD", hint="pass a list, one per id"
        )
    payloads = payloads if isinstance(payloads, list) else list(payloads)
    if len(payloads) != count:
        raise InvalidArgument(
            f"{count} ids came with {len(payloads)} payloads",
            reason="COUNT_MISMATCH",
            hint="pass one payload per id; None where a point has none",
            metadata={"ids": str(count), "payloads": str(len(payloads))},
        )
    if all(type(payload) is dict for payload in payloads):
        encoded = _encode_batch(payloads) if count >= _WORTH_AN_IMPORT else None
        if encoded is not None:
            return encoded
        try:
            return encode_value(payloads)
        except (TypeError, ValueError, RecursionError):
            pass  # encoded again one by one, to name the row
    return join_payloads([encode_payload(payload, row) for row, payload in enumerate(payloads)])


def encode_value(value: object) -> bytes:
    """A value as JSON bytes; TypeError, ValueError or RecursionError for what is not (NaN is not JSON)."""
    try:
        return _encode_text(value).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can only write as an escape
        return _encode_ascii(value).encode()


def _encode_batch(payloads: list[Any]) -> bytes | None:
    """The array as orjson writes it; None where only the standard library can tell."""
    import orjson

    strict = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
    try:
        encoded: bytes = orjson.dumps(payloads, option=strict)
    except TypeError:
        return None
    return None if b"null" in encoded else encoded


def join_payloads(encoded: Iterable[bytes]) -> bytes:
    """JSON values as one JSON array."""
    return b"[" + b",".join(encoded) + b"]"


def decode_payloads(block: bytes, count: int) -> list[dict[str, Any] | None]:
    """The payloads of a reply's rows; an empty block means that no row has one."""
    if not block:
        return [None] * count
    decoded: list[dict[str, Any] | None] = from_json(block)
    return decoded


def payload_texts(block: bytes, count: int) -> list[str | None]:
    """The payloads of a reply's rows as they are stored, to the letter; None for none."""
    if not block:
        return [None] * count
    return [None if text == "null" else text for text in cut_values(block.decode())]


def _not_json(row: int, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"payloads[{row}] cannot be written as JSON: {why}",
        reason="BAD_PAYLOAD",
        hint="pass a dict of JSON values (NaN and Infinity are not JSON), or JSON bytes",
        metadata={"row": str(row)},
    )
