"""A JSON document that carries the SHA-256 of itself: the form of the manifest, of segment.json and others.

    document := '{"sha256": "' 64 hexadecimal digits '",' LF '"' kind '": ' body '}' LF

``body`` is a JSON object; the checksum is over its bytes as they stand. FORMAT.md shows how to check it from a shell.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from ..errors import UnsupportedFormat

T = TypeVar("T")

_OPEN = b'{"sha256": "'
_DIGITS = 64
_CLOSE = b"}\n"


class _Version(msgspec.Struct):
    format_version: int


def encode_document(kind: str, value: object, *, indent: int = 1) -> bytes:
    """``value`` (a dataclass with a ``format_version``) as a document of ``kind``; ``indent`` -1: all in one line."""
    body = msgspec.json.encode(value)
    if indent >= 0:
        body = msgspec.json.format(body, indent=indent)
    return _OPEN + hashlib.sha256(body).hexdigest().encode() + _middle(kind) + body + _CLOSE


def decode_document(kind: str, data: bytes, of: type[T], supported: int) -> T:
    """The ``of`` in a document of ``kind``.

    Raises ValueError with a reason when a byte was changed or a field is missing or of the wrong type,
    UnsupportedFormat when the document is intact and of a format version above ``supported``.
    """
    body = _verified_body(kind, bytes(data))
    try:
        version = msgspec.json.decode(body, type=_Version).format_version
        if version > supported:
            raise UnsupportedFormat(
                f"the {kind} has format version {version}, this holdfastd reads up to version {supported}",
                hint="start the newer holdfastd that wrote this data directory",
                version=version,
                supported=supported,
            )
        if version < 1:
            raise ValueError(f"format version {version} does not exist")
        return msgspec.json.decode(body, type=of)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{kind}: {error}") from None


def _middle(kind: str) -> bytes:
    return f'",\n"{kind}": '.encode()


def _verified_body(kind: str, data: bytes) -> bytes:
    start = len(_OPEN) + _DIGITS
    middle = _middle(kind)
    digits, frame, end = data[len(_OPEN) : start], data[start : start + len(middle)], data[-len(_CLOSE) :]
    if data[: len(_OPEN)] != _OPEN or frame != middle or end != _CLOSE:
        raise ValueError(f"not a {kind} document, or cut short")
    body = data[start + len(middle) : -len(_CLOSE)]
    if hashlib.sha256(body).hexdigest().encode() != digits:
        raise ValueError(f"the {kind}'s SHA-256 does not match its content")
    return body
