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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption, UnsupportedFormat
from ..format.manifest import RunEntry
from ..format.run import FENCE_DTYPE, RunInfo, decode_run_info
from ..format.segment import RUN_HASH_DTYPE, RUN_ROW_DTYPE
from ..model import Int64Array, Uint64Array
from .bulk import Pace
from .checks import DamageOf, check_file, file_checksum, map_file, mapped_array
from .files import FileSystem, Mapping
from .names import Layout, RunFiles

ROWS_PER_FENCE = 4
FEW = 40
"""Up to so many queries a binary search costs less than the array operations around the fence."""


def fence_bits(rows: int) -> int:
    """How many first bits of a hash choose its fence, so that 2 to 4 rows share one."""
    return max(1, (max(rows, 1) - 1).bit_length() - (ROWS_PER_FENCE - 1).bit_length())


class Run:
    """An open run; immutable, any thread. It owns its maps: its files may be unlinked while it is in use."""

    def __init__(self, fs: FileSystem, files: RunFiles, entry: RunEntry, info: RunInfo) -> None:
        self._fs = fs
        self._maps: list[Mapping] = []
        self.entry = entry
        self.files = files
        self.info = info
        self.rows_count = info.rows
        self.hashes: Uint64Array = self._map(files.hashes, RUN_HASH_DTYPE, info.rows)
        self.places: NDArray[Any] = self._map(files.places, RUN_ROW_DTYPE, info.rows)
        self._fence: NDArray[np.uint32] = self._map(files.fence, FENCE_DTYPE, (1 << info.fence_bits) + 1)
        self._shift = np.uint64(64 - info.fence_bits)

    def find(self, hashes: Uint64Array) -> tuple[Int64Array, Int64Array]:
        """All pairs (index into ``hashes``, index into the run) of equal hashes. May read from the disk."""
        if not len(hashes) or not self.rows_count:
            return _NONE, _NONE
        low = self.hashes.searchsorted(hashes) if len(hashes) <= FEW else self._lower_bounds(hashes)
        # A lower bound past the end is clipped onto the last hash, which is smaller, so that it does not match.
        positions = np.flatnonzero(self.hashes.take(low, mode="clip") == hashes)
        if not len(positions):
            return positions, positions
        found, places = [positions], [low[positions]]
        while len(positions):
            places_next = places[-1] + 1
            same = places_next < self.rows_count
            same &= self.hashes.take(places_next, mode="clip") == hashes[positions]
            positions = positions[same]
            found.append(positions)
            places.append(places_next[same])
        return np.concatenate(found), np.concatenate(places)

    def _lower_bounds(self, hashes: Uint64Array) -> Int64Array:
        """Where each hash stands or would stand: from its fence on by halving steps, all queries at once."""
        bucket = (hashes >> self._shift).astype(np.int64)
        low = self._fence.take(bucket).astype(np.int64)
        widest = int((self._fence.take(bucket + 1) - low).max())
        step = 1 << max(0, widest.bit_length() - 1)
        while step:
            # What follows the bucket has greater first bits, so no query passes its end but the greatest of all.
            smaller = self.hashes.take(low + (step - 1), mode="clip") < hashes
            low += smaller * np.int64(step)
            step >>= 1
        return low

    def verify(self, pace: Pace) -> None:
        """Compare every file with its checksum. Blocks, paced. Raises ``Corruption``."""
        info = self.info
        for path, expected in zip(self.files.arrays, (info.hashes, info.places, info.fence), strict=True):
            if file_checksum(self._fs, path, pace) != expected:
                raise Corruption("the content does not match its checksum", path=path)

    def advise(self, mode: str) -> None:
        """Tell the kernel how the maps will be read; the modes are those of ``Mapping.advise``."""
        for mapping in self._maps:
            mapping.advise(mode)

    @property
    def size_bytes(self) -> int:
        """Bytes of its arrays, on disk and mapped."""
        return sum(mapping.size for mapping in self._maps)

    def resident_bytes(self) -> int:
        """Bytes of its maps that the page cache holds now."""
        return sum(mapping.resident_bytes() for mapping in self._maps)

    def _map(self, path: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        mapping = map_file(self._fs, path)
        self._maps.append(mapping)
        return mapped_array(mapping, path, dtype, (count,))


def open_run(fs: FileSystem, layout: Layout, collection_id: uuid.UUID, entry: RunEntry) -> Run:
    """Open a run that the manifest names; no work per row. Raises ``Corruption`` when it is not whole."""
    files = layout.run_files(collection_id, entry.name)
    info = _read_info(fs, files.info)
    if info.rows != entry.rows:
        raise Corruption(f"says {info.rows} rows, the manifest {entry.rows}", path=files.info)
    for path, expected in zip(files.arrays, (info.hashes, info.places, info.fence), strict=True):
        check_file(fs, path, expected.size)
    return Run(fs, files, entry, info)


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
