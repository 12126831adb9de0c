"""The sums of a snapshot archive without the rest: they stand for the whole content, and links name each other by them.

In a plain archive their place follows from the manifest; in a compressed one they are the last gzip member by
themselves. Whoever compares them knows that the archive is the one that is meant, and not yet that it is whole.
"""

from __future__ import annotations

import hashlib
from typing import NoReturn

from isal import igzip_lib, isal_zlib

from ..errors import Corruption
from ..format.snapshot import MANIFEST, README, SUMS, data_members, sums_bytes
from ..format.tar import BLOCK, END, decode_header, member_bytes
from .archive_reader import ArchiveReader
from .files import FileSystem
from .gzip_members import CHUNK_BYTES

_GZIP_MEMBER = b"\x1f\x8b\x08"
_GZIP = 31
_SLACK_BYTES = 64 << 10
"""Beyond what the sums take uncompressed: headers, and what a compressor may add."""


def read_sums_sha256(fs: FileSystem, archive: ArchiveReader) -> str:
    """The SHA-256 of SHA256SUMS. Blocks; reads the end of the file. Raises Corruption where it does not fit."""
    expected = member_bytes(sums_bytes(archive.manifest)) + len(END)
    if archive.compressed and expected > CHUNK_BYTES:
        # They take several members: nobody knows where the first of these begins.
        whole = ArchiveReader(fs, archive.path)
        for _ in whole.members():
            pass
        return whole.sums_sha256
    if archive.compressed:
        start = max(0, archive.size - expected - _SLACK_BYTES)
        tail = _last_member(archive, archive.source.read(start, archive.size - start), expected)
    else:
        tail = archive.source.read(max(0, archive.size - expected), expected)
    text = _sums_in(archive, tail, expected)
    _check(archive, text)
    return hashlib.sha256(text).hexdigest()


def _last_member(archive: ArchiveReader, data: bytes, expected: int) -> bytes:
    position = len(data)
    while (position := data.rfind(_GZIP_MEMBER, 0, position)) >= 0:
        reader = isal_zlib.decompressobj(_GZIP)
        try:
            tail = reader.decompress(data[position:], expected + 1)
        except igzip_lib.IsalError:  # type: ignore[misc]  # the stub takes the class for an instance
            continue
        if reader.eof and not reader.unused_data and len(tail) == expected:
            return bytes(tail)
    _refuse(archive, "the last gzip member does not hold it by itself")


def _sums_in(archive: ArchiveReader, tail: bytes, expected: int) -> bytes:
    if len(tail) != expected:
        _refuse(archive, "the file is too short to hold it")
    try:
        header = decode_header(tail[:BLOCK])
    except ValueError as error:
        _refuse(archive, str(error))
    size = sums_bytes(archive.manifest)
    if header is None or header.extended or (header.name, header.size) != (SUMS, size) or not tail.endswith(END):
        _refuse(archive, "it is not where the manifest has it: the file is cut short, or longer than it should be")
    return tail[BLOCK : BLOCK + size]


def _check(archive: ArchiveReader, text: bytes) -> None:
    """The members listed are those of the manifest, which is the one that was summed."""
    names = [MANIFEST, README, *(member.name for member in data_members(archive.manifest))]
    lines = text.decode("utf-8", "replace").splitlines()
    if [line[66:] for line in lines] != names:
        _refuse(archive, "does not list exactly the members")
    if lines[0][:64] != archive.manifest_sha256:
        _refuse(archive, "the manifest does not match its SHA-256")


def _refuse(archive: ArchiveReader, reason: str) -> NoReturn:
    raise Corruption(
        reason,
        path=f"{archive.path}:{SUMS}",
        reason="SNAPSHOT_DAMAGED",
        hint="take another copy of the snapshot, or another snapshot: holdfast storage snapshot list",
    )
