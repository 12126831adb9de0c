"""Tombstones: of rows that compaction dropped, what an increment on an older base still has to tell (RULES 21).

They stand in the segment that took the place of those which held the rows, until one more compaction finds that no
snapshot is left that could be such a base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.hashing import hash_ids
from ..format.segment import TOMBSTONE_DTYPE, TOMBSTONE_ROW_DTYPE
from ..model import Int64Array, Uint64Array
from . import names
from .column import Column
from .sealed import OpenFiles
from .segment_files import FileContent, text_offsets
from .texts import Texts

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Of dropped rows: ids in UTF-8, (n,) u64 which operation killed each and which had written it, (n, 2) row hashes.

    The ids of rows that were superseded are among them: whoever needs those that are gone looks them up.
    """

    ids: list[bytes]
    killed: Uint64Array
    sequences: Uint64Array
    hashes: Uint64Array

    def __len__(self) -> int:
        return len(self.ids)


class TombstoneTable:
    """Those of one segment. Any thread; may read the disk."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        facts, rows = self._facts, files.columns[names.TOMBSTONE_ROWS]
        if facts.shape != rows.shape:
            raise Corruption(f"holds {len(rows)} entries, not {len(facts)}", path=rows.path, offset=0)
        # Of whoever asked last; replaced as a whole.
        self._counted = (0, 0)

    def __len__(self) -> int:
        return len(self._facts)

    def killed_after(self, sequence: int) -> Int64Array:
        """Which of them an operation behind ``sequence`` killed, ascending."""
        steps = range(0, len(self), ROWS_AT_ONCE)
        found = [np.flatnonzero(self._killed(start) > np.uint64(sequence)) + start for start in steps]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def count_after(self, sequence: int) -> int:
        """How many an operation behind ``sequence`` killed; asked again for the same one, without looking."""
        asked, count = self._counted
        if asked != sequence:
            count = len(self.killed_after(sequence))
            self._counted = (sequence, count)
        return count

    def at(self, which: Int64Array) -> Tombstones:
        """Copies of these. Raises ``Corruption`` where tombstones.npy points beyond its ids."""
        facts, rows = self._facts.take(which), self._files.columns[names.TOMBSTONE_ROWS].take(which)
        return Tombstones(
            ids=Texts(self._files.columns[names.TOMBSTONE_IDS]).at(facts["id_offset"], facts["id_length"]),
            killed=np.ascontiguousarray(facts["sequence"]),
            sequences=np.ascontiguousarray(rows["sequence"]),
            hashes=np.column_stack((rows["hash_high"], rows["hash_low"])),
        )

    @property
    def _facts(self) -> Column:
        return self._files.columns[names.TOMBSTONES]

    def _killed(self, start: int) -> Uint64Array:
        some: Uint64Array = self._facts[start : start + ROWS_AT_ONCE].copy()["sequence"]
        return some


def tombstone_files(pieces: Callable[[], Iterator[Tombstones]]) -> dict[str, FileContent]:
    """The files that hold them; none where there are none. ``pieces``: all of them, few at a time, whenever asked."""
    count = id_bytes = 0
    for piece in pieces():
        count += len(piece)
        id_bytes += sum(map(len, piece.ids))
    if not count:
        return {}
    return {
        names.TOMBSTONES: FileContent(TOMBSTONE_DTYPE, (count,), tombstone_facts(pieces())),
        names.TOMBSTONE_ROWS: FileContent(TOMBSTONE_ROW_DTYPE, (count,), map(_rows, pieces())),
        names.TOMBSTONE_IDS: FileContent("|u1", (id_bytes,), (b"".join(piece.ids) for piece in pieces())),
    }


def tombstone_facts(pieces: Iterator[Tombstones]) -> Iterator[NDArray[Any]]:
    """``TOMBSTONE_DTYPE`` of each piece, whose ids stand behind those of the pieces before."""
    end = 0
    for piece in pieces:
        facts = np.zeros(len(piece), TOMBSTONE_DTYPE)
        facts["id_hash"] = hash_ids(piece.ids)
        facts["sequence"] = piece.killed
        facts["id_length"] = np.fromiter(map(len, piece.ids), np.uint16, len(piece))
        facts["id_offset"], end = text_offsets(facts["id_length"], end)
        yield facts


def _rows(piece: Tombstones) -> NDArray[Any]:
    rows = np.empty(len(piece), TOMBSTONE_ROW_DTYPE)
    rows["sequence"] = piece.sequences
    rows["hash_high"], rows["hash_low"] = piece.hashes.T
    return rows
