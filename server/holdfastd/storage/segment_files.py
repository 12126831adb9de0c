"""Writing the files of a new segment: a directory of npy files that never change again, and what lists them.

    write_files    the arrays, as their content comes; nobody needs to hold them
    name_segment   segment.json, and the names made durable: from here on a manifest may name the segment

Whoever fills a segment for long takes its number at the end, when those of others are known.
"""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..format.npy import NPY_ALIGN
from ..format.segment import FileInfo, SegmentInfo, encode_segment_info
from ..model import Int64Array
from .bulk import Pace, unpaced, write_document, write_npy
from .files import Buffer, FileSystem, make_lasting_dir, remove_tree
from .names import SEGMENT_JSON, TOMBSTONES, Layout

MAX_SEGMENT_ROWS = (1 << 32) - 1
"""A row's number is a u32 in the id index and in kills files."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """An npy file to be. ``chunks``: bytes, or arrays of ``dtype``, that add up to ``shape``; read once, in order."""

    dtype: DTypeLike
    shape: tuple[int, ...]
    chunks: Iterable[Buffer | NDArray[np.generic]]
    align: int = NPY_ALIGN


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """A segment to be: ``files`` by their names, written in this order. Sequences: of its rows, 0 where it has none."""

    rows: int
    dimensions: int
    first_sequence: int
    last_sequence: int
    files: Mapping[str, FileContent]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it: no row, and no tombstone."""
        return not self.rows and TOMBSTONES not in self.files


def write_files(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    segment_id: uuid.UUID,
    content: SegmentContent,
    *,
    pace: Pace = unpaced,
) -> dict[str, FileInfo]:
    """Write the arrays into a new directory. Blocks, paced; their contents are durable on return, their names are not.

    Raises ``OSError``, ValueError for content that is not as it says, and what reading it raises; the directory is gone
    then.
    """
    if content.rows > MAX_SEGMENT_ROWS:
        raise ValueError(f"{content.rows} rows in one segment, the limit is {MAX_SEGMENT_ROWS}")
    directory = layout.segment_dir(collection_id, segment_id)
    make_lasting_dir(fs, layout.collection_dir(collection_id))
    fs.mkdir(directory)
    with removed_on_failure(fs, directory):
        return {
            name: write_npy(
                fs, posixpath.join(directory, name), file.dtype, file.shape, file.chunks, align=file.align, pace=pace
            )
            for name, file in content.files.items()
        }


def name_segment(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    segment_id: uuid.UUID,
    ordinal: int,
    content: SegmentContent,
    files: Mapping[str, FileInfo],
) -> SegmentInfo:
    """Write segment.json; on return files and names are durable, up to the collection's. Raises as ``write_files``."""
    directory = layout.segment_dir(collection_id, segment_id)
    info = SegmentInfo(
        id=segment_id,
        collection_id=collection_id,
        ordinal=ordinal,
        rows=content.rows,
        dimensions=content.dimensions,
        first_sequence=content.first_sequence,
        last_sequence=content.last_sequence,
        files=dict(files),
    )
    with removed_on_failure(fs, directory):
        write_document(fs, posixpath.join(directory, SEGMENT_JSON), encode_segment_info(info))
        fs.sync_dir(directory)
        fs.sync_dir(layout.collection_dir(collection_id))
    return info


@contextlib.contextmanager
def removed_on_failure(fs: FileSystem, directory: str) -> Iterator[None]:
    """Remove a directory that the block has not come to fill."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            remove_tree(fs, directory)
        raise


def text_offsets(lengths: NDArray[np.generic], start: int = 0) -> tuple[Int64Array, int]:
    """Where each of texts that stand back to back begins behind ``start``, and where the next one would."""
    ends = np.cumsum(lengths, dtype=np.int64) + start
    return ends - lengths.astype(np.int64), int(ends[-1]) if len(ends) else start
