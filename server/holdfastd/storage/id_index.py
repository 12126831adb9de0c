"""The id index of a collection: geometric sorted runs, from the hash of an id to the rows that may hold it.

A checkpoint adds one run. Once ``FANOUT`` runs of a level would stand side by side they become one run of the next
level, so a collection of n checkpoints has O(log n) runs and each row is rewritten O(log n) times.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..format.manifest import RunEntry
from ..model import MMAP_AS_USUAL, BoolArray, Int64Array, MmapSettings, Uint64Array
from .bulk import Pace, unpaced
from .files import FileSystem, make_dirs
from .id_merge import Source, sorted_source, write_run
from .id_run import Run, open_run
from .names import Layout
from .run_names import last_ordinal, name_anew, run_name

FANOUT = 8
SORT_FROM = 1024
"""From so many queries on, asking in hash order pays for the sort."""

Candidates: TypeAlias = tuple[Int64Array, NDArray[np.uint32], NDArray[np.uint32]]
"""(positions among the queries, segment ordinals, rows), aligned."""


class IdIndex:
    """An immutable set of runs, newest first; any thread. ``IdIndex()`` is the index of an empty collection."""

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        self.runs = tuple(runs)

    @property
    def entries(self) -> tuple[RunEntry, ...]:
        """How the manifest names the runs."""
        return tuple(run.entry for run in self.runs)

    def lookup(self, id_hashes: Uint64Array) -> Candidates:
        """Every place where a row with one of these id hashes was written, newer runs first. May read from the disk.

        ``id_hashes``: (n,) u64 in any order. Candidates may be dead, of dropped segments, or of another id with the
        same hash: the caller compares ids and kills.
        """
        queries, order = np.ascontiguousarray(id_hashes, np.uint64), None
        if len(queries) >= SORT_FROM:
            order = np.argsort(queries)
            queries = queries[order]
        hits = [(run, *run.find(queries)) for run in self._runs_with(queries)]
        hits = [hit for hit in hits if len(hit[1])]
        if not hits:
            return _NO_POSITIONS, _NO_NUMBERS, _NO_NUMBERS
        positions = np.concatenate([positions for _, positions, _ in hits])
        places = np.concatenate([run.places.take(at) for run, _, at in hits])
        return (positions if order is None else order[positions]), places["segment"], places["row"]

    def with_run(
        self,
        fs: FileSystem,
        layout: Layout,
        collection_id: uuid.UUID,
        hashes: Uint64Array,
        ordinal: int,
        rows: NDArray[np.uint32],
        *,
        live_ordinals: Iterable[int] | None = None,
        pace: Pace = unpaced,
    ) -> tuple[IdIndex, tuple[str, ...]]:
        """The index with the rows of one more segment, whose ``ordinal`` is above all that are in it.

        Writes one run, which takes in the runs of full levels on the way; of these it leaves out rows of segments that
        are not in ``live_ordinals`` (default: leaves out nothing). Blocks, paced; durable on return. Also returns the
        paths of files that are obsolete once a manifest with the new index is published. Raises ``OSError``; nothing
        has changed then.
        """
        level, merged = self._merged_by_one_more()
        name = run_name(level, ordinal)
        if any(run.entry.name == name for run in self.runs):
            raise ValueError(f"segment {ordinal} is in the id index already")
        sources = [sorted_source(hashes, ordinal, rows), *map(_source, merged)]
        live = None if live_ordinals is None else _marked({ordinal, *live_ordinals})
        run = _write(fs, layout, collection_id, name, level, sources, live, pace)
        kept = self.runs[len(merged) :]
        return IdIndex((run, *kept)), tuple(path for old in merged for path in old.files)

    def as_one_run(
        self,
        fs: FileSystem,
        layout: Layout,
        collection_id: uuid.UUID,
        live_ordinals: Iterable[int],
        *,
        pace: Pace = unpaced,
    ) -> tuple[IdIndex, tuple[str, ...]]:
        """The index with rows of these segments alone, as one run, or none where it is empty. As ``with_run``."""
        obsolete, live = tuple(path for run in self.runs for path in run.files), _marked(live_ordinals)
        if not self.runs or not len(live):
            return IdIndex(), obsolete
        level = max(run.entry.level for run in self.runs)
        last = last_ordinal(self.runs[0].entry)
        # Never one that was given before: files of that name may still wait to be removed.
        before = [run.entry for run in self.runs if run.entry.level == level and last_ordinal(run.entry) == last]
        name = name_anew(before[0].name) if before else run_name(level, last)
        sources = list(map(_source, self.runs))
        return IdIndex([_write(fs, layout, collection_id, name, level, sources, live, pace)]), obsolete

    def verify(self, *, pace: Pace = unpaced) -> None:
        """Compare every file with its checksum. Blocks, paced. Raises ``Corruption``."""
        for run in self.runs:
            run.verify(pace)

    @property
    def rows_count(self) -> int:
        """Rows that its runs list, those of segments that are gone included."""
        return sum(run.rows_count for run in self.runs)

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(run.size_bytes for run in self.runs)

    def _runs_with(self, queries: Uint64Array) -> Iterable[Run]:
        """The runs worth a full search: for one query, by far the commonest, only those that hold it."""
        if len(queries) != 1 or not all(run.opened.settings.enabled for run in self.runs):
            return self.runs
        wanted = queries.item()
        return [run for run in self.runs if _holds(run, queries, wanted)]

    def _merged_by_one_more(self) -> tuple[int, tuple[Run, ...]]:
        """The level at which one more run comes to stand, and the newest runs that it takes in."""
        level, taken = 0, 0
        for here, group in itertools.groupby(self.runs, key=lambda run: run.entry.level):
            count = sum(1 for _ in group)
            if here > level or count < FANOUT - 1:
                break
            level, taken = here + 1, taken + count
        return level, self.runs[:taken]


def open_index(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    entries: Sequence[RunEntry],
    settings: MmapSettings = MMAP_AS_USUAL,
) -> IdIndex:
    """Open the runs that the manifest names, newest first; no work per row. Raises ``Corruption``."""
    return IdIndex([open_run(fs, layout, collection_id, entry, settings) for entry in entries])


def _source(run: Run) -> Source:
    return Source(run.hashes, run.places)


def _write(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    name: str,
    level: int,
    sources: Sequence[Source],
    live: BoolArray | None,
    pace: Pace,
) -> Run:
    """A new run, durable with its name."""
    files = layout.run_files(collection_id, name)
    make_dirs(fs, layout.ids_dir(collection_id))
    for path in files:
        # A checkpoint that failed later than here has left them; no manifest names them.
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(path)
    info = write_run(fs, files, sources, live, pace)
    fs.sync_dir(layout.ids_dir(collection_id))
    return Run(fs, files, RunEntry(name, level, info.rows), info)


def _holds(run: Run, queries: Uint64Array, wanted: int) -> bool:
    at = run.hashes.searchsorted(queries)
    return at.item() < run.rows_count and run.hashes.take(at).item() == wanted


def _marked(ordinals: Iterable[int]) -> BoolArray:
    """A table that is True at the given ordinals."""
    listed = np.fromiter(ordinals, np.int64)
    table = np.zeros(int(listed.max()) + 1 if len(listed) else 0, np.bool_)
    table[listed] = True
    return table


_NO_POSITIONS: Int64Array = np.zeros(0, np.int64)
_NO_NUMBERS: NDArray[np.uint32] = np.zeros(0, np.uint32)
