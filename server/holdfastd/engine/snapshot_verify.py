"""Verifying a snapshot: every member against its checksum, every collection's rows against its digest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import Corruption
from ..format.hashing import digest_sums
from ..format.segment import ROW_DTYPE
from ..format.snapshot import ROWS
from ..model import Digest
from ..storage.archive_reader import ArchiveReader
from .operations import Work
from .snapshot_catalog import SnapshotCatalog
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_info import SnapshotInfo

ROWS_AT_ONCE = 16384
REPORT_BYTES = 1 << 20

Advance = Callable[[int, int], None]
"""Called with bytes and vectors read since the last call; may raise Cancelled."""


def verify_archive(archive: ArchiveReader, advance: Advance) -> int:
    """Read an open archive to its end; returns the number of members. Raises Corruption or OSError."""
    collections = archive.manifest.collections
    digests = [Digest() for _ in collections]
    count = 0
    for count, member in enumerate(archive.members(), 1):  # noqa: B007
        rows = collections[member.collection].parts[member.part].rows
        if member.file == ROWS:
            digest = _digest(archive, member.size - rows * ROW_DTYPE.itemsize, rows, advance)
            digests[member.collection] = digests[member.collection].plus(digest.high, digest.low)
        else:
            for piece in archive.pieces():
                advance(len(piece), 0)
        if member.part_ends:
            advance(0, rows)
    for collection, digest in zip(collections, digests, strict=True):
        if digest != collection.digest:
            raise Corruption(
                f"the rows of {collection.spec.name} have digest {digest.hex()}, the manifest says "
                f"{collection.digest.hex()}",
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


class Verification:
    """One verification; ``run`` is the whole of it. Damage is a result, not an error: finding it is the work."""

    def __init__(self, context: SnapshotContext, catalog: SnapshotCatalog, info: SnapshotInfo, work: Work) -> None:
        self._context = context
        self._catalog = catalog
        self._info = info
        self._work = work
        self._started_ns = context.clock.monotonic_ns()
        self._done_bytes = self._done_vectors = self._reported_bytes = 0

    def run(self) -> dict[str, Any]:
        """Verify; returns the result document. Blocks; runs on an operation's thread."""
        problem: Corruption | None = None
        members = 0
        record = self._info.record
        self._work.report(phase="verifying", total_bytes=record.uncompressed_bytes, total_vectors=record.vectors)
        try:
            with self._catalog.in_use(self._info):
                members = verify_archive(self._catalog.open(self._info), self._advance)
        except Corruption as error:
            problem = error
        except OSError as error:
            raise disk_error(error, "the snapshot cannot be read", self._info.path) from error
        if problem is None:
            self._catalog.note(self._info, verified_us=self._context.clock.now_us())
        else:
            self._catalog.note(self._info, damage=problem.message)
        return self._document(problem, members)

    def _advance(self, count: int, vectors: int) -> None:
        self._done_bytes += count
        self._done_vectors += vectors
        self._work.check_cancelled()
        if vectors or self._done_bytes - self._reported_bytes >= REPORT_BYTES:
            self._reported_bytes = self._done_bytes
            self._work.report(done_bytes=self._done_bytes, done_vectors=self._done_vectors)

    def _document(self, problem: Corruption | None, members: int) -> dict[str, Any]:
        record = self._info.record
        problems = []
        if problem is not None:
            problems = [
                {"path": problem.path, "offset": problem.offset, "message": problem.message, "hint": problem.hint}
            ]
        return {
            "valid": problem is None,
            "problems": problems,
            "snapshot_id": record.id,
            "path": self._info.path,
            "chain": [record.id],
            "files": members + 3 if problem is None else members,
            "vectors": record.vectors,
            "size_bytes": record.size_bytes,
            "last_sequence": record.sequence,
            "duration_ms": (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000,
            "status": "completed",
            "warnings": [],
        }
