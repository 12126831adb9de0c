"""Which rows of a sealed segment are dead, and since which operation: in memory, and as a file at each checkpoint.

A segment's files never change; what changes is only this. One thread, the applier, adds kills; any thread reads.
"""

from __future__ import annotations

import posixpath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.checksum import crc32c
from ..format.npy import npy_view
from ..format.segment import KILL_DTYPE
from ..model import BoolArray, Int64Array, Uint64Array
from .bulk import Pace, unpaced, write_npy
from .checks import DamageOf
from .files import FileSystem
from .names import kills_name, parse_kills_name

TEMPORARY = "kills.tmp"


class Kills:
    """The kill sequences of one segment's rows.

    ``sequences``: None before the first kill, then (rows,) u64 where 0 means alive.
    """

    def __init__(self, rows_count: int) -> None:
        self._rows_count = rows_count
        self.sequences: Uint64Array | None = None
        # (highest kill, dead rows) and (that tuple, mask) are replaced as a whole, so that readers need no lock.
        self._tally = (0, 0)
        self._mask: tuple[tuple[int, int], BoolArray] | None = None
        # Applier only: what is added from ``record`` on.
        self._recorded: list[tuple[Int64Array, Uint64Array]] | None = None

    def add(self, rows: Int64Array, sequences: Uint64Array) -> None:
        """Kill distinct ``rows``, each by the operation at the same place. Applier only; the first kill of a row stays.

        Readers of earlier sequences are not disturbed: publish a sequence only after its kills.
        """
        killed = np.zeros(self._rows_count, np.uint64) if self.sequences is None else self.sequences
        alive = killed[rows] == 0
        if not alive.all():
            rows, sequences = rows[alive], sequences[alive]
        if not len(rows):
            return
        killed[rows] = sequences
        self.sequences = killed
        recorded = self._recorded
        if recorded is not None:
            recorded.append((rows, sequences))
        highest, dead = self._tally
        self._tally = (max(highest, int(sequences.max())), dead + len(rows))

    def record(self) -> list[tuple[Int64Array, Uint64Array]]:
        """The kills that are added from now on, as a list that grows: rows, and what killed them. Applier only."""
        self._recorded = []
        return self._recorded

    def stop_recording(self) -> None:
        """Let go of that list. Any thread."""
        self._recorded = None

    def count(self, sequence: int) -> int:
        """How many rows are dead at ``sequence``."""
        highest, dead = self._tally
        if sequence >= highest or self.sequences is None:
            return dead
        return int(np.count_nonzero(self.sequences)) - int(np.count_nonzero(self.sequences > np.uint64(sequence)))

    def live_mask(self, sequence: int) -> BoolArray | None:
        """(rows,) read-only: which rows no operation through ``sequence`` has killed. None: all of them."""
        tally, cached = self._tally, self._mask
        killed = self.sequences
        if killed is None:
            return None
        newest = sequence >= tally[0]
        if newest and cached is not None and cached[0] is tally:
            return cached[1]
        # 0 (alive) wraps to the highest u64, so one comparison covers both "never" and "later".
        mask: BoolArray = (killed - np.uint64(1)) >= np.uint64(sequence)
        mask.flags.writeable = False
        if newest:
            self._mask = (tally, mask)
        return mask

    def write(self, fs: FileSystem, directory: str, sequence: int, *, pace: Pace = unpaced) -> str:
        """Write every kill through ``sequence`` into a file of ``directory``; returns its name. Durable on return."""
        killed = np.zeros(0, np.uint64) if self.sequences is None else self.sequences
        rows = np.flatnonzero((killed - np.uint64(1)) < np.uint64(sequence))
        entries = np.zeros(len(rows), KILL_DTYPE)
        entries["row"] = rows
        entries["sequence"] = killed[rows]
        temporary = posixpath.join(directory, TEMPORARY)
        if fs.exists(temporary):
            fs.unlink(temporary)
        info = write_npy(fs, temporary, KILL_DTYPE, entries.shape, [entries], pace=pace)
        name = kills_name(sequence, info.crc32c)
        fs.rename(temporary, posixpath.join(directory, name))
        fs.sync_dir(directory)
        return name


def load_kills(fs: FileSystem, directory: str, name: str, rows_count: int) -> Kills:
    """The kills in a file that ``Kills.write`` made. Raises ``Corruption`` when it is missing or damaged."""
    path = posixpath.join(directory, name)
    entries = _read(fs, path, name)
    rows, sequences = entries["row"].astype(np.int64), entries["sequence"].astype(np.uint64)
    if len(rows) and (int(rows.max()) >= rows_count or not (np.diff(rows) > 0).all() or not sequences.all()):
        raise Corruption(f"kills of rows that a segment of {rows_count} rows does not have", path=path)
    kills = Kills(rows_count)
    kills.add(rows, sequences)
    return kills


def check_kills(fs: FileSystem, directory: str, name: str) -> None:
    """Read a kills file again. Raises ``Corruption`` when it is missing or damaged."""
    _read(fs, posixpath.join(directory, name), name)


def _read(fs: FileSystem, path: str, name: str) -> NDArray[Any]:
    parsed = parse_kills_name(name)
    if parsed is None:
        raise Corruption("the manifest names a kills file in a form that no holdfastd writes", path=path)
    with DamageOf(path):
        data = fs.read(path)
    if crc32c(data) != parsed[1]:
        raise Corruption("the content does not match the checksum in the file's name", path=path)
    try:
        entries = npy_view(data)
    except ValueError as error:
        raise Corruption(str(error), path=path) from None
    if entries.dtype != KILL_DTYPE or entries.ndim != 1:
        raise Corruption(f"holds {entries.dtype} {entries.shape}, not kills", path=path)
    return entries
