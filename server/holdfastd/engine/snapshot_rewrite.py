"""One increment written anew as a full snapshot, out of its chain of archives alone.

    stage     the chain, base first, as a restore does it: every byte is held against its checksum, and after each link
              count and digest against what the link says
    write     the rows that live at the increment's own sequence, as a full archive beside its file
    verify    that archive, read back from the disk: the chain may be deleted for it

The new archive has the id, the moment and the age of the increment, and stands for it: links behind name the increment
by the SHA-256 of its sums, which the new one carries.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import NoReturn

from .. import __version__
from ..errors import Corruption, FailedPrecondition
from ..format.segment import ROW_DTYPE
from ..format.snapshot import IDS, PAYLOADS, SNAPSHOT_VERSION, SnapshotCollection, SnapshotManifest
from ..format.verify_receipt import CHECKSUMS
from ..model import Digest
from ..storage.archive_reader import ArchiveReader
from ..storage.registry import PendingSnapshot, SnapshotRecord
from .archive_proof import verify_archive
from .meter import Meter
from .snapshot_chain import Chain
from .snapshot_context import SnapshotContext
from .snapshot_info import SnapshotInfo
from .snapshot_receipts import make_receipt, with_reading
from .snapshot_record import make_record
from .snapshot_removed import NOTHING_REMOVED
from .snapshot_rows import TakenPart, digest_of, take
from .snapshot_stage import staged_bytes, staged_rows, staged_to_read
from .snapshot_write import Plan, compressed_bytes, write_archive
from .view import View

_PART_BYTES = 16 << 10
"""About what a part takes besides its rows: headers, paddings, its place in the manifest."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """An increment that is to stand alone, and the chain that it is made of."""

    info: SnapshotInfo
    chain: Chain

    @property
    def manifest(self) -> SnapshotManifest:
        """What the increment says now."""
        return self.chain.last.manifest

    @property
    def working_bytes(self) -> int:
        """What the staging takes for a while, in the data directory."""
        return staged_bytes(self.chain, {each.spec.id for each in self.manifest.collections})

    @property
    def file_bytes(self) -> int:
        """About the bytes that the new file will take; seldom more."""
        floats, others = 0, _PART_BYTES
        for collection in self.manifest.collections:
            floats += collection.count * collection.spec.dimensions * 4
            others += collection.count * (ROW_DTYPE.itemsize + 4)
            for link in self.chain.links_of(collection.spec.id):
                for part in link.said(collection.spec.id).parts:
                    others += _PART_BYTES + part.sizes[IDS] + part.sizes[PAYLOADS]
        return compressed_bytes(floats, others) if self.info.record.compressed else floats + others


class Rewriter:
    """Writes one of them. One thread; blocks; whoever calls it has the chain in use."""

    def __init__(self, context: SnapshotContext, rewriting: Rewriting, meter: Meter) -> None:
        self._context = context
        self._info, self._chain = rewriting.info, rewriting.chain
        self._manifest = rewriting.manifest
        self._meter = meter

    def write(self, pending: PendingSnapshot) -> SnapshotRecord:
        """Write the ``.part`` file and prove it; what is to be known of it once it is in its place.

        Raises Corruption, which names the damaged link, Cancelled or OSError; the caller removes the file then.
        """
        context, compressed = self._context, self._info.record.compressed
        started_ns = context.clock.monotonic_ns()
        with self._staged() as (views, sums):
            plan = self._plan(views, sums)
            self._meter.begin("writing", plan.size, plan.manifest.vectors)
            advance = self._meter.advance
            size, new_sums = write_archive(context, plan, pending.part_path, advance, compress=compressed)
        self._verify(plan, pending.part_path)
        record = make_record(
            plan.manifest, path=pending.path, size_bytes=size, uncompressed_bytes=plan.size, compressed=compressed
        )
        elapsed_ms = (context.clock.monotonic_ns() - started_ns) // 1_000_000
        # A rename leaves the time of change as it is.
        read = make_receipt(
            context,
            pending.part_path,
            level=CHECKSUMS,
            sums_sha256=new_sums,
            modified_ns=context.fs.modified_ns(pending.part_path),
            source="consolidate",
        )
        return with_reading(replace(record, sha256=new_sums, duration_ms=elapsed_ms), read)

    def _staged(self) -> contextlib.AbstractContextManager[tuple[list[View], str]]:
        """The collections as the chain adds up to them, and the SHA-256 of the increment's sums; gone afterwards."""
        collections = self._manifest.collections
        rows = staged_rows(self._chain, {each.spec.id for each in collections})
        self._meter.begin("staging", self._chain.member_bytes, rows)
        return staged_to_read(self._context, self._chain, range(len(collections)), self._meter.advance)

    def _plan(self, views: list[View], sums: str) -> Plan:
        old = self._manifest
        if old.base is None:
            raise FailedPrecondition(
                f"{self._info.path} is a full snapshot by now: another daemon has made it one",
                reason="SNAPSHOT_CHANGED",
                hint="send the command again",
                snapshot=self._info.id,
                path=self._info.path,
            )
        taken = [take(view, old.sequence, planes=old.planes) for view in views]
        collections = tuple(map(self._whole, old.collections, taken))
        manifest = replace(
            old,
            collections=collections,
            base=None,
            stands_for=sums,
            daemon_version=__version__,
            min_reader=1,
            format_version=SNAPSHOT_VERSION,
        )
        return Plan.of(manifest, taken, [NOTHING_REMOVED] * len(taken))

    def _whole(self, said: SnapshotCollection, parts: list[TakenPart]) -> SnapshotCollection:
        """A collection as the new archive has it. Raises Corruption unless it is the one that the increment counts."""
        count, digest = sum(len(part.rows) for part in parts), digest_of(parts)
        if (count, digest) != (said.count, said.digest):
            self._differs(said, count, digest)
        entries = tuple(part.entry for part in parts)
        return SnapshotCollection(said.spec, said.count, said.digest, said.updated_us, entries)

    def _differs(self, said: SnapshotCollection, count: int, digest: Digest) -> NoReturn:
        raise Corruption(
            f"{said.spec.name} counts {said.count} vectors with digest {said.digest.hex()}, and its chain adds up to "
            f"{count} with digest {digest.hex()}",
            path=self._info.path,
            reason="DIGEST_MISMATCH",
            hint=f"nothing was touched; verify the chain: holdfast storage snapshot verify {self._info.id}",
        )

    def _verify(self, plan: Plan, path: str) -> None:
        """Read back what was written. Raises Corruption where the disk has something else."""
        self._meter.begin("verifying", plan.size, plan.manifest.vectors)
        archive = ArchiveReader(self._context.fs, path)
        verify_archive(archive, self._meter.advance)
        if archive.manifest != plan.manifest:
            raise Corruption("is not what was written a moment ago", path=path, reason="SNAPSHOT_DAMAGED")
