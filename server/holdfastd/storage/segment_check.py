"""Proving a sealed segment: checksums of its files, and hashes of its rows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Corruption
from ..format.hashing import hash_rows
from ..format.norms import row_norms
from ..model import Int64Array
from . import names
from .bulk import Pace, unpaced
from .checks import file_checksum
from .files import FileSystem
from .kills import check_kills

if TYPE_CHECKING:
    from .segment import Segment

ROWS_AT_ONCE = 4096
MISMATCH = "the content does not match its checksum in segment.json"


def check_files(fs: FileSystem, segment: Segment, files: Iterable[str], pace: Pace = unpaced) -> None:
    """Compare these files with their checksums, by reads that fail on a bad block: nothing mapped is touched.

    Blocks, paced. Raises ``Corruption`` with the path.
    """
    for name in files:
        if not has_checksum(fs, segment, name, pace):
            raise Corruption(MISMATCH, path=segment.path(name))


def has_checksum(fs: FileSystem, segment: Segment, name: str, pace: Pace) -> bool:
    """Whether a file is as segment.json says. Raises ``Corruption`` where it cannot be read."""
    return file_checksum(fs, segment.path(name), pace) == segment.info.files[name]


def verify_segment(fs: FileSystem, segment: Segment, deep: bool, pace: Pace) -> None:
    """See ``Segment.verify``."""
    for name in segment.info.files:
        if not has_checksum(fs, segment, name, pace):
            raise Corruption(
                MISMATCH,
                path=segment.path(name),
                offset=_locate(segment, name),
                hint="restore the collection from a snapshot, or replay the log into a new one",
            )
    if segment.kills_file is not None:
        check_kills(fs, segment.directory, segment.kills_file)
    if deep:
        bad = next(_bad_rows(segment, pace), None)
        if bad is not None:
            raise Corruption(
                f"row {bad} does not match its hash, though every checksum holds",
                path=segment.path(names.ROWS),
                offset=_offset_of(segment, names.ROWS, bad),
            )


def _locate(segment: Segment, name: str) -> int | None:
    """The offset of the first damaged row in ``name``, as far as its rows' hashes tell."""
    try:
        bad = next(_bad_rows(segment, unpaced), None)
    except Corruption as error:
        return error.offset if posixpath.basename(error.path) == name else None
    return None if bad is None else _offset_of(segment, name, bad)


def _bad_rows(segment: Segment, pace: Pace) -> Iterator[int]:
    """Rows whose hash or norm is not what id, vector and payload give, in order."""
    for start in range(0, segment.rows_count, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, segment.rows_count)
        rows: Int64Array = np.arange(start, end)
        vectors = segment.vectors[start:end].copy()
        pace(vectors.nbytes)
        facts = segment.rows[start:end]
        hashes = hash_rows(segment.ids_at(rows), vectors, segment.payloads_at(rows))
        good = (hashes[:, 0] == facts["hash_high"]) & (hashes[:, 1] == facts["hash_low"])
        good &= np.isclose(row_norms(vectors), segment.norms[start:end], rtol=1e-5, atol=0)
        yield from (start + np.flatnonzero(~good)).tolist()


def _offset_of(segment: Segment, name: str, row: int) -> int | None:
    """Where the bytes of ``row`` stand in a file."""
    facts = segment.facts_at(np.array([row]))[0]
    places = {
        names.VECTORS: (row * segment.info.dimensions * 4, segment.vectors.nbytes),
        names.NORMS: (row * 4, segment.norms.nbytes),
        names.ROWS: (row * segment.rows.item_bytes, segment.rows.nbytes),
        names.IDS: (int(facts["id_offset"]), _sum(segment, "id_length")),
        names.PAYLOADS: (int(facts["payload_offset"]), _sum(segment, "payload_length")),
    }
    if name not in places:
        return None
    place, data_bytes = places[name]
    return segment.info.files[name].size - data_bytes + place


def _sum(segment: Segment, field: str) -> int:
    steps = range(0, segment.rows_count, ROWS_AT_ONCE)
    return sum(int(segment.rows[start : start + ROWS_AT_ONCE][field].sum(dtype=np.int64)) for start in steps)
