"""Which segments of a collection are written anew, and which of them together.

    garbage     a segment in which at least so many percent of the rows are dead
    many        neighbours of like size, once there are as many as one run of the id index takes in: so a collection
                that grows by n checkpoints has O(log n) segments, and each row is written anew O(log n) times
    aggressive  every dead row, and all that can become larger segments

Only neighbours become one: rows stay in the order in which they were written, which pages and increments rely on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..model import Sequence64
from ..storage.segment import Segment

FANOUT = 8
SMALLEST_BYTES = 8 << 20
"""What is smaller is of the first size."""
LARGEST_BYTES = 4 << 30
"""Nothing is merged into more than that: it is what a compaction needs of free space, and how much it does at once."""
LARGEST_ROWS = 4 << 20
"""Nor into more rows: for each of them 24 bytes are held while the id index takes it in."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A segment, and what of it would be gone: ``dead`` rows, and ``spent`` tombstones that nothing asks for."""

    segment: Segment
    dead: int
    spent: int = 0

    @property
    def staying_rows(self) -> int:
        """Rows that a compaction would keep."""
        return self.segment.rows_count - self.dead

    @property
    def staying_bytes(self) -> int:
        """About the bytes that these take."""
        rows = self.segment.rows_count
        return self.segment.size_bytes * self.staying_rows // rows if rows else 0

    @property
    def garbage_percent(self) -> float:
        """Dead rows of all; a segment that has tombstones alone is nothing else once they are spent."""
        rows = self.segment.rows_count
        return 100.0 * self.dead / rows if rows else 100.0 * bool(self.spent)

    @property
    def has_garbage(self) -> bool:
        """Whether writing it anew would leave anything out."""
        return bool(self.dead or self.spent)

    @property
    def is_full(self) -> bool:
        """Whether it is too large to become one with others."""
        return self.staying_bytes * 2 >= LARGEST_BYTES or self.staying_rows * 2 >= LARGEST_ROWS


@dataclass(frozen=True, slots=True)
class Policy:
    """What is worth being written anew. ``least_bytes``: so much has to be freed of one segment, or it is let be."""

    threshold_percent: float = 20.0
    aggressive: bool = False
    least_bytes: int = 0


def weigh(segment: Segment, published: Sequence64, high_water: Sequence64) -> Weighed:
    """A segment of a collection whose checkpoint is at ``published``, and whose increments ask back to ``high_water``.

    What died later than the checkpoint stays (RULES 20). Reads the kills of tombstones, where there are any.
    """
    table = segment.tombstones
    spent = 0
    if table is not None:
        spent = len(table) - (table.count_after(high_water) if high_water else 0)
    return Weighed(segment, segment.dead_count(published), spent)


def groups(weighed: Sequence[Weighed], policy: Policy) -> list[tuple[Weighed, ...]]:
    """What is to be written anew: neighbours that become one segment. ``weighed``: all of a collection, in order."""
    due = np.fromiter((_is_due(each, policy) for each in weighed), np.bool_, len(weighed))
    for start, end in _crowds(weighed):
        due[start:end] = True
    out: list[tuple[Weighed, ...]] = []
    for start, end in _runs(due.tolist()):
        out += _fitting(weighed[start:end])
    return [group for group in out if len(group) > 1 or group[0].has_garbage]


def _is_due(each: Weighed, policy: Policy) -> bool:
    if policy.aggressive:
        return each.has_garbage or not each.is_full
    freed = each.segment.size_bytes - each.staying_bytes
    return each.has_garbage and each.garbage_percent >= policy.threshold_percent and freed >= policy.least_bytes


def _crowds(weighed: Sequence[Weighed]) -> Iterator[tuple[int, int]]:
    """Where neighbours of at most one size stand, of which enough have just that size."""
    sizes = [_size(each) for each in weighed]
    for size in sorted({size for size in sizes if size is not None}):
        small = [each is not None and each <= size for each in sizes]
        for start, end in _runs(small):
            if sizes[start:end].count(size) >= FANOUT:
                yield start, end


def _size(each: Weighed) -> int | None:
    """0 for the smallest segments, one more for each power of the fan-out; None for what is full."""
    if each.is_full:
        return None
    size, limit = 0, SMALLEST_BYTES
    while each.staying_bytes >= limit:
        size, limit = size + 1, limit * FANOUT
    return size


def _runs(marked: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """From where to where marks stand side by side."""
    start = None
    for at, mark in enumerate([*marked, False]):
        if mark and start is None:
            start = at
        elif not mark and start is not None:
            yield start, at
            start = None


def _fitting(neighbours: Sequence[Weighed]) -> Iterator[tuple[Weighed, ...]]:
    """The same in groups, each of which fits into one segment; a larger one stands alone."""
    group: list[Weighed] = []
    size = rows = 0
    for each in neighbours:
        if group and (size + each.staying_bytes > LARGEST_BYTES or rows + each.staying_rows > LARGEST_ROWS):
            yield tuple(group)
            group, size, rows = [], 0, 0
        group.append(each)
        size, rows = size + each.staying_bytes, rows + each.staying_rows
    if group:
        yield tuple(group)
