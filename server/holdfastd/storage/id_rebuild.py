"""A damaged run of the id index made anew from the segments whose rows it listed: an index holds nothing of its own.

A run is named by the last segment in it, and follows the run before it without a gap; so its name says which segments
to read. The new one has a name of its own: the manifest names the damaged one until it is replaced.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence

import numpy as np

from ..errors import Corruption
from ..format.hashing import hash_ids
from ..format.manifest import RunEntry
from ..model import Int64Array, MmapSettings
from . import names
from .bulk import Pace, unpaced
from .files import FileSystem
from .id_build import SPILL_ROWS, IndexBuilder
from .id_run import Run, open_run
from .names import Layout
from .run_names import name_anew
from .segment import Segment
from .segment_check import check_files

ROWS_AT_ONCE = 1 << 16


class SegmentDamaged(Exception):
    """A segment that is to be listed is itself damaged: ``damage`` says where."""

    def __init__(self, segment: Segment, damage: Corruption) -> None:
        super().__init__(damage.message)
        self.segment = segment
        self.damage = damage


def open_runs(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    entries: Sequence[RunEntry],
    settings: MmapSettings,
    *,
    thorough: bool = False,
) -> list[Run | Corruption]:
    """The runs that the manifest names, or what is wrong with them, in its order. Changes nothing.

    No work per row, unless ``thorough``: then each is read and compared with its checksums.
    """
    found: list[Run | Corruption] = []
    for entry in entries:
        try:
            run = open_run(fs, layout, collection_id, entry, settings)
            if thorough:
                run.verify(unpaced)
            found.append(run)
        except Corruption as damage:
            found.append(damage)
    return found


def rebuild_run(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    damaged: RunEntry,
    segments: Sequence[Segment],
    *,
    pace: Pace = unpaced,
    spill_rows: int = SPILL_ROWS,
) -> Run | None:
    """A run in the place of ``damaged``, from ``segments`` in the order of their ordinals; None when they are none.

    Reads their ids once, and their checksums before: an id that is misread would be missing for ever. Blocks; durable
    on return. Raises ``SegmentDamaged``, and ``OSError`` where the run cannot be written.
    """
    name = name_anew(damaged.name)
    _remove_leftovers(fs, layout, collection_id, name)
    builder = IndexBuilder(fs, layout, collection_id, pace=pace, spill_rows=spill_rows)
    for segment in segments:
        try:
            check_files(fs, segment, (names.ROWS, names.IDS), pace)
        except Corruption as damage:
            raise SegmentDamaged(segment, damage) from damage
        for start in range(0, segment.rows_count, ROWS_AT_ONCE):
            rows: Int64Array = np.arange(start, min(start + ROWS_AT_ONCE, segment.rows_count))
            try:
                ids = segment.ids_at(rows)
            except Corruption as damage:
                raise SegmentDamaged(segment, damage) from damage
            builder.add(hash_ids(ids), segment.ordinal, rows.astype(np.uint32))
    return builder.finish(name, damaged.level)


def _remove_leftovers(fs: FileSystem, layout: Layout, collection_id: uuid.UUID, name: str) -> None:
    """What a start that was cut short had written of the same run; no manifest names it."""
    directory = layout.ids_dir(collection_id)
    if not fs.exists(directory):
        return
    for path in layout.run_files(collection_id, name):
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(path)
    for each in fs.listdir(directory):
        if each.startswith("spill-"):
            fs.unlink(f"{directory}/{each}")
