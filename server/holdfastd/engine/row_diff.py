"""What became of the rows of a collection between two states of it: added, removed, or changed in which respect.

Each row that may differ is looked up by its id in the newer state; only those that are on both sides with different
content have their vectors and payloads compared. The result is proven: the digest of the older state, less the rows
that went, plus those that came, must be the digest of the newer one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..format.hashing import digest_sums, hash_ids
from ..model import BoolArray, Digest, Float32Array, Int64Array
from . import parts
from .meter import Advance
from .row_candidates import Marks
from .view import Part, locate

ROWS_AT_ONCE = 4096
PIECE_BYTES = 4 << 20
"""At most so many bytes of vectors of one side are held at a time, or one row."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far vectors turned: 1 - cosine, 0 (same direction) to 2. ``vectors``: how many of them have a direction."""

    vectors: int = 0
    largest: float = 0.0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """0 where there are none."""
        return self.total / self.vectors if self.vectors else 0.0


@dataclass(frozen=True, slots=True)
class RowDiff:
    """Rows of two states: on one side only, or on both with another vector or payload, which may be one row.

    The ids are the first ones of each kind, in the order of their bytes. ``came``, ``went``: the digests of the rows
    that only one of the states has.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    vectors_changed: int = 0
    payloads_changed: int = 0
    added_ids: tuple[str, ...] = ()
    removed_ids: tuple[str, ...] = ()
    vector_ids: tuple[str, ...] = ()
    payload_ids: tuple[str, ...] = ()
    drift: Drift = field(default_factory=Drift)
    came: Digest = field(default_factory=Digest)
    went: Digest = field(default_factory=Digest)

    def backwards(self) -> RowDiff:
        """From the newer state to the older one."""
        return replace(
            self,
            added=self.removed,
            removed=self.added,
            added_ids=self.removed_ids,
            removed_ids=self.added_ids,
            came=self.went,
            went=self.came,
        )

    def leads(self, old: tuple[int, Digest], new: tuple[int, Digest]) -> bool:
        """Whether it leads from the one count and digest to the other."""
        digest = old[1].plus(-self.went.high, -self.went.low).plus(self.came.high, self.came.low)
        return (old[0] - self.removed + self.added, digest) == new


def compare_rows(old: Marks, new: Marks, sample: int, advance: Advance) -> RowDiff:
    """Compare the marked rows; ``new`` is marked with those that were added when it returns.

    ``sample``: so many ids of each kind are named. Raises Corruption, and what ``advance`` raises.
    """
    return _Comparison(old, new, sample, advance).run()


class _Comparison:
    """Counts while it runs."""

    def __init__(self, old: Marks, new: Marks, sample: int, advance: Advance) -> None:
        self._old, self._new = old, new
        self._advance = advance
        self._added, self._removed = _Found(sample), _Found(sample)
        self._vectors, self._payloads = _Found(sample), _Found(sample)
        self._changed = 0
        self._drift = Drift()
        self._came, self._went = Digest(), Digest()
        widest = max(old.view.spec.dimensions, new.view.spec.dimensions)
        self._at_once = max(1, min(ROWS_AT_ONCE, PIECE_BYTES // (4 * widest)))

    def run(self) -> RowDiff:
        for part, rows in self._old.pieces(self._at_once):
            self._look_up(part, rows)
            self._advance(0, 0)
        for part, rows in self._new.pieces(self._at_once):
            self._came = self._came.plus(*digest_sums(parts.hashes_at(part, rows)))
            self._added.add(parts.ids_at(part, rows))
            self._advance(0, 0)
        return RowDiff(
            added=self._added.count,
            removed=self._removed.count,
            changed=self._changed,
            vectors_changed=self._vectors.count,
            payloads_changed=self._payloads.count,
            added_ids=self._added.ids,
            removed_ids=self._removed.ids,
            vector_ids=self._vectors.ids,
            payload_ids=self._payloads.ids,
            drift=self._drift,
            came=self._came,
            went=self._went,
        )

    def _look_up(self, part: Part, rows: Int64Array) -> None:
        """Rows of one part of the older state: where are their ids in the newer one?"""
        ids = parts.ids_at(part, rows)
        places = locate(self._new.view, ids, hash_ids(ids))
        gone = [position for position, place in enumerate(places) if place is None]
        if gone:
            self._went = self._went.plus(*digest_sums(parts.hashes_at(part, rows[gone])))
            self._removed.add(ids[position] for position in gone)
        for there, positions, found in _by_part(places):
            differ = (parts.hashes_at(part, rows[positions]) != parts.hashes_at(there, found)).any(axis=1)
            # What was written anew as it was is neither added nor changed.
            self._new.clear(there, found)
            if differ.any():
                at = positions[differ]
                self._compare([ids[position] for position in at.tolist()], (part, rows[at]), (there, found[differ]))

    def _compare(self, ids: list[bytes], old: tuple[Part, Int64Array], new: tuple[Part, Int64Array]) -> None:
        """Rows of the same ids, each of which differs in vector or payload."""
        self._changed += len(ids)
        self._went = self._went.plus(*digest_sums(parts.hashes_at(*old)))
        self._came = self._came.plus(*digest_sums(parts.hashes_at(*new)))
        before, after = parts.vectors_at(*old), parts.vectors_at(*new)
        turned = _differ(before, after)
        self._vectors.add(_chosen(ids, turned.tolist()))
        if before.shape == after.shape:
            self._drift = _more(self._drift, before[turned], after[turned])
        pairs = zip(parts.payloads_at(*old), parts.payloads_at(*new), strict=True)
        self._payloads.add(_chosen(ids, [one != other for one, other in pairs]))


class _Found:
    """How many ids there are of one kind, and the first of them."""

    def __init__(self, sample: int) -> None:
        self.count = 0
        self._sample = sample
        self._first: list[bytes] = []

    def add(self, ids: Iterable[bytes]) -> None:
        more = list(ids)
        self.count += len(more)
        if more:
            self._first = heapq.nsmallest(self._sample, [*self._first, *more])

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(id.decode() for id in self._first)


def _by_part(places: list[tuple[Part, int] | None]) -> Iterator[tuple[Part, Int64Array, Int64Array]]:
    """Parts, which of the ids they hold, and in which rows."""
    found: dict[int, tuple[Part, list[int], list[int]]] = {}
    for position, place in enumerate(places):
        if place is not None:
            _, positions, rows = found.setdefault(id(place[0]), (place[0], [], []))
            positions.append(position)
            rows.append(place[1])
    for part, positions, rows in found.values():
        yield part, np.array(positions, np.int64), np.array(rows, np.int64)


def _chosen(ids: list[bytes], wanted: Iterable[bool]) -> Iterator[bytes]:
    return (id for id, is_wanted in zip(ids, wanted, strict=True) if is_wanted)


def _differ(before: Float32Array, after: Float32Array) -> BoolArray:
    """(n,) which vectors differ, bit for bit, as row hashes have it; all of them where their dimensions do."""
    if before.shape != after.shape:
        return np.ones(len(before), np.bool_)
    differ: BoolArray = (before.view(np.uint32) != after.view(np.uint32)).any(axis=1)
    return differ


def _more(drift: Drift, before: Float32Array, after: Float32Array) -> Drift:
    """The drift with more vectors counted in. One of length 0 has no direction, and is left out."""
    one, other = before.astype(np.float64), after.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other))
    directed = np.isfinite(lengths) & (lengths > 0)
    if not directed.any():
        return drift
    cosines = np.einsum("ij,ij->i", one[directed], other[directed]) / lengths[directed]
    turned = np.clip(1.0 - cosines, 0.0, 2.0)
    return Drift(
        drift.vectors + len(turned), max(drift.largest, float(turned.max())), drift.total + float(turned.sum())
    )
