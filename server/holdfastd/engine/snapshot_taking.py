"""A whole archive that has come from elsewhere gets its name, if its id and its place are free for it."""

from __future__ import annotations

from dataclasses import replace

from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import Registry
from .snapshot_adoption import judge
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
