"""Staging: collections out of an archive, written beside the live data under new ids, where nobody looks yet.

Files go to ``collections/<new uuid>/<new segment uuid>/``; not one name comes from the archive. Rows are checked as
they come: offsets that stay inside, ids that are text and stand once, sequences within the snapshot, the digest. The
whole is sealed with an entry that recovery can publish (``STAGED_ENTRY``).
"""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.hashing import digest_sums, hash_ids
from ..format.manifest import CollectionEntry, SegmentEntry
from ..format.npy import VECTORS_ALIGN, npy_header
from ..format.planes import planes_shape, rows_per_block, unshuffle
from ..format.segment import ROW_DTYPE, ROW_HAS_PAYLOAD, SEGMENT_VERSION, FileInfo, SegmentInfo, encode_segment_info
from ..format.snapshot import IDS, MAX_ID_BYTES, NORMS, PAYLOADS, PLANES, ROWS, VECTORS, Member, SnapshotCollection
from ..model import CollectionSpec, Digest, Int64Array, Sequence64
from ..storage import names
from ..storage.archive_reader import ArchiveReader
from ..storage.bulk import BulkWriter, write_document
from ..storage.checks import mapped_array
from ..storage.files import make_dirs
from ..storage.id_build import IndexBuilder
from ..storage.id_run import Run
from ..storage.segment import Segment, open_segment
from .recovery_open import STAGED_ENTRY
from .snapshot_context import SnapshotContext

ROWS_AT_ONCE = 65536

Advance = Callable[[int, int], None]
"""Called with bytes and vectors done since the last call; may raise Cancelled."""


@dataclass(slots=True)
class Staging:
    """One collection of the archive on its way to becoming ``spec``."""

    source: SnapshotCollection
    spec: CollectionSpec
    index: IndexBuilder
    segments: list[Segment] = field(default_factory=list)
    digest: Digest = field(default_factory=Digest)
    segment_id: uuid.UUID = field(default_factory=lambda: uuid.UUID(int=0))
    files: dict[str, FileInfo] = field(default_factory=dict)


class Stager:
    """Stages some collections of one archive. One thread; blocks; everything is durable when ``run`` returns."""

    def __init__(self, context: SnapshotContext, archive: ArchiveReader, specs: dict[int, CollectionSpec]) -> None:
        """``specs``: what each wanted collection, by its number in the archive, is to become."""
        self._context = context
        self._archive = archive
        collections = archive.manifest.collections
        self._stagings = {
            number: Staging(
                collections[number],
                spec,
                IndexBuilder(context.fs, context.layout, spec.id, pace=context.pace),
            )
            for number, spec in specs.items()
        }
        self._problem: Corruption | None = None

    def run(self, advance: Advance, *, deep: bool) -> list[CollectionEntry]:
        """Stage and prove. ``deep``: recompute every row's hash from id, vector and payload, and every norm.

        Raises Corruption, Cancelled or OSError; the caller removes the directories then.
        """
        for staging in self._stagings.values():
            make_dirs(self._context.fs, self._context.layout.collection_dir(staging.spec.id))
        for member in self._archive.members():
            chosen = self._stagings.get(member.collection)
            if chosen is None or self._problem is not None:
                for piece in self._archive.pieces():
                    advance(len(piece), 0)
                continue
            self._stage_member(chosen, member, advance)
        # Only now are the bytes proven. Damage shows as a wrong checksum first; what is still wrong was written so.
        if self._problem is not None:
            raise self._problem
        return [self._seal(staging, deep) for staging in self._stagings.values()]

    # One member -----------------------------------------------------------------------------------------------------

    def _stage_member(self, staging: Staging, member: Member, advance: Advance) -> None:
        fs, layout = self._context.fs, self._context.layout
        if not staging.files:
            staging.segment_id = self._context.randomness.uuid4()
            fs.mkdir(layout.segment_dir(staging.spec.id, staging.segment_id))
        rows = staging.source.parts[member.part].rows
        directory = layout.segment_dir(staging.spec.id, staging.segment_id)
        if member.file == PLANES:
            path = posixpath.join(directory, VECTORS)
            staging.files[VECTORS] = self._write_planes(path, member, rows, staging.spec.dimensions, advance)
        else:
            staging.files[member.file] = self._copy(posixpath.join(directory, member.file), member.size, advance)
        if member.part_ends:
            try:
                self._finish_part(staging, member, rows)
            except Corruption as error:
                self._problem = error
            advance(0, rows)

    def _copy(self, path: str, size: int, advance: Advance) -> FileInfo:
        with BulkWriter(self._context.fs, path, size, pace=self._context.pace) as out:
            for piece in self._archive.pieces():
                out.write(piece)
                advance(len(piece), 0)
            return out.close()

    def _write_planes(self, path: str, member: Member, rows: int, dimensions: int, advance: Advance) -> FileInfo:
        """Undo the shuffling: what is written is an ordinary vectors.npy."""
        shape = planes_shape(rows, dimensions)
        expected = npy_header("|u1", shape)
        if len(expected) + int(np.prod(shape)) != member.size or self._archive.take(len(expected)) != expected:
            self._refuse(member, f"is no array of planes of the shape {shape}")
        header = npy_header("<f4", (rows, dimensions), align=VECTORS_ALIGN)
        step, left = rows_per_block(rows, dimensions), rows
        reserve = len(header) + rows * dimensions * 4
        with BulkWriter(self._context.fs, path, reserve, pace=self._context.pace) as out:
            out.write(header)
            for _ in range(shape[0]):
                block = np.frombuffer(self._archive.take(4 * shape[2]), np.uint8).reshape(4, shape[2])
                out.write(unshuffle(block, dimensions)[: min(step, left)])
                left -= step
                advance(block.nbytes, 0)
            return out.close()

    # One part -------------------------------------------------------------------------------------------------------

    def _finish_part(self, staging: Staging, member: Member, count: int) -> None:
        """Check the rows of a part and seal it as a segment."""
        context, ordinal = self._context, len(staging.segments)
        directory = context.layout.segment_dir(staging.spec.id, staging.segment_id)
        first, last = self._check_rows(staging, member, directory, count)
        info = SegmentInfo(
            id=staging.segment_id,
            collection_id=staging.spec.id,
            ordinal=ordinal,
            rows=count,
            dimensions=staging.spec.dimensions,
            first_sequence=first,
            last_sequence=last,
            files=staging.files,
            format_version=SEGMENT_VERSION,
        )
        write_document(context.fs, posixpath.join(directory, names.SEGMENT_JSON), encode_segment_info(info))
        context.fs.sync_dir(directory)
        entry = SegmentEntry(info.id, ordinal, count, info.size_bytes)
        try:
            staging.segments.append(open_segment(context.fs, context.layout, staging.spec.id, entry))
        except Corruption as error:
            self._refuse(member, str(error.message), posixpath.basename(error.path))
        staging.files = {}

    def _check_rows(
        self, staging: Staging, member: Member, directory: str, count: int
    ) -> tuple[Sequence64, Sequence64]:
        rows = self._mapped(member, directory, ROWS, ROW_DTYPE, (count,))
        ids = self._mapped(member, directory, IDS, np.dtype("|u1"), None)
        payloads = self._mapped(member, directory, PAYLOADS, np.dtype("|u1"), None)
        norms = self._mapped(member, directory, NORMS, np.dtype("<f4"), (count,))
        if not (norms >= 0).all() or not np.isfinite(norms).all():
            self._refuse(member, "holds a norm that no vector has", NORMS)
        id_end = payload_end = last = 0
        first = self._archive.manifest.sequence
        for start in range(0, count, ROWS_AT_ONCE):
            facts = rows[start : start + ROWS_AT_ONCE].copy()
            problem = _problem_with(facts, id_end, payload_end, self._archive.manifest.sequence)
            if problem is not None:
                self._refuse(member, f"row {start + problem[0]} {problem[1]}", ROWS)
            first, last = min(first, int(facts["sequence"].min())), max(last, int(facts["sequence"].max()))
            id_start, id_end = id_end, id_end + int(facts["id_length"].sum(dtype=np.int64))
            payload_end += int(facts["payload_length"].sum(dtype=np.int64))
            if id_end > len(ids) or payload_end > len(payloads):
                self._refuse(member, f"rows from {start} on point beyond the end of {IDS} or {PAYLOADS}", ROWS)
            texts = self._texts(member, ids[id_start:id_end], facts["id_length"])
            places = np.arange(start, start + len(facts), dtype=np.uint32)
            staging.index.add(hash_ids(texts), len(staging.segments), places)
            staging.digest = staging.digest.plus(*digest_sums(_hashes(facts)))
        if id_end != len(ids) or payload_end != len(payloads):
            self._refuse(member, f"does not cover all of {IDS} and {PAYLOADS}", ROWS)
        return first, last

    def _texts(self, member: Member, joined: NDArray[np.uint8], lengths: NDArray[Any]) -> list[bytes]:
        """The ids that stand back to back in ``joined``, each of them UTF-8."""
        data = joined.tobytes()
        ends = np.cumsum(lengths, dtype=np.int64)
        starts = ends - lengths
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._refuse(member, f"is no UTF-8: {error.reason}", IDS)
        if bool(((joined[starts] & 0xC0) == 0x80).any()):
            self._refuse(member, "has an id that begins inside a character", IDS)
        return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _mapped(
        self, member: Member, directory: str, file: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None
    ) -> NDArray[Any]:
        path = posixpath.join(directory, file)
        try:
            return mapped_array(self._context.fs.map(path), path, dtype, shape)
        except Corruption as error:
            self._refuse(member, error.message.removeprefix(f"{path} at offset 0: "), file)

    # The whole collection -------------------------------------------------------------------------------------------

    def _seal(self, staging: Staging, deep: bool) -> CollectionEntry:
        context, spec, source = self._context, staging.spec, staging.source
        if staging.digest != source.digest:
            raise Corruption(
                f"the rows of {source.spec.name} have digest {staging.digest.hex()}, the manifest says "
                f"{source.digest.hex()}",
                path=self._archive.path,
                reason="DIGEST_MISMATCH",
                hint="take another copy of the snapshot, or another snapshot",
            )
        run = staging.index.finish()
        if run is not None:
            self._check_distinct(staging, run)
        if deep:
            for segment in staging.segments:
                segment.verify(True, pace=context.pace)
        entry = CollectionEntry(
            spec=spec,
            checkpoint_sequence=0,
            count=source.count,
            digest=source.digest,
            segments=tuple(segment.entry(None) for segment in staging.segments),
            index_runs=() if run is None else (run.entry,),
            next_ordinal=len(staging.segments),
            updated_us=source.updated_us,
        )
        directory = context.layout.collection_dir(spec.id)
        write_document(context.fs, posixpath.join(directory, STAGED_ENTRY), msgspec.json.encode(entry))
        context.fs.sync_dir(directory)
        return entry

    def _check_distinct(self, staging: Staging, run: Run) -> None:
        """Raise Corruption when an id stands twice: reads of it would depend on the order of segments."""
        step = 1 << 20
        for start in range(0, run.rows_count, step):
            hashes = run.hashes[start : start + step + 1]
            for at in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
                same = np.searchsorted(run.hashes, hashes[at], side="right") - (start + at)
                self._compare(staging, run.places[start + at : start + at + int(same)])

    def _compare(self, staging: Staging, places: NDArray[Any]) -> None:
        seen: set[bytes] = set()
        for place in places:
            row: Int64Array = np.array([place["row"]], np.int64)
            (id,) = staging.segments[int(place["segment"])].ids_at(row)
            if id in seen:
                raise Corruption(
                    f"the id {id.decode()[:64]!r} stands in {staging.source.spec.name} twice",
                    path=self._archive.path,
                    reason="SNAPSHOT_DAMAGED",
                    hint="this archive was not written by holdfastd; take another one",
                )
            seen.add(id)

    def _refuse(self, member: Member, reason: str, file: str | None = None) -> NoReturn:
        name = member.name if file is None else f"{posixpath.dirname(member.name)}/{file}"
        raise Corruption(
            reason,
            path=f"{self._archive.path}:{name}",
            reason="SNAPSHOT_DAMAGED",
            hint="this archive was not written by holdfastd; take another one",
        )


def _problem_with(
    facts: NDArray[Any], id_start: int, payload_start: int, sequence: Sequence64
) -> tuple[int, str] | None:
    """The first row that says what cannot be, and what; None when all of them may be."""
    checks: Sequence[tuple[NDArray[np.bool_], str]] = (
        (_in_place(facts["id_offset"], facts["id_length"], id_start), "has an id that stands elsewhere"),
        (
            _in_place(facts["payload_offset"], facts["payload_length"], payload_start),
            "has a payload that stands elsewhere",
        ),
        ((facts["id_length"] >= 1) & (facts["id_length"] <= MAX_ID_BYTES), "has an id of a forbidden length"),
        (facts["flags"] <= ROW_HAS_PAYLOAD, "has unknown flags"),
        ((facts["flags"] == ROW_HAS_PAYLOAD) == (facts["payload_length"] > 0), "has a payload that its flags deny"),
        ((facts["sequence"] >= 1) & (facts["sequence"] <= sequence), "was written after the snapshot"),
        (facts["version"] >= 1, "has no version"),
        (facts["reserved"] == 0, "uses a reserved field"),
    )
    for good, what in checks:
        if not good.all():
            return int(np.flatnonzero(~good)[0]), what
    return None


def _in_place(offsets: NDArray[Any], lengths: NDArray[Any], start: int) -> NDArray[np.bool_]:
    """Which values stand right behind the ones before them."""
    wide = lengths.astype(np.uint64)
    right: NDArray[np.bool_] = offsets == np.cumsum(wide) - wide + np.uint64(start)
    return right


def _hashes(facts: NDArray[Any]) -> NDArray[np.uint64]:
    return np.column_stack((facts["hash_high"], facts["hash_low"]))
