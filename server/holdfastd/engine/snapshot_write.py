"""Writing a snapshot's archive: what it will hold, how large that is, and the bytes under its ``.part`` name.

Whether the rows come from the live store or out of a chain of archives is all the same here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..format.snapshot import (
    MANIFEST,
    PLANES,
    README,
    REMOVED,
    Member,
    SnapshotManifest,
    archive_bytes,
    data_members,
    encode_snapshot,
    readme_text,
)
from ..format.urls import is_object_url
from ..storage.archive_writer import ArchiveWriter, Piece
from ..storage.bulk import LARGE_BYTES, LARGE_PIECE_BYTES, LARGEST_PIECE_BYTES, BulkWriter
from .meter import Advance
from .snapshot_context import SnapshotContext
from .snapshot_removed import RemovedIds, removed_pieces
from .snapshot_rows import TakenPart, pieces

COMPRESSION_THREADS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What the archive will hold. ``taken``, ``removed``: per collection, its parts and the ids that are gone from it.

    ``size``: bytes of the tar.
    """

    manifest: SnapshotManifest
    encoded: bytes
    readme: bytes
    taken: list[list[TakenPart]]
    removed: list[RemovedIds]
    size: int

    @classmethod
    def of(cls, manifest: SnapshotManifest, taken: list[list[TakenPart]], removed: list[RemovedIds]) -> Plan:
        """The plan that a manifest stands for."""
        encoded, readme = encode_snapshot(manifest), readme_text(manifest)
        return cls(manifest, encoded, readme, taken, removed, archive_bytes(manifest, len(encoded), len(readme)))

    def pieces_of(self, member: Member) -> Iterator[Piece]:
        """The content of one member."""
        if member.part == REMOVED:
            return removed_pieces(self.removed[member.collection], member.file)
        return pieces(self.taken[member.collection][member.part], member.file)

    def file_bytes(self, *, compress: bool) -> int:
        """About the bytes that the file will take."""
        if not compress:
            return self.size
        planes = sum(member.size for member in data_members(self.manifest) if member.file == PLANES)
        return compressed_bytes(planes, self.size - planes)


def compressed_bytes(floats: int, others: int) -> int:
    """About what is left of them: full-precision floats give a compressor little, payloads much."""
    return floats * 9 // 10 + others // 2


def write_archive(
    context: SnapshotContext, plan: Plan, path: str, advance: Advance, *, compress: bool
) -> tuple[int, str]:
    """The whole archive as a new file, durable but for its name: (its size, the SHA-256 of its sums).

    One thread, and a few that compress; blocks. Raises OSError, Corruption where a segment that is copied is damaged,
    and what ``advance`` raises; no file is left then.
    """
    with contextlib.ExitStack() as stack:
        submit = None
        if compress:
            pool = stack.enter_context(ThreadPoolExecutor(COMPRESSION_THREADS, thread_name_prefix="compress"))
            submit = pool.submit
        # What is compressed will be smaller by nobody knows how much. In an object store nothing is reserved, and the
        # parts must be large enough.
        reserve = 0 if compress and not is_object_url(path) else plan.size
        large = plan.size >= LARGE_BYTES
        piece_bytes = LARGEST_PIECE_BYTES if compress else LARGE_PIECE_BYTES
        out = stack.enter_context(
            BulkWriter(
                context.fs,
                path,
                reserve,
                large=large,
                piece_bytes=piece_bytes,
                pace=context.backup_pace,
                quiet=context.quiet,
            )
        )
        mtime = plan.manifest.created_us // 1_000_000
        archive = ArchiveWriter(out, mtime=mtime, submit=submit, beside=context.fs.beside)
        archive.add(MANIFEST, len(plan.encoded), [plan.encoded])
        archive.add(README, len(plan.readme), [plan.readme])
        for member in data_members(plan.manifest):
            archive.add(member.name, member.size, _counted(plan.pieces_of(member), advance))
            if member.part_ends:
                advance(0, plan.manifest.collections[member.collection].parts[member.part].rows)
        sums = archive.finish()
        assert archive.size == plan.size
        return out.close().size, sums


def _counted(content: Iterator[Piece], advance: Advance) -> Iterator[Piece]:
    for piece in content:
        yield piece
        advance(piece.nbytes if isinstance(piece, np.ndarray) else len(piece), 0)
