"""Exact nearest-neighbour search over blocks of vectors.

One pass in float32 finds candidates, a second one in float64 scores them; the answer is the exact one. Between the two
stands an error bound, not a guess: a float32 inner product of d terms, summed in any order, is off by at most
``d·2⁻²⁴·|x|·|q|``, and so a stored norm, the root of such a sum, by ``d·2⁻²⁵·|x|``. A row is dropped only when its
float32 score plus that bound stays below what k rows certainly reach, so near-ties and duplicates are decided by exact
scores and then by position. Rows whose float32 arithmetic could overflow or underflow carry no usable estimate and
always go to the second pass.

Selecting k out of n costs one maximum, one subtraction and one comparison per score instead of a partition: the
k-th largest of many column-group maxima is already a lower bound of the k-th largest score (k different rows reach
it), and only a few rows more than k pass it.

Both passes rank by a number where more is better: the cosine, the inner product with q/|q|, or for euclidean
``x·q - |x|²/2 = (|q|² - distance²)/2``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from holdfastd.errors import InvalidArgument
from holdfastd.model import BoolArray, Float32Array, Int64Array, Metric
from holdfastd.storage.column import Column

Float64Array: TypeAlias = NDArray[np.float64]
Ranked: TypeAlias = tuple[Int64Array, Int64Array, Float32Array]
"""One query's result, best first: block index, row within the block, score."""

_SCORE_CELLS = 1 << 21
"""Float32 scores held at once: 8 MiB, small enough to stay near the cache, large enough for a full-speed gemm."""
_QUERY_GROUP = 256
_CHUNK_ROWS = 1 << 18
_COPY_BYTES = 8 << 20
"""Rows copied at once, for a gather or for the second pass."""
_GATHER_BELOW_SINGLE, _GATHER_BELOW_BATCH = 0.25, 0.75
"""Live fraction of a block below which copying its live rows is cheaper than scoring its dead ones."""
_GROUPS = 512
_ROUNDING = 2.0**-24
_NORM_TINY = 1e-30
_NORM_HUGE = {Metric.COSINE: 1e37, Metric.DOT: 1e37, Metric.EUCLIDEAN: 1e18}
"""Beyond these norms a float32 product, or a squared norm, may underflow or overflow."""
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Block:
    """Vectors that lie together: a segment or the memtable.

    vectors: (n, d) finite float32 in C order, may be read-only or in a file. norms: (n,) from
    ``format.norms.row_norms``. live: (n,) rows to consider, None for all.
    """

    vectors: Float32Array | Column
    norms: Float32Array | Column
    live: BoolArray | None = None


def top_k(
    queries: Float32Array, blocks: Sequence[Block], metric: Metric, k: int, threshold: float | None = None
) -> list[Ranked]:
    """The k best live rows of all blocks for each query of (q, d), best first; fewer where there are fewer.

    Scores are the cosine (a zero vector scores 0), the inner product (saturated at the largest float32) or the
    distance, and are exact: computed in float64, rounded once. Equal scores are ordered by (block, row). ``threshold``
    keeps scores >= it, distances <= it. Beyond the result it allocates about 32 MiB, whatever n and q are.
    Computes on the caller's thread (and BLAS's), releases the GIL in its long parts, takes no lock.
    Raises InvalidArgument for a query that is not finite, k < 1, a NaN threshold and mismatched dimensions.
    """
    _check(queries, blocks, k, threshold)
    results: list[Ranked] = []
    with np.errstate(all="ignore"):
        for start in range(0, len(queries), _QUERY_GROUP):
            group = _Queries.of(queries[start : start + _QUERY_GROUP], metric)
            results += _search_group(group, blocks, k, threshold)
    return results


def _check(queries: Float32Array, blocks: Sequence[Block], k: int, threshold: float | None) -> None:
    if queries.ndim != 2:
        raise InvalidArgument(f"queries have {queries.ndim} axes, not (queries, dimensions)", field="queries")
    if k < 1:
        raise InvalidArgument(f"k is {k}; it must be at least 1", field="k")
    if threshold is not None and np.isnan(threshold):
        raise InvalidArgument("threshold is not a number", field="threshold")
    if not np.isfinite(queries).all():
        raise InvalidArgument("a query holds a value that is not finite", field="queries")
    for block in blocks:
        if block.vectors.shape[1] != queries.shape[1]:
            raise InvalidArgument(
                f"a query has {queries.shape[1]} dimensions, the collection {block.vectors.shape[1]}", field="queries"
            )


@dataclass(frozen=True, slots=True)
class _Queries:
    """A group of queries in both precisions."""

    metric: Metric
    exact: Float64Array  # (q, d)
    norms: Float64Array  # (q,)
    scan: Float32Array  # (q, d): what the rows are multiplied with; unit length unless euclidean

    @classmethod
    def of(cls, queries: Float32Array, metric: Metric) -> _Queries:
        exact = queries.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        if metric is Metric.EUCLIDEAN:
            return cls(metric, exact, norms, np.ascontiguousarray(queries, np.float32))
        unit = exact / np.where(norms == 0, 1.0, norms)[:, None]
        return cls(metric, exact, norms, unit.astype(np.float32))

    def __len__(self) -> int:
        return len(self.exact)

    def rank_floor(self, keys: Float64Array) -> Float64Array:
        """(q,) scores (more is better) as ranks that every row of such a score certainly reaches."""
        if self.metric is Metric.COSINE:
            ranks = keys
        elif self.metric is Metric.DOT:
            ranks = np.where(self.norms == 0, -np.inf, keys / np.where(self.norms == 0, 1.0, self.norms))
        else:
            ranks = (self.norms**2 - keys**2) / 2
        return self.relax(ranks)

    def relax(self, ranks: Float64Array) -> Float64Array:
        """(q,) ranks lowered by more than one float32 rounding of their score, so that rounded ties pass too."""
        if self.metric is not Metric.EUCLIDEAN:
            return ranks - np.abs(ranks) * 2.0**-21
        half = self.norms**2 / 2
        return ranks - (half - ranks) * 2.0**-21 - half * 2.0**-40


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some rows of one block, ready to be scored."""

    block: int
    start: int
    picked: Int64Array | None  # rows within the block, when they were gathered
    vectors: Float32Array  # (m, d)
    norms: Float32Array  # (m,)
    dead: Int64Array | None  # positions within the chunk

    def rows(self, positions: Int64Array) -> Int64Array:
        return positions + self.start if self.picked is None else self.picked[positions]


def _chunks(blocks: Sequence[Block], queries: int) -> Iterator[_Chunk]:
    gather_below = _GATHER_BELOW_SINGLE if queries == 1 else _GATHER_BELOW_BATCH
    for index, block in enumerate(blocks):
        n, d = block.vectors.shape
        step = max(1, min(_SCORE_CELLS // queries, _CHUNK_ROWS))
        live = block.live
        alive = n if live is None else int(np.count_nonzero(live))
        if live is not None and alive < n * gather_below:
            picked = np.flatnonzero(live)
            step = max(1, min(step, _COPY_BYTES // (4 * max(1, d))))
            for at in range(0, alive, step):
                rows = picked[at : at + step]
                yield _Chunk(index, 0, rows, block.vectors[rows], block.norms[rows], None)
            continue
        at = 0
        while at < n:
            vectors = _piece(block.vectors, at, min(at + step, n))
            end = at + len(vectors)
            dead = None if live is None or alive == n else np.flatnonzero(~live[at:end])
            yield _Chunk(index, at, None, vectors, block.norms[at:end], dead)
            at = end


def _piece(vectors: Float32Array | Column, start: int, stop: int) -> Float32Array:
    """The rows from ``start`` on: what is in memory at once, what comes from the disk piece by piece."""
    return vectors.piece(start, stop) if isinstance(vectors, Column) else vectors[start:stop]


def _search_group(queries: _Queries, blocks: Sequence[Block], k: int, threshold: float | None) -> list[Ranked]:
    best = _Best(queries, k, threshold)
    scores = np.empty(0, np.float32)
    for chunk in _chunks(blocks, len(queries)):
        cells = len(queries) * len(chunk.vectors)
        if cells > len(scores):
            scores = np.empty(cells, np.float32)
        lower = scores[:cells].reshape(len(queries), len(chunk.vectors))
        passed = _candidates(queries, chunk, lower, best)
        step = max(1, _COPY_BYTES // (8 * max(1, chunk.vectors.shape[1])))
        for at in range(0, len(passed), step):
            query, position = np.divmod(passed[at : at + step], len(chunk.vectors))
            keys = _exact_keys(queries, query, chunk.vectors[position])
            best.offer(query, keys, chunk.block, chunk.rows(position))
    return best.results()


def _candidates(queries: _Queries, chunk: _Chunk, lower: Float32Array, best: _Best) -> Int64Array:
    """First pass: flat positions in (q, m) that may belong to the best k. ``lower`` is (q, m) scratch."""
    if len(queries) == 1:
        np.matmul(chunk.vectors, queries.scan[0], out=lower[0])
    else:
        np.matmul(queries.scan, chunk.vectors.T, out=lower)
    huge = _NORM_HUGE[queries.metric]
    odd = (chunk.norms >= huge) | ((chunk.norms <= _NORM_TINY) & (chunk.norms > 0))
    if queries.metric is Metric.EUCLIDEAN and queries.norms.max() >= huge:
        odd[:] = True
    error = _to_lower_bounds(queries, chunk, lower)
    unknown = np.flatnonzero(odd)
    lower[:, unknown] = -np.inf
    if chunk.dead is not None:
        lower[:, chunk.dead] = -np.inf
    floor = np.maximum(queries.relax(_kth_at_least(lower, best.k)), best.floor)
    lower += 2 * error
    lower[:, unknown] = np.inf
    if chunk.dead is not None:
        lower[:, chunk.dead] = -np.inf
    # The smallest finite float32 still lets every live row pass while it keeps the dead ones out.
    cut = np.clip(floor, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
    return np.flatnonzero(lower >= np.nextafter(cut, np.float32(-_FLOAT32_MAX))[:, None])


def _to_lower_bounds(queries: _Queries, chunk: _Chunk, products: Float32Array) -> Float32Array:
    """Turns (q, m) inner products into lower bounds of the ranks, in place; returns the error bound, () or (m,)."""
    d = chunk.vectors.shape[1]
    unit = _ROUNDING * (1.01 * d + 16)  # of a product with a vector of length 1, as a share of the row's norm
    off = _ROUNDING * (0.51 * d + 16)  # of a row's norm, as a share of it
    norms = chunk.norms
    if queries.metric is Metric.COSINE:
        products *= np.where(norms == 0, np.float32(0), 1 / norms)
        error = np.asarray(unit + off, np.float32)
    elif queries.metric is Metric.DOT:
        error = norms * np.float32(unit)
    else:
        error = norms * np.float32(unit * queries.norms.max()) + norms * norms * np.float32(off)
        error += np.float32(1e-36)  # where short vectors meet short queries, products underflow
        products -= norms * norms / 2
    products -= error
    return error


def _kth_at_least(lower: Float32Array, k: int) -> Float64Array:
    """(q,): a value that at least k columns of each row of ``lower`` reach, -inf when it has fewer than k."""
    q, m = lower.shape
    if m < k:
        return np.full(q, -np.inf)
    groups = max(_GROUPS, 8 * k)
    pool = lower
    if m >= 2 * groups:
        width = m // groups
        pool = lower[:, : width * groups].reshape(q, width, groups).max(axis=1)
    kth = pool.shape[1] - k
    return np.partition(pool, kth, axis=1)[:, kth].astype(np.float64)


def _exact_keys(queries: _Queries, query: Int64Array, vectors: Float32Array) -> Float64Array:
    """Second pass: scores of (p, d) vectors against the queries of those indices, (p,), more is better.

    Rounded to a float32's 24 bits but with a float64's range, so that what will be shown as equal compares as equal.
    """
    rows = vectors.astype(np.float64)
    against = queries.exact[query]
    if queries.metric is Metric.EUCLIDEAN:
        rows -= against
        keys = -np.sqrt(np.einsum("ij,ij->i", rows, rows))
    else:
        keys = np.einsum("ij,ij->i", rows, against)
        if queries.metric is Metric.COSINE:
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows)) * queries.norms[query]
            keys = np.clip(keys / np.where(lengths == 0, 1.0, lengths), -1.0, 1.0)
    mantissa, exponent = np.frexp(keys)
    rounded: Float64Array = np.ldexp(mantissa.astype(np.float32).astype(np.float64), exponent)
    return rounded


class _Best:
    """The best k rows so far of each query of a group, by exact score, then block, then row."""

    def __init__(self, queries: _Queries, k: int, threshold: float | None) -> None:
        self.k = k
        self._queries = queries
        self._threshold = -np.inf
        if threshold is not None:
            rounded = float(np.float32(threshold))
            self._threshold = -rounded if queries.metric is Metric.EUCLIDEAN else rounded
        self.floor: Float64Array = queries.rank_floor(np.full(len(queries), self._threshold))
        self._query = self._block = self._row = np.empty(0, np.int64)
        self._key: Float64Array = np.empty(0, np.float64)
        self._pending: list[tuple[Int64Array, Float64Array, Int64Array, Int64Array]] = []
        self._pending_count = 0

    def offer(self, query: Int64Array, keys: Float64Array, block: int, rows: Int64Array) -> None:
        """Adds scored rows. Merging waits for k per query, so its cost stays a share of what was offered."""
        self._pending.append((query, keys, np.full(len(rows), block, np.int64), rows))
        self._pending_count += len(rows)
        if self._pending_count >= self.k * len(self._queries):
            self._merge()

    def results(self) -> list[Ranked]:
        self._merge()
        scores = np.clip(self._key, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
        scores = np.abs(scores) if self._queries.metric is Metric.EUCLIDEAN else scores + np.float32(0)  # never -0.0
        bounds = np.searchsorted(self._query, np.arange(len(self._queries) + 1))
        return [(self._block[a:b], self._row[a:b], scores[a:b]) for a, b in pairwise(bounds)]

    def _merge(self) -> None:
        if not self._pending:
            return
        queries, keys, blocks, rows = (list(column) for column in zip(*self._pending, strict=True))
        query = np.concatenate([self._query, *queries])
        key = np.concatenate([self._key, *keys])
        block = np.concatenate([self._block, *blocks])
        row = np.concatenate([self._row, *rows])
        self._pending, self._pending_count = [], 0
        order = np.lexsort((row, block, -key, query))
        order = order[key[order] >= self._threshold]
        starts = np.searchsorted(query[order], np.arange(len(self._queries) + 1))
        place = np.arange(len(order)) - starts[query[order]]
        order = order[place < self.k]
        self._query, self._key, self._block, self._row = query[order], key[order], block[order], row[order]
        self._raise_floor(starts)

    def _raise_floor(self, starts: Int64Array) -> None:
        """Queries that have k rows need no row that ranks below their k-th."""
        full = np.diff(starts) >= self.k
        ends = np.searchsorted(self._query, np.arange(len(self._queries)), side="right")
        worst = np.full(len(self._queries), -np.inf)
        worst[full] = self._key[ends[full] - 1]
        self.floor = np.maximum(self.floor, self._queries.rank_floor(worst))
