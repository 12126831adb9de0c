"""The files in one directory that look like snapshots, beside what the registry knows of them."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import HoldfastError
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import SnapshotRecord, snapshot_file_id
from .snapshot_record import record_of


@dataclass(frozen=True, slots=True)
class SnapshotDirectory:
    """One look into ``path``, which need not exist. ``known``: what the registry knows. Blocks: reads manifests."""

    fs: FileSystem
    layout: Layout
    path: str
    known: Sequence[SnapshotRecord]

    def unnamed(self) -> tuple[list[SnapshotRecord], dict[str, str]]:
        """Snapshots that the registry does not name there, and why others, by path, cannot be read."""
        named = {self.layout.resolve(record.path) for record in self.known}
        found, unreadable = [], {}
        for where in self._files():
            if where not in named:
                try:
                    found.append(record_of(self.fs, self.layout, where))
                except (HoldfastError, OSError) as error:
                    unreadable[where] = error.message if isinstance(error, HoldfastError) else str(error)
        return found, unreadable

    def changed(self) -> list[SnapshotRecord]:
        """What is in the places of snapshots that had another size, as far as that can be read."""
        found = []
        for record in self.known:
            where = self.layout.resolve(record.path)
            with contextlib.suppress(HoldfastError, OSError):
                if parent_of(where) == self.path and self.fs.size(where) != record.size_bytes:
                    found.append(record_of(self.fs, self.layout, where))
        return found

    def _files(self) -> list[str]:
        if not self.fs.exists(self.path):
            return []
        names = [name for name in self.fs.listdir(self.path) if name.endswith((".snap", ".gz"))]
        return [posixpath.join(self.path, name) for name in names if snapshot_file_id(name)]
