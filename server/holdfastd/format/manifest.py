"""MANIFEST.json: what the store consists of; with the log behind it, all there is to know.

It is a checkpoint: everything through a collection's ``checkpoint_sequence`` is in its segments, everything after it
in the log. Files that neither manifest nor log name are garbage.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

import msgspec

from ..model import MMAP_AS_USUAL, CatalogOrigin, CollectionSpec, Digest, Mark, MmapSettings, WalSettings
from .document import decode_document, encode_document
from .segment import check_component

MANIFEST_VERSION = 1
MAX_FORKS = 1000
"""Older ones are forgotten: a snapshot from before them is no base any more."""
_MAX_U64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A live segment: its directory (``id``), its number in the id index, its size, its newest kills file or None."""

    id: uuid.UUID
    ordinal: int
    rows: int
    bytes: int
    kills: str | None = None


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run of the id index: the base of its files' names, its level (0 is the youngest) and its length."""

    name: str
    level: int
    rows: int


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """One collection as of ``checkpoint_sequence``: live rows, digest, segments in order, index runs newest first.

    ``high_water`` is the sequence of the newest valid snapshot that covers it: what was killed later is kept.
    ``own_writes``: whether anything but a replay has written to it since it was restored.
    """

    spec: CollectionSpec
    checkpoint_sequence: int
    count: int
    digest: Digest
    segments: tuple[SegmentEntry, ...] = ()
    index_runs: tuple[RunEntry, ...] = ()
    next_ordinal: int = 0
    updated_us: int = 0
    high_water: int = 0
    own_writes: bool = False


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a timeline was left: history goes on from ``through``; what it held beyond may be missing."""

    timeline: int
    through: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole manifest. ``generation`` counts its writings; ``sequence`` is the highest one that it reflects.

    ``log_start_required``: recovery needs every record from this sequence on. ``aliases``: name to collection.
    ``logged_sequence``: the last logged one when it was written; a log that ends before it has lost acknowledged
    records. ``clean``: the daemon was stopped in order and nothing was written since. ``wal_directories``: every
    directory that still holds files of the log, oldest first, and the one of the settings; ``made_wal_directories``:
    those that the store made, and removes once the log has left them. ``settings_origin``: for each setting changed by
    command, who or what changed it. ``catalog_origin``: there since a whole other store was restored into this one.
    ``forks``: the timelines before this one, oldest first; absent while there is none. ``mmap_settings``: how segments
    are read, and ``collection_mmap``: how those of collections are that have settings of their own; absent until a
    command changes them.
    """

    store_id: uuid.UUID
    timeline: int
    generation: int
    sequence: int
    last_timestamp_us: int
    collections: tuple[CollectionEntry, ...] = ()
    aliases: dict[str, uuid.UUID] = field(default_factory=dict)
    wal_directories: tuple[str, ...] = ("wal",)
    made_wal_directories: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    wal_settings: WalSettings = field(default_factory=WalSettings)
    marks: tuple[Mark, ...] = ()
    requests_file: str | None = None
    log_start_required: int = 0
    logged_sequence: int = 0
    clean: bool = False
    settings_origin: dict[str, str] = field(default_factory=dict)
    catalog_origin: CatalogOrigin | msgspec.UnsetType = msgspec.UNSET
    forks: tuple[Fork, ...] | msgspec.UnsetType = msgspec.UNSET
    mmap_settings: MmapSettings | msgspec.UnsetType = msgspec.UNSET
    collection_mmap: dict[uuid.UUID, MmapSettings] | msgspec.UnsetType = msgspec.UNSET
    format_version: int = MANIFEST_VERSION

    @property
    def checkpoint_sequence(self) -> int:
        """Everything through this sequence is in segments: recovery reads the log behind it. 0 before the first one.

        ``sequence`` may lie beyond it: a restore or a recovery publishes changes of the catalog and no points.
        """
        return max(0, self.log_start_required - 1)

    @property
    def mmap_default(self) -> MmapSettings:
        """How segments of collections without settings of their own are read."""
        return self.mmap_settings or MMAP_AS_USUAL

    def mmap_of(self, collection_id: uuid.UUID) -> MmapSettings:
        """How a collection's segments are read."""
        return (self.collection_mmap or {}).get(collection_id, self.mmap_default)

    def reaches_back_to(self, timeline: int, sequence: int) -> bool:
        """Whether the state at that place of history is one that the store has gone through (RULES 2)."""
        if timeline == self.timeline:
            return True
        left = [fork for fork in self.forks or () if fork.timeline >= timeline]
        return any(fork.timeline == timeline for fork in left) and sequence <= min(fork.through for fork in left)

    def leaving_timeline(self, through: int) -> Manifest:
        """The manifest on the next timeline, which goes on from ``through``."""
        forks = (*(self.forks or ()), Fork(self.timeline, through))
        return replace(self, timeline=self.timeline + 1, forks=forks[-MAX_FORKS:])


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of MANIFEST.json."""
    return encode_document("manifest", manifest)


def decode_manifest(data: bytes) -> Manifest:
    """The contents of MANIFEST.json.

    Raises ValueError with a reason when it is damaged, UnsupportedFormat when it is intact and newer.
    """
    manifest = decode_document("manifest", data, Manifest, MANIFEST_VERSION)
    _check_numbers(manifest)
    _check_names(manifest)
    return manifest


def _check_numbers(manifest: Manifest) -> None:
    numbers = [manifest.timeline, manifest.generation, manifest.sequence, manifest.last_timestamp_us]
    numbers += [manifest.log_start_required, manifest.logged_sequence]
    for fork in manifest.forks or ():
        numbers += [fork.timeline, fork.through]
    for entry in manifest.collections:
        numbers += [entry.checkpoint_sequence, entry.count, entry.digest.high, entry.digest.low, entry.high_water]
        numbers += [entry.next_ordinal, entry.updated_us, entry.spec.dimensions, entry.spec.created_sequence]
        for segment in entry.segments:
            numbers += [segment.ordinal, segment.rows, segment.bytes]
        for run in entry.index_runs:
            numbers += [run.level, run.rows]
    if min(numbers) < 0 or max(numbers) > _MAX_U64:
        raise ValueError("manifest: a number is outside 0 .. 2^64-1")


def _check_names(manifest: Manifest) -> None:
    names = [manifest.requests_file]
    for entry in manifest.collections:
        names += [segment.kills for segment in entry.segments]
        names += [run.name for run in entry.index_runs]
    for name in names:
        if name is not None:
            check_component(name)
