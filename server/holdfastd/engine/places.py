"""Where an operator may have the log and snapshots put: not where the store removes what it does not know."""

from __future__ import annotations

from ..errors import InvalidArgument
from ..storage.files import FileSystem
from ..storage.names import Layout


def check_place(fs: FileSystem, layout: Layout, directory: str, *, snapshots: bool) -> None:
    """Raise InvalidArgument for a directory inside one of the store's own, whatever links lead there.

    ``snapshots``: whether it is for snapshots, which have a directory of their own among these.
    """
    own = [layout.collections, layout.operations, layout.staging, *([] if snapshots else [layout.snapshots])]
    real = fs.real_path(directory)
    for taken in own:
        if f"{real}/".startswith(f"{fs.real_path(taken)}/"):
            raise InvalidArgument(
                f"{directory} belongs to the store's own files",
                field="path",
                hint="choose a directory of its own, such as snapshots in the data directory"
                if snapshots
                else "choose another directory, such as wal in the data directory",
            )
