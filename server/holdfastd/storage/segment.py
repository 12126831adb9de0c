"""Reading a sealed segment: its files as columns, and the kills that came after it was sealed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption, UnsupportedFormat
from ..format.checksum import crc32c
from ..format.manifest import SegmentEntry
from ..format.segment import (
    ROW_DTYPE,
    ROW_HAS_PAYLOAD,
    TOMBSTONE_DTYPE,
    TOMBSTONE_ROW_DTYPE,
    FileInfo,
    SegmentInfo,
    decode_segment_info,
)
from ..model import MMAP_AS_USUAL, BoolArray, Int64Array, MmapSettings, Uint64Array
from . import names
from .bulk import Pace, unpaced
from .checks import DamageOf, check_file
from .column import Column
from .files import ByteArray, FileSystem
from .kills import Kills, load_kills
from .names import Layout
from .sealed import ColumnFile, OpenFiles
from .segment_check import verify_segment
from .segment_writer import SegmentColumns, write_segment
from .texts import Texts
from .tombstones import TombstoneTable

PIECE_BYTES = 1 << 20

__all__ = ["Segment", "SegmentColumns", "open_segment", "write_segment"]


class Segment:
    """A sealed segment, open for reading. Any thread reads; only the applier calls ``kill``.

    It owns its maps or descriptors: the files may be unlinked while it is in use. ``files``: they, and how they are
    read.
    """

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        info: SegmentInfo,
        kills: Kills,
        kills_file: str | None,
        settings: MmapSettings = MMAP_AS_USUAL,
    ) -> None:
        self._fs = fs
        self._kills = kills
        self.directory = directory
        self.info = info
        self.kills_file = kills_file
        """The kills file that the manifest names; whoever replaces the manifest moves it on."""
        self.ordinal = info.ordinal
        self.rows_count = info.rows
        self.size_bytes = info.size_bytes
        self.files = OpenFiles(fs, _column_files(directory, info), settings)
        self.tombstones = TombstoneTable(self.files) if names.TOMBSTONES in info.files else None
        """What compaction left here for increments."""

    @property
    def vectors(self) -> Column:
        """(n, d) float32."""
        return self.files.columns[names.VECTORS]

    @property
    def norms(self) -> Column:
        """(n,) float32."""
        return self.files.columns[names.NORMS]

    @property
    def rows(self) -> Column:
        """(n,) ``ROW_DTYPE``."""
        return self.files.columns[names.ROWS]

    def path(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.directory}/{name}"

    def checked(self, name: str, piece_bytes: int = PIECE_BYTES) -> Iterator[ByteArray]:
        """One of its files as it stands, piece by piece, for a copy that must be true: the end proves them all.

        The file may have been unlinked meanwhile. Raises ``Corruption`` with the path where a block cannot be read,
        instead of being killed by touching it; and at the end, when the content does not match its checksum.
        """
        column, crc = self.files.columns[name], 0
        for start in range(0, column.size_bytes, piece_bytes):
            piece = column.raw(start, piece_bytes)
            crc = crc32c(piece, crc=crc)
            yield piece
        if FileInfo(column.size_bytes, crc) != self.info.files[name]:
            raise Corruption(
                "the content does not match its checksum in segment.json",
                path=self.path(name),
                hint="restore the collection from an older snapshot, and look at the disk (dmesg, smartctl)",
            )

    def entry(self, kills_file: str | None) -> SegmentEntry:
        """How the manifest names this segment together with a kills file of it."""
        return SegmentEntry(self.info.id, self.ordinal, self.rows_count, self.size_bytes, kills_file)

    # What is dead.

    @property
    def killed(self) -> Uint64Array | None:
        """None before the first kill, then (n,) u64: the sequence that killed the row, 0 while it is alive."""
        return self._kills.sequences

    def kill(self, rows: Int64Array, sequences: Uint64Array) -> None:
        """Applier only: distinct ``rows`` were superseded or deleted by the operations ``sequences`` (never 0).

        A row that is dead already keeps its first kill. Publish a sequence to readers only after its kills.
        """
        self._kills.add(rows, sequences)

    def record_kills(self) -> list[tuple[Int64Array, Uint64Array]]:
        """The kills that come from now on, as a list that grows: rows, and what killed them. Applier only."""
        return self._kills.record()

    def stop_recording_kills(self) -> None:
        """Let go of that list. Any thread."""
        self._kills.stop_recording()

    def dead_count(self, sequence: int) -> int:
        """How many rows are dead at ``sequence``; at the newest one without touching the rows."""
        return self._kills.count(sequence)

    def live_mask(self, sequence: int) -> BoolArray | None:
        """(n,) read-only: which rows no operation through ``sequence`` has killed. None: all are alive."""
        return self._kills.live_mask(sequence)

    def write_kills(self, fs: FileSystem, layout: Layout, sequence: int, *, pace: Pace = unpaced) -> str:
        """Write all kills through ``sequence`` into a new kills file; returns its name, for the manifest.

        Durable on return. Any thread, once everything through ``sequence`` is applied. The file that it supersedes is
        deleted by the caller after the manifest is replaced.
        """
        return self._kills.write(fs, layout.segment_dir(self.info.collection_id, self.info.id), sequence, pace=pace)

    # What is in it.

    def facts_at(self, rows: Int64Array) -> NDArray[Any]:
        """(len(rows),) ``ROW_DTYPE``: a copy of these rows' facts. May read the disk."""
        return self.rows.take(rows)

    def ids_at(self, rows: Int64Array) -> list[bytes]:
        """The ids of ``rows``, in that order. May read the disk. Raises ``Corruption`` where rows.npy is damaged."""
        facts = self.facts_at(rows)
        return self._ids.at(facts["id_offset"], facts["id_length"])

    def payloads_at(self, rows: Int64Array) -> list[bytes | None]:
        """The payloads of ``rows``, in that order; None where there is none. As ``ids_at``."""
        facts = self.facts_at(rows)
        texts = self._payloads.at(facts["payload_offset"], facts["payload_length"])
        present = (facts["flags"] & ROW_HAS_PAYLOAD).tolist()
        return [text if has else None for text, has in zip(texts, present, strict=True)]

    def joined_ids(self, rows: Int64Array) -> bytes:
        """The ids of ``rows``, in that order, back to back. As ``ids_at``, but without an object for each."""
        facts = self.facts_at(rows)
        return self._ids.joined(facts["id_offset"], facts["id_length"])

    def joined_payloads(self, rows: Int64Array) -> bytes:
        """The payloads of ``rows``, in that order, back to back. As ``joined_ids``."""
        facts = self.facts_at(rows)
        return self._payloads.joined(facts["payload_offset"], facts["payload_length"])

    def verify(self, deep: bool, *, pace: Pace = unpaced) -> None:
        """Read every file and compare its checksum with segment.json; ``deep``: recompute each row's hash and norm too.

        Blocks, paced. Raises ``Corruption`` with path and, where it can be told, the offset of the first damaged row.
        """
        verify_segment(self._fs, self, deep, pace)

    @property
    def _ids(self) -> Texts:
        return Texts(self.files.columns[names.IDS])

    @property
    def _payloads(self) -> Texts:
        return Texts(self.files.columns[names.PAYLOADS])


def _column_files(directory: str, info: SegmentInfo) -> dict[str, ColumnFile]:
    """The files of a segment as columns. Raises ``Corruption`` where segment.json does not list all that belong."""
    contents: dict[str, tuple[np.dtype[Any], tuple[int, ...] | None]] = {
        names.VECTORS: (np.dtype("<f4"), (info.rows, info.dimensions)),
        names.NORMS: (np.dtype("<f4"), (info.rows,)),
        names.ROWS: (ROW_DTYPE, (info.rows,)),
        names.IDS: (np.dtype("|u1"), None),
        names.PAYLOADS: (np.dtype("|u1"), None),
    }
    if names.TOMBSTONES in info.files:
        contents[names.TOMBSTONES] = (TOMBSTONE_DTYPE, None)
        contents[names.TOMBSTONE_ROWS] = (TOMBSTONE_ROW_DTYPE, None)
        contents[names.TOMBSTONE_IDS] = (np.dtype("|u1"), None)
    for name in contents:
        if name not in info.files:
            raise Corruption(f"does not list {name}", path=f"{directory}/{names.SEGMENT_JSON}")
    return {
        name: ColumnFile(f"{directory}/{name}", info.files[name].size, *content) for name, content in contents.items()
    }


def open_segment(
    fs: FileSystem,
    layout: Layout,
    collection_id: uuid.UUID,
    entry: SegmentEntry,
    settings: MmapSettings = MMAP_AS_USUAL,
) -> Segment:
    """Open a segment that the manifest names: its files, and its kills. No work per row but the kills'.

    Raises ``Corruption`` when a file is missing, cannot be read, has another size than segment.json says, or is none of
    this segment's.
    """
    directory = layout.segment_dir(collection_id, entry.id)
    info = _read_info(fs, f"{directory}/{names.SEGMENT_JSON}")
    if (info.id, info.collection_id, info.ordinal, info.rows) != (entry.id, collection_id, entry.ordinal, entry.rows):
        raise Corruption(
            f"describes segment {info.id} ({info.rows} rows, number {info.ordinal}) of collection {info.collection_id}",
            path=f"{directory}/{names.SEGMENT_JSON}",
        )
    for name, expected in info.files.items():
        check_file(fs, f"{directory}/{name}", expected.size)
    kills = Kills(info.rows) if entry.kills is None else load_kills(fs, directory, entry.kills, info.rows)
    return Segment(fs, directory, info, kills, entry.kills, settings)


def _read_info(fs: FileSystem, path: str) -> SegmentInfo:
    try:
        with DamageOf(path):
            return decode_segment_info(fs.read(path))
    except UnsupportedFormat as error:
        error.metadata.setdefault("path", path)
        raise
    except ValueError as error:
        raise Corruption(str(error), path=path) from None
