"""What lies in a directory of snapshots, be it on a disk or in an object store, as one look has found it."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import HoldfastError
from ..format.urls import is_object_url
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import SnapshotRecord, snapshot_file_id
from ..storage.store_errors import StoreError
from .snapshot_record import record_of


@dataclass(frozen=True, slots=True)
class Seen:
    """The files of a directory that was looked into just now, with their sizes in bytes."""

    directory: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)

    def size(self, fs: FileSystem, path: str, recorded: int) -> int:
        """The size of a file; of one in an object store that was not looked into, what is recorded.

        A list of snapshots asks no network about each of them. Raises FileNotFoundError, OSError.
        """
        if not is_object_url(path):
            return fs.size(path)
        if parent_of(path) != self.directory:
            return recorded
        try:
            return self.sizes[posixpath.basename(path)]
        except KeyError:
            raise FileNotFoundError(f"there is no object {path}") from None

    def exists(self, fs: FileSystem, path: str) -> bool:
        """Whether a file is there; in an object store that was not looked into, it is taken for granted."""
        if not is_object_url(path):
            return fs.exists(path)
        return parent_of(path) != self.directory or posixpath.basename(path) in self.sizes


NOTHING_SEEN = Seen()


class SnapshotDirectory:
    """One directory. ``records``: what the registry has. Blocks: reads the manifests of what is new to it."""

    def __init__(self, fs: FileSystem, layout: Layout, path: str, records: Iterable[SnapshotRecord]) -> None:
        self._fs = fs
        self._layout = layout
        self._path = path
        self._records = list(records)
        self.seen = Seen(path, fs.sizes(path)) if is_object_url(path) else NOTHING_SEEN

    def unnamed(self) -> tuple[list[SnapshotRecord], dict[str, str]]:
        """Snapshots that the registry does not name here, and why others, by path, cannot be read."""
        named = {self._layout.resolve(record.path) for record in self._records}
        found, unreadable = [], {}
        for where in self._files():
            if where not in named:
                try:
                    found.append(record_of(self._fs, self._layout, where))
                except (HoldfastError, OSError) as error:
                    if isinstance(error, StoreError) and error.is_passing:
                        raise
                    unreadable[where] = error.message if isinstance(error, HoldfastError) else str(error)
        return found, unreadable

    def changed(self) -> list[SnapshotRecord]:
        """What is in the places of snapshots that had another size, as far as that can be read."""
        found = []
        for record in self._records:
            where = self._layout.resolve(record.path)
            with contextlib.suppress(HoldfastError, OSError):
                if parent_of(where) != self._path:
                    continue
                if self.seen.size(self._fs, where, record.size_bytes) != record.size_bytes:
                    found.append(record_of(self._fs, self._layout, where))
        return found

    def _files(self) -> list[str]:
        if is_object_url(self._path):
            names = sorted(self.seen.sizes)
        else:
            names = self._fs.listdir(self._path) if self._fs.exists(self._path) else []
        names = [name for name in names if name.endswith((".snap", ".gz"))]
        return [posixpath.join(self._path, name) for name in names if snapshot_file_id(name)]


def ids_in(fs: FileSystem, directory: str) -> set[str]:
    """The ids that files in a directory have, those that are being written included."""
    names = fs.listdir(directory) if fs.exists(directory) else []
    return {id for name in names if (id := snapshot_file_id(name.removesuffix(".part")))}
