"""A view: the immutable value through which readers see one collection at exactly one sequence.

A view is published by one assignment and pinned by holding a reference to it; nobody waits for anybody. Everything it
refers to is either immutable or only ever grows beyond what the view may see (``memtable``). Files that a view maps may
be unlinked meanwhile; the mapping keeps them readable until the last view lets go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..model import CollectionSpec, Digest, Int64Array, Sequence64, Uint64Array
from ..storage.id_index import IdIndex
from ..storage.segment import Segment
from .memtable import Memtable


@dataclass(frozen=True, slots=True)
class MemtableSlice:
    """The first ``length`` rows of a memtable."""

    table: Memtable
    length: int


Part: TypeAlias = Segment | MemtableSlice


@dataclass(frozen=True, slots=True)
class View:
    """One collection at ``sequence``. Segments and memtables are oldest first; the last memtable is the active one."""

    spec: CollectionSpec
    sequence: Sequence64
    segments: tuple[Segment, ...]
    memtables: tuple[MemtableSlice, ...]
    index: IdIndex
    count: int
    digest: Digest
    updated_us: int

    def parts(self) -> Iterator[Part]:
        """Segments, then memtables: the order in which rows were written."""
        yield from self.segments
        yield from self.memtables


def locate(view: View, ids: list[bytes], id_hashes: Uint64Array) -> list[tuple[Part, int] | None]:
    """Where each id lives at the view's sequence; None for ids that do not exist there."""
    found: list[tuple[Part, int] | None] = [None] * len(ids)
    for slice_ in reversed(view.memtables):
        for position, id in enumerate(ids):
            if found[position] is None:
                row = slice_.table.row_at(id, slice_.length, view.sequence)
                if row >= 0:
                    found[position] = (slice_, row)
    missing = [position for position, place in enumerate(found) if place is None]
    if missing and view.segments:
        _locate_in_segments(view, ids, id_hashes, missing, found)
    return found


def _locate_in_segments(
    view: View,
    ids: list[bytes],
    id_hashes: Uint64Array,
    missing: list[int],
    found: list[tuple[Part, int] | None],
) -> None:
    by_ordinal = {segment.ordinal: segment for segment in view.segments}
    positions, ordinals, rows = view.index.lookup(id_hashes[missing])
    for ordinal in np.unique(ordinals):
        segment = by_ordinal.get(int(ordinal))
        if segment is None:
            continue
        here = ordinals == ordinal
        candidates: Int64Array = rows[here].astype(np.int64)
        killed = segment.killed
        stored = segment.ids_at(candidates)
        for position, row, id in zip(positions[here], candidates, stored, strict=True):
            wanted = missing[position]
            dead_at = 0 if killed is None else int(killed[row])
            if id == ids[wanted] and (dead_at == 0 or dead_at > view.sequence):
                found[wanted] = (segment, int(row))
