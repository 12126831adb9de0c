"""A snapshot archive: what its manifest says, which members it has and in which order, and what proves them.

    MANIFEST.json                                  this document; sizes of everything below
    README.txt                                     how to read the archive without this program
    collections/<uuid>/<n>/vectors.npy             or vectors.planes.npy in a compressed archive
    collections/<uuid>/<n>/{norms,rows,ids,payloads}.npy
    collections/<uuid>/removed/tombstones.npy      in an increment: ids that are gone since its base, and
    collections/<uuid>/removed/tombstone-ids.npy   their texts
    SHA256SUMS                                     of every member above, as sha256sum writes it

The manifest fixes the name, size and place of every member, so a reader knows each before it comes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from ..errors import UnsupportedFormat
from ..model import CollectionSpec, Digest
from .document import decode_document, encode_document
from .planes import planes_shape
from .segment import ROW_DTYPE, TOMBSTONE_DTYPE
from .tar import END, member_bytes
from .urls import is_kept_url

SNAPSHOT_VERSION = 1
MANIFEST = "MANIFEST.json"
README = "README.txt"
SUMS = "SHA256SUMS"
VECTORS = "vectors.npy"
PLANES = "vectors.planes.npy"
NORMS = "norms.npy"
ROWS = "rows.npy"
IDS = "ids.npy"
PAYLOADS = "payloads.npy"
TOMBSTONES = "tombstones.npy"
TOMBSTONE_IDS = "tombstone-ids.npy"
REMOVED_FILES = (TOMBSTONES, TOMBSTONE_IDS)
REMOVED = -1
"""Stands for a part's number in members that list removed ids."""

MAX_MANIFEST_BYTES = 64 << 20
MAX_README_BYTES = 64 << 10
MAX_SEQUENCE = (1 << 63) - 1
"""A restore continues after the snapshot's sequence, so that has to leave room."""
MAX_ID_BYTES = 512
MAX_DIMENSIONS = 65_536

_MAX_ROWS = (1 << 32) - 1
_MAX_NPY_HEADER = 8192 + 10
_MAX_U64 = (1 << 64) - 1
_ID = re.compile(r"snap-\d{4}-\d{2}-\d{2}-\d{6}(-[1-9]\d{0,5})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Rows that were stored together. ``sizes``: the bytes of each member, by the member's last name component."""

    rows: int
    sizes: dict[str, int]


@dataclass(frozen=True, slots=True)
class SnapshotDelta:
    """What an increment adds to a collection that its base holds: ``rows_digest`` is that of the rows in here.

    ``sizes``: bytes of the members that list the removed ids, by their last name component; empty where none is gone.
    """

    rows_digest: Digest
    sizes: dict[str, int]


@dataclass(frozen=True, slots=True)
class SnapshotCollection:
    """One collection at the snapshot's sequence: ``count`` live rows and their ``digest``.

    ``whole``: everything is in this archive; else ``delta`` is there. ``deleted``: ids that are gone since the base.
    """

    spec: CollectionSpec
    count: int
    digest: Digest
    updated_us: int
    parts: tuple[SnapshotPart, ...] = ()
    whole: bool = True
    deleted: int = 0
    delta: SnapshotDelta | msgspec.UnsetType = msgspec.UNSET

    @property
    def rows(self) -> int:
        """Rows in the archive."""
        return sum(part.rows for part in self.parts)

    @property
    def rows_digest(self) -> Digest:
        """The digest of the rows in the archive."""
        return self.digest if self.delta is msgspec.UNSET else self.delta.rows_digest


@dataclass(frozen=True, slots=True)
class SnapshotBase:
    """The snapshot that an incremental one builds on; ``sums_sha256`` is the SHA-256 of its ``SHA256SUMS``.

    ``path``: where its file lay when the increment was made, absolute; one place to look for it.
    """

    id: str
    store_id: uuid.UUID
    timeline: int
    sequence: int
    sums_sha256: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """The whole manifest of an archive.

    ``sequence``: the moment that it holds, on ``timeline`` of store ``store_id``; ``time_us`` is the time of the last
    operation in it, ``created_us`` when it was asked for. ``everything``: all collections of the store are in it.
    ``aliases``: name to the uuid of a collection that is in it. ``planes``: vectors are shuffled. ``min_reader``: the
    lowest format version whose readers understand it. ``stands_for``: the SHA-256 of the ``SHA256SUMS`` of an increment
    of the same id, whose place it has taken; by that, links behind may name it. ``description``: what was said of it
    when it was asked for.
    """

    id: str
    store_id: uuid.UUID
    timeline: int
    sequence: int
    time_us: int
    created_us: int
    everything: bool
    planes: bool
    collections: tuple[SnapshotCollection, ...]
    aliases: dict[str, uuid.UUID]
    base: SnapshotBase | None = None
    daemon_version: str = ""
    min_reader: int = 1
    format_version: int = SNAPSHOT_VERSION
    stands_for: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def type(self) -> str:
        """``full`` or ``incremental``."""
        return "full" if self.base is None else "incremental"

    @property
    def vectors(self) -> int:
        """Rows in the archive."""
        return sum(collection.rows for collection in self.collections)


@dataclass(frozen=True, slots=True)
class Member:
    """One data member: its name, its size, and what it is: member ``file`` of a part of a collection, both numbered.

    ``part`` is ``REMOVED`` where it lists removed ids.
    """

    name: str
    size: int
    collection: int
    part: int
    file: str

    @property
    def part_ends(self) -> bool:
        """Whether it is the last of its part."""
        return self.file == PAYLOADS


class _Reader(msgspec.Struct):
    format_version: int
    min_reader: int


def part_files(planes: bool) -> tuple[str, ...]:
    """The members of every part, in order."""
    return (PLANES if planes else VECTORS, NORMS, ROWS, IDS, PAYLOADS)


def data_members(manifest: SnapshotManifest) -> Iterator[Member]:
    """Every member between README.txt and SHA256SUMS, in the order in which they stand."""
    files = part_files(manifest.planes)
    for number, collection in enumerate(manifest.collections):
        for index, part in enumerate(collection.parts):
            for file in files:
                name = f"collections/{collection.spec.id}/{index}/{file}"
                yield Member(name, part.sizes[file], number, index, file)
        if collection.delta is not msgspec.UNSET:
            for file, size in collection.delta.sizes.items():
                yield Member(f"collections/{collection.spec.id}/removed/{file}", size, number, REMOVED, file)


def sums_text(sums: Mapping[str, str]) -> bytes:
    """SHA256SUMS: for each member its SHA-256 in hexadecimal, two spaces, its name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()


def sums_bytes(manifest: SnapshotManifest) -> int:
    """The size of SHA256SUMS."""
    names = [MANIFEST, README, *(member.name for member in data_members(manifest))]
    return sum(64 + 2 + len(name) + 1 for name in names)


def archive_bytes(manifest: SnapshotManifest, manifest_size: int, readme_size: int) -> int:
    """The size of the whole tar, before compression."""
    sizes = [manifest_size, readme_size, *(member.size for member in data_members(manifest)), sums_bytes(manifest)]
    return sum(map(member_bytes, sizes)) + len(END)


def readme_text(manifest: SnapshotManifest) -> bytes:
    """README.txt of an archive."""
    vectors = _PLANES_HELP if manifest.planes else _VECTORS_HELP
    base = "" if manifest.base is None else _INCREMENT_HELP.format(base=manifest.base.id)
    return _README.format(id=manifest.id, vectors=vectors, base=base).encode()


def encode_snapshot(manifest: SnapshotManifest) -> bytes:
    """The bytes of the archive's MANIFEST.json."""
    return encode_document("snapshot", manifest)


def decode_snapshot(data: bytes) -> SnapshotManifest:
    """The manifest of an archive, checked in itself.

    Raises ValueError with a reason when it is damaged or says what cannot be, UnsupportedFormat when it is intact and
    asks for a newer reader.
    """
    versions = decode_document("snapshot", data, _Reader, _MAX_U64)
    if versions.min_reader > SNAPSHOT_VERSION:
        raise UnsupportedFormat(
            f"the snapshot needs a reader of format version {versions.min_reader}, this holdfastd has version "
            f"{SNAPSHOT_VERSION}",
            hint="restore it with the newer holdfastd that wrote it",
            version=versions.min_reader,
            supported=SNAPSHOT_VERSION,
        )
    manifest = decode_document("snapshot", data, SnapshotManifest, _MAX_U64)
    _check(manifest)
    return manifest


def _check(manifest: SnapshotManifest) -> None:
    if not _ID.fullmatch(manifest.id):
        raise ValueError(f"snapshot: {manifest.id[:64]!r} is no snapshot id")
    if not 0 <= manifest.sequence <= MAX_SEQUENCE or not 0 < manifest.timeline <= MAX_SEQUENCE:
        raise ValueError("snapshot: sequence or timeline out of range")
    if not (0 <= manifest.time_us <= MAX_SEQUENCE and 0 <= manifest.created_us <= MAX_SEQUENCE):
        raise ValueError("snapshot: a time is out of range")
    if manifest.base is not None:
        _check_base(manifest.base, manifest)
    if manifest.stands_for is not msgspec.UNSET:
        _check_stands_for(manifest.stands_for, manifest)
    for collection in manifest.collections:
        _check_collection(collection, manifest)
    names = {collection.spec.name for collection in manifest.collections}
    ids = {collection.spec.id for collection in manifest.collections}
    if len(names) != len(manifest.collections) or len(ids) != len(manifest.collections):
        raise ValueError("snapshot: two collections of the same name or id")
    for alias, target in manifest.aliases.items():
        if not _NAME.fullmatch(alias) or alias in names or target not in ids:
            raise ValueError(f"snapshot: {alias[:64]!r} is no alias of a collection in it")


def _check_collection(collection: SnapshotCollection, manifest: SnapshotManifest) -> None:
    spec = collection.spec
    if not _NAME.fullmatch(spec.name):
        raise ValueError(f"snapshot: {spec.name[:64]!r} is no collection name")
    if not 1 <= spec.dimensions <= MAX_DIMENSIONS or not 0 <= spec.hot_tier_bytes <= MAX_SEQUENCE:
        raise ValueError(f"snapshot: {spec.name} has dimensions or a hot tier out of range")
    digest = collection.digest
    if not (0 <= digest.high <= _MAX_U64 and 0 <= digest.low <= _MAX_U64):
        raise ValueError(f"snapshot: the digest of {spec.name} is out of range")
    if not (0 <= collection.updated_us <= MAX_SEQUENCE and 0 <= spec.created_us <= MAX_SEQUENCE):
        raise ValueError(f"snapshot: a time of {spec.name} is out of range")
    for part in collection.parts:
        _check_part(part, spec, manifest.planes)
    if collection.delta is not msgspec.UNSET:
        _check_delta(collection, collection.delta, manifest)
    elif not collection.whole or collection.deleted or collection.count != collection.rows:
        raise ValueError(f"snapshot: {spec.name} counts {collection.count} vectors, its parts hold {collection.rows}")


def _check_delta(collection: SnapshotCollection, delta: SnapshotDelta, manifest: SnapshotManifest) -> None:
    name = collection.spec.name
    if manifest.base is None or collection.whole:
        raise ValueError(f"snapshot: {name} is whole and says what changed since a base")
    digest = delta.rows_digest
    if not (0 <= digest.high <= _MAX_U64 and 0 <= digest.low <= _MAX_U64):
        raise ValueError(f"snapshot: the digest of the changed rows of {name} is out of range")
    if collection.rows > collection.count or not 0 <= collection.deleted <= _MAX_ROWS:
        raise ValueError(f"snapshot: {name} counts {collection.count} vectors, {collection.rows} of them changed")
    if tuple(delta.sizes) != (REMOVED_FILES if collection.deleted else ()):
        raise ValueError(f"snapshot: {collection.deleted} ids are gone from {name}, with other members than it should")
    data = {TOMBSTONES: collection.deleted * TOMBSTONE_DTYPE.itemsize, TOMBSTONE_IDS: collection.deleted}
    most = {**data, TOMBSTONE_IDS: collection.deleted * MAX_ID_BYTES}
    for file, size in delta.sizes.items():
        if not data[file] < size <= most[file] + _MAX_NPY_HEADER:
            raise ValueError(f"snapshot: {size} bytes cannot be the {file} of {collection.deleted} ids of {name}")


def _check_base(base: SnapshotBase, manifest: SnapshotManifest) -> None:
    if not _ID.fullmatch(base.id) or base.id == manifest.id or not _SHA256.fullmatch(base.sums_sha256):
        raise ValueError("snapshot: its base is named by no snapshot id, or by no SHA-256")
    if not 0 <= base.sequence <= manifest.sequence or not 0 < base.timeline <= manifest.timeline:
        raise ValueError("snapshot: its base is younger than itself")
    if base.path and not is_kept_url(base.path) and (not base.path.startswith("/") or "\0" in base.path):
        raise ValueError("snapshot: the path of its base is neither an absolute one nor the URL of an object")
    if base.store_id != manifest.store_id:
        raise ValueError("snapshot: its base is of another store")


def _check_stands_for(sums_sha256: str, manifest: SnapshotManifest) -> None:
    if manifest.base is not None or not _SHA256.fullmatch(sums_sha256):
        raise ValueError("snapshot: it stands for another by no SHA-256, or has a base itself")


def _check_part(part: SnapshotPart, spec: CollectionSpec, planes: bool) -> None:
    if not 0 < part.rows <= _MAX_ROWS or tuple(part.sizes) != part_files(planes):
        raise ValueError(f"snapshot: a part of {spec.name} has no rows, or other members than it should")
    blocks, four, floats = planes_shape(part.rows, spec.dimensions)
    vectors = blocks * four * floats if planes else part.rows * spec.dimensions * 4
    exact = {PLANES if planes else VECTORS: vectors, NORMS: part.rows * 4, ROWS: part.rows * ROW_DTYPE.itemsize}
    for file, size in part.sizes.items():
        least = exact.get(file, 0)
        most = exact.get(file, part.rows * (MAX_ID_BYTES if file == IDS else _MAX_ROWS)) + _MAX_NPY_HEADER
        if not least < size <= most:
            raise ValueError(f"snapshot: {size} bytes cannot be the {file} of {part.rows} rows of {spec.name}")


_VECTORS_HELP = "vectors.npy         (n, d) float32"
_PLANES_HELP = """\
vectors.planes.npy  float32 with their bytes shuffled into planes: (blocks, 4, k) u1. With d, the collection's
                      dimensions, and n, the length of norms.npy, the (n, d) matrix is
                        np.load("vectors.planes.npy").transpose(0, 2, 1).reshape(-1).view("<f4").reshape(-1, d)[:n]"""
_INCREMENT_HELP = """
This is an increment. Of a collection whose "whole" is false it holds the rows that were written after {base}, which
they replace, and in removed/tombstones.npy the ids that are gone since: 32 bytes each, with their texts back to back
in removed/tombstone-ids.npy. All else is in {base}; holdfastd finds it by itself.
"""

_README = """\
{id}: a snapshot written by holdfastd.
{base}
Restore it with     holdfast storage snapshot restore PATH
Check it by hand    sha256sum -c SHA256SUMS

It can be read without holdfastd. MANIFEST.json says which collections are here: their names, dimensions and vector
counts, and the moment (sequence) that they hold. Each part of a collection is a directory of NumPy files:

collections/<collection uuid>/<part>/
  {vectors}
  norms.npy           (n,) float32, Euclidean norms
  rows.npy            (n,) records: sequence, time_us, version, hash, and where id and payload stand
  ids.npy             (bytes,) u1: UTF-8 ids back to back; row i is ids[id_offset[i]:][:id_length[i]]
  payloads.npy        (bytes,) u1: JSON payloads back to back, in the same way; bit 0 of flags: there is one

Everything is little-endian. The formats are specified in FORMAT.md of holdfastd.
"""
