"""Rows of segments that are being written anew: which of them stay, and what kills them meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..format.manifest import CollectionEntry
from ..model import Int64Array, Uint64Array
from ..storage.segment import Segment
from ..storage.segment_merge import Taken

_NONE: Int64Array = np.zeros(0, np.int64)


def take(segment: Segment, entry: CollectionEntry) -> Taken:
    """What stays of a segment: rows that were not dead at the collection's checkpoint, which recovery starts from.

    Of the others a tombstone stays for as long as there is a snapshot from before their death. Any thread.
    """
    published, high_water = np.uint64(entry.checkpoint_sequence), np.uint64(entry.high_water)
    killed, table = segment.killed, segment.tombstones
    rows, buried = np.arange(segment.rows_count, dtype=np.int64), _NONE
    if killed is not None:
        # What comes meanwhile is later than the checkpoint.
        dead = (killed != 0) & (killed <= published)
        rows = np.flatnonzero(~dead)
        if high_water:
            buried = np.flatnonzero(dead & (killed > high_water))
    needed = table.killed_after(entry.high_water) if table is not None and high_water else _NONE
    return Taken(segment, rows, buried, needed)


class CarriedKills:
    """What killed rows that stay, as rows of the segment which takes them over."""

    def __init__(self, taken: Sequence[Taken]) -> None:
        self._taken = taken
        self._starts = np.cumsum([0, *(len(each.rows) for each in taken)]).tolist()
        self._recorded: list[list[tuple[Int64Array, Uint64Array]]] = []

    def begin(self) -> None:
        """From here on ``since`` has the kills, all before are ``known`` (applier only)."""
        self._recorded = [each.segment.record_kills() for each in self._taken]

    def end(self) -> None:
        """Stop listening. Any thread."""
        for each in self._taken:
            each.segment.stop_recording_kills()

    def known(self) -> tuple[Int64Array, Uint64Array]:
        """Rows that are dead by now, ascending, and what killed each. Any thread; may tell of later ones too."""
        rows, sequences = [_NONE], [np.zeros(0, np.uint64)]
        for start, each in zip(self._starts, self._taken, strict=False):
            if each.segment.killed is not None:
                killed = each.segment.killed[each.rows]
                dead = np.flatnonzero(killed)
                rows.append(dead + start)
                sequences.append(killed[dead])
        return np.concatenate(rows), np.concatenate(sequences)

    def since(self) -> Iterator[tuple[Int64Array, Uint64Array]]:
        """The kills since ``begin``, those of rows that ``known`` has told of included (applier only)."""
        for start, each, recorded in zip(self._starts, self._taken, self._recorded, strict=False):
            for rows, sequences in recorded:
                yield np.searchsorted(each.rows, rows) + start, sequences
