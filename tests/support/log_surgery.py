"""Changing the files of a log behind its back: for damage that looks like anything between bit rot and a bug."""

from __future__ import annotations

from typing import cast

from holdfastd.format.record import HEADER_SIZE, RecordHeader, decode_header, encode_header
from holdfastd.format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header, encode_file_header
from holdfastd.storage.files import parent_of
from tests.support.logs import LogKit, overwrite


def header_at(kit: LogKit, path: str, offset: int) -> RecordHeader:
    raw = kit.fs.read(path, offset, HEADER_SIZE)
    found = decode_header(raw, 0, salt=file_header(kit, path).salt, offset=offset, remaining=1 << 30)
    return cast(RecordHeader, found)


def file_header(kit: LogKit, path: str) -> WalFileHeader:
    return cast(WalFileHeader, decode_file_header(kit.fs.read(path, 0, FILE_HEADER_SIZE)))


def rewrite(kit: LogKit, path: str, offset: int, **changes: int) -> None:
    """Write the header at ``offset`` anew, valid in itself, with some of its fields changed."""
    header = header_at(kit, path, offset)
    fields = {name: getattr(header, name) for name in header.__slots__ if name != "crc"} | changes
    raw, _ = encode_header(salt=file_header(kit, path).salt, offset=offset, **fields)
    overwrite(kit.fs, path, offset, raw)


def rewrite_file_header(kit: LogKit, path: str, **changes: object) -> None:
    header = file_header(kit, path)
    fields = {name: getattr(header, name) for name in header.__slots__} | changes
    overwrite(kit.fs, path, 0, encode_file_header(WalFileHeader(**fields)))


def zero(kit: LogKit, path: str, start: int, stop: int) -> None:
    overwrite(kit.fs, path, start, bytes(stop - start))


def truncate(kit: LogKit, path: str, size: int) -> None:
    file = kit.fs.open(path)
    file.truncate(size)
    file.sync()
    file.close()


def copy_file(kit: LogKit, source: str, target: str) -> None:
    file = kit.fs.create(target)
    file.pwrite([kit.fs.read(source)], 0)
    file.sync()
    file.close()
    kit.fs.sync_dir(parent_of(target))


def sync_file(kit: LogKit, path: str) -> None:
    """Let the disk hold what the page cache shows."""
    file = kit.fs.open(path)
    file.sync()
    file.close()
