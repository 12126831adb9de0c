"""Proving one archive on the way to something else: every member against its checksum, every collection's rows against
its digest. The first damage ends it; a verification (snapshot_verify) tells of all.
"""

from __future__ import annotations

import numpy as np

from ..errors import Corruption
from ..format.hashing import digest_sums
from ..format.segment import ROW_DTYPE
from ..format.snapshot import REMOVED, ROWS
from ..model import Digest
from ..storage.archive_reader import ArchiveReader
from .meter import Advance

ROWS_AT_ONCE = 16384


def verify_archive(archive: ArchiveReader, advance: Advance) -> int:
    """Read an open archive to its end; returns the number of members. Raises Corruption or OSError."""
    collections = archive.manifest.collections
    digests = [Digest() for _ in collections]
    count = 0
    for count, member in enumerate(archive.members(), 1):  # noqa: B007
        rows = 0 if member.part == REMOVED else collections[member.collection].parts[member.part].rows
        if member.file == ROWS:
            digest = _digest(archive, member.size - rows * ROW_DTYPE.itemsize, rows, advance)
            digests[member.collection] = digests[member.collection].plus(digest.high, digest.low)
        else:
            for piece in archive.pieces():
                advance(len(piece), 0)
        if member.part_ends:
            advance(0, rows)
    for collection, digest in zip(collections, digests, strict=True):
        if digest != collection.rows_digest:
            raise Corruption(
                f"the rows of {collection.spec.name} have digest {digest.hex()}, the manifest says "
                f"{collection.rows_digest.hex()}",
                path=archive.path,
                reason="DIGEST_MISMATCH",
                hint="take another copy of the snapshot, or another snapshot",
            )
    return count


def _digest(archive: ArchiveReader, header: int, rows: int, advance: Advance) -> Digest:
    digest = Digest()
    archive.take(header)
    for start in range(0, rows, ROWS_AT_ONCE):
        data = archive.take(min(ROWS_AT_ONCE, rows - start) * ROW_DTYPE.itemsize)
        facts = np.frombuffer(data, ROW_DTYPE)
        digest = digest.plus(*digest_sums(np.column_stack((facts["hash_high"], facts["hash_low"]))))
        advance(len(data), 0)
    return digest
