"""What lies in directories, held against what is known of snapshots: files that are new, and others in known places."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Sequence

from ..errors import HoldfastError
from ..format.urls import is_object_url
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import SnapshotRecord, snapshot_file_id
from ..storage.store_errors import StoreError
from .snapshot_record import record_of
from .snapshot_seen import NOTHING_SEEN, Seen


class Look:
    """One look. Any thread; blocks: reads the manifests of files that are not as ``records`` have them."""

    def __init__(self, fs: FileSystem, layout: Layout, records: Sequence[SnapshotRecord]) -> None:
        self._fs = fs
        self._layout = layout
        self._records = records
        self.seen = NOTHING_SEEN
        """What lies below the prefix of an object store, once that was looked into."""
        self._refused: StoreError | None = None

    def unnamed_in(self, directory: str) -> tuple[list[SnapshotRecord], dict[str, str]]:
        """Snapshots in a directory that no record names there, and why others, by path, cannot be read."""
        named = {self._layout.resolve(record.path) for record in self._records}
        found, unreadable = [], {}
        for where in self._files_in(directory):
            if where not in named:
                try:
                    found.append(record_of(self._fs, self._layout, where))
                except (HoldfastError, OSError) as error:
                    if isinstance(error, StoreError):
                        if error.is_passing:
                            raise
                        self._refused = error
                    unreadable[where] = _why(error, where)
        return found, unreadable

    def all_unnamed_in(self, directory: str) -> list[SnapshotRecord]:
        """The same; what is damaged builds on nothing. Raises StoreError where a store does not let one be read: nobody
        knows what that builds on."""
        found, _ = self.unnamed_in(directory)
        if self._refused is not None:
            raise self._refused
        return found

    def changed_in(self, directory: str | None) -> list[SnapshotRecord]:
        """What is in the places of snapshots of a directory (None: of all) that had another size, as far as it is read.

        Another daemon may have made full ones of increments that both know. Objects count as far as they were seen.
        """
        changed = []
        for record in self._records:
            where = self._layout.resolve(record.path)
            with contextlib.suppress(OSError):
                if directory not in (None, parent_of(where)):
                    continue
                if self.seen.size(self._fs, where, record.size_bytes) != record.size_bytes:
                    changed.append(record)
        return self.now(changed)

    def now(self, records: Iterable[SnapshotRecord]) -> list[SnapshotRecord]:
        """What is in the places of these snapshots now, as far as that can be read."""
        found = []
        for record in records:
            with contextlib.suppress(HoldfastError, OSError):
                found.append(record_of(self._fs, self._layout, self._layout.resolve(record.path)))
        return found

    def _files_in(self, directory: str) -> list[str]:
        if is_object_url(directory):
            self.seen = Seen(directory, self._fs.facts(directory))
            names = sorted(self.seen.facts)
        else:
            names = self._fs.listdir(directory) if self._fs.exists(directory) else []
        names = [name for name in names if name.endswith((".snap", ".gz"))]
        return [posixpath.join(directory, name) for name in names if snapshot_file_id(name)]


def _why(error: HoldfastError | OSError, path: str) -> str:
    """Why a file cannot be read as a snapshot; not every error says of which file it speaks."""
    if isinstance(error, HoldfastError):
        return error.message if path in error.message else f"{path}: {error.message}"
    return f"{path} cannot be read as a snapshot: {error.strerror or error}"
