"""What is left of a snapshot that was being written or deleted, when that has ended: all of it, or nothing.

One that was being rewritten is what it was, or what it was to be.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace

from ..errors import HoldfastError
from ..storage.files import FileSystem, parent_of, remove_file
from ..storage.names import Layout
from ..storage.registry import PendingSnapshot, Registry, snapshot_file_id
from ..storage.store_errors import StoreError
from .snapshot_adoption import is_same_file
from .snapshot_marks import marked_as
from .snapshot_record import record_of


def settle(fs: FileSystem, layout: Layout, registry: Registry, pending: PendingSnapshot) -> None:
    """Remove what is half-written and let the registry know of what is there. Durable on return; raises OSError.

    What cannot be removed now stays noted, for the next start to remove, or the next look into an object store.
    """
    path = layout.resolve(pending.path)
    if not _removed(fs, replace(pending, path=path).part_path):
        return
    known = registry.find(pending.id)
    if not fs.exists(path):
        # Which of both it is, of one that was known, is seen once its file is there again.
        if known is None:
            registry.abandon(pending.id)
        return
    try:
        found = record_of(fs, layout, path)
    except StoreError:
        raise
    except (HoldfastError, OSError):
        registry.abandon(pending.id)
        return
    if known is None:
        registry.put(replace(found, pinned=pending.pinned))
    else:
        # Of a file that was to be replaced and was not, more is known than it says.
        registry.put(known if is_same_file(known, found) else marked_as(found, known))


def settle_removal(fs: FileSystem, layout: Layout, registry: Registry, snapshot_id: str) -> None:
    """Forget a snapshot that was being deleted, if its file is gone. Durable on return; raises OSError."""
    known = registry.find(snapshot_id)
    path = "" if known is None else layout.resolve(known.path)
    if known is None or fs.exists(path):
        registry.keep(snapshot_id)
        return
    if fs.exists(parent_of(path)):
        # The power may go again, and must not bring back what nobody knows any more.
        fs.sync_dir(parent_of(path))
    registry.remove(snapshot_id)


def remove_parts(fs: FileSystem, directory: str) -> None:
    """Remove what is half-written in the default directory, whether anybody noted it or not. Raises OSError."""
    if fs.exists(directory):
        for name in fs.listdir(directory):
            stem, dot, suffix = name.rpartition(".")
            if dot and suffix == "part" and snapshot_file_id(stem):
                fs.unlink(posixpath.join(directory, name))


def _removed(fs: FileSystem, part: str) -> bool:
    """Whether a half-written file is gone."""
    try:
        remove_file(fs, part)
    except OSError:
        return False
    return True
