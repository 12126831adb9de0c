"""What is left of a snapshot that was being written or deleted, when that has ended: all of it, or nothing.

One that was being rewritten is what it was, or what it was to be.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace

from ..errors import HoldfastError
from ..storage.files import FileSystem, parent_of, remove_file
from ..storage.names import Layout
from ..storage.registry import PendingSnapshot, Registry, SnapshotRecord, snapshot_file_id
from ..storage.store_errors import StoreError, StoreProblem
from .snapshot_adoption import is_same_file
from .snapshot_marks import marked_as
from .snapshot_record import record_of


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a snapshot that was being written has shown. ``record``: of its file, None where it has none.

    ``settled``: nothing is left of its half-written file, so that the note may go.
    """

    settled: bool
    record: SnapshotRecord | None = None
    readable: bool = True


def settle(fs: FileSystem, layout: Layout, registry: Registry, pending: PendingSnapshot) -> None:
    """Remove what is half-written and let the registry know of what is there. Durable on return; raises OSError."""
    take_note(layout, registry, pending, look_at(fs, layout, pending))


def look_at(fs: FileSystem, layout: Layout, pending: PendingSnapshot) -> Found:
    """Remove what is half-written and see what is there. Blocks, in an object store for the network; raises OSError.

    What cannot be removed now stays noted, for the next start to remove, or the next look into an object store. A claim
    that the store denies to remove stays there, and says nothing any more. The names that are found, and those that are
    not, are durable on return: after a kill they may have been the kernel's alone.
    """
    path = layout.resolve(pending.path)
    try:
        remove_file(fs, replace(pending, path=path).part_path)
        if fs.exists(parent_of(path)):
            fs.sync_dir(parent_of(path))
    except OSError as error:
        if not isinstance(error, StoreError) or error.problem is not StoreProblem.ACCESS_DENIED:
            return Found(settled=False)
    if not fs.exists(path):
        return Found(settled=True)
    try:
        return Found(settled=True, record=record_of(fs, layout, path))
    except StoreError:
        raise
    except (HoldfastError, OSError):
        return Found(settled=True, readable=False)


def take_note(layout: Layout, registry: Registry, pending: PendingSnapshot, found: Found) -> None:
    """Let the registry know of what a look has shown; its owner holds the lock. Durable on return; raises OSError."""
    if not found.settled:
        return
    known = registry.find(pending.id)
    if found.record is None:
        # Which of both it is, of one that was known, is seen once its file is there again.
        if known is None or not found.readable:
            registry.abandon(pending.id)
    elif known is None:
        registry.put(replace(found.record, pinned=pending.pinned))
    else:
        # Of a file that was to be replaced and was not, more is known than it says.
        registry.put(known if is_same_file(known, found.record) else marked_as(found.record, known))


def settle_removal(fs: FileSystem, layout: Layout, registry: Registry, snapshot_id: str) -> None:
    """Forget a snapshot that was being deleted, if its file is gone. Durable on return; raises OSError."""
    known = registry.find(snapshot_id)
    if known is not None and is_gone(fs, layout.resolve(known.path)):
        registry.remove(snapshot_id)
    else:
        registry.keep(snapshot_id)


def is_gone(fs: FileSystem, path: str) -> bool:
    """Whether a file that was being deleted is no longer there, for good. Blocks; raises OSError."""
    if fs.exists(path):
        return False
    if fs.exists(parent_of(path)):
        # The power may go again, and must not bring back what nobody knows any more.
        fs.sync_dir(parent_of(path))
    return True


def remove_parts(fs: FileSystem, directory: str) -> None:
    """Remove what is half-written in the default directory, whether anybody noted it or not. Raises OSError."""
    if fs.exists(directory):
        for name in fs.listdir(directory):
            stem, dot, suffix = name.rpartition(".")
            if dot and suffix == "part" and snapshot_file_id(stem):
                fs.unlink(posixpath.join(directory, name))
