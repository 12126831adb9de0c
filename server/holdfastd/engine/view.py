"""A view: the immutable value through which readers see one collection at exactly one sequence.

A view is published by one assignment and pinned by holding a reference to it; nobody waits for anybody. Everything it
refers to is either immutable or only ever grows beyond what the view may see (``memtable``). Files that a view maps may
be unlinked meanwhile; the mapping keeps them readable until the last view lets go.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..model import CollectionSpec, Digest, Int64Array, Sequence64, Uint64Array
from ..storage.id_index import IdIndex
from ..storage.quarantine import QuarantinedSegment
from ..storage.segment import Segment
from .memtable import Memtable
from .quarantine import ids_lost, lost_rows, require_whole


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
    quarantined: tuple[QuarantinedSegment, ...] = ()

    def parts(self) -> Iterator[Part]:
        """Segments, then memtables: the order in which rows were written.

        Raises Corruption at once if a quarantined segment may have been one of them: nothing is missing in silence.
        """
        self.require_whole("nothing that needs all its points can be answered")
        return itertools.chain(self.segments, self.memtables)

    def require_whole(self, so: str) -> None:
        """Raise Corruption if points of the collection may be missing; ``so`` says what is refused for that."""
        require_whole(self.spec, self.quarantined, so)


def locate(view: View, ids: list[bytes], id_hashes: Uint64Array) -> list[tuple[Part, int] | None]:
    """Where each id lives at the view's sequence; None for ids that do not exist there.

    Raises Corruption naming the ids that may have been in a quarantined segment.
    """
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
    if view.quarantined:
        _check_not_lost(view, ids, id_hashes, found)
    return found


def _check_not_lost(view: View, ids: list[bytes], id_hashes: Uint64Array, found: list[tuple[Part, int] | None]) -> None:
    """Raise Corruption where the answer to an id depends on a row that cannot be read."""
    missing: Int64Array = np.array([position for position, place in enumerate(found) if place is None], np.int64)
    lost = set()
    for _, _, positions in lost_rows(view.quarantined, view.index, id_hashes[missing], view.sequence):
        lost.update(missing[positions].tolist())
    for position, place in enumerate(found):
        # How often it was written before is not known, since the row before it is lost.
        if place is not None and isinstance(place[0], MemtableSlice) and not place[0].table.versions[place[1]]:
            lost.add(position)
    if lost:
        raise ids_lost(view.spec, view.quarantined, [ids[position] for position in sorted(lost)])


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
