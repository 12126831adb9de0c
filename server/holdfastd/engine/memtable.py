"""The memtable: points that are in the log but not yet in a segment, in the order in which they were applied.

One thread (the applier) writes; any number of readers look, each bounded by ``length`` and ``sequence`` of its view.
Rows are only ever appended, and a row's facts never change but for ``killed``, which goes from 0 to the sequence that
superseded or deleted it. When an array has to grow, its content is copied and the attribute replaced, so a reader
that still holds the old array sees everything that its view may see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..model import BoolArray, Float32Array, Int64Array, Rows, Uint64Array

_CHUNK_BYTES = 4 << 20
_FIRST_CAPACITY = 256
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

    def append(self, rows: Rows, versions: NDArray[np.uint32], sequence: int, time_us: int) -> None:
        """Add ``rows`` at the end (applier only). Nobody sees them before a view with the new length is published."""
        count, start = len(rows), self.length
        end = start + count
        self._reserve(end)
        previous = list(map(self.latest.get, rows.ids))
        self.previous[start:end] = [-1 if row is None else row for row in previous]
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

    def live_rows(self, ids: Sequence[bytes]) -> Int64Array:
        """For each id its live row now, or -1 (applier only: it looks at the newest state, not at a view)."""
        get = self.latest.get
        rows = np.fromiter((get(id, -1) for id in ids), np.int64, len(ids))
        if len(rows) and rows.max() >= 0:
            rows[(rows >= 0) & (self.killed[rows] != 0)] = -1
        return rows

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
        full, rest = divmod(length, self.chunk_rows)
        chunks = self.chunks[:full]
        return [*chunks, self.chunks[full][:rest]] if rest else chunks

    def vectors_at(self, rows: Int64Array) -> Float32Array:
        """(len(rows), d) float32: a copy of the vectors of ``rows``."""
        out = np.empty((len(rows), self.dimensions), np.float32)
        which, inside = np.divmod(rows, self.chunk_rows)
        for chunk in np.unique(which):
            here = which == chunk
            out[here] = self.chunks[chunk][inside[here]]
        return out

    def _append_vectors(self, vectors: Float32Array, start: int) -> None:
        done = 0
        while done < len(vectors):
            chunk, inside = divmod(start + done, self.chunk_rows)
            if chunk == len(self.chunks):
                self.chunks.append(np.empty((self.chunk_rows, self.dimensions), np.float32))
            take = min(len(vectors) - done, self.chunk_rows - inside)
            self.chunks[chunk][inside : inside + take] = vectors[done : done + take]
            done += take

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
