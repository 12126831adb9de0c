"""What a log holds, wherever it lies, asked before it is read: nothing to show must not pass for all in order."""

from __future__ import annotations

import uuid

from ..errors import FailedPrecondition
from ..storage.files import FileSystem
from ..storage.wal_errors import unreadable
from ..storage.wal_files import FoundFile, find_wal_files


def check_holds_log(fs: FileSystem, directory: str, store_id: uuid.UUID) -> None:
    """Raise FailedPrecondition for a directory without a WAL segment. Blocks."""
    if not _found(fs, (directory,), store_id):
        raise FailedPrecondition(
            f"{directory} holds no log",
            reason="LOG_NOT_FOUND",
            hint="name the directory that holds the WAL segments themselves",
            path=directory,
        )


def _found(fs: FileSystem, directories: tuple[str, ...], store_id: uuid.UUID) -> list[FoundFile]:
    try:
        return find_wal_files(fs, directories, store_id=store_id)
    except OSError as error:
        raise unreadable(error) from error
