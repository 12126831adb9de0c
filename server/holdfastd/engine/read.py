"""Reading from a view: get, search, scroll, count and export. Never blocks a write, and sees one exact moment."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import InvalidArgument
from ..format.operation import hash_ids
from ..model import BoolArray, Float32Array, Hit, Int64Array, Record
from . import parts
from .filter import Filter
from .search import top_k
from .view import Part, View, locate

SCAN_ROWS = 4096
"""Rows per step of a scan: enough to amortise the call, small enough to hold in memory."""


def get(view: View, ids: Sequence[str], *, vectors: bool = True) -> list[Record]:
    """The records of ``ids``, in the order asked, without those that do not exist."""
    keys = [id.encode() for id in ids]
    places = [place for place in locate(view, keys, hash_ids(keys)) if place is not None]
    return fetch(places, vectors=vectors)


def fetch(places: Sequence[tuple[Part, int]], *, vectors: bool) -> list[Record]:
    """The records at ``places``, in that order; each part is read once."""
    out: list[Record | None] = [None] * len(places)
    by_part: dict[int, list[int]] = {}
    for position, (part, _) in enumerate(places):
        by_part.setdefault(id(part), []).append(position)
    for positions in by_part.values():
        part = places[positions[0]][0]
        rows = np.array([places[position][1] for position in positions], np.int64)
        for position, record in zip(positions, records_at(part, rows, vectors=vectors), strict=True):
            out[position] = record
    return [record for record in out if record is not None]


def records_at(part: Part, rows: Int64Array, *, vectors: bool) -> list[Record]:
    """The records of ``rows`` of one part."""
    facts = parts.facts_at(part, rows)
    matrix: Sequence[Float32Array | None] = list(parts.vectors_at(part, rows)) if vectors else [None] * len(rows)
    ids, payloads = parts.ids_at(part, rows), parts.payloads_at(part, rows)
    columns = (ids, matrix, payloads, facts.versions.tolist(), facts.sequences.tolist(), facts.times.tolist())
    return [
        Record(id.decode(), vector, payload, version, sequence, time_us)
        for id, vector, payload, version, sequence, time_us in zip(*columns, strict=True)
    ]


def search(
    view: View,
    queries: Float32Array,
    *,
    k: int,
    filter: Filter | None = None,
    threshold: float | None = None,
    vectors: bool = False,
) -> list[list[Hit]]:
    """The ``k`` nearest live points to each of (q, d) ``queries``, best first."""
    if queries.shape[1] != view.spec.dimensions:
        raise InvalidArgument(
            f"the query has {queries.shape[1]} dimensions, {view.spec.name!r} has {view.spec.dimensions}",
            field="query",
            reason="DIMENSION_MISMATCH",
        )
    places: list[tuple[Part, int]] = []
    blocks = []
    for part in view.parts():
        for start, block in parts.blocks(part, matching(view, part, filter)):
            places.append((part, start))
            blocks.append(block)
    hits: list[list[Hit]] = []
    for which, rows, scores in top_k(queries, blocks, view.spec.metric, k, threshold):
        found = [(places[w][0], places[w][1] + r) for w, r in zip(which.tolist(), rows.tolist(), strict=True)]
        records = fetch(found, vectors=vectors)
        hits.append([Hit(record, score) for record, score in zip(records, scores.tolist(), strict=True)])
    return hits


def matching(view: View, part: Part, filter: Filter | None) -> BoolArray | None:
    """(length,) bool: alive and accepted by the filter; None where that is every row."""
    alive = parts.live_mask(part, view.sequence)
    if filter is None:
        return alive
    mask = np.zeros(parts.length(part), np.bool_)
    rows = np.arange(len(mask), dtype=np.int64) if alive is None else np.flatnonzero(alive)
    for start in range(0, len(rows), SCAN_ROWS):
        step = rows[start : start + SCAN_ROWS]
        mask[step] = filter.mask(parts.payloads_at(part, step))
    return mask


def scan(view: View, filter: Filter | None) -> Iterator[tuple[Part, Int64Array]]:
    """Live, accepted rows in the order in which they were written, in steps of at most ``SCAN_ROWS``."""
    for part in view.parts():
        rows = parts.live_rows(part, view.sequence)
        for start in range(0, len(rows), SCAN_ROWS):
            step = rows[start : start + SCAN_ROWS]
            if filter is not None:
                step = step[filter.mask(parts.payloads_at(part, step))]
            if len(step):
                yield part, step


def count(view: View, filter: Filter | None) -> int:
    """How many live points the filter accepts."""
    return view.count if filter is None else sum(len(rows) for _, rows in scan(view, filter))


def ids_matching(view: View, filter: Filter) -> list[bytes]:
    """The ids of the live points that the filter accepts."""
    return [id for part, rows in scan(view, filter) for id in parts.ids_at(part, rows)]


def export(view: View, filter: Filter | None) -> Iterator[list[Record]]:
    """Every accepted record with its vector, in the order written, in batches of at most ``SCAN_ROWS``."""
    for part, rows in scan(view, filter):
        yield records_at(part, rows, vectors=True)


def scroll_by_time(
    view: View, *, after: tuple[int, str] | None, skip: int, limit: int, filter: Filter | None, vectors: bool
) -> list[Record]:
    """Up to ``limit`` records in the order written, beyond ``after`` = (sequence, id), leaving out the first ``skip``.

    Points of one operation share its sequence and are ordered by id, so that a page can go on behind a point which has
    been deleted since.
    """
    floor = None if after is None else (after[0], after[1].encode())
    out: list[Record] = []
    for part in view.parts():
        for rows in _whole_operations(part, view, floor):
            if filter is not None:
                rows = rows[filter.mask(parts.payloads_at(part, rows))]
            sequences = parts.facts_at(part, rows).sequences.tolist()
            keyed = sorted(zip(sequences, parts.ids_at(part, rows), rows.tolist(), strict=True))
            page = [row for sequence, id, row in keyed if floor is None or (sequence, id) > floor]
            dropped = min(skip, len(page))
            skip -= dropped
            page = page[dropped : dropped + limit - len(out)]
            out.extend(records_at(part, np.array(page, np.int64), vectors=vectors))
            if len(out) >= limit:
                return out
    return out


def _whole_operations(part: Part, view: View, floor: tuple[int, bytes] | None) -> Iterator[Int64Array]:
    """The live rows at or beyond the floor's sequence, in steps that never divide an operation."""
    rows = parts.live_rows(part, view.sequence)
    sequences = parts.facts_at(part, rows).sequences
    start = 0 if floor is None else int(np.searchsorted(sequences, np.uint64(floor[0])))
    while start < len(rows):
        last = min(start + SCAN_ROWS, len(rows)) - 1
        end = int(np.searchsorted(sequences, sequences[last], side="right"))
        yield rows[start:end]
        start = end


def scroll_by_id(
    view: View, *, after: str | None, skip: int, limit: int, filter: Filter | None, vectors: bool
) -> list[Record]:
    """Up to ``limit`` records with ids beyond ``after`` in byte order, leaving out the first ``skip``."""
    floor = b"" if after is None else after.encode()
    rows_by_id = (
        (id, number, row)
        for number, (part, rows) in enumerate(scan(view, filter))
        for id, row in zip(parts.ids_at(part, rows), rows.tolist(), strict=True)
        if after is None or id > floor
    )
    page = heapq.nsmallest(skip + limit, rows_by_id)[skip:]
    wanted = {number for _, number, _ in page}
    steps = {number: part for number, (part, _) in enumerate(scan(view, filter)) if number in wanted}
    return fetch([(steps[number], row) for _, number, row in page], vectors=vectors)
