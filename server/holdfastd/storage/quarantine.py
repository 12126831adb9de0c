"""A segment that cannot be opened: set aside, so that the rest of the store can serve.

What it held is still known from outside it. The manifest says how many rows it has; the id index, which is kept apart
from it, says which ids; its kills file, where that one is whole, says which rows are dead. So it can be told whose
points are lost, and whose are merely old rows that nobody will miss. Its files are never touched.
"""

from __future__ import annotations

import uuid

import numpy as np

from ..errors import Corruption
from ..format.manifest import SegmentEntry
from ..model import BoolArray, Int64Array, Uint64Array
from .files import FileSystem
from .kills import Kills, load_kills
from .names import Layout


class QuarantinedSegment:
    """What is known of a segment that cannot be opened. Any thread reads; only the applier calls the ``kill`` methods.

    ``path``, ``offset`` (or None) and ``problem``: the damaged place, and what is wrong there. ``kills_known``: False
    where its kills file is damaged too: then any of its rows may be dead. ``indexed``: whether the id index lists them.
    """

    def __init__(self, entry: SegmentEntry, damage: Corruption, kills: Kills | None, *, indexed: bool) -> None:
        self.entry = entry
        self.id = entry.id
        self.ordinal = entry.ordinal
        self.rows_count = entry.rows
        self.path = damage.path
        self.offset = damage.offset
        self.problem = damage.problem
        self.kills_known = kills is not None
        self.indexed = indexed
        self._kills = Kills(entry.rows) if kills is None else kills

    def alive(self, rows: Int64Array, sequence: int) -> BoolArray:
        """(len(rows),): which rows no known operation through ``sequence`` has killed."""
        killed = self._kills.sequences
        if killed is None:
            return np.ones(len(rows), np.bool_)
        mask: BoolArray = (killed[rows] - np.uint64(1)) >= np.uint64(sequence)
        return mask

    def kill(self, rows: Int64Array, sequence: int) -> None:
        """Distinct ``rows`` were superseded or deleted. In memory alone: the log keeps the operation."""
        self._kills.add(rows, np.full(len(rows), sequence, np.uint64))

    def kill_all(self, sequence: int) -> None:
        """Every row was deleted: from here on nothing of the segment is missing."""
        killed: Uint64Array | None = self._kills.sequences
        alive = np.arange(self.rows_count) if killed is None else np.flatnonzero(killed == 0)
        self.kill(alive.astype(np.int64), sequence)

    @property
    def harmless(self) -> bool:
        """Whether every row is known to be dead, so that nothing can be missing."""
        return self._kills.count((1 << 64) - 1) == self.rows_count


def quarantine(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    entry: SegmentEntry,
    damage: Corruption,
    *,
    indexed: bool,
) -> QuarantinedSegment:
    """What can be known of a segment in which ``damage`` was found. Reads its kills file; changes nothing."""
    kills: Kills | None = Kills(entry.rows)
    if entry.kills is not None:
        try:
            kills = load_kills(fs, layout.segment_dir(collection_id, entry.id), entry.kills, entry.rows)
        except Corruption:
            kills = None
    return QuarantinedSegment(entry, damage, kills, indexed=indexed)


def lost_segment(collection_id: uuid.UUID, rows: int, damage: Corruption) -> QuarantinedSegment:
    """What stands for the segments of a collection of which not even the names are known any more.

    Its entry names a directory that does not exist, so that the next start finds as much.
    """
    return QuarantinedSegment(SegmentEntry(collection_id, 0, rows, 0), damage, Kills(rows), indexed=False)
