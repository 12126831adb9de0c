"""Sealing a segment: rows in memory become a directory of npy files that never change again."""

from __future__ import annotations

import contextlib
import itertools
import posixpath
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..format.npy import VECTORS_ALIGN
from ..format.segment import (
    ROW_DTYPE,
    ROW_HAS_PAYLOAD,
    TOMBSTONE_DTYPE,
    FileInfo,
    SegmentInfo,
    encode_segment_info,
)
from ..model import Float32Array, Int64Array, Uint64Array
from . import names
from .bulk import Pace, unpaced, write_document, write_npy
from .files import FileSystem, make_lasting_dir, remove_tree
from .names import Layout

MAX_SEGMENT_ROWS = (1 << 32) - 1
"""A row's number is a u32 in the id index and in kills files."""


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Deleted ids that compaction dropped and increments still need, each with the sequence that killed it."""

    ids: list[bytes]
    id_hashes: Uint64Array
    sequences: Uint64Array

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class SegmentColumns:
    """The content of a segment to be, n rows of d dimensions.

    ids: UTF-8, 1..65535 bytes each. vectors: consecutive (m, d) float32 chunks, at least one, n rows in all; read once,
    so that they may be made as they are written. norms: (n,) float32. payloads: verbatim JSON or None. sequences and
    times (µs): (n,) u64. versions: (n,) u32. hashes: (n, 2) u64. id_hashes: (n,) u64, for the id index alone.
    """

    ids: list[bytes]
    vectors: Iterable[Float32Array]
    norms: Float32Array
    payloads: list[bytes | None]
    sequences: Uint64Array
    times: Uint64Array
    versions: NDArray[np.uint32]
    hashes: Uint64Array
    id_hashes: Uint64Array
    tombstones: Tombstones | None = None


def write_segment(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    segment_id: uuid.UUID,
    ordinal: int,
    columns: SegmentColumns,
    *,
    pace: Pace = unpaced,
) -> SegmentInfo:
    """Write every file of a new segment. Blocks, paced; on return files and names are durable, down to the collection.

    Raises ValueError when the columns differ in length, ``OSError`` when the disk fails; the directory is removed then.
    """
    _check_lengths(columns)
    directory = layout.segment_dir(collection_id, segment_id)
    make_lasting_dir(fs, layout.collection_dir(collection_id))
    fs.mkdir(directory)
    try:
        dimensions, files = _write_files(fs, directory, columns, pace)
        sequences = columns.sequences
        info = SegmentInfo(
            id=segment_id,
            collection_id=collection_id,
            ordinal=ordinal,
            rows=len(columns.ids),
            dimensions=dimensions,
            first_sequence=int(sequences.min()) if len(sequences) else 0,
            last_sequence=int(sequences.max()) if len(sequences) else 0,
            files=files,
        )
        write_document(fs, posixpath.join(directory, names.SEGMENT_JSON), encode_segment_info(info))
        fs.sync_dir(directory)
        fs.sync_dir(layout.collection_dir(collection_id))
    except BaseException:
        with contextlib.suppress(OSError):
            remove_tree(fs, directory)
        raise
    return info


def _check_lengths(columns: SegmentColumns) -> None:
    count = len(columns.ids)
    others = {
        "norms": columns.norms.shape == (count,),
        "payloads": len(columns.payloads) == count,
        "sequences": columns.sequences.shape == (count,),
        "times": columns.times.shape == (count,),
        "versions": columns.versions.shape == (count,),
        "hashes": columns.hashes.shape == (count, 2),
    }
    wrong = [name for name, fits in others.items() if not fits]
    if wrong:
        raise ValueError(f"{count} ids, but another number of {', '.join(wrong)}")
    if count > MAX_SEGMENT_ROWS:
        raise ValueError(f"{count} rows in one segment, the limit is {MAX_SEGMENT_ROWS}")


def _write_files(
    fs: FileSystem, directory: str, columns: SegmentColumns, pace: Pace
) -> tuple[int, dict[str, FileInfo]]:
    count = len(columns.ids)
    dimensions, chunks = _with_dimensions(columns.vectors)
    rows = _row_facts(columns)
    files: dict[str, FileInfo] = {}

    def put(name: str, dtype: Any, shape: tuple[int, ...], data: Iterable[Any], align: int = 64) -> None:
        files[name] = write_npy(fs, posixpath.join(directory, name), dtype, shape, data, align=align, pace=pace)

    put(names.VECTORS, "<f4", (count, dimensions), chunks, VECTORS_ALIGN)
    put(names.NORMS, "<f4", (count,), [columns.norms])
    put(names.ROWS, ROW_DTYPE, (count,), [rows])
    put(names.IDS, "|u1", (int(rows["id_length"].sum()),), _joined(columns.ids))
    put(names.PAYLOADS, "|u1", (int(rows["payload_length"].sum()),), _joined(columns.payloads))
    if columns.tombstones is not None:
        dead = columns.tombstones
        facts = _tombstone_facts(dead)
        put(names.TOMBSTONES, TOMBSTONE_DTYPE, facts.shape, [facts])
        put(names.TOMBSTONE_IDS, "|u1", (int(facts["id_length"].sum()),), _joined(dead.ids))
    return dimensions, files


def _with_dimensions(vectors: Iterable[Float32Array]) -> tuple[int, Iterator[Float32Array]]:
    chunks = iter(vectors)
    first = next(chunks, None)
    if first is None or first.ndim != 2:
        raise ValueError("the vectors of a segment come as at least one (m, d) chunk")
    return first.shape[1], itertools.chain([first], chunks)


def _row_facts(columns: SegmentColumns) -> NDArray[Any]:
    rows = np.zeros(len(columns.ids), ROW_DTYPE)
    rows["sequence"] = columns.sequences
    rows["time_us"] = columns.times
    rows["version"] = columns.versions
    rows["hash_high"] = columns.hashes[:, 0]
    rows["hash_low"] = columns.hashes[:, 1]
    rows["id_offset"], rows["id_length"] = _offsets(columns.ids, 0xFFFF)
    rows["payload_offset"], rows["payload_length"] = _offsets(columns.payloads, 0xFFFF_FFFF)
    rows["flags"] = ROW_HAS_PAYLOAD
    if None in columns.payloads:
        rows["flags"][np.fromiter((payload is None for payload in columns.payloads), np.bool_, len(rows))] = 0
    return rows


def _tombstone_facts(dead: Tombstones) -> NDArray[Any]:
    facts = np.zeros(len(dead), TOMBSTONE_DTYPE)
    facts["id_hash"] = dead.id_hashes
    facts["sequence"] = dead.sequences
    facts["id_offset"], facts["id_length"] = _offsets(dead.ids, 0xFFFF)
    return facts


def _offsets(values: Sequence[bytes | None], longest: int) -> tuple[Int64Array, Int64Array]:
    """Where each value starts once they are joined, and its length."""
    present = values if None not in values else [value or b"" for value in values]
    lengths = np.fromiter(map(len, present), np.int64, len(values))  # type: ignore[arg-type]  # nothing is None
    if len(lengths) and int(lengths.max()) > longest:
        raise ValueError(f"an id or payload of {int(lengths.max())} bytes, the limit is {longest}")
    return np.cumsum(lengths) - lengths, lengths


def _joined(values: Sequence[bytes | None], at_once: int = 4096) -> Iterator[bytes]:
    """The values back to back, in pieces that hold the GIL for well under a millisecond each."""
    for start in range(0, len(values), at_once):
        yield b"".join(filter(None, values[start : start + at_once]))
