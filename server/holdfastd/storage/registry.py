"""REGISTRY.json: the snapshots that this store has made or read, wherever their files lie.

It is replaced atomically. Losing it loses no snapshot: each file says everything about itself, and a scan of its
directory finds it again. What is being written is noted before its file is begun, so that the next start can remove
what a crash left half-done; so is what is being deleted, before its file goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..format.document import encode_document
from ..format.verify_receipt import VerifyReceipt
from .files import FileSystem, replace_file
from .kept_document import load_or_move_aside
from .names import SNAPSHOT_ID, Layout

REGISTRY_VERSION = 1
PART = ".part"
"""What the name of a snapshot's file has behind it until it is whole."""


@dataclass(frozen=True, slots=True)
class SnapshotMember:
    """A collection in a snapshot. ``vectors``: rows in this file; ``total_vectors``: what a restore yields."""

    name: str
    collection_id: str
    dimensions: int
    metric: str
    storage: str
    vectors: int
    digest: str
    deleted: int = 0
    whole: bool = True
    total_vectors: int = 0

    @property
    def digest_halves(self) -> tuple[int, int]:
        """The digest as numbers: (high, low)."""
        return int(self.digest[:16], 16), int(self.digest[16:], 16)


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """What is known of a snapshot. Sizes in bytes; ``path`` is relative inside the data directory, else absolute.

    ``sha256``: of its SHA256SUMS, "" while nobody has read that far. ``damage``: what the last reading found, or "".
    ``base_path``: where the base lay when the increment was made, absolute. ``stands_for``: that of the increment whose
    place a full one has taken, as ``sha256``, or "". ``verified_us``: when the whole file was last found right, and
    ``receipts``: what readings of it came to, newest last. ``pinned``: it is not deleted; ``description``: what
    somebody has said of it, or "".
    """

    id: str
    type: str
    path: str
    created_us: int
    store_id: str
    timeline: int
    sequence: int
    size_bytes: int
    uncompressed_bytes: int
    compressed: bool
    everything: bool
    members: tuple[SnapshotMember, ...]
    duration_ms: int = 0
    sha256: str = ""
    base_id: str = ""
    base_sequence: int = 0
    base_path: str = ""
    verified_us: int = 0
    damage: str = ""
    daemon_version: str = ""
    stands_for: str = ""
    receipts: tuple[VerifyReceipt, ...] = ()
    pinned: bool = False
    description: str = ""

    @property
    def vectors(self) -> int:
        """Rows in the file."""
        return sum(member.vectors for member in self.members)


@dataclass(frozen=True, slots=True)
class PendingSnapshot:
    """A snapshot that is being written: ``path`` is its final one, and ``part_path`` where it is until it is whole.

    One that is known already is being written anew, and takes the place of its file. ``pinned``: as it is to be.
    """

    id: str
    path: str
    pinned: bool = False

    @property
    def part_path(self) -> str:
        """Where it is written."""
        return part_path(self.path)


@dataclass(frozen=True, slots=True)
class _Content:
    snapshots: tuple[SnapshotRecord, ...] = ()
    pending: tuple[PendingSnapshot, ...] = ()
    leaving: tuple[str, ...] = ()
    unverified_since_us: int = 0
    format_version: int = REGISTRY_VERSION


class Registry:
    """The registry as it is on the disk. Not thread-safe: its owner holds a lock. Changes block; durable on return.

    ``problem``: why the file that was there could not be used, or None.
    """

    def __init__(self, fs: FileSystem, layout: Layout, content: _Content, problem: str | None = None) -> None:
        self._fs = fs
        self._layout = layout
        self._content = content
        self.problem = problem

    @classmethod
    def load(cls, fs: FileSystem, layout: Layout) -> Registry:
        """Read it; a damaged one is moved aside, since every snapshot can be found again without it."""
        content, damage = load_or_move_aside(fs, layout.registry, "registry", _Content, REGISTRY_VERSION)
        problem = f"{damage}; snapshots are found by their files" if damage else None
        return cls(fs, layout, content or _Content(), problem)

    @property
    def snapshots(self) -> tuple[SnapshotRecord, ...]:
        """Every snapshot known, in no order that matters."""
        return self._content.snapshots

    @property
    def pending(self) -> tuple[PendingSnapshot, ...]:
        """What is being written, or was when the daemon ended."""
        return self._content.pending

    @property
    def leaving(self) -> tuple[str, ...]:
        """The ids of those whose files are being deleted, or were when the daemon ended."""
        return self._content.leaving

    @property
    def unverified_since_us(self) -> int:
        """When a snapshot that is gone was last verified, or else the oldest was made; 0 where none is gone."""
        return self._content.unverified_since_us

    def find(self, snapshot_id: str) -> SnapshotRecord | None:
        """The snapshot with this id, or None."""
        return next((record for record in self.snapshots if record.id == snapshot_id), None)

    def begin(self, *pending: PendingSnapshot) -> None:
        """Note what is about to be written; all or none."""
        others = self._pending_but(*(each.id for each in pending))
        self._replace(replace(self._content, pending=(*others, *pending)))

    def abandon(self, *snapshot_ids: str) -> None:
        """Forget what was begun; nothing is left of it."""
        self._replace(replace(self._content, pending=self._pending_but(*snapshot_ids)))

    def put(self, *records: SnapshotRecord) -> None:
        """Add snapshots, in the place of those of the same ids and of what was begun under these; all or none."""
        if records:
            pending = self._pending_but(*(record.id for record in records))
            self._replace(replace(self._content, snapshots=self._with(*records), pending=pending))

    def note(self, *records: SnapshotRecord) -> None:
        """Add snapshots, in the place of those of the same ids; what is being written stays noted. All or none."""
        if records:
            self._replace(replace(self._content, snapshots=self._with(*records)))

    def _with(self, *records: SnapshotRecord) -> tuple[SnapshotRecord, ...]:
        ids = {record.id for record in records}
        return (*(known for known in self.snapshots if known.id not in ids), *records)

    def begin_removing(self, snapshot_id: str) -> None:
        """Note that the file of a snapshot is about to be deleted."""
        self._replace(replace(self._content, leaving=(*self._leaving_but(snapshot_id), snapshot_id)))

    def keep(self, snapshot_id: str) -> None:
        """Forget that one was to be deleted: its file is there."""
        self._replace(replace(self._content, leaving=self._leaving_but(snapshot_id)))

    def remove(self, snapshot_id: str, unverified_since_us: int | None = None) -> None:
        """Forget a snapshot. ``unverified_since_us``: as the property is from then on; None: as it was."""
        since_us = self.unverified_since_us if unverified_since_us is None else unverified_since_us
        others = tuple(known for known in self.snapshots if known.id != snapshot_id)
        leaving = self._leaving_but(snapshot_id)
        self._replace(replace(self._content, snapshots=others, leaving=leaving, unverified_since_us=since_us))

    def _leaving_but(self, snapshot_id: str) -> tuple[str, ...]:
        return tuple(id for id in self.leaving if id != snapshot_id)

    def _pending_but(self, *snapshot_ids: str) -> tuple[PendingSnapshot, ...]:
        return tuple(pending for pending in self.pending if pending.id not in snapshot_ids)

    def _replace(self, content: _Content) -> None:
        replace_file(self._fs, self._layout.registry, encode_document("registry", content))
        self._content = content


def part_path(path: str) -> str:
    """Where a snapshot's file is written before it gets its final name."""
    return path + PART


def snapshot_file_id(name: str) -> str | None:
    """The id in the base name of a snapshot's file, or None for any other file."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix in ("snap", "gz") and SNAPSHOT_ID.fullmatch(stem) else None
