"""What of the log's history an archive does not have: given up before it was archived, or missing there since."""

from __future__ import annotations

from ..storage.log_archive_chain import GIVEN_UP, MISSING, Gap
from ..storage.log_archive_note import ArchiveGap, ArchiveNote, Through
from .log_archive_status import ArchiveContents
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


def gaps_of(note: ArchiveNote, contents: ArchiveContents | None) -> tuple[Gap, ...]:
    """All that are known, oldest first: those that were noted, and those between what lies in the archive.

    What lay in front of the beginning of a pruned archive is no concern of anybody's any more.
    """
    noted = [Gap(GIVEN_UP, gap.first, gap.first_us, gap.last, gap.last_us, gap.why) for gap in note.gaps]
    found = [] if contents is None else contents.chain.gaps
    seen = [
        gap
        for gap in found
        if gap.kind != MISSING or not any(each.first <= gap.first and gap.last <= each.last for each in noted)
    ]
    begins_after = 0 if contents is None else contents.begins_after or 0
    left = [gap for gap in [*noted, *seen] if not begins_after or max(gap.first, gap.last) > begins_after]
    return tuple(sorted(left, key=lambda gap: (gap.first_us, gap.first)))


def before_the_beginning(contents: ArchiveContents | None) -> tuple[Gap, ...]:
    """What lies in front of the oldest WAL segment, which is missing where no snapshot leads there."""
    if contents is None or contents.chain.unread or contents.chain.gaps or not contents.chain.unbroken:
        return ()
    header = contents.chain.unbroken[0].header
    if header is None or not header.previous_sequence:
        return ()
    if contents.begins_where_pruned:
        why = "the archive was pruned of them, and not every collection is in a snapshot from behind them"
    else:
        why = "the archive begins behind them, and no snapshot leads there"
    return (Gap(MISSING, 1, 0, header.previous_sequence, header.created_us, why),)
