"""Which rows may differ between two states of a collection: found by sequences or by row hashes, and marked.

    by sequence   two moments of one view: the rows that died in between, and those that were written
    by hash       two views that share no history: row hashes are summed up in buckets, and only where sums differ are
                  hashes held against each other, so many at a time

No vector, no payload and no id is read for it; what is held is a byte a row of the parts in which anything is marked,
and one group of buckets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..model import BoolArray, Int64Array, Sequence64, Uint64Array
from . import parts
from .meter import Advance
from .snapshot_removed import died_between
from .view import Part, View

BUCKET_BITS = 16
GROUP_ROWS = 1 << 20
"""About how many rows of both views are held against each other at a time; about 100 bytes each."""


class Marks:
    """Rows of one view that are marked, part by part. Belongs to one thread."""

    def __init__(self, view: View) -> None:
        """Raises Corruption where rows of the view may be missing (see ``View.parts``)."""
        self.view = view
        self.parts = tuple(view.parts())
        self._number = {id(part): number for number, part in enumerate(self.parts)}
        self._marked: dict[int, BoolArray] = {}

    def mark(self, part: Part, rows: Int64Array) -> None:
        """Mark rows of one of the parts."""
        if len(rows):
            number = self._number[id(part)]
            if number not in self._marked:
                self._marked[number] = np.zeros(parts.length(part), np.bool_)
            self._marked[number][rows] = True

    def clear(self, part: Part, rows: Int64Array) -> None:
        """Take the marks away, where there are any."""
        marked = self._marked.get(self._number[id(part)])
        if marked is not None:
            marked[rows] = False

    def pieces(self, at_once: int) -> Iterator[tuple[Part, Int64Array]]:
        """The marked rows, at most so many of one part at a time."""
        for number, marked in sorted(self._marked.items()):
            rows = np.flatnonzero(marked)
            if len(rows):
                for some in parts.chunks(rows, at_once):
                    yield self.parts[number], some


def between(view: View, since: Sequence64) -> tuple[Marks, Marks]:
    """The rows that were alive at ``since`` and are dead at the view's sequence, and those written in between.

    Right where the view's parts still have every row that died after ``since``.
    """
    died, written = Marks(view), Marks(view)
    for part in died.parts:
        died.mark(part, died_between(part, since, view.sequence))
        if parts.last_sequence(part) > since:
            rows = parts.live_rows(part, view.sequence)
            written.mark(part, rows[parts.sequences_at(part, rows) > since])
    return died, written


def by_hash(old: View, new: View, advance: Advance) -> tuple[Marks, Marks]:
    """The rows of each view whose row hash no row of the other has. ``advance``: called as rows are looked at."""
    sides = (_Side(old), _Side(new))
    for side in sides:
        side.sum_up(advance)
    differing = np.flatnonzero((sides[0].counts != sides[1].counts) | (sides[0].sums != sides[1].sums))
    sizes = sides[0].counts[differing] + sides[1].counts[differing]
    # Whole buckets, as many as fit; one that is larger stands alone.
    groups = (np.cumsum(sizes) - 1) // GROUP_ROWS
    for group in np.unique(groups).tolist():
        wanted = np.zeros(1 << BUCKET_BITS, np.bool_)
        wanted[differing[groups == group]] = True
        gathered = [side.gather(wanted) for side in sides]
        for side, places, alone in zip(sides, (places for _, places in gathered), _alone(*gathered), strict=True):
            side.mark(places[alone])
    return sides[0].marks, sides[1].marks


class _Side:
    """One of two views: rows and the sum of their hashes by bucket, which is the hash's first bits."""

    def __init__(self, view: View) -> None:
        self.marks = Marks(view)
        self.counts = np.zeros(1 << BUCKET_BITS, np.int64)
        self.sums = np.zeros(1 << BUCKET_BITS, np.uint64)

    def sum_up(self, advance: Advance) -> None:
        for _, rows, hashes in self._hashes():
            buckets = _buckets(hashes)
            self.counts += np.bincount(buckets, minlength=len(self.counts))
            np.add.at(self.sums, buckets, hashes[:, 1])
            advance(0, len(rows))

    def gather(self, wanted: BoolArray) -> tuple[Uint64Array, Int64Array]:
        """Of the buckets that are wanted: (n, 2) hashes, and (n, 2) numbers of part and row."""
        hashes, places = [np.zeros((0, 2), np.uint64)], [np.zeros((0, 2), np.int64)]
        for number, rows, found in self._hashes():
            here = wanted[_buckets(found)]
            if here.any():
                hashes.append(found[here])
                places.append(np.column_stack((np.full(np.count_nonzero(here), number), rows[here])))
        return np.concatenate(hashes), np.concatenate(places)

    def mark(self, places: Int64Array) -> None:
        for number in np.unique(places[:, 0]).tolist():
            self.marks.mark(self.marks.parts[number], places[places[:, 0] == number, 1])

    def _hashes(self) -> Iterator[tuple[int, Int64Array, Uint64Array]]:
        for number, part in enumerate(self.marks.parts):
            for rows in parts.chunks(parts.live_rows(part, self.marks.view.sequence)):
                yield number, rows, parts.hashes_at(part, rows)


def _buckets(hashes: Uint64Array) -> Int64Array:
    return (hashes[:, 0] >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)


def _alone(old: tuple[Uint64Array, Int64Array], new: tuple[Uint64Array, Int64Array]) -> tuple[BoolArray, BoolArray]:
    """Which rows of each side have a hash that the other has not; within a side each hash stands once."""
    hashes = np.concatenate((old[0], new[0]))
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    same = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    alone = np.ones(len(hashes), np.bool_)
    alone[order[1:][same]] = False
    alone[order[:-1][same]] = False
    return alone[: len(old[0])], alone[len(old[0]) :]
