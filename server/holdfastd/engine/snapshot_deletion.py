"""Deleting one snapshot's file, so that a crash at any point leaves it whole and listed, or gone and forgotten.

    note      in the registry that the file is being deleted
    delete    the file, durable
    forget    the note, and the snapshot with it

A start that finds a note finishes what was begun. On a full disk, where there is no room for a note, the file goes
first: a crash in between then leaves an entry that says "missing", never a file that nobody knows.
"""

from __future__ import annotations

import contextlib

from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import LeavingSnapshot, Registry
from .disk_errors import lacks_space
from .snapshot_info import MISSING, SnapshotInfo


def delete_file(fs: FileSystem, layout: Layout, registry: Registry, info: SnapshotInfo) -> None:
    """Delete a snapshot's file and forget it, with the lock of the registry held. Durable on return. Raises OSError.

    Where the file cannot be deleted everything is as before; where less than that is known, it may be tried again.
    """
    leaving = LeavingSnapshot(info.id, layout.relative(info.path))
    if info.state != MISSING or leaving in registry.leaving:
        try:
            registry.begin_leaving(leaving)
        except OSError as error:
            if not lacks_space(error):
                # It may be on the disk all the same.
                _take_back(registry, leaving)
                raise
        _unlink(fs, registry, leaving, info.path)
        fs.sync_dir(parent_of(info.path))
    registry.end_leaving(leaving)


def finish_deletions(fs: FileSystem, layout: Layout, registry: Registry) -> None:
    """At start: finish what a crash has cut short. Raises OSError where the registry cannot be written."""
    for leaving in registry.leaving:
        path = layout.resolve(leaving.path)
        if not fs.is_dir(parent_of(path)):
            # Its disk is not there: whether the file is gone is seen once it is.
            registry.stay(leaving)
            continue
        try:
            if fs.exists(path):
                fs.unlink(path)
            fs.sync_dir(parent_of(path))
        except OSError:
            registry.stay(leaving)
            continue
        registry.end_leaving(leaving)


def _unlink(fs: FileSystem, registry: Registry, leaving: LeavingSnapshot, path: str) -> None:
    try:
        fs.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        _take_back(registry, leaving)
        raise


def _take_back(registry: Registry, leaving: LeavingSnapshot) -> None:
    """Let no start finish what is told to have failed."""
    with contextlib.suppress(OSError):
        registry.stay(leaving)
