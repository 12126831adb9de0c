"""What a snapshot's file says about itself, as the registry keeps it."""

from __future__ import annotations

import posixpath

import msgspec

from ..errors import Corruption
from ..format.snapshot import MANIFEST, SnapshotManifest, archive_bytes, readme_text
from ..storage.archive_reader import ArchiveReader
from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.registry import SnapshotMember, SnapshotRecord, snapshot_file_id
from .description import is_description


def record_of(fs: FileSystem, layout: Layout, path: str) -> SnapshotRecord:
    """What a snapshot's file says about itself; reads its manifest only. Raises Corruption, OSError."""
    archive = ArchiveReader(fs, path)
    archive.check_size()
    stem = snapshot_file_id(posixpath.basename(path))
    if stem is not None and stem != archive.manifest.id:
        raise Corruption(
            f"says that it is {archive.manifest.id}",
            path=f"{path}:{MANIFEST}",
            reason="SNAPSHOT_DAMAGED",
            hint="give the file the name that it had",
        )
    manifest = archive.manifest
    return make_record(
        manifest,
        path=layout.relative(path),
        size_bytes=archive.size,
        uncompressed_bytes=archive_bytes(manifest, archive.manifest_bytes, len(readme_text(manifest))),
        compressed=archive.compressed,
    )


def make_record(
    manifest: SnapshotManifest, *, path: str, size_bytes: int, uncompressed_bytes: int, compressed: bool
) -> SnapshotRecord:
    """A record from an archive's manifest."""
    members = [
        SnapshotMember(
            name=collection.spec.name,
            collection_id=str(collection.spec.id),
            dimensions=collection.spec.dimensions,
            metric=collection.spec.metric.value,
            storage=collection.spec.storage.value,
            vectors=sum(part.rows for part in collection.parts),
            digest=collection.digest.hex(),
            deleted=collection.deleted,
            whole=collection.whole,
            total_vectors=collection.count,
        )
        for collection in manifest.collections
    ]
    base = manifest.base
    return SnapshotRecord(
        id=manifest.id,
        type=manifest.type,
        path=path,
        created_us=manifest.created_us,
        store_id=str(manifest.store_id),
        timeline=manifest.timeline,
        sequence=manifest.sequence,
        size_bytes=size_bytes,
        uncompressed_bytes=uncompressed_bytes,
        compressed=compressed,
        everything=manifest.everything,
        members=tuple(sorted(members, key=lambda member: member.name)),
        base_id="" if base is None else base.id,
        base_sequence=0 if base is None else base.sequence,
        base_path="" if base is None else base.path,
        daemon_version=manifest.daemon_version,
        stands_for="" if manifest.stands_for is msgspec.UNSET else manifest.stands_for,
        description=_description_in(manifest),
    )


def _description_in(manifest: SnapshotManifest) -> str:
    """What the file says of itself; "" for what nobody could have said: it is no reason to refuse the file."""
    text = "" if manifest.description is msgspec.UNSET else manifest.description
    return text if is_description(text) else ""
