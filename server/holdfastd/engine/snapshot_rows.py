"""What a snapshot takes of one part of a view: exactly the rows that live at its sequence (RULES 29).

An increment takes of these the rows that were written after its base. A segment without dead rows is copied file by
file as it is. Everything else is written from its live rows, in chunks: deleted data never reaches an archive, and the
vectors are never held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.hashing import digest_sums
from ..format.npy import VECTORS_ALIGN, npy_header
from ..format.planes import planes_shape, rows_per_block, shuffle
from ..format.segment import ROW_DTYPE, ROW_HAS_PAYLOAD
from ..format.snapshot import IDS, NORMS, PAYLOADS, PLANES, ROWS, VECTORS, SnapshotPart, part_files
from ..model import Digest, Float32Array, Int64Array, Sequence64
from ..storage.files import Buffer
from ..storage.segment import Segment
from ..storage.segment_files import text_offsets
from . import parts
from .view import MemtableSlice, Part, View

PIECE_BYTES = 1 << 20
ROWS_AT_ONCE = 4096

Piece = Buffer | NDArray[Any]


@dataclass(frozen=True, slots=True)
class TakenPart:
    """Live rows of a part, ascending; ``whole``: all of them, in a segment whose files can be copied."""

    part: Part
    rows: Int64Array
    dimensions: int
    whole: bool
    entry: SnapshotPart
    digest: tuple[int, int]
    id_bytes: int
    payload_bytes: int


def take(view: View, sequence: Sequence64, *, planes: bool, since: Sequence64 = 0) -> list[TakenPart]:
    """The parts of ``view`` that have rows at ``sequence`` written after ``since``, with the sizes of what they will
    write.

    Reads the facts of every row once, and no vector; of a segment that was written before ``since``, nothing.
    """
    taken = []
    for part in view.parts():
        if parts.last_sequence(part) <= since:
            continue
        rows = parts.live_rows(part, sequence)
        if since:
            rows = rows[parts.sequences_at(part, rows) > since]
        if len(rows):
            taken.append(_take(part, rows, view.spec.dimensions, planes))
    return taken


def digest_of(taken: list[TakenPart]) -> Digest:
    """The digest of the rows taken."""
    digest = Digest()
    for part in taken:
        digest = digest.plus(*part.digest)
    return digest


def pieces(taken: TakenPart, file: str) -> Iterator[Piece]:
    """The content of one member, in order; its size is the one that ``taken.entry`` says.

    Raises Corruption where the segment's file is damaged: what is backed up is what was once written.
    """
    part = taken.part
    if isinstance(part, MemtableSlice):
        return _WRITERS[file](taken)
    if taken.whole and file != PLANES:
        return part.checked(file, PIECE_BYTES)
    return _written_from(part, VECTORS if file == PLANES else file, _WRITERS[file](taken))


def _written_from(segment: Segment, source: str, member: Iterator[Piece]) -> Iterator[Piece]:
    """The member, once the file of the segment from which its rows are taken has been read and proven."""
    for _ in segment.checked(source, PIECE_BYTES):
        pass
    yield from member


def _take(part: Part, rows: Int64Array, dimensions: int, planes: bool) -> TakenPart:
    whole = not isinstance(part, MemtableSlice) and len(rows) == part.rows_count
    high = low = id_bytes = payload_bytes = 0
    for facts in _facts(part, rows):
        hashes = np.column_stack((facts["hash_high"], facts["hash_low"]))
        more_high, more_low = digest_sums(hashes)
        high, low = high + more_high, low + more_low
        id_bytes += int(facts["id_length"].sum(dtype=np.int64))
        payload_bytes += int(facts["payload_length"].sum(dtype=np.int64))
    count = len(rows)
    sizes = {
        VECTORS: len(npy_header("<f4", (count, dimensions), align=VECTORS_ALIGN)) + count * dimensions * 4,
        PLANES: len(_planes_header(count, dimensions)) + int(np.prod(planes_shape(count, dimensions))),
        NORMS: len(npy_header("<f4", (count,))) + count * 4,
        ROWS: len(npy_header(ROW_DTYPE, (count,))) + count * ROW_DTYPE.itemsize,
        IDS: len(npy_header("|u1", (id_bytes,))) + id_bytes,
        PAYLOADS: len(npy_header("|u1", (payload_bytes,))) + payload_bytes,
    }
    if whole:
        assert not isinstance(part, MemtableSlice)
        sizes |= {file: part.info.files[file].size for file in part_files(planes=False)}
    entry = SnapshotPart(count, {file: sizes[file] for file in part_files(planes)})
    return TakenPart(part, rows, dimensions, whole, entry, (high, low), id_bytes, payload_bytes)


# Members written from rows ----------------------------------------------------------------------------------------


def _write_vectors(taken: TakenPart) -> Iterator[Piece]:
    yield npy_header("<f4", (len(taken.rows), taken.dimensions), align=VECTORS_ALIGN)
    yield from _vectors(taken, max(1, PIECE_BYTES // (4 * taken.dimensions)))


def _write_planes(taken: TakenPart) -> Iterator[Piece]:
    count, dimensions = len(taken.rows), taken.dimensions
    yield _planes_header(count, dimensions)
    floats = planes_shape(count, dimensions)[2]
    for block in _vectors(taken, rows_per_block(count, dimensions)):
        yield shuffle(block, floats)


def _write_norms(taken: TakenPart) -> Iterator[Piece]:
    yield npy_header("<f4", (len(taken.rows),))
    part = taken.part
    norms = part.table.norms if isinstance(part, MemtableSlice) else part.norms
    for rows in parts.chunks(taken.rows, PIECE_BYTES // 4):
        yield norms[rows]


def _write_rows(taken: TakenPart) -> Iterator[Piece]:
    yield npy_header(ROW_DTYPE, (len(taken.rows),))
    ids = payloads = 0
    for facts in _facts(taken.part, taken.rows):
        facts["id_offset"], ids = text_offsets(facts["id_length"], ids)
        facts["payload_offset"], payloads = text_offsets(facts["payload_length"], payloads)
        yield facts


def _write_ids(taken: TakenPart) -> Iterator[Piece]:
    yield npy_header("|u1", (taken.id_bytes,))
    for rows in parts.chunks(taken.rows, ROWS_AT_ONCE):
        yield parts.joined_ids(taken.part, rows)


def _write_payloads(taken: TakenPart) -> Iterator[Piece]:
    yield npy_header("|u1", (taken.payload_bytes,))
    for rows in parts.chunks(taken.rows, ROWS_AT_ONCE):
        yield parts.joined_payloads(taken.part, rows)


_WRITERS = {
    VECTORS: _write_vectors,
    PLANES: _write_planes,
    NORMS: _write_norms,
    ROWS: _write_rows,
    IDS: _write_ids,
    PAYLOADS: _write_payloads,
}


def _vectors(taken: TakenPart, rows_at_once: int) -> Iterator[Float32Array]:
    part = taken.part
    if taken.whole and not isinstance(part, MemtableSlice):
        for start in range(0, len(taken.rows), rows_at_once):
            yield part.vectors[start : start + rows_at_once]
        return
    for rows in parts.chunks(taken.rows, rows_at_once):
        yield parts.vectors_at(part, rows)


def _facts(part: Part, rows: Int64Array) -> Iterator[NDArray[Any]]:
    """The facts of ``rows`` as ``ROW_DTYPE``, in chunks of their own memory."""
    for chunk in parts.chunks(rows, ROWS_AT_ONCE):
        yield _memtable_facts(part, chunk) if isinstance(part, MemtableSlice) else part.facts_at(chunk)


def _memtable_facts(part: MemtableSlice, rows: Int64Array) -> NDArray[Any]:
    table = part.table
    id_lengths, payload_lengths, has_payload = parts.text_lengths(part, rows)
    facts = np.zeros(len(rows), ROW_DTYPE)
    facts["sequence"] = table.sequences[rows]
    facts["time_us"] = table.times[rows]
    facts["version"] = table.versions[rows]
    facts["hash_high"] = table.hashes[rows, 0]
    facts["hash_low"] = table.hashes[rows, 1]
    facts["id_length"] = id_lengths
    facts["payload_length"] = payload_lengths
    facts["flags"] = np.where(has_payload, ROW_HAS_PAYLOAD, 0)
    return facts


def _planes_header(rows: int, dimensions: int) -> bytes:
    return npy_header("|u1", planes_shape(rows, dimensions))
