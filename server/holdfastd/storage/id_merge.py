"""Writing a run of the id index: one sorted batch, or several runs merged, in bounded memory.

The hash space is cut into ranges of at most ``BLOCK_ROWS`` rows; each range is gathered from all sources, sorted and
appended. However long the runs are, a merge holds one range.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.npy import npy_header
from ..format.run import FENCE_DTYPE, MAX_RUN_ROWS, RunInfo, encode_run_info
from ..format.segment import RUN_HASH_DTYPE, RUN_ROW_DTYPE
from ..model import BoolArray, Uint64Array
from .bulk import BulkWriter, Pace, write_document
from .column import Column
from .files import FileSystem
from .id_run import fence_bits
from .names import RunFiles

BLOCK_ROWS = 1 << 19


@dataclass(frozen=True, slots=True)
class Source:
    """Ascending hashes and the places that belong to them, in memory or in a file."""

    hashes: Uint64Array | Column
    places: NDArray[Any] | Column


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a run to be."""

    hashes: Uint64Array
    places: NDArray[Any]


def sorted_source(hashes: Uint64Array, ordinal: int, rows: NDArray[np.uint32]) -> Source:
    """The rows of one segment as a source; ``hashes`` in any order."""
    order = np.argsort(hashes, kind="stable")
    places = np.empty(len(order), RUN_ROW_DTYPE)
    places["segment"] = ordinal
    places["row"] = rows[order]
    return Source(hashes[order].astype(RUN_HASH_DTYPE, copy=False), places)


def write_run(
    fs: FileSystem,
    files: RunFiles,
    sources: Sequence[Source],
    live_ordinals: BoolArray | None,
    pace: Pace,
    block_rows: int = BLOCK_ROWS,
) -> RunInfo:
    """Write the files of a run that holds everything in ``sources``. Blocks, paced; contents durable, names not.

    ``live_ordinals``: rows of segments whose ordinal is not marked here are left out. Raises ``OSError``, and
    ValueError beyond ``MAX_RUN_ROWS``; no file is left then.
    """
    total = sum(_count(source, live_ordinals, block_rows) for source in sources)
    if total > MAX_RUN_ROWS:
        raise ValueError(f"{total} rows in one run of the id index, the limit is {MAX_RUN_ROWS}")
    try:
        info = _write_arrays(fs, files, _blocks(sources, live_ordinals, block_rows), total, pace)
        write_document(fs, files.info, encode_run_info(info))
    except BaseException:
        for path in files:
            with contextlib.suppress(OSError):
                fs.unlink(path)
        raise
    return info


def _write_arrays(fs: FileSystem, files: RunFiles, blocks: Iterator[Block], total: int, pace: Pace) -> RunInfo:
    bits = fence_bits(total)
    heads = (
        npy_header(RUN_HASH_DTYPE, (total,)),
        npy_header(RUN_ROW_DTYPE, (total,)),
        npy_header(FENCE_DTYPE, ((1 << bits) + 1,)),
    )
    sizes = (total * 8, total * 8, ((1 << bits) + 1) * 4)
    with contextlib.ExitStack() as stack:
        outputs = [
            stack.enter_context(BulkWriter(fs, path, len(head) + size, pace=pace))
            for path, head, size in zip(files.arrays, heads, sizes, strict=True)
        ]
        for output, head in zip(outputs, heads, strict=True):
            output.write(head)
        hashes, places, fences = outputs
        fence = _Fence(bits, fences)
        for block in blocks:
            hashes.write(block.hashes)
            places.write(block.places)
            fence.add(block.hashes)
        fence.finish()
        written = [output.size - len(head) for output, head in zip(outputs, heads, strict=True)]
        if written != list(sizes):
            raise ValueError(f"a run of {total} rows came out as {written} bytes: its sources have changed")
        return RunInfo(total, bits, hashes.close(), places.close(), fences.close())


class _Fence:
    """Writes where each bucket of hashes starts, from ascending blocks."""

    def __init__(self, bits: int, output: BulkWriter) -> None:
        self._buckets = 1 << bits
        self._shift = np.uint64(64 - bits)
        self._output = output
        self._rows = 0
        self._next = 0

    def add(self, hashes: Uint64Array) -> None:
        if not len(hashes):
            return
        last = int(hashes[-1] >> self._shift)
        buckets = np.arange(self._next, last + 1, dtype=np.uint64)
        starts = hashes.searchsorted(buckets << self._shift) + self._rows
        self._output.write(starts.astype(FENCE_DTYPE))
        self._rows += len(hashes)
        self._next = max(self._next, last + 1)

    def finish(self) -> None:
        """The buckets after the last hash, and the end."""
        self._output.write(np.full(self._buckets + 1 - self._next, self._rows, FENCE_DTYPE))


def _count(source: Source, live: BoolArray | None, block_rows: int) -> int:
    if live is None:
        return len(source.hashes)
    starts = range(0, len(source.places), block_rows)
    return sum(int(np.count_nonzero(_is_live(source.places[start : start + block_rows], live))) for start in starts)


def _is_live(places: NDArray[Any], live: BoolArray) -> BoolArray:
    ordinals = places["segment"].astype(np.int64)
    known = ordinals < len(live)
    return known & live.take(np.where(known, ordinals, 0)) if len(live) else known


def _blocks(sources: Sequence[Source], live: BoolArray | None, block_rows: int) -> Iterator[Block]:
    """Everything in ``sources``, in ascending blocks; of equal hashes, those of earlier sources come first."""
    boundaries = _boundaries(sources, block_rows)
    cuts = [_cut(source, boundaries) for source in sources]
    for number in range(len(cuts[0]) - 1):
        parts = [slice(cut[number], cut[number + 1]) for cut in cuts]
        hashes = np.concatenate([source.hashes[part] for source, part in zip(sources, parts, strict=True)])
        places = np.concatenate([source.places[part] for source, part in zip(sources, parts, strict=True)])
        if live is not None:
            kept = _is_live(places, live)
            hashes, places = hashes[kept], places[kept]
        order = np.argsort(hashes, kind="stable")
        yield Block(hashes.take(order), places.take(order))


def _boundaries(sources: Sequence[Source], block_rows: int) -> Uint64Array:
    """Hashes that cut the sources into ranges of at most ``block_rows`` rows, but for runs of equal hashes.

    Every ``stride``-th hash of each source is a sample; a range of s samples holds less than (s + sources) strides.
    """
    if sum(len(source.hashes) for source in sources) <= block_rows:
        return np.zeros(0, np.uint64)
    stride = max(1, block_rows // (2 * len(sources)))
    samples = np.sort(np.concatenate([source.hashes[stride - 1 :: stride] for source in sources]))
    return np.unique(samples[len(sources) - 1 :: len(sources)])


def _cut(source: Source, boundaries: Uint64Array) -> list[int]:
    return [0, *source.hashes.searchsorted(boundaries, side="right").tolist(), len(source.hashes)]
