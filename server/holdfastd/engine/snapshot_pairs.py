"""Collections of two sides that differ, compared row by row, in the cheapest way that is certain.

    by history   the live store's collection and a snapshot of it: where the store still has all that died since the
                 snapshot's moment nothing of the snapshot is read
    by chain     two snapshots of which one builds on the other: the younger one's chain, put together once, holds both
                 moments
    by hash      all others: each snapshot's chain is put together, in the data directory, to be read and thrown away

Every outcome is proven by counts and digests. So history is simply tried: where rows are gone, or the history is not
shared after all, it does not lead from one side to the other, and the snapshot is read.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import Corruption
from .meter import Meter
from .row_candidates import between, by_hash
from .row_diff import RowDiff, compare_rows
from .snapshot_base import remembers
from .snapshot_chain import Chain, ChainFinder, Link
from .snapshot_context import SnapshotContext
from .snapshot_removed import tombstones_between
from .snapshot_sides import Held, Side
from .snapshot_stage import staged_bytes, staged_rows, staged_to_read
from .view import View

ROOM = "free space there, or compare one collection at a time with --collection"


@dataclass(frozen=True, slots=True)
class Pair:
    """A collection on both sides, the older state first; the names may differ where one is restored to another."""

    name: str
    old: Held
    new: Held


@dataclass(frozen=True, slots=True)
class _Read:
    """How a pair is read: the ids of what has to be staged of each side's chain, None where nothing has to be."""

    pair: Pair
    old: uuid.UUID | None
    new: uuid.UUID | None


class PairReader:
    """Compares pairs of two sides. One thread; blocks; what it stages is gone when it returns.

    ``may_read``: asked before anything is staged, with the bytes that this takes; False: those pairs are left out.
    """

    def __init__(
        self,
        context: SnapshotContext,
        finder: ChainFinder,
        meter: Meter,
        old: Side,
        new: Side,
        *,
        sample: int,
        may_read: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._context = context
        self._finder = finder
        self._meter = meter
        self._old, self._new = old, new
        self._sample = sample
        self._may_read = may_read
        self.warnings: list[str] = []

    def compare(self, pairs: Iterable[Pair]) -> dict[str, RowDiff]:
        """What differs, by the pairs' names. Raises FailedPrecondition or Corruption with the link of a chain that is
        missing or damaged, ResourceExhausted, Cancelled, OSError.
        """
        found, left = {}, []
        self._meter.begin("comparing")
        for pair in pairs:
            diff = self._by_history(pair)
            if diff is None:
                left.append(pair)
            else:
                found[pair.name] = diff
        return found | self._by_reading(left) if left else found

    def _by_history(self, pair: Pair) -> RowDiff | None:
        """None where the live store does not know it (any more)."""
        live, snapshot = (self._old, self._new) if self._old.is_live else (self._new, self._old)
        said = snapshot.manifest
        if (
            said is None
            or not live.is_live
            or pair.old.spec.id != pair.new.spec.id
            or snapshot.store_id != live.store_id
        ):
            return None
        current, view = self._context.keeper.current, live.views[pair.old.spec.id]
        if not current.reaches_back_to(said.timeline, said.sequence):
            return None
        if any(len(tombstones_between(segment, said.sequence, view.sequence)) for segment in view.segments):
            # A compaction has dropped rows that died since: how they differed only the snapshot knows.
            return None
        diff = compare_rows(*between(view, said.sequence), self._sample, self._meter.advance)
        diff = diff.backwards() if live is self._old else diff
        if diff.leads(pair.old.content, pair.new.content):
            return diff
        if remembers(current, view.spec.id, said.sequence):
            self.warnings.append(
                f"{pair.name}: {snapshot.name} says that it is of this store, but holds what this one never held (was "
                "the data directory copied?); its rows were compared one by one"
            )
        return None

    def _by_reading(self, pairs: list[Pair]) -> dict[str, RowDiff]:
        with contextlib.ExitStack() as held:
            old = self._held(held, self._old, {pair.old.spec.id for pair in pairs})
            new = self._held(held, self._new, {pair.new.spec.id for pair in pairs})
            reads = [_planned(pair, old, new) for pair in pairs]
            wanted = (_wanted(old, [read.old for read in reads]), _wanted(new, [read.new for read in reads]))
            needed = sum(staged_bytes(chain, ids) for chain, ids in wanted)
            if not self._may_read(needed):
                return {}
            self._context.check_space(self._context.layout.collections, needed, ROOM)
            views = [self._staged(held, chain, ids) for chain, ids in wanted]
            self._meter.begin("comparing", 0, sum(pair.old.count + pair.new.count for pair in pairs))
            return {read.pair.name: self._compared(read, *views) for read in reads}

    def _held(self, held: contextlib.ExitStack, side: Side, sources: set[uuid.UUID]) -> Chain:
        """The side's archives, which nobody deletes or replaces meanwhile; none of the live store."""
        if side.info is None:
            return Chain(())
        return held.enter_context(self._finder.hold(side.info, sources))

    def _staged(self, held: contextlib.ExitStack, chain: Chain, ids: set[uuid.UUID]) -> dict[uuid.UUID, View]:
        if not ids:
            return {}
        numbers = [n for n, each in enumerate(chain.last.manifest.collections) if each.spec.id in ids]
        self._meter.begin("reading", chain.member_bytes, staged_rows(chain, ids))
        views, _ = held.enter_context(staged_to_read(self._context, chain, numbers, self._meter.advance))
        return {
            chain.last.manifest.collections[number].spec.id: view for number, view in zip(numbers, views, strict=True)
        }

    def _compared(self, read: _Read, old: dict[uuid.UUID, View], new: dict[uuid.UUID, View]) -> RowDiff:
        pair, advance = read.pair, self._meter.advance
        one = self._view(self._old, pair.old, read.old, old)
        other = self._view(self._new, pair.new, read.new, new)
        if other is None:
            assert one is not None, "one of two snapshots is read"
            diff = compare_rows(*between(one, self._new.sequence), self._sample, advance).backwards()
        elif one is None:
            diff = compare_rows(*between(other, self._old.sequence), self._sample, advance)
        else:
            diff = compare_rows(*by_hash(one, other, advance), self._sample, advance)
        if not diff.leads(pair.old.content, pair.new.content):
            raise Corruption(
                f"the rows that differ in {pair.name} do not lead from what {self._old.name} counts to what "
                f"{self._new.name} counts: {pair.old.count} rows with the digest {pair.old.digest.hex()}, "
                f"{pair.new.count} with {pair.new.digest.hex()}",
                path=self._context.layout.collections,
                reason="DIGEST_MISMATCH",
                hint="verify both sides: holdfast storage snapshot verify ID; make a snapshot of what is live",
            )
        return diff

    def _view(self, side: Side, held: Held, staged: uuid.UUID | None, views: dict[uuid.UUID, View]) -> View | None:
        """The side's own view of the pair; None where the other's has its moment as well."""
        if staged is not None:
            return views[staged]
        return side.views[held.spec.id] if side.is_live else None


def _planned(pair: Pair, old: Chain, new: Chain) -> _Read:
    """What has to be staged of a pair. A live side has no chain."""
    if _holds_moment_of(new, old, pair):
        return _Read(pair, None, pair.new.spec.id)
    if _holds_moment_of(old, new, pair):
        return _Read(pair, pair.old.spec.id, None)
    return _Read(pair, pair.old.spec.id if old.links else None, pair.new.spec.id if new.links else None)


def _holds_moment_of(chain: Chain, other: Chain, pair: Pair) -> bool:
    """Whether a link of ``chain`` that its collection goes through holds the moment of the last ``other`` one.

    Of two copies of one store each may have a snapshot of the same name and sequence: they differ in what they count.
    """
    collection_id = pair.old.spec.id
    if not chain.links or not other.links or collection_id != pair.new.spec.id:
        return False
    moment = _moment(other.last, collection_id)
    return any(_moment(link, collection_id) == moment for link in chain.links_of(collection_id))


def _moment(link: Link, collection_id: uuid.UUID) -> tuple[object, ...]:
    manifest, said = link.manifest, link.said(collection_id)
    return manifest.store_id, manifest.timeline, manifest.sequence, said.count, said.digest


def _wanted(chain: Chain, ids: Iterable[uuid.UUID | None]) -> tuple[Chain, set[uuid.UUID]]:
    return chain, {id for id in ids if id is not None}
