"""The memtable: points that are in the log but not yet in a segment, in the order in which they were applied.

One thread (the applier) writes; any number of readers look, each bounded by ``length`` and ``sequence`` of its view.
Rows are only ever appended, and a row's facts never change but for ``killed``, which goes from 0 to the sequence that
superseded or deleted it. When an array has to grow, its content is copied and the attribute replaced, so a reader
that still holds the old array sees everything that its view may see.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ..model import BoolArray, Float32Array, Int64Array, Rows, Uint64Array

_CHUNK_BYTES = 4 << 20
_FIRST_CAPACITY = 256
_ADOPT_ROWS = 128
"""Batches of at least this many rows are kept as they are; smaller ones are gathered, so that searches stay few."""
_ROW_OVERHEAD_BYTES = 250
"""What a row costs beside its vector, id and payload: the facts below, two list slots, two objects, a dict entry."""


class Memtable:
    """Rows of one collection; see the module for who may do what."""

    def __init__(self, dimensions: int) -> None:
        # Constant after creation.
        self.dimensions = dimensions
        self.chunk_rows = max(64, min(8192, _CHUNK_BYTES // (4 * dimensions)))
        # Written by the applier; readers bound themselves by their view's length.
        self.length = 0
        self.bytes = 0
        self.dead = 0
        self.ids: list[bytes] = []
        self.payloads: list[bytes | None] = []
        self.chunks: list[Float32Array] = []
        self.starts: list[int] = []
        """The first row of each chunk. A chunk is listed before its start, so that a reader never finds one missing."""
        self.sequences: Uint64Array = np.zeros(_FIRST_CAPACITY, np.uint64)
        self.times: Uint64Array = np.zeros(_FIRST_CAPACITY, np.uint64)
        self.versions: NDArray[np.uint32] = np.zeros(_FIRST_CAPACITY, np.uint32)
        self.hashes: Uint64Array = np.zeros((_FIRST_CAPACITY, 2), np.uint64)
        self.id_hashes: Uint64Array = np.zeros(_FIRST_CAPACITY, np.uint64)
        self.norms: Float32Array = np.zeros(_FIRST_CAPACITY, np.float32)
        self.killed: Uint64Array = np.zeros(_FIRST_CAPACITY, np.uint64)
        self.previous: Int64Array = np.zeros(_FIRST_CAPACITY, np.int64)
        """The row that held the same id in this memtable before, or -1: readers of an older view step back."""
        self.latest: dict[bytes, int] = {}

    def append(
        self, rows: Rows, previous: Int64Array, versions: NDArray[np.uint32], sequence: int, time_us: int
    ) -> None:
        """Add ``rows`` at the end (applier only); ``previous`` is ``latest_rows`` of their ids.

        Nobody sees them before a view with the new length is published.
        """
        count, start = len(rows), self.length
        end = start + count
        self._reserve(end)
        self.previous[start:end] = previous
        self.sequences[start:end] = sequence
        self.times[start:end] = time_us
        self.versions[start:end] = versions
        self.hashes[start:end] = rows.hashes
        self.id_hashes[start:end] = rows.id_hashes
        self.norms[start:end] = rows.norms
        self._append_vectors(rows.vectors, start)
        self.ids.extend(rows.ids)
        self.payloads.extend(rows.payloads)
        self.latest.update(zip(rows.ids, range(start, end), strict=True))
        self.length = end
        self.bytes += rows.vectors.nbytes + _ROW_OVERHEAD_BYTES * count
        self.bytes += sum(map(len, rows.ids)) + sum(map(len, filter(None, rows.payloads)))

    def kill(self, rows: Int64Array, sequence: int) -> None:
        """Mark ``rows`` as superseded or deleted at ``sequence`` (applier only)."""
        self.killed[rows] = sequence
        self.dead += len(rows)

    def latest_rows(self, ids: Sequence[bytes]) -> Int64Array:
        """For each id the row that it was last written to, dead or alive, or -1 (applier only)."""
        return np.fromiter(map(self.latest.get, ids, repeat(-1)), np.int64, len(ids))

    def row_at(self, id: bytes, length: int, sequence: int) -> int:
        """The row of ``id`` that a view of this ``length`` and ``sequence`` sees, or -1."""
        row = self.latest.get(id, -1)
        while row >= length:
            row = int(self.previous[row])
        if row < 0:
            return -1
        killed = int(self.killed[row])
        return row if killed == 0 or killed > sequence else -1

    def live_mask(self, length: int, sequence: int) -> BoolArray | None:
        """(length,) bool: alive at ``sequence``; None where all rows are."""
        killed = self.killed[:length]
        if not killed.any():
            return None
        alive: BoolArray = (killed == 0) | (killed > sequence)
        return alive

    def vector_chunks(self, length: int) -> list[Float32Array]:
        """The first ``length`` vectors as consecutive (m, d) arrays, without copying."""
        last = bisect_left(self.starts, length)
        if not last:
            return []
        return [*self.chunks[: last - 1], self.chunks[last - 1][: length - self.starts[last - 1]]]

    def vectors_at(self, rows: Int64Array) -> Float32Array:
        """(len(rows), d) float32: a copy of the vectors of ``rows``."""
        out = np.empty((len(rows), self.dimensions), np.float32)
        which = np.searchsorted(self.starts, rows, side="right") - 1
        for chunk in np.unique(which).tolist():
            here = which == chunk
            out[here] = self.chunks[chunk][rows[here] - self.starts[chunk]]
        return out

    def _append_vectors(self, vectors: Float32Array, start: int) -> None:
        if len(vectors) >= _ADOPT_ROWS and not vectors.flags.writeable:
            # Nobody can change it any more: keeping the batch is cheaper than copying it into fresh pages.
            self._add_chunk(vectors, start)
            return
        done = 0
        while done < len(vectors):
            if self._room(start + done) == 0:
                self._add_chunk(np.empty((self.chunk_rows, self.dimensions), np.float32), start + done)
            inside = start + done - self.starts[-1]
            take = min(len(vectors) - done, len(self.chunks[-1]) - inside)
            self.chunks[-1][inside : inside + take] = vectors[done : done + take]
            done += take

    def _room(self, row: int) -> int:
        """Rows from ``row`` on that the last chunk still has room for; an adopted one is full."""
        return self.starts[-1] + len(self.chunks[-1]) - row if self.chunks else 0

    def _add_chunk(self, chunk: Float32Array, start: int) -> None:
        if self._room(start):
            self.chunks[-1] = self.chunks[-1][: start - self.starts[-1]]
        self.chunks.append(chunk)
        self.starts.append(start)

    def _reserve(self, length: int) -> None:
        capacity = len(self.sequences)
        if length <= capacity:
            return
        grown = max(length, capacity * 2)
        for name in ("sequences", "times", "versions", "hashes", "id_hashes", "norms", "killed", "previous"):
            old = getattr(self, name)
            new = np.zeros((grown, *old.shape[1:]), old.dtype)
            new[:capacity] = old
            setattr(self, name, new)
