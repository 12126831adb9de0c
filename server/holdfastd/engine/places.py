"""Where an operator may have the log and snapshots put: not where the store keeps files of its own."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import FailedPrecondition, InvalidArgument
from ..format.urls import is_object_url
from ..storage.files import FileSystem
from ..storage.names import Layout
from .snapshot_info import SnapshotInfo


def check_log_place(fs: FileSystem, layout: Layout, directory: str, archive: str) -> None:
    """Raise InvalidArgument for the data directory and for one inside the store's own, whatever links lead there.

    ``archive``: where the log is archived, as it was given, or "".
    """
    hint = "choose another directory, such as wal in the data directory"
    if is_object_url(directory):
        raise InvalidArgument(f"{directory} is no disk: the log is synced with every write", field="path", hint=hint)
    if fs.real_path(directory) == fs.real_path(layout.root):
        raise InvalidArgument(f"{directory} is the data directory itself", field="path", hint=hint)
    _check_outside(fs, directory, (layout.collections, layout.operations, layout.staging, layout.snapshots), hint)
    _check_no_archive(fs, layout, directory, archive, hint)


def check_snapshot_place(
    fs: FileSystem, layout: Layout, directory: str, wal_directories: Iterable[str], archive: str
) -> None:
    """The same for snapshots, which have a directory of their own.

    ``wal_directories``: those of the log, absolute; one that is not inside the data directory is the operator's.
    """
    root = f"{fs.real_path(layout.root)}/"
    logs = [each for each in wal_directories if fs.real_path(each).startswith(root)]
    hint = "choose a directory of its own, such as snapshots in the data directory"
    _check_outside(fs, directory, (layout.collections, layout.operations, layout.staging, *logs), hint)
    _check_no_archive(fs, layout, directory, archive, hint)


def check_archive_place(fs: FileSystem, layout: Layout, directory: str, taken: Iterable[str]) -> None:
    """The same for the archive of the log. ``taken``: where the log and snapshots lie, absolute."""
    hint = "choose a directory or a prefix of its own: --archive-path"
    if is_object_url(directory):
        if directory.rstrip("/") in {each.rstrip("/") for each in taken}:
            raise InvalidArgument(f"{directory} holds snapshots of this store", field="archive_path", hint=hint)
        return
    if fs.real_path(directory) == fs.real_path(layout.root):
        raise InvalidArgument(f"{directory} is the data directory itself", field="archive_path", hint=hint)
    own = (layout.collections, layout.operations, layout.staging, layout.snapshots)
    _check_outside(fs, directory, (*own, *(each for each in taken if not is_object_url(each))), hint, "archive_path")


def check_can_be_rewritten(snapshots: Iterable[SnapshotInfo]) -> None:
    """Raise FailedPrecondition for one in an object store: what takes its place cannot be proven beforehand."""
    for info in snapshots:
        if is_object_url(info.path):
            raise FailedPrecondition(
                f"{info.id} lies in an object store, where no file can be proven before it replaces another",
                reason="SNAPSHOT_IN_OBJECT_STORE",
                hint="make a full snapshot there and delete the increments, newest first; or download the chain and "
                "consolidate it on a disk",
                snapshot=info.id,
                path=info.path,
            )


def _check_no_archive(fs: FileSystem, layout: Layout, directory: str, archive: str, hint: str) -> None:
    if archive and fs.real_path(directory) == fs.real_path(layout.resolve(archive)):
        raise InvalidArgument(f"{directory} is where the log is archived (--archive-path)", field="path", hint=hint)


def _check_outside(fs: FileSystem, directory: str, own: Iterable[str], hint: str, field: str = "path") -> None:
    real = fs.real_path(directory)
    for taken in own:
        if f"{real}/".startswith(f"{fs.real_path(taken)}/"):
            raise InvalidArgument(f"{directory} belongs to the store's own files", field=field, hint=hint)
