"""One moment of a collection, to be read in several ways: whoever holds a reading sees nothing of later writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InvalidArgument, NotFound
from ..model import Float32Array, Hit, Record, Sequence64
from . import read
from .filter import Filter, parse_filter
from .meters import Meters
from .view import View

MAX_K = 10_000


@dataclass(frozen=True, slots=True)
class ScrollPosition:
    """Where a page ended: the last record's sequence (order ``timestamp``) and id."""

    sequence: int
    id: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A pinned view. Thread-safe; never waits for a write; the disk space of its moment is kept while it is held."""

    view: View
    meters: Meters

    @property
    def sequence(self) -> Sequence64:
        """The moment: every operation on the collection up to this sequence is seen, none behind it."""
        return self.view.sequence

    @property
    def dimensions(self) -> int:
        """Floats per vector."""
        return self.view.spec.dimensions

    def get(self, ids: Sequence[str], *, vectors: bool = True) -> list[Record]:
        """The records of ``ids`` in the order asked, without those that do not exist."""
        with self.meters.presence.reading():
            return read.get(self.view, ids, vectors=vectors)

    def existing(self, ids: Sequence[str]) -> list[Record]:
        """The records of ``ids``, with their vectors. Raises NotFound naming those that do not exist."""
        records = read.get(self.view, ids)
        if len(records) == len(ids):
            return records
        known = {record.id for record in records}
        missing = [id for id in ids if id not in known]
        name, shown = self.view.spec.name, ", ".join(repr(id) for id in missing[:10])
        many = f"{len(missing)} of {len(ids)} points do not exist in {name!r}: {shown}"
        raise NotFound(
            many if len(ids) > 1 else f"there is no point {shown} in {name!r}",
            reason="POINT_NOT_FOUND",
            hint=f"see some that exist: holdfast vector scroll {name} --limit 10",
        )

    def vector_of(self, id: str) -> Float32Array:
        """(d,) float32: the vector of a point. Raises NotFound."""
        vector = self.existing([id])[0].vector
        assert vector is not None
        return vector

    def search(
        self,
        queries: Float32Array,
        *,
        k: int,
        filter_text: str | None = None,
        threshold: float | None = None,
        vectors: bool = False,
    ) -> list[list[Hit]]:
        """The ``k`` nearest points to each of (q, d) queries, best first; exact. Uses one core for one query."""
        if not 1 <= k <= MAX_K:
            raise InvalidArgument(f"k is {k}; it can be 1 to {MAX_K}", field="k")
        filter = _parse_optional(filter_text)
        with self.meters.presence.reading(), self.meters.of(self.view.spec.id).search.timed():
            return read.search(self.view, queries, k=k, filter=filter, threshold=threshold, vectors=vectors)

    def scroll(
        self,
        *,
        order: str = "timestamp",
        after: ScrollPosition | None = None,
        skip: int = 0,
        limit: int,
        filter_text: str | None = None,
        vectors: bool = False,
    ) -> list[Record]:
        """A page of records. ``order``: ``timestamp`` (as written) or ``id``."""
        view, filter = self.view, _parse_optional(filter_text)
        with self.meters.presence.reading():
            if order == "id":
                last = None if after is None else after.id
                return read.scroll_by_id(view, after=last, skip=skip, limit=limit, filter=filter, vectors=vectors)
            place = None if after is None else (after.sequence, after.id)
            return read.scroll_by_time(view, after=place, skip=skip, limit=limit, filter=filter, vectors=vectors)

    def count(self, filter_text: str | None = None) -> int:
        """How many points the filter accepts."""
        self.view.require_whole("its points cannot be counted")
        with self.meters.presence.reading():
            return read.count(self.view, _parse_optional(filter_text))

    def export(self, filter_text: str | None = None) -> Iterator[list[Record]]:
        """Every record with its vector, in batches, in the order written."""
        return read.export(self.view, _parse_optional(filter_text))


def _parse_optional(text: str | None) -> Filter | None:
    return parse_filter(text) if text else None
