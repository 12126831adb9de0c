"""Which log is read: the store's own, or one that lies elsewhere, in a directory or an archive."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ..format.manifest import Manifest
from ..storage.archived_log import ArchivedLog
from ..storage.beside import Beside
from ..storage.files import FileSystem, ReadsFiles
from ..storage.names import Layout
from ..storage.wal import Wal
from ..storage.wal_files import Position, store_in
from .log_reach import check_holds_log


@dataclass(frozen=True, slots=True)
class LogSource:
    """A log to read: its directories, as ``fs`` has them, whose it is, and where it ends while it is being written.

    ``beside``: what may read it ahead; None of an archive, which is read by one thread.
    ``elsewhere``: it is not the store's own, and may be one of which something was lost on the way. ``pruned``: it is
    an archive that begins where it does since it was pruned.
    """

    fs: ReadsFiles
    directories: tuple[str, ...]
    store_id: uuid.UUID
    upto_synced: Position | None
    beside: Beside | None = None
    elsewhere: bool = False
    pruned: bool = False


def log_source(fs: FileSystem, layout: Layout, manifest: Manifest, log: Wal | None, path: str | None) -> LogSource:
    """The log of a store that writes ``log``, or the one in the directory ``path``, whatever store wrote it.

    Blocks; raises FailedPrecondition where ``path`` holds none.
    """
    own = tuple(layout.wal_dir(each) for each in manifest.wal_directories)
    if path is None:
        return LogSource(fs, own, manifest.store_id, log.synced_position if log is not None else None, fs.beside)
    directory = layout.resolve(path)
    elsewhere = directory not in own
    archived = ArchivedLog(fs, directory) if elsewhere else None
    files = archived or fs
    store_id = store_in(files, directory) or manifest.store_id
    check_holds_log(files, directory, store_id)
    written = log is not None and log.files[-1].directory == directory
    upto_synced = log.synced_position if log is not None and written else None
    pruned = archived is not None and archived.pruned
    beside = fs.beside if archived is None else None
    return LogSource(files, (directory,), store_id, upto_synced, beside, elsewhere, pruned)
