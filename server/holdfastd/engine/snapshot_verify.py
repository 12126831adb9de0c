"""Verifying a snapshot with its chain: every member against its checksum, every collection's rows against its digest.

What the links of a chain add up to is proven by a restore.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Corruption, FailedPrecondition, HoldfastError
from ..format.hashing import digest_sums
from ..format.segment import ROW_DTYPE
from ..format.snapshot import REMOVED, ROWS
from ..model import Digest
from ..storage.archive_reader import ArchiveReader
from .meter import Advance, Meter
from .operations import Work
from .snapshot_catalog import SnapshotCatalog
from .snapshot_chain import Chain, ChainFinder, Link, open_link
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_info import SnapshotInfo

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


class Verification:
    """One verification; ``run`` is the whole of it. Damage is a result, not an error: finding it is the work.

    ``skip_chain``: only this file; ``base_path``: a directory to look for the links in.
    """

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        info: SnapshotInfo,
        work: Work,
        *,
        skip_chain: bool = False,
        base_path: str | None = None,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._info = info
        self._meter = Meter(work)
        self._skip_chain = skip_chain
        self._finder = ChainFinder(context.fs, catalog, base_path)
        self._started_ns = context.clock.monotonic_ns()
        self._files = self._size_bytes = 0

    def run(self) -> dict[str, Any]:
        """Verify; returns the result document. Blocks; runs on an operation's thread."""
        problem: HoldfastError | None = None
        links: tuple[Link, ...] = ()
        try:
            # No link is needed for a collection that is whole, and there is none of a full snapshot.
            with self._finder.hold(self._info, set() if self._skip_chain else None) as chain:
                links = chain.links
                self._begin(chain)
                for link in links:
                    self._verify(link)
        except Corruption as error:
            problem = error
            self._catalog.note_damage(error)
        except FailedPrecondition as error:
            # A link that is missing, or another one. Nothing is wrong with the file itself.
            problem = error
        except OSError as error:
            raise disk_error(error, "the snapshot cannot be read", self._info.path) from error
        return self._document(problem, links)

    def _begin(self, chain: Chain) -> None:
        self._meter.begin("verifying", chain.member_bytes, sum(link.manifest.vectors for link in chain.links))

    def _verify(self, link: Link) -> None:
        # And the manifest, the README and the sums.
        self._files += verify_archive(open_link(self._context.fs, link), self._meter.advance) + 3
        self._size_bytes += link.size
        self._catalog.note_verified(link.path, self._context.clock.now_us())

    def _document(self, problem: HoldfastError | None, links: tuple[Link, ...]) -> dict[str, Any]:
        record = self._info.record
        problems = []
        if problem is not None:
            path, offset = problem.metadata.get("path", self._info.path), problem.metadata.get("offset", 0)
            problems = [{"path": path, "offset": offset, "message": problem.message, "hint": problem.hint}]
        return {
            "valid": problem is None,
            "problems": problems,
            "snapshot_id": record.id,
            "path": self._info.path,
            "chain": [link.manifest.id for link in links] or [record.id],
            "files": self._files,
            "vectors": sum(link.manifest.vectors for link in links) or record.vectors,
            "size_bytes": self._size_bytes or record.size_bytes,
            "first_sequence": links[0].manifest.base.sequence + 1 if links and links[0].manifest.base else 0,
            "last_sequence": record.sequence,
            "duration_ms": (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000,
            "status": "completed",
            "warnings": [],
        }
