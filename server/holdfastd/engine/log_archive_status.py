"""Archiving as ``archive status`` shows it."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.log_archive_chain import Chain, Gap
from ..storage.log_archive_listing import log_order
from ..storage.log_archive_note import Through
from .log_archive_alarms import Failure
from .log_now import LogNow

OFF = "off"


@dataclass(frozen=True, slots=True)
class ArchiveContents:
    """What the archive held when it was looked over: WAL segments, whole or not, and bytes."""

    time_us: int
    segments: int
    size_bytes: int
    chain: Chain


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is durable and not archived yet: WAL segments that are complete, and bytes of all."""

    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """``state``: off, archiving, behind, failing or foreign. Times and durations in microseconds.

    ``through`` counts once the archive was ``used``. ``behind_us``: how long the oldest operation that is durable and
    not in the archive has been waiting, 0 where there is none. ``contents``: None before the archive has answered.
    """

    path: str
    state: str
    interval_us: int
    through: Through
    used: bool
    behind_us: int
    waiting: Waiting
    contents: ArchiveContents | None
    gaps: tuple[Gap, ...]
    failure: Failure | None


NOT_ARCHIVED = ArchiveStatus("", OFF, 0, Through(), False, 0, Waiting(0, 0), None, (), None)
"""That of a store whose log is archived nowhere."""


def waiting(now: LogNow, through: Through) -> Waiting:
    """What of the log is behind the archive's end."""
    segments = size = 0
    for number, stretch in enumerate(now.wanted):
        begun = 0
        if through.file and log_order(stretch.name) <= log_order(through.file):
            begun = stretch.end if stretch.name != through.file or through.whole else through.offset
        size += stretch.end - begun
        segments += begun < stretch.end and number < now.sealed
    return Waiting(segments, size)
