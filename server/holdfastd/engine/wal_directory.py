"""A directory that the log is to move to: made where it is missing, locked, and without another log in it."""

from __future__ import annotations

from ..errors import FailedPrecondition, HoldfastError
from ..storage.files import FileSystem, make_lasting_dir, parent_of
from ..storage.names import parse_wal_name
from ..storage.wal_errors import refusal
from .wal_locks import LOCK_NAME, WalLocks


def take_directory(fs: FileSystem, locks: WalLocks, directory: str) -> bool:
    """Make and lock it; returns whether it was made.

    Raises FailedPrecondition, DataDirectoryLocked or ResourceExhausted.
    """
    made = not fs.exists(directory)
    try:
        make_lasting_dir(fs, directory)
        locks.hold([directory])
        _check_without_log(fs, directory)
    except OSError as error:
        raise _unusable(directory, error) from error
    return made


def check_directory(fs: FileSystem, locks: WalLocks, directory: str) -> None:
    """Raise what ``take_directory`` would, but for what shows only when a directory is made; nothing is made here.

    A lock is tried only where there is a file of one, and is the caller's to release.
    """
    try:
        above = directory
        while not fs.exists(above):
            above = parent_of(above)
        fs.listdir(above)
        if above == directory:
            if fs.exists(f"{directory}/{LOCK_NAME}"):
                locks.hold([directory])
            _check_without_log(fs, directory)
    except OSError as error:
        raise _unusable(directory, error) from error


def _check_without_log(fs: FileSystem, directory: str) -> None:
    found = [name for name in fs.listdir(directory) if parse_wal_name(name) is not None]
    if found:
        raise FailedPrecondition(
            f"{directory} holds a log already: {found[0]}",
            reason="WAL_DIRECTORY_IN_USE",
            hint="choose an empty directory, or move that log away",
            path=directory,
        )


def _unusable(directory: str, error: OSError) -> HoldfastError:
    return refusal(f"the WAL directory {directory} cannot be used", error)
