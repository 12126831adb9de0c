"""One collection of a snapshot on its way into the store: segments that grow link by link, and what they add up to.

The first link has it whole. Each later one brings rows, which replace those of the same ids, and names ids that are
gone: the rows of both die in the segments before, by the sequence that killed them, just as they once did.
"""

from __future__ import annotations

import posixpath
import uuid
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.hashing import digest_sums
from ..format.manifest import CollectionEntry
from ..format.segment import FileInfo
from ..format.snapshot import SnapshotCollection
from ..format.verify_receipt import RESTORE
from ..model import CollectionSpec, Digest, Int64Array, Sequence64, Uint64Array
from ..storage.bulk import write_document
from ..storage.id_build import IndexBuilder
from ..storage.id_index import IdIndex
from ..storage.id_run import Run
from ..storage.segment import Segment
from .collection import hashes_at, live_in_segments
from .recovery_open import STAGED_ENTRY
from .snapshot_chain import Link
from .snapshot_context import SnapshotContext
from .view import View


@dataclass(slots=True)
class Staging:
    """See the module. ``source``: its id in the archives; ``links``: those that it is made of, base first.

    ``index`` knows the rows of the links before the current one, ``building`` gathers those of the current one.
    """

    context: SnapshotContext
    source: uuid.UUID
    links: tuple[Link, ...]
    spec: CollectionSpec
    building: IndexBuilder = field(init=False)
    index: IdIndex = field(default_factory=IdIndex)
    segments: list[Segment] = field(default_factory=list)
    count: int = 0
    digest: Digest = field(default_factory=Digest)
    segment_id: uuid.UUID = field(default_factory=lambda: uuid.UUID(int=0))
    files: dict[str, FileInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begin_index()

    def _begin_index(self) -> None:
        context = self.context
        self.building = IndexBuilder(context.fs, context.layout, self.spec.id, pace=context.pace)

    def add(self, ids: list[bytes], id_hashes: Uint64Array, rows: NDArray[np.uint32], hashes: Uint64Array) -> None:
        """Rows of the segment that comes next; hashes (n, 2)."""
        self.building.add(id_hashes, len(self.segments), rows)
        self.count += len(ids)
        self.digest = self.digest.plus(*digest_sums(hashes))

    def kill(self, ids: list[bytes], id_hashes: Uint64Array, sequences: Uint64Array) -> int:
        """Let the rows of these ids in earlier links die, each by the sequence at its place; returns how many did."""
        killed = 0
        for live in live_in_segments(self.index, self.segments, ids, id_hashes):
            assert isinstance(live.table, Segment)
            # An id that stands twice has one row, which dies once.
            rows, first = np.unique(live.rows, return_index=True)
            high, low = digest_sums(hashes_at(live.table, rows))
            live.table.kill(rows, sequences[live.positions[first]])
            self.digest = self.digest.plus(-high, -low)
            killed += len(rows)
        self.count -= killed
        return killed

    def end_link(self, link: Link) -> None:
        """Prove what the links so far add up to. Raises Corruption."""
        said = link.said(self.source)
        if self.digest != said.digest:
            self._refuse(link, f"digest {self.digest.hex()}", said.digest.hex())
        if self.count != said.count:
            self._refuse(link, f"the number {self.count}", str(said.count))
        run = self.building.finish()
        if run is not None:
            self._check_distinct(link, run)
            self.index = IdIndex((run, *self.index.runs))
        self._begin_index()

    def seal(self, said: SnapshotCollection, sequence: Sequence64, *, deep: bool) -> CollectionEntry:
        """Write kills and the entry that recovery can publish (``STAGED_ENTRY``); durable on return.

        ``deep``: recompute every row's hash and norm first. Raises Corruption.
        """
        context = self.context
        entries = []
        for segment in self.segments:
            if deep:
                segment.verify(True, pace=context.pace)
            kills = None
            if segment.killed is not None:
                kills = segment.write_kills(context.fs, context.layout, sequence, pace=context.pace)
            entries.append(segment.entry(kills))
        entry = CollectionEntry(
            spec=self.spec,
            checkpoint_sequence=0,
            count=self.count,
            digest=self.digest,
            segments=tuple(entries),
            index_runs=self.index.entries,
            next_ordinal=len(self.segments),
            updated_us=said.updated_us,
        )
        directory = context.layout.collection_dir(self.spec.id)
        write_document(context.fs, posixpath.join(directory, STAGED_ENTRY), msgspec.json.encode(entry))
        context.fs.sync_dir(directory)
        return entry

    def view(self, said: SnapshotCollection, sequence: Sequence64) -> View:
        """What is staged, as readers see it; it is neither sealed nor durable by that."""
        return View(
            spec=self.spec,
            sequence=sequence,
            segments=tuple(self.segments),
            memtables=(),
            index=self.index,
            count=self.count,
            digest=self.digest,
            updated_us=said.updated_us,
        )

    def _refuse(self, link: Link, have: str, said: str) -> NoReturn:
        raise Corruption(
            f"the rows of {self.spec.name} have {have}, the manifest says {said}",
            path=link.path,
            reason="DIGEST_MISMATCH",
            hint="take another copy of the snapshot, or another snapshot",
            verify_level=RESTORE,
        )

    def _check_distinct(self, link: Link, run: Run) -> None:
        """Raise Corruption when an id stands twice: reads of it would depend on the order of segments."""
        step = 1 << 20
        for start in range(0, run.rows_count, step):
            hashes = run.hashes[start : start + step + 1]
            for at in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
                same = run.hashes.searchsorted(hashes[at : at + 1], side="right").item() - (start + at)
                self._compare(link, run, start + at, int(same))

    def _compare(self, link: Link, run: Run, start: int, count: int) -> None:
        seen: set[bytes] = set()
        for place in run.places[start : start + count]:
            row: Int64Array = np.array([place["row"]], np.int64)
            (id,) = self.segments[int(place["segment"])].ids_at(row)
            if id in seen:
                raise Corruption(
                    f"the id {id.decode()[:64]!r} stands in {self.spec.name} twice",
                    path=link.path,
                    reason="SNAPSHOT_DAMAGED",
                    hint="this archive was not written by holdfastd; take another one",
                    verify_level=RESTORE,
                )
            seen.add(id)
