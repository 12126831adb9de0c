"""Building the id index of a whole collection at once, as one run, in bounded memory.

Hashes come in any order, part by part. Beyond ``spill_rows`` they are sorted and set aside as runs on the disk; at the
end everything is merged.
"""

from __future__ import annotations

import contextlib
import uuid

import numpy as np
from numpy.typing import NDArray

from ..format.manifest import RunEntry
from ..format.segment import RUN_HASH_DTYPE, RUN_ROW_DTYPE
from ..model import Uint64Array
from .bulk import Pace, unpaced
from .checks import mapped_array
from .files import FileSystem, make_dirs
from .id_index import FANOUT
from .id_merge import Source, sorted_source, write_run
from .id_run import Run, open_run
from .names import Layout, RunFiles

SPILL_ROWS = 4 << 20
YOUNG_ROWS = 1 << 16
"""About the rows of a run of level 0."""


class IndexBuilder:
    """See the module. One thread; blocks. Raises ``OSError``; the owner of the directory removes it then."""

    def __init__(
        self,
        fs: FileSystem,
        layout: Layout,
        collection_id: uuid.UUID,
        *,
        pace: Pace = unpaced,
        spill_rows: int = SPILL_ROWS,
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._collection_id = collection_id
        self._pace = pace
        self._spill_rows = spill_rows
        self._held: list[Source] = []
        self._held_rows = 0
        self._spilled: list[tuple[RunFiles, Source]] = []
        self._last_ordinal = 0

    def add(self, hashes: Uint64Array, ordinal: int, rows: NDArray[np.uint32]) -> None:
        """The ids of some ``rows`` of the segment ``ordinal``; ordinals never go down."""
        self._held.append(sorted_source(hashes, ordinal, rows))
        self._held_rows += len(hashes)
        self._last_ordinal = ordinal
        if self._held_rows >= self._spill_rows:
            self._spill()

    def finish(self, name: str | None = None, level: int | None = None) -> Run | None:
        """Write the run; None when there are no rows. Durable on return.

        ``name`` and ``level``: those of the run whose place it takes; by default they follow from what was added.
        """
        sources = [*(source for _, source in self._spilled), *self._held]
        if not sources:
            return None
        total = sum(len(source.hashes) for source in sources)
        level = _level(total) if level is None else level
        directory = self._layout.ids_dir(self._collection_id)
        make_dirs(self._fs, directory)
        name = name or f"run-{level:02d}-{self._last_ordinal:010d}"
        write_run(self._fs, self._layout.run_files(self._collection_id, name), sources, None, self._pace)
        for files, _ in self._spilled:
            for path in files:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.unlink(path)
        self._fs.sync_dir(directory)
        return open_run(self._fs, self._layout, self._collection_id, RunEntry(name, level, total))

    def _spill(self) -> None:
        make_dirs(self._fs, self._layout.ids_dir(self._collection_id))
        files = self._layout.run_files(self._collection_id, f"spill-{len(self._spilled):06d}")
        info = write_run(self._fs, files, self._held, None, self._pace)
        hashes = mapped_array(self._fs.map(files.hashes), files.hashes, RUN_HASH_DTYPE, (info.rows,))
        places = mapped_array(self._fs.map(files.places), files.places, RUN_ROW_DTYPE, (info.rows,))
        self._spilled.append((files, Source(hashes, places)))
        self._held, self._held_rows = [], 0


def _level(rows: int) -> int:
    """The level at which so many rows would stand, had they come by checkpoints."""
    level = 0
    while rows > YOUNG_ROWS:
        rows //= FANOUT
        level += 1
    return level
