"""WAL directories that the log has left: those that the store made are removed with the last of its files."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

import msgspec

from ..errors import DataDirectoryLocked
from ..format.manifest import Manifest
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from .manifest_keeper import ManifestKeeper
from .wal_locks import LOCK_NAME, WalLocks

STORES_OWN = "wal"
"""The directory of the log in the data directory, which belongs to it whether the log is there or not."""


def with_directory(manifest: Manifest, path: str, *, made: bool) -> Manifest:
    """``manifest`` with one more WAL directory. ``made``: whether the store made it, and so will have to remove it."""
    listed = tuple(dict.fromkeys((*manifest.wal_directories, path)))
    if not made or path == STORES_OWN:
        return replace(manifest, wal_directories=listed)
    to_remove = tuple(dict.fromkeys((*_made(manifest), path)))
    return replace(manifest, wal_directories=listed, made_wal_directories=to_remove)


def remove_left(fs: FileSystem, layout: Layout, keeper: ManifestKeeper, locks: WalLocks) -> None:
    """Remove the directories that the store made, that its manifest no longer lists, and that are empty.

    Under the checkpoint's lock, so that none is taken for the log meanwhile. Blocks; durable on return. What cannot be
    removed now is tried again with the next checkpoint. Raises EngineFailed.
    """
    gone = {path for path in _made(keeper.current) if not fs.exists(layout.wal_dir(path))}
    empty = [path for path in _left(keeper.current) if path not in gone and _is_empty(fs, layout.wal_dir(path))]
    if empty:
        # Once more, by itself: the manifest before the current one may still list them, and has to do on its own.
        keeper.update(lambda manifest: manifest)
    for path in empty:
        with suppress(OSError, DataDirectoryLocked):
            _remove(fs, layout.wal_dir(path), locks)
            gone.add(path)
    if gone:
        keeper.update(lambda manifest: _without(manifest, gone))


def _made(manifest: Manifest) -> tuple[str, ...]:
    made = manifest.made_wal_directories
    return () if made is msgspec.UNSET else made


def _left(manifest: Manifest) -> list[str]:
    return [path for path in _made(manifest) if path not in manifest.wal_directories]


def _without(manifest: Manifest, gone: Collection[str]) -> Manifest:
    kept = tuple(path for path in _made(manifest) if path not in gone or path in manifest.wal_directories)
    return replace(manifest, made_wal_directories=kept or msgspec.UNSET)


def _is_empty(fs: FileSystem, directory: str) -> bool:
    try:
        return set(fs.listdir(directory)) <= {LOCK_NAME}
    except OSError:
        return False


def _remove(fs: FileSystem, directory: str, locks: WalLocks) -> None:
    # Nobody else's log is begun in it while the lock is held.
    locks.hold([directory])
    if LOCK_NAME in fs.listdir(directory):
        fs.unlink(f"{directory}/{LOCK_NAME}")
    fs.rmdir(directory)
    fs.sync_dir(parent_of(directory))
