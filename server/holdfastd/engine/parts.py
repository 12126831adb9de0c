"""Segments and memtable slices behind one face: what a reader asks of either, bounded by a view's sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_not
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..model import BoolArray, Float32Array, Int64Array, Sequence64, Uint64Array
from . import collection
from .search import Block
from .view import MemtableSlice, Part

T = TypeVar("T")
ROWS_AT_ONCE = 65536
"""How many rows are looked at together where all of them are: their facts are 4 MiB."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Per-row facts, (n,) each."""

    sequences: Uint64Array
    times: Uint64Array
    versions: NDArray[np.uint32]


def length(part: Part) -> int:
    """Rows, dead ones included."""
    return part.length if isinstance(part, MemtableSlice) else part.rows_count


def last_sequence(part: Part) -> Sequence64:
    """The sequence of its newest row, dead ones included; 0 where it has none."""
    if isinstance(part, MemtableSlice):
        return int(part.table.sequences[part.length - 1]) if part.length else 0
    return part.info.last_sequence


def sequences_at(part: Part, rows: Int64Array) -> Uint64Array:
    """(len(rows),) u64: when ``rows`` were written. May read the disk."""
    return np.concatenate([collection.sequences_at(table_of(part), some) for some in chunks(rows)])


def hashes_at(part: Part, rows: Int64Array) -> Uint64Array:
    """(len(rows), 2) u64: the row hashes of ``rows``, high and low."""
    return collection.hashes_at(table_of(part), rows)


def kills_of(part: Part) -> Uint64Array | None:
    """(length,) u64: what killed each row, 0 while it is alive; None where nothing was killed. Not a copy."""
    return part.table.killed[: part.length] if isinstance(part, MemtableSlice) else part.killed


def table_of(part: Part) -> collection.Table:
    """The memtable or segment itself, without the view's bound."""
    return part.table if isinstance(part, MemtableSlice) else part


def chunks(rows: Int64Array, at_once: int = ROWS_AT_ONCE) -> Iterator[Int64Array]:
    """``rows`` in pieces, at least one."""
    return (rows[start : start + at_once] for start in range(0, max(1, len(rows)), at_once))


def live_mask(part: Part, sequence: Sequence64) -> BoolArray | None:
    """(length,) bool, or None where every row is alive at ``sequence``."""
    if isinstance(part, MemtableSlice):
        return part.table.live_mask(part.length, sequence)
    return part.live_mask(sequence)


def live_rows(part: Part, sequence: Sequence64) -> Int64Array:
    """The rows alive at ``sequence``, ascending."""
    mask = live_mask(part, sequence)
    return np.arange(length(part), dtype=np.int64) if mask is None else np.flatnonzero(mask)


def ids_at(part: Part, rows: Int64Array) -> list[bytes]:
    """The ids of ``rows``, UTF-8."""
    if isinstance(part, MemtableSlice):
        ids = part.table.ids
        return [ids[row] for row in rows.tolist()]
    return part.ids_at(rows)


def payloads_at(part: Part, rows: Int64Array) -> list[bytes | None]:
    """The payloads of ``rows``: verbatim JSON objects, or None."""
    if isinstance(part, MemtableSlice):
        payloads = part.table.payloads
        return [payloads[row] for row in rows.tolist()]
    return part.payloads_at(rows)


def joined_ids(part: Part, rows: Int64Array) -> bytes:
    """The ids of ``rows``, ascending, back to back."""
    return b"".join(_picked(part.table.ids, rows)) if isinstance(part, MemtableSlice) else part.joined_ids(rows)


def joined_payloads(part: Part, rows: Int64Array) -> bytes:
    """The payloads of ``rows``, ascending, back to back."""
    if isinstance(part, MemtableSlice):
        return b"".join(filter(None, _picked(part.table.payloads, rows)))
    return part.joined_payloads(rows)


def text_lengths(part: MemtableSlice, rows: Int64Array) -> tuple[Int64Array, Int64Array, BoolArray]:
    """Of ``rows``, ascending: the bytes of their ids, those of their payloads, and whether they have one."""
    ids, payloads = _picked(part.table.ids, rows), _picked(part.table.payloads, rows)
    present = np.fromiter(map(is_not, payloads, repeat(None)), np.bool_, len(payloads))
    texts = [payload or b"" for payload in payloads]
    return np.fromiter(map(len, ids), np.int64, len(ids)), np.fromiter(map(len, texts), np.int64, len(texts)), present


def _picked(values: Sequence[T], rows: Int64Array) -> Sequence[T]:
    """The values of ``rows``, ascending: a slice where none is left out."""
    if not len(rows):
        return []
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return values[first : last + 1]
    return [values[row] for row in rows.tolist()]


def vectors_at(part: Part, rows: Int64Array) -> Float32Array:
    """(len(rows), d) float32, copied."""
    if isinstance(part, MemtableSlice):
        return part.table.vectors_at(rows)
    gathered: Float32Array = part.vectors[rows]
    return gathered


def facts_at(part: Part, rows: Int64Array) -> Facts:
    """Sequence, time and version of ``rows``."""
    if isinstance(part, MemtableSlice):
        table = part.table
        return Facts(table.sequences[rows], table.times[rows], table.versions[rows])
    facts = part.facts_at(rows)
    return Facts(facts["sequence"], facts["time_us"], facts["version"])


def blocks(part: Part, alive: BoolArray | None) -> list[tuple[int, Block]]:
    """The part as blocks to search, each with the row at which it starts; ``alive`` is over the whole part."""
    if not isinstance(part, MemtableSlice):
        return [(0, Block(part.vectors, part.norms, alive))]
    table, out, start = part.table, [], 0
    for vectors in table.vector_chunks(part.length):
        end = start + len(vectors)
        out.append((start, Block(vectors, table.norms[start:end], None if alive is None else alive[start:end])))
        start = end
    return out
