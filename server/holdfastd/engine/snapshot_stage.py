"""Staging: collections out of a chain of archives, written beside the live data under new ids, where nobody looks yet.

Files go to ``collections/<new uuid>/<new segment uuid>/``; not one name comes from an archive. Rows are checked as
they come (snapshot_check); what the links add up to is proven link by link (staging). The whole is sealed with an
entry that recovery can publish.
"""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..errors import Corruption
from ..format.manifest import CollectionEntry, SegmentEntry
from ..format.npy import VECTORS_ALIGN, npy_header
from ..format.planes import planes_shape, rows_per_block, unshuffle
from ..format.segment import SEGMENT_VERSION, FileInfo, SegmentInfo, encode_segment_info
from ..format.snapshot import PLANES, REMOVED, TOMBSTONE_IDS, TOMBSTONES, VECTORS, Member, data_members
from ..model import CollectionSpec, Sequence64
from ..storage import names
from ..storage.archive_reader import ArchiveReader
from ..storage.beside import Done, Pending
from ..storage.bulk import LARGEST_PIECE_BYTES, BulkWriter, write_document
from ..storage.files import make_dirs, remove_tree
from ..storage.segment import open_segment
from .meter import Advance
from .snapshot_chain import Chain, Link, open_link
from .snapshot_check import PartCheck, refuse
from .snapshot_context import SnapshotContext
from .staging import Staging
from .view import View

INDEX_BYTES_PER_ROW = 20


def staged_rows(chain: Chain, sources: Collection[uuid.UUID]) -> int:
    """Rows that some collections have in all links together, those that later links replace included."""
    return sum(link.said(source).rows for source in sources for link in chain.links_of(source))


def staged_bytes(chain: Chain, sources: Collection[uuid.UUID]) -> int:
    """Bytes that the files of some collections take when they are staged."""
    size = 0
    for link in chain.links:
        numbers = {n for n, each in enumerate(link.manifest.collections) if each.spec.id in sources}
        size += sum(member.size for member in data_members(link.manifest) if member.collection in numbers)
    return size + staged_rows(chain, sources) * INDEX_BYTES_PER_ROW


@contextlib.contextmanager
def staged_to_read(
    context: SnapshotContext, chain: Chain, numbers: Iterable[int], advance: Advance
) -> Iterator[tuple[list[View], str]]:
    """Collections of a chain's last link, by their numbers there, for as long as the block reads them; gone afterwards.

    Yields their views, and the SHA-256 of the link's sums. Raises as ``Stager.run`` does.
    """
    collections = chain.last.manifest.collections
    specs = {number: replace(collections[number].spec, id=context.randomness.uuid4()) for number in numbers}
    try:
        stager = Stager(context, chain, specs)
        yield stager.views(advance), stager.sums_sha256
    finally:
        for spec in specs.values():
            # What cannot be removed is garbage to the next start.
            with contextlib.suppress(OSError):
                remove_tree(context.fs, context.layout.collection_dir(spec.id))


class StagedPart:
    """A part whose files have all been copied, into a segment's directory of its own."""

    def __init__(self, staging: Staging, member: Member, rows: int, closing: list[Pending]) -> None:
        """``member``: the last one of the part. ``closing``: what makes its files durable."""
        self.staging = staging
        self.member = member
        self.rows = rows
        self.closing = closing
        self.segment_id = staging.segment_id
        self.files = staging.files


class Stager:
    """Stages some collections of one chain. One thread and one beside it; blocks; durable when ``run`` returns."""

    def __init__(self, context: SnapshotContext, chain: Chain, specs: dict[int, CollectionSpec]) -> None:
        """``specs``: what each wanted collection, by its number in the last link, is to become."""
        self._context = context
        self._chain = chain
        self._stagings = []
        for number, spec in specs.items():
            source = chain.last.manifest.collections[number].spec.id
            self._stagings.append(Staging(context, source, chain.links_of(source), spec))
        # Of the link that is being read.
        self._link = chain.last
        self._archive: ArchiveReader
        self._problem: Corruption | None = None
        self._closing: list[Pending] = []
        self._finishing: Pending = Done(lambda: None)
        self.sums_sha256 = ""
        """The SHA-256 of the SHA256SUMS of the last link, once it has been read."""

    def run(self, advance: Advance, *, deep: bool) -> list[CollectionEntry]:
        """Stage and prove. ``deep``: recompute every row's hash from id, vector and payload, and every norm.

        Raises Corruption, Cancelled or OSError; the caller removes the directories then.
        """
        self._stage(advance)
        last = self._chain.last
        return [
            staging.seal(last.said(staging.source), last.manifest.sequence, deep=deep) for staging in self._stagings
        ]

    def views(self, advance: Advance) -> list[View]:
        """Stage and prove, to be read and thrown away: each wanted collection at the sequence of the last link.

        Raises as ``run`` does.
        """
        self._stage(advance)
        last = self._chain.last
        return [staging.view(last.said(staging.source), last.manifest.sequence) for staging in self._stagings]

    def _stage(self, advance: Advance) -> None:
        for staging in self._stagings:
            make_dirs(self._context.fs, self._context.layout.collection_dir(staging.spec.id))
        try:
            for link in self._chain.links:
                self._stage_link(link, advance)
        finally:
            # Whoever removes the directories must be the only one in them.
            with contextlib.suppress(Exception):
                _wait_for([self._finishing, *self._closing])

    # One link -------------------------------------------------------------------------------------------------------

    def _stage_link(self, link: Link, advance: Advance) -> None:
        self._link, self._problem = link, None
        self._archive = archive = open_link(self._context.fs, link)
        here = [staging for staging in self._stagings if link in staging.links]
        numbers = {collection.spec.id: n for n, collection in enumerate(link.manifest.collections)}
        chosen = {numbers[staging.source]: staging for staging in here}
        for member in archive.members():
            staging = chosen.get(member.collection)
            if staging is None or self._problem is not None:
                for piece in archive.pieces():
                    advance(len(piece), 0)
                continue
            self._stage_member(staging, member, advance)
        self._finishing.result()
        # Only now are the bytes proven. Damage shows as a wrong checksum first; what is still wrong was written so.
        if self._problem is not None:
            raise self._problem
        self.sums_sha256 = archive.sums_sha256
        for staging in here:
            staging.end_link(link)

    def _stage_member(self, staging: Staging, member: Member, advance: Advance) -> None:
        if member.part == REMOVED:
            self._stage_removed(staging, member, advance)
            return
        fs, layout = self._context.fs, self._context.layout
        if not staging.files:
            staging.segment_id = self._context.randomness.uuid4()
            fs.mkdir(layout.segment_dir(staging.spec.id, staging.segment_id))
        rows = self._link.manifest.collections[member.collection].parts[member.part].rows
        directory = layout.segment_dir(staging.spec.id, staging.segment_id)
        if member.file == PLANES:
            path = posixpath.join(directory, VECTORS)
            staging.files[VECTORS] = self._write_planes(path, member, rows, staging.spec.dimensions, advance)
        else:
            staging.files[member.file] = self._copy(posixpath.join(directory, member.file), member.size, advance)
        if member.part_ends:
            part = StagedPart(staging, member, rows, self._closing)
            staging.files, self._closing = {}, []
            self._finish(lambda: self._finish_part(part))
            advance(0, rows)

    def _finish(self, check: Callable[[], None]) -> None:
        """Check what has been copied while the next part is copied. One such check at a time, in order."""
        self._finishing.result()
        self._finishing = self._context.fs.beside(lambda: self._judge(check))

    def _judge(self, check: Callable[[], None]) -> None:
        """What is wrong with rows waits, the first of it, until the checksums have been compared: they tell more."""
        if self._problem is not None:
            return
        try:
            check()
        except Corruption as error:
            self._problem = error

    def _copy(self, path: str, size: int, advance: Advance) -> FileInfo:
        with BulkWriter(self._context.fs, path, size, piece_bytes=LARGEST_PIECE_BYTES, pace=self._context.pace) as out:
            for piece in self._archive.pieces():
                out.write(piece)
                advance(len(piece), 0)
            return self._close(out)

    def _close(self, out: BulkWriter) -> FileInfo:
        """Let a file be synced while the next one is copied."""
        info, closing = out.close_beside()
        self._closing.append(closing)
        return info

    def _write_planes(self, path: str, member: Member, rows: int, dimensions: int, advance: Advance) -> FileInfo:
        """Undo the shuffling: what is written is an ordinary vectors.npy."""
        shape = planes_shape(rows, dimensions)
        expected = npy_header("|u1", shape)
        if len(expected) + int(np.prod(shape)) != member.size or self._archive.take(len(expected)) != expected:
            refuse(self._link.path, member.name, f"is no array of planes of the shape {shape}")
        header = npy_header("<f4", (rows, dimensions), align=VECTORS_ALIGN)
        step, left = rows_per_block(rows, dimensions), rows
        reserve = len(header) + rows * dimensions * 4
        with BulkWriter(
            self._context.fs, path, reserve, piece_bytes=LARGEST_PIECE_BYTES, pace=self._context.pace
        ) as out:
            out.write(header)
            for _ in range(shape[0]):
                block = np.frombuffer(self._archive.take(4 * shape[2]), np.uint8).reshape(4, shape[2])
                out.write(unshuffle(block, dimensions)[: min(step, left)])
                left -= step
                advance(block.nbytes, 0)
            return self._close(out)

    # One part -------------------------------------------------------------------------------------------------------

    def _finish_part(self, part: StagedPart) -> None:
        """Check the rows of a part and seal it as a segment."""
        context, staging = self._context, part.staging
        _wait_for(part.closing)
        directory = context.layout.segment_dir(staging.spec.id, part.segment_id)
        check = PartCheck(context.fs, self._link, part.member.name, directory)
        first, last = check.rows(staging, part.rows, self._since(staging))
        info = SegmentInfo(
            id=part.segment_id,
            collection_id=staging.spec.id,
            ordinal=len(staging.segments),
            rows=part.rows,
            dimensions=staging.spec.dimensions,
            first_sequence=first,
            last_sequence=last,
            files=part.files,
            format_version=SEGMENT_VERSION,
        )
        write_document(context.fs, posixpath.join(directory, names.SEGMENT_JSON), encode_segment_info(info))
        context.fs.sync_dir(directory)
        entry = SegmentEntry(info.id, info.ordinal, info.rows, info.size_bytes)
        try:
            staging.segments.append(open_segment(context.fs, context.layout, staging.spec.id, entry))
        except Corruption as error:
            refuse(self._link.path, part.member.name, str(error.message), posixpath.basename(error.path))

    def _since(self, staging: Staging) -> Sequence64:
        """Behind which sequence everything was written that the current link brings of a collection."""
        base, said = self._link.manifest.base, self._link.said(staging.source)
        return 0 if said.whole or base is None else base.sequence

    # Removed ids ----------------------------------------------------------------------------------------------------

    def _stage_removed(self, staging: Staging, member: Member, advance: Advance) -> None:
        """They are kept beside the segments for as long as it takes to find the rows that they mean."""
        directory = self._context.layout.collection_dir(staging.spec.id)
        self._copy(posixpath.join(directory, member.file), member.size, advance)
        if member.file == TOMBSTONE_IDS:
            count = self._link.manifest.collections[member.collection].deleted
            check = PartCheck(self._context.fs, self._link, member.name, directory)
            _wait_for(self._closing)
            self._closing = []
            self._finishing.result()
            self._judge(lambda: check.removed(staging, count, self._since(staging)))
            for file in (TOMBSTONES, TOMBSTONE_IDS):
                self._context.fs.unlink(posixpath.join(directory, file))


def _wait_for(closing: list[Pending]) -> None:
    """Until no file is being written any more. Raises what kept one from being durable."""
    with contextlib.ExitStack() as all_of_them:
        for pending in reversed(closing):
            all_of_them.callback(pending.result)
