"""What really lies where snapshots are known to be: of an object store nobody knows until it is asked."""

from __future__ import annotations

from collections.abc import Iterable

from ..format.urls import is_object_url
from ..storage.files import FileSystem, parent_of
from ..storage.store_errors import StoreError
from .snapshot_catalog import SnapshotCatalog
from .snapshot_info import SnapshotInfo


class Beside:
    """One look. One thread; blocks. ``away``: the prefixes that could not be asked, and why.

    ``insist``: an object store that cannot be asked is an error.
    """

    def __init__(self, fs: FileSystem, catalog: SnapshotCatalog, *, insist: bool = False) -> None:
        self._fs = fs
        self._catalog = catalog
        self._insist = insist
        self.away: dict[str, StoreError] = {}

    def look(self, infos: Iterable[SnapshotInfo]) -> dict[str, SnapshotInfo]:
        """All that lies beside these, by path, what the registry does not name as well. Raises OSError, StoreError."""
        found: dict[str, SnapshotInfo] = {}
        for directory in sorted({parent_of(info.path) for info in infos}):
            if is_object_url(directory) or self._fs.is_dir(directory):
                found |= {info.path: info for info in self._in(directory)}
        return found

    def _in(self, directory: str) -> list[SnapshotInfo]:
        """What lies in a directory; nothing, and it is noted as away, where its store cannot be asked."""
        try:
            for other, error in self.away.items():
                # A minute for each prefix would be long.
                if error.is_passing and self._fs.same_disk(directory, other):
                    raise error
            return self._catalog.listing(directory).snapshots
        except StoreError as error:
            if self._insist:
                raise
            self.away[directory] = error
            return []
