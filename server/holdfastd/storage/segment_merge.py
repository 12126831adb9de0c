"""Several segments as the content of one: rows that stay, in the order in which they were written (RULES 20, 21).

Nothing is held but a piece. Every file is proven against its checksum while it is read: a compaction that copied damage
would give it a good checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.npy import VECTORS_ALIGN
from ..format.segment import ROW_DTYPE
from ..model import Float32Array, Int64Array
from . import names
from .bulk import Pace, unpaced
from .column import Column
from .segment import Segment
from .segment_files import FileContent, SegmentContent, text_offsets
from .tombstones import Tombstones, tombstone_files

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Taken:
    """What a merge takes of one segment, all of it ascending.

    ``rows``: those that stay. ``buried``: dead ones of which only a tombstone stays. ``tombstones``: which of the
    segment's own are still needed.
    """

    segment: Segment
    rows: Int64Array
    buried: Int64Array
    tombstones: Int64Array


def prove(segment: Segment, pace: Pace = unpaced) -> None:
    """Hold every file of a segment but its vectors against its checksum; those are proven while they are merged.

    Blocks, paced. Reads the maps, so that it does not matter whether the files have been removed. Raises ``Corruption``
    with the path.
    """
    for name in segment.info.files:
        if name != names.VECTORS:
            for piece in segment.checked(name):
                pace(len(piece))


def merged(taken: Sequence[Taken]) -> SegmentContent:
    """The content of one segment, from segments that were proven. Reads facts at once, all else as it is written.

    Writing it raises ``Corruption`` where the vectors of a segment are damaged.
    """
    count, dimensions = sum(len(each.rows) for each in taken), taken[0].segment.info.dimensions
    id_bytes = payload_bytes = last = 0
    first: int | None = None
    for facts in _facts(taken):
        id_bytes += int(facts["id_length"].sum(dtype=np.int64))
        payload_bytes += int(facts["payload_length"].sum(dtype=np.int64))
        last = max(last, int(facts["sequence"].max()))
        first = min(last if first is None else first, int(facts["sequence"].min()))
    return SegmentContent(
        rows=count,
        dimensions=dimensions,
        first_sequence=first or 0,
        last_sequence=last,
        files={
            names.VECTORS: FileContent("<f4", (count, dimensions), _vectors(taken), VECTORS_ALIGN),
            names.NORMS: FileContent("<f4", (count,), _of_each(taken, lambda segment, rows: segment.norms.take(rows))),
            names.ROWS: FileContent(ROW_DTYPE, (count,), _moved(_facts(taken))),
            names.IDS: FileContent("|u1", (id_bytes,), _of_each(taken, Segment.joined_ids)),
            names.PAYLOADS: FileContent("|u1", (payload_bytes,), _of_each(taken, Segment.joined_payloads)),
            **tombstone_files(partial(_tombstones, taken)),
        },
    )


def _vectors(taken: Sequence[Taken]) -> Iterator[Float32Array]:
    """The vectors that stay, each read behind the checksum that is being computed of its file."""
    for each in taken:
        vectors = each.segment.vectors
        if not len(each.rows):
            continue
        width, header = vectors.item_bytes, vectors.start
        done = seen = 0
        for piece in each.segment.checked(names.VECTORS):
            seen += len(piece)
            until = int(np.searchsorted(each.rows, (seen - header) // width))
            if until > done:
                yield _picked(vectors, each.rows[done:until])
                done = until


def _picked(vectors: Column, rows: Int64Array) -> Float32Array:
    """These rows, ascending: not copied where none is left out."""
    first, last = int(rows[0]), int(rows[-1])
    return vectors[first : last + 1] if last - first + 1 == len(rows) else vectors.take(rows)


def _facts(taken: Sequence[Taken]) -> Iterator[NDArray[Any]]:
    return _of_each(taken, Segment.facts_at)


def _moved(pieces: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Facts of rows whose texts stand behind those of the rows before."""
    ids = payloads = 0
    for facts in pieces:
        facts["id_offset"], ids = text_offsets(facts["id_length"], ids)
        facts["payload_offset"], payloads = text_offsets(facts["payload_length"], payloads)
        yield facts


def _of_each(taken: Sequence[Taken], read: Callable[[Segment, Int64Array], Any]) -> Iterator[Any]:
    for each in taken:
        for start in range(0, len(each.rows), ROWS_AT_ONCE):
            yield read(each.segment, each.rows[start : start + ROWS_AT_ONCE])


def _tombstones(taken: Sequence[Taken]) -> Iterator[Tombstones]:
    """Those that segments have already, then those of rows that are dropped now."""
    for each in taken:
        for start in range(0, len(each.tombstones), ROWS_AT_ONCE):
            assert each.segment.tombstones is not None
            yield each.segment.tombstones.at(each.tombstones[start : start + ROWS_AT_ONCE])
        for start in range(0, len(each.buried), ROWS_AT_ONCE):
            yield _tombstones_of(each.segment, each.buried[start : start + ROWS_AT_ONCE])


def _tombstones_of(segment: Segment, rows: Int64Array) -> Tombstones:
    facts, killed = segment.facts_at(rows), segment.killed
    assert killed is not None, "a row that leaves a tombstone was killed"
    hashes = np.column_stack((facts["hash_high"], facts["hash_low"]))
    return Tombstones(segment.ids_at(rows), killed[rows], np.ascontiguousarray(facts["sequence"]), hashes)
