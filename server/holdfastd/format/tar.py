"""Headers of tar members (POSIX ustar), and the extended header that carries a size beyond 8 GiB.

Only what a snapshot holds is written and read: plain files with plain relative names. Everything else that tar knows
(links, devices, directories, long names) is named and refused, so that an archive can never reach outside itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
"""Two empty blocks end an archive."""
MAX_NAME = 100
MAX_USTAR_SIZE = (1 << 33) - 1
"""Eleven octal digits."""
MAX_PAX_BYTES = 4096

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_MAGIC = b"ustar\x0000"
_PLAIN = b"0\x00"
_PAX = b"x"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"S": "a sparse file",
    b"L": "a GNU long name",
    b"K": "a GNU long link name",
    b"g": "a global extended header",
}

assert _HEADER.size == BLOCK


@dataclass(frozen=True, slots=True)
class TarHeader:
    """A member. ``extended``: its content is the extended header of the member after it."""

    name: str
    size: int
    extended: bool = False


def padding(size: int) -> int:
    """Zero bytes after a member's content."""
    return -size % BLOCK


def member_bytes(size: int) -> int:
    """Bytes that a member with content of ``size`` takes in the archive, headers and padding included."""
    extended = 2 * BLOCK if size > MAX_USTAR_SIZE else 0
    return extended + BLOCK + size + padding(size)


def encode_header(name: str, size: int, mtime: int) -> bytes:
    """What stands before a member's content: one block, or three where ``size`` needs an extended header.

    ``mtime``: seconds since 1970. Raises ValueError for a name that would not be read back.
    """
    _check_name(name)
    if size <= MAX_USTAR_SIZE:
        return _block(name, size, mtime, b"0")
    record = _pax_record("size", str(size))
    head = _block("pax", len(record), mtime, _PAX)
    # Readers take the size from the extended header; the one in the block cannot hold it.
    return head + record.ljust(BLOCK, b"\0") + _block(name, 0, mtime, b"0")


def decode_header(block: bytes) -> TarHeader | None:
    """The member that ``block`` announces; None for an empty block, which ends the archive.

    Raises ValueError with a reason when it is damaged, or announces what no snapshot holds.
    """
    if block == bytes(BLOCK):
        return None
    if len(block) != BLOCK or block[148:156] != _sum_field(sum(block) - sum(block[148:156])):
        raise ValueError("the header's checksum does not match")
    fields = _HEADER.unpack(block)
    name, kind, magic, prefix = fields[0], fields[7], fields[9], fields[14]
    if magic != _MAGIC:
        raise ValueError("not a POSIX ustar header")
    text = _text(name)
    if kind not in _PLAIN and kind != _PAX:
        raise ValueError(
            f"{text!r} is {_KINDS.get(kind, f'of unknown type {kind!r}')}; a snapshot holds plain files only"
        )
    if prefix.rstrip(b"\0"):
        raise ValueError(f"{text!r} has a name prefix, which no snapshot has")
    size = _octal(fields[4], "size")
    if kind == _PAX:
        return TarHeader(text, size, extended=True)
    _check_name(text)
    return TarHeader(text, size)


def claimed(block: bytes) -> TarHeader | None:
    """What a header that no snapshot holds says of itself, to be passed over; None where it is damaged."""
    if len(block) != BLOCK or block[148:156] != _sum_field(sum(block) - sum(block[148:156])):
        return None
    fields = _HEADER.unpack(block)
    try:
        return TarHeader(_text(fields[0]), _octal(fields[4], "size"))
    except ValueError:
        return None


def decode_extended(record: bytes) -> int:
    """The size that an extended header gives to the member after it. Raises ValueError for any other header."""
    length, _, rest = record.rstrip(b"\0").partition(b" ")
    key, _, value = rest.partition(b"=")
    digits = value.rstrip(b"\n")
    if key != b"size" or not digits.isdigit() or len(digits) > 19 or not value.endswith(b"\n"):
        raise ValueError("an extended header that says anything but one size")
    if _pax_record("size", digits.decode()) != record.rstrip(b"\0") or not length.isdigit():
        raise ValueError("an extended header of the wrong length")
    return int(digits)


def _block(name: str, size: int, mtime: int, kind: bytes) -> bytes:
    blank = _HEADER.pack(
        name.encode("ascii"),
        b"0000600\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b" " * 8,
        kind,
        b"",
        _MAGIC,
        b"",
        b"",
        b"0000000\0",
        b"0000000\0",
        b"",
    )
    return blank[:148] + _sum_field(sum(blank) - 8 * ord(" ")) + blank[156:]


def _sum_field(total: int) -> bytes:
    """The checksum of a block whose other bytes add up to ``total``: it counts as eight spaces itself."""
    return b"%06o\0 " % (total + 8 * ord(" "))


def _octal(field: bytes, what: str) -> int:
    digits = field.strip(b" \0")
    if not digits or any(digit not in b"01234567" for digit in digits):
        raise ValueError(f"the header's {what} is no octal number")
    return int(digits, 8)


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode("ascii", "backslashreplace")


def _check_name(name: str) -> None:
    if name.startswith("/"):
        raise ValueError(f"{name!r} is an absolute path; a snapshot's names are relative")
    if ".." in name.split("/"):
        raise ValueError(f"{name!r} leads out of the archive")
    if not name or len(name) > MAX_NAME or not name.isascii() or not name.isprintable():
        raise ValueError(f"{name!r} is not a plain name of at most {MAX_NAME} characters")


def _pax_record(key: str, value: str) -> bytes:
    """``<length> <key>=<value>`` with a line feed; the length counts itself."""
    body = f" {key}={value}\n"
    length = len(body)
    while len(f"{length}{body}") != length:
        length = len(f"{length}{body}")
    return f"{length}{body}".encode("ascii")
