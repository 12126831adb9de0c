"""One sorted run of the id index: where rows with a given id hash may stand.

    <run>-hash.npy    (n,) u64, XXH3-64 of ids, ascending
    <run>-rows.npy    (n,) (segment u32, row u32) of the hash at the same place
    <run>-fence.npy   (2^bits + 1,) u32: where the hashes whose first ``bits`` bits are 0, 1, 2 ... start
    <run>-run.json    counts, and the checksums of the three

Hashes are uniform, so the fence narrows a search to a handful of neighbours: two cache lines a query, where a binary
search over the run would take twenty.
"""

from __future__ import annotations

import uuid

import numpy as np

from ..errors import Corruption, UnsupportedFormat
from ..format.manifest import RunEntry
from ..format.run import FENCE_DTYPE, RunInfo, decode_run_info
from ..format.segment import RUN_HASH_DTYPE, RUN_ROW_DTYPE
from ..model import MMAP_AS_USUAL, Int64Array, MmapSettings, Uint64Array
from .bulk import Pace
from .checks import DamageOf, check_file, file_checksum
from .column import Column
from .files import FileSystem
from .names import Layout, RunFiles
from .sealed import ColumnFile, OpenFiles

ROWS_PER_FENCE = 4
FEW = 40
"""Up to so many queries a binary search costs less than the array operations around the fence."""


def fence_bits(rows: int) -> int:
    """How many first bits of a hash choose its fence, so that 2 to 4 rows share one."""
    return max(1, (max(rows, 1) - 1).bit_length() - (ROWS_PER_FENCE - 1).bit_length())


class Run:
    """An open run; what it holds never changes. Any thread.

    It owns its maps or descriptors: its files may be unlinked while it is in use. ``opened``: they, and how they are
    read.
    """

    def __init__(
        self, fs: FileSystem, files: RunFiles, entry: RunEntry, info: RunInfo, settings: MmapSettings = MMAP_AS_USUAL
    ) -> None:
        self._fs = fs
        self.entry = entry
        self.files = files
        self.info = info
        self.rows_count = info.rows
        contents = {
            files.hashes: ColumnFile(files.hashes, info.hashes.size, RUN_HASH_DTYPE, (info.rows,)),
            files.places: ColumnFile(files.places, info.places.size, RUN_ROW_DTYPE, (info.rows,)),
            files.fence: ColumnFile(files.fence, info.fence.size, FENCE_DTYPE, ((1 << info.fence_bits) + 1,)),
        }
        self.opened = OpenFiles(fs, contents, settings)
        self._shift = np.uint64(64 - info.fence_bits)

    @property
    def hashes(self) -> Column:
        """(n,) u64, ascending."""
        return self.opened.columns[self.files.hashes]

    @property
    def places(self) -> Column:
        """(n,) ``RUN_ROW_DTYPE``."""
        return self.opened.columns[self.files.places]

    def find(self, hashes: Uint64Array) -> tuple[Int64Array, Int64Array]:
        """All pairs (index into ``hashes``, index into the run) of equal hashes. May read from the disk."""
        if not len(hashes) or not self.rows_count:
            return _NONE, _NONE
        stored, last = self.hashes, self.rows_count - 1
        few = len(hashes) <= FEW and self.opened.settings.enabled
        low = stored.searchsorted(hashes) if few else self._lower_bounds(stored, hashes)
        # A lower bound past the end is clipped onto the last hash, which is smaller, so that it does not match.
        positions = np.flatnonzero(stored.take(np.minimum(low, last)) == hashes)
        if not len(positions):
            return positions, positions
        found, places = [positions], [low[positions]]
        while len(positions):
            places_next = places[-1] + 1
            same = places_next < self.rows_count
            same &= stored.take(np.minimum(places_next, last)) == hashes[positions]
            positions = positions[same]
            found.append(positions)
            places.append(places_next[same])
        return np.concatenate(found), np.concatenate(places)

    def _lower_bounds(self, stored: Column, hashes: Uint64Array) -> Int64Array:
        """Where each hash stands or would stand: from its fence on by halving steps, all queries at once."""
        bucket = (hashes >> self._shift).astype(np.int64)
        fence = self.opened.columns[self.files.fence]
        low = fence.take(bucket).astype(np.int64)
        widest = int((fence.take(bucket + 1) - low).max())
        step = 1 << max(0, widest.bit_length() - 1)
        while step:
            # What follows the bucket has greater first bits, so no query passes its end but the greatest of all.
            smaller = stored.take(np.minimum(low + (step - 1), self.rows_count - 1)) < hashes
            low += smaller * np.int64(step)
            step >>= 1
        return low

    def verify(self, pace: Pace) -> None:
        """Compare every file with its checksum. Blocks, paced. Raises ``Corruption``."""
        info = self.info
        for path, expected in zip(self.files.arrays, (info.hashes, info.places, info.fence), strict=True):
            if file_checksum(self._fs, path, pace) != expected:
                raise Corruption("the content does not match its checksum", path=path)

    @property
    def size_bytes(self) -> int:
        """Bytes of its arrays on disk."""
        return sum(column.size_bytes for column in self.opened.columns.values())


def open_run(
    fs: FileSystem, layout: Layout, collection_id: uuid.UUID, entry: RunEntry, settings: MmapSettings = MMAP_AS_USUAL
) -> Run:
    """Open a run that the manifest names; no work per row. Raises ``Corruption`` when it is not whole."""
    files = layout.run_files(collection_id, entry.name)
    info = _read_info(fs, files.info)
    if info.rows != entry.rows:
        raise Corruption(f"says {info.rows} rows, the manifest {entry.rows}", path=files.info)
    for path, expected in zip(files.arrays, (info.hashes, info.places, info.fence), strict=True):
        check_file(fs, path, expected.size)
    return Run(fs, files, entry, info, settings)


def _read_info(fs: FileSystem, path: str) -> RunInfo:
    try:
        with DamageOf(path):
            return decode_run_info(fs.read(path))
    except UnsupportedFormat as error:
        error.metadata.setdefault("path", path)
        raise
    except ValueError as error:
        raise Corruption(str(error), path=path) from None


_NONE: Int64Array = np.zeros(0, np.int64)
