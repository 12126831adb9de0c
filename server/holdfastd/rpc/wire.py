"""What is wrong with a message that protobuf refuses to parse: the field and, for a list, the row.

protobuf says of a bad byte somewhere in a batch no more than that parsing failed. This walks the bytes by the
message's own descriptor and names the first string that is not UTF-8, such as ``ids[17]``, or the place where the bytes
stop being a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ..errors import InvalidArgument

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

Field: TypeAlias = "tuple[int, int, int, memoryview | int]"
"""Number, wire type, offset, and the value: a varint's, or the bytes of everything else."""


class _Broken(Exception):
    """The bytes end, or make no sense, at this offset."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def explain(descriptor: Descriptor, data: bytes) -> InvalidArgument:
    """The error to answer with for bytes that could not be parsed as this message."""
    try:
        bad = _bad_string(descriptor, memoryview(data), 0)
    except _Broken as broken:
        return InvalidArgument(
            f"the request is no {descriptor.name}: its bytes make no sense at offset {broken.offset}",
            reason="MALFORMED_REQUEST",
            hint="generate the client from the daemon's proto files",
            offset=broken.offset,
        )
    if bad is None:
        return InvalidArgument(
            f"the request is no {descriptor.name}",
            reason="MALFORMED_REQUEST",
            hint="generate the client from the daemon's proto files",
        )
    path, row = bad
    return InvalidArgument(
        f"{path} is not valid UTF-8", field=path, reason="INVALID_UTF8", hint="encode text as UTF-8", row=row
    )


def first_varint(data: bytes, number: int) -> int:
    """The last value of a top-level varint field, as far as the bytes can be read; 0 if there is none."""
    found = 0
    try:
        for field, kind, _, value in _fields(memoryview(data), 0):
            if field == number and kind == _VARINT and isinstance(value, int):
                found = value
    except _Broken:
        pass
    return found


def _bad_string(descriptor: Descriptor, data: memoryview, base: int) -> tuple[str, int | None] | None:
    """The path of the first string that is not UTF-8, and its row if it stands in a list."""
    rows: dict[int, int] = {}
    for number, kind, offset, value in _fields(data, base):
        field = descriptor.fields_by_number.get(number)
        row = rows[number] = rows.get(number, -1) + 1
        if field is None or kind != _BYTES or isinstance(value, int):
            continue
        name = f"{field.name}[{row}]" if field.is_repeated else field.name
        if field.type == FieldDescriptor.TYPE_STRING and not _is_utf8(value):
            return name, row if field.is_repeated else None
        if field.message_type is not None:
            inner = _bad_string(field.message_type, value, offset)
            if inner is not None:
                return f"{name}.{inner[0]}", inner[1]
    return None


def _is_utf8(value: memoryview) -> bool:
    try:
        str(value, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _fields(data: memoryview, base: int) -> Iterator[Field]:
    position, end = 0, len(data)
    while position < end:
        start = position
        key, position = _varint(data, position, base)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(data, position, base)
            yield number, kind, base + position, value
            continue
        if kind == _BYTES:
            length, position = _varint(data, position, base)
        elif kind in _FIXED_SIZES:
            length = _FIXED_SIZES[kind]
        else:
            raise _Broken(base + start)
        if number == 0 or length > end - position:
            raise _Broken(base + start)
        yield number, kind, base + position, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int, base: int) -> tuple[int, int]:
    value = shift = 0
    for offset in range(position, min(position + 10, len(data))):
        byte = data[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    raise _Broken(base + position)
