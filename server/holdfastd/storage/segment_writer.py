"""Sealing a segment: rows in memory become the content of its files."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..format.npy import VECTORS_ALIGN
from ..format.segment import ROW_DTYPE, ROW_HAS_PAYLOAD, SegmentInfo
from ..model import Float32Array, Int64Array, Uint64Array
from . import names
from .bulk import Pace, unpaced
from .files import FileSystem
from .names import Layout
from .segment_files import FileContent, SegmentContent, name_segment, text_offsets, write_files


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
    content = _content_of(columns)
    files = write_files(fs, layout, collection_id, segment_id, content, pace=pace)
    return name_segment(fs, layout, collection_id, segment_id, ordinal, content, files)


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


def _content_of(columns: SegmentColumns) -> SegmentContent:
    _check_lengths(columns)
    count, sequences, rows = len(columns.ids), columns.sequences, _row_facts(columns)
    dimensions, chunks = _with_dimensions(columns.vectors)
    return SegmentContent(
        rows=count,
        dimensions=dimensions,
        first_sequence=int(sequences.min()) if count else 0,
        last_sequence=int(sequences.max()) if count else 0,
        files={
            names.VECTORS: FileContent("<f4", (count, dimensions), chunks, VECTORS_ALIGN),
            names.NORMS: FileContent("<f4", (count,), [columns.norms]),
            names.ROWS: FileContent(ROW_DTYPE, (count,), [rows]),
            names.IDS: FileContent("|u1", (int(rows["id_length"].sum()),), _joined(columns.ids)),
            names.PAYLOADS: FileContent("|u1", (int(rows["payload_length"].sum()),), _joined(columns.payloads)),
        },
    )


def _with_dimensions(vectors: Iterable[Float32Array]) -> tuple[int, Iterator[Float32Array]]:
    chunks = iter(vectors)
    first = next(chunks, None)
    if first is None or first.ndim != 2:
        raise ValueError("the vectors of a segment come as at least one (m, d) chunk")
    return first.shape[1], itertools.chain([first], chunks)


def _row_facts(columns: SegmentColumns) -> NDArray[np.void]:
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


def _offsets(values: Sequence[bytes | None], longest: int) -> tuple[Int64Array, Int64Array]:
    """Where each value starts once they are joined, and its length."""
    present = values if None not in values else [value or b"" for value in values]
    lengths = np.fromiter(map(len, present), np.int64, len(values))  # type: ignore[arg-type]  # nothing is None
    if len(lengths) and int(lengths.max()) > longest:
        raise ValueError(f"an id or payload of {int(lengths.max())} bytes, the limit is {longest}")
    return text_offsets(lengths)[0], lengths


def _joined(values: Sequence[bytes | None], at_once: int = 4096) -> Iterator[bytes]:
    """The values back to back, in pieces that hold the GIL for well under a millisecond each."""
    for start in range(0, len(values), at_once):
        yield b"".join(filter(None, values[start : start + at_once]))
