"""A whole archive gets its name: one that has come from elsewhere, if its id and its place are free for it; and one
that was written anew, in the place of the file before."""

from __future__ import annotations

from dataclasses import replace

from ..errors import FailedPrecondition
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import Registry, SnapshotRecord, part_path
from .snapshot_adoption import is_same_file, judge
from .snapshot_errors import id_is_taken
from .snapshot_record import record_of
from .snapshot_seen import NOTHING_SEEN


def take_in(fs: FileSystem, layout: Layout, registry: Registry, store_id: str, part: str, path: str) -> None:
    """Rename ``part`` to ``path`` and let the registry know. Its owner holds its lock; durable on return.

    Raises AlreadyExists, OSError, and Corruption as ``record_of``; the file is where it was then, but for an OSError of
    the registry. A copy of a snapshot that is where it was is a copy.
    """
    record = replace(record_of(fs, layout, part), path=layout.relative(path))
    known = registry.find(record.id)
    is_there = known is not None and NOTHING_SEEN.exists(fs, layout.resolve(known.path))
    finding = judge(record, path, known, is_there=is_there, store_id=store_id)
    being_written = any(pending.id == record.id for pending in registry.pending)
    if finding.warning or being_written or fs.exists(path):
        raise id_is_taken(record.id, path, finding.warning)
    fs.rename(part, path)
    fs.sync_dir(parent_of(path))
    if finding.record is not None:
        registry.put(finding.record)


def put_in_place(fs: FileSystem, layout: Layout, path: str, record: SnapshotRecord) -> None:
    """Give a file that was written anew its name, unless it has that already.

    Raises OSError, and FailedPrecondition where it is not there any more.
    """
    part = part_path(path)
    if fs.exists(part) and fs.size(part) == record.size_bytes:
        fs.rename(part, path)
    elif not is_same_file(record, record_of(fs, layout, path)):
        raise FailedPrecondition(
            f"{part} is not what was written there: somebody has removed or replaced it",
            reason="SNAPSHOT_CHANGED",
            hint=f"let nobody else work in {parent_of(path)} meanwhile, no other daemon either, and try again",
            snapshot=record.id,
            path=part,
        )
