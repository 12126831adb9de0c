"""What a log holds, wherever it lies, asked before it is read: nothing to show must not pass for all in order."""

from __future__ import annotations

import uuid

from ..errors import FailedPrecondition
from ..model import Sequence64
from ..storage.files import ReadsFiles
from ..storage.wal_errors import unreadable
from ..storage.wal_files import FoundFile, find_wal_files
from ..storage.wal_reader import trimmed


def check_holds_log(fs: ReadsFiles, directory: str, store_id: uuid.UUID) -> None:
    """Raise FailedPrecondition for a directory without a WAL segment. Blocks."""
    if not _found(fs, (directory,), store_id):
        raise FailedPrecondition(
            f"{directory} holds no log",
            reason="LOG_NOT_FOUND",
            hint="name the directory that holds the WAL segments themselves",
            path=directory,
        )


def first_held(fs: ReadsFiles, directories: tuple[str, ...], store_id: uuid.UUID) -> Sequence64:
    """The first sequence that a log can hold; 0 where there is no log. Blocks."""
    files = _found(fs, directories, store_id)
    return files[0].first_sequence if files else 0


def check_reaches_back(
    fs: ReadsFiles,
    directories: tuple[str, ...],
    store_id: uuid.UUID,
    from_us: int | None,
    to_sequence: Sequence64 | None,
    to_us: int | None,
) -> None:
    """Raise OutOfRange for a bound, inclusive, in front of what a log holds since it was trimmed. Blocks."""
    files = _found(fs, directories, store_id)
    header = files[0].header if files else None
    if header is None or not header.previous_sequence:
        return
    why = f"the log begins after sequence {header.previous_sequence}"
    if to_sequence is not None and 0 < to_sequence <= header.previous_sequence:
        raise trimmed(f"records up to sequence {to_sequence}", why, sequence=to_sequence)
    begins_us = files[0].first_timestamp_us or header.created_us
    if to_us is not None and to_us < begins_us:
        raise trimmed("records up to that time", why, sequence=header.previous_sequence)
    if from_us is not None and from_us < begins_us:
        raise trimmed("records from that time on", why, sequence=header.previous_sequence)


def _found(fs: ReadsFiles, directories: tuple[str, ...], store_id: uuid.UUID) -> list[FoundFile]:
    try:
        return find_wal_files(fs, directories, store_id=store_id)
    except OSError as error:
        raise unreadable(error) from error
