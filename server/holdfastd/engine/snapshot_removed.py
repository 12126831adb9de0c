"""What an increment says of ids that were alive at its base and are not at its own sequence.

A row that was there at the base and died since leaves an id that is gone, or written anew: then it is among the rows
that the increment takes, and needs no word here. Checkpoints keep such rows, and compactions a tombstone of each, for
as long as a base may need them (RULES 21).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ..format.hashing import digest_sums, hash_ids
from ..format.npy import npy_header
from ..format.segment import TOMBSTONE_DTYPE
from ..format.snapshot import TOMBSTONE_IDS, TOMBSTONES
from ..model import Digest, Int64Array, Sequence64
from ..storage.segment import Segment
from ..storage.tombstones import Tombstones, TombstoneTable, tombstone_facts
from . import parts
from .snapshot_rows import Piece
from .view import Part, View, locate

ROWS_AT_ONCE = 4096

Source: TypeAlias = Part | TombstoneTable


@dataclass(frozen=True, slots=True)
class RemovedIds:
    """The ids that are gone: rows of the parts that held them, or tombstones. ``sizes``: of the members that list them.

    ``died``, ``died_digest``: of all rows of the base that are dead by now, those written anew included.
    """

    gone: tuple[tuple[Source, Int64Array], ...] = ()
    count: int = 0
    id_bytes: int = 0
    died: int = 0
    died_digest: Digest = field(default_factory=Digest)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each member, by its last name component; empty where no id is gone."""
        if not self.count:
            return {}
        return {
            TOMBSTONES: len(npy_header(TOMBSTONE_DTYPE, (self.count,))) + self.count * TOMBSTONE_DTYPE.itemsize,
            TOMBSTONE_IDS: len(npy_header("|u1", (self.id_bytes,))) + self.id_bytes,
        }


NOTHING_REMOVED = RemovedIds()


def removed_since(view: View, sequence: Sequence64, since: Sequence64) -> RemovedIds:
    """The ids that were alive at ``since`` and are not at ``sequence``. Reads the facts of rows that died between."""
    gone, count, id_bytes, died, digest = [], 0, 0, 0, Digest()
    for source, rows in _died(view, sequence, since):
        left = []
        for some in parts.chunks(rows, ROWS_AT_ONCE):
            dead = _dead(source, some)
            digest = digest.plus(*digest_sums(dead.hashes))
            missing = [place is None for place in locate(view, dead.ids, hash_ids(dead.ids))]
            id_bytes += sum(len(id) for id, is_gone in zip(dead.ids, missing, strict=True) if is_gone)
            left.append(some[missing])
        died += len(rows)
        rows = np.concatenate(left)
        if len(rows):
            gone.append((source, rows))
            count += len(rows)
    return RemovedIds(tuple(gone), count, id_bytes, died, digest)


def _died(view: View, sequence: Sequence64, since: Sequence64) -> Iterator[tuple[Source, Int64Array]]:
    """Where what died between stands: rows of parts, then tombstones of segments; none of them twice."""
    for part in view.parts():
        rows = died_between(part, since, sequence)
        if len(rows):
            yield part, rows
    for segment in view.segments:
        which = tombstones_between(segment, since, sequence)
        if segment.tombstones is not None and len(which):
            yield segment.tombstones, which


def tombstones_between(segment: Segment, since: Sequence64, sequence: Sequence64) -> Int64Array:
    """The tombstones of rows that were alive at ``since`` and dead at ``sequence``."""
    table = segment.tombstones
    found = [np.zeros(0, np.int64)]
    if table is not None:
        for some in parts.chunks(table.killed_after(since), ROWS_AT_ONCE):
            dead = table.at(some)
            found.append(some[(dead.sequences <= since) & (dead.killed <= sequence)])
    return np.concatenate(found)


def died_between(part: Part, since: Sequence64, sequence: Sequence64) -> Int64Array:
    """The rows that were alive at ``since`` and dead at ``sequence``."""
    killed = parts.kills_of(part)
    if killed is None:
        return np.zeros(0, np.int64)
    rows = np.flatnonzero((killed > since) & (killed <= sequence))
    return rows[parts.sequences_at(part, rows) <= since] if len(rows) else rows


def removed_pieces(removed: RemovedIds, file: str) -> Iterator[Piece]:
    """The content of one member, in order; its size is the one that ``removed.sizes`` says."""
    return _write_facts(removed) if file == TOMBSTONES else _write_ids(removed)


def _write_facts(removed: RemovedIds) -> Iterator[Piece]:
    yield npy_header(TOMBSTONE_DTYPE, (removed.count,))
    yield from tombstone_facts(_pieces(removed))


def _write_ids(removed: RemovedIds) -> Iterator[Piece]:
    yield npy_header("|u1", (removed.id_bytes,))
    for dead in _pieces(removed):
        yield b"".join(dead.ids)


def _pieces(removed: RemovedIds) -> Iterator[Tombstones]:
    for source, rows in removed.gone:
        for some in parts.chunks(rows, ROWS_AT_ONCE):
            yield _dead(source, some)


def _dead(source: Source, rows: Int64Array) -> Tombstones:
    """What there is to tell of dead rows, or of tombstones."""
    if isinstance(source, TombstoneTable):
        return source.at(rows)
    killed = parts.kills_of(source)
    assert killed is not None
    ids, hashes = parts.ids_at(source, rows), parts.hashes_at(source, rows)
    return Tombstones(ids, killed[rows], parts.sequences_at(source, rows), hashes)
