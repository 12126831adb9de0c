"""The nouns of the engine as frozen values: no behaviour beyond reading their own fields."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32Array: TypeAlias = NDArray[np.float32]
Uint64Array: TypeAlias = NDArray[np.uint64]
BoolArray: TypeAlias = NDArray[np.bool_]
Int64Array: TypeAlias = NDArray[np.int64]
Uint8Array: TypeAlias = NDArray[np.uint8]

Sequence64: TypeAlias = int
"""A store-wide u64, one per operation, strictly increasing."""


class Metric(StrEnum):
    """How two vectors are compared."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    DOT = "dot"


class StorageKind(StrEnum):
    """Where a collection's points live."""

    MEMORY = "memory"
    DISK = "disk"
    HYBRID = "hybrid"


class SyncMode(StrEnum):
    """What "acknowledged" means for a write (DESIGN: the write path)."""

    FSYNC = "fsync"
    PERIODIC = "periodic"
    ASYNC = "async"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a restored collection came from, and through which sequence its content is known to be complete."""

    store_id: uuid.UUID
    timeline: int
    collection_id: uuid.UUID
    through: Sequence64


@dataclass(frozen=True, slots=True)
class CatalogOrigin:
    """Whose catalog this store's continues since a restore of a whole other store, complete through a sequence.

    ``since``: this store's sequence of that restore.
    """

    store_id: uuid.UUID
    timeline: int
    through: Sequence64
    since: Sequence64 = 0


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """A collection's identity and configuration; constant from creation to drop, but for ``name``."""

    id: uuid.UUID
    name: str
    dimensions: int
    metric: Metric = Metric.COSINE
    storage: StorageKind = StorageKind.DISK
    created_us: int = 0
    created_sequence: Sequence64 = 0
    hot_tier_bytes: int = 0
    schema_json: str = ""
    quantization: str = "none"
    origin: Origin | None = None


def family(collection_id: uuid.UUID | bytes) -> bytes:
    """What the ids have in common that a collection in memory has, one after each start; of any other, it is its own.

    ``collection_id``: also the bytes of one, of any length.
    """
    return (collection_id.bytes if isinstance(collection_id, uuid.UUID) else collection_id)[:8]


def renewed(collection_id: uuid.UUID, randomly: uuid.UUID) -> uuid.UUID:
    """Another id of the same family; ``randomly``: a fresh one, of which the rest is."""
    return uuid.UUID(bytes=family(collection_id) + randomly.bytes[8:])


@dataclass(frozen=True, slots=True)
class WalSettings:
    """The log's settings; sizes in bytes, durations in microseconds."""

    enabled: bool = True
    sync_mode: SyncMode = SyncMode.FSYNC
    segment_size_bytes: int = 64 << 20
    retention_us: int = 24 * 3600 * 1_000_000
    flush_interval_us: int = 5 * 1_000_000
    max_wal_bytes: int = 64 << 30
    path: str = "wal"
    """Directory of the log: relative to the data directory, or absolute."""


class Advice(StrEnum):
    """How far the kernel reads ahead: as it does by default, not at all (searches ask for what they scan), or far."""

    NORMAL = "normal"
    RANDOM = "random"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True, slots=True)
class MmapSettings:
    """How sealed files are read: through memory maps or by reads into memory, and how far ahead.

    ``populate``: maps are read in when they are made.
    """

    enabled: bool = True
    advise: Advice = Advice.RANDOM
    populate: bool = False


MMAP_AS_USUAL = MmapSettings()
"""How whatever is read that no command has said anything of."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write is acknowledged with. ``durable`` means: synced to the disk before this reply."""

    sequence: Sequence64
    count: int
    durable: bool


@dataclass(frozen=True, slots=True)
class Digest:
    """Order-independent content digest: the sums, mod 2^64, of the two halves of every live row's hash (RULES 23)."""

    high: int = 0
    low: int = 0

    def hex(self) -> str:
        """32 hexadecimal characters, high half first."""
        return f"{self.high:016x}{self.low:016x}"

    def plus(self, high: int, low: int) -> Digest:
        """The digest after adding row-hash sums (negative to take rows away)."""
        return Digest((self.high + high) & 0xFFFF_FFFF_FFFF_FFFF, (self.low + low) & 0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Rows:
    """A validated, ordered batch of points of one collection; ids are unique within it.

    ids: UTF-8 bytes, 1..512 each. vectors: (n, d) float32, C order, finite. payloads: verbatim JSON objects or None.
    id_hashes: (n,) XXH3-64 of the id. hashes: (n, 2) XXH3-128 of the row as (high, low) u64. norms: (n,) float32.
    """

    ids: list[bytes]
    vectors: Float32Array
    payloads: list[bytes | None]
    id_hashes: Uint64Array
    hashes: Uint64Array
    norms: Float32Array

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Record:
    """One point as a reader sees it. ``vector``: (d,) float32 or None; ``payload``: verbatim JSON or None."""

    id: str
    vector: Float32Array | None
    payload: bytes | None
    version: int
    sequence: Sequence64
    time_us: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result. ``score`` is a similarity for cosine and dot, a distance for euclidean."""

    record: Record
    score: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that an operator should know of; ``hint`` is the next command."""

    code: str
    message: str
    hint: str
    severity: str = "warning"
    since_us: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A named restore point: a sequence and its time."""

    name: str
    sequence: Sequence64
    time_us: int


@dataclass(frozen=True, slots=True)
class QuarantinedPart:
    """A segment that cannot be read: its id, the damaged file, how many rows it has, and what is wrong."""

    segment_id: str
    path: str
    rows: int
    problem: str


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """What ``collection stats`` shows; sizes in bytes, times in milliseconds.

    ``schema_problem``: why payloads are not checked against the schema that is kept; "" where there is none.
    """

    spec: CollectionSpec
    vectors: int
    size_bytes: int
    digest: Digest
    sequence: Sequence64
    segments: int
    garbage_percent: float
    updated_us: int
    memory_bytes: int = 0
    avg_insert_ms: float = 0.0
    avg_search_ms: float = 0.0
    qps: float = 0.0
    aliases: tuple[str, ...] = field(default=())
    quarantined: tuple[QuarantinedPart, ...] = field(default=())
    schema_problem: str = ""
