"""What of the log's history no archive has, because the log gave it up before it was archived."""

from __future__ import annotations

from ..storage.log_archive_note import ArchiveGap, Through
from .log_now import LogNow
from .log_shipping import is_before


def lost_before(now: LogNow, through: Through) -> ArchiveGap | None:
    """What was in the log behind the archive's end and is in neither now. Does not block.

    A time in which the log was switched off is none: nothing was logged then that could have been archived.
    """
    first = now.files[0]
    header = first.info.header
    if not is_before(through, first) or header.previous_sequence <= through.sequence:
        return None
    if through.closed and header.gap_before:
        return None
    return ArchiveGap(
        first=through.sequence + 1,
        first_us=through.time_us,
        last=header.previous_sequence,
        last_us=header.created_us,
        why="the log gave it up before it was archived",
    )
