"""What lies in an object store is believed until somebody looks: one look into a prefix tells all that lies there."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..format.urls import is_object_url
from ..storage.files import FileFacts, FileSystem, parent_of
from ..storage.registry import PART, snapshot_file_id


@dataclass(frozen=True, slots=True)
class Seen:
    """The objects below a prefix that was looked into just now. A list of snapshots asks no network about each."""

    directory: str = ""
    facts: Mapping[str, FileFacts] = field(default_factory=dict)

    def size(self, fs: FileSystem, path: str, recorded: int) -> int:
        """The size of a file; ``recorded``, of an object that nobody looked at. Raises FileNotFoundError, OSError."""
        if not is_object_url(path):
            return fs.size(path)
        return recorded if parent_of(path) != self.directory else self._facts_of(path).size

    def modified_ns(self, fs: FileSystem, path: str, recorded: int) -> int:
        """The same of the time at which it was last written to."""
        if not is_object_url(path):
            return fs.modified_ns(path)
        return recorded if parent_of(path) != self.directory else self._facts_of(path).modified_ns

    def exists(self, fs: FileSystem, path: str) -> bool:
        """Whether a file is there; an object that nobody looked at is taken for granted."""
        if not is_object_url(path):
            return fs.exists(path)
        return parent_of(path) != self.directory or posixpath.basename(path) in self.facts

    def _facts_of(self, path: str) -> FileFacts:
        try:
            return self.facts[posixpath.basename(path)]
        except KeyError:
            raise FileNotFoundError(f"there is no object {path}") from None


NOTHING_SEEN = Seen()


def ids_in(fs: FileSystem, directory: str) -> set[str]:
    """The ids that files in a directory have; half-written ones, too: another daemon may write there."""
    names = fs.listdir(directory) if fs.exists(directory) else []
    return {id for name in names if (id := snapshot_file_id(name.removesuffix(PART)))}
