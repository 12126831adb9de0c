"""Archiving as ``archive status`` shows it."""

from __future__ import annotations

from dataclasses import dataclass

from ..format.manifest import Manifest
from ..model import Sequence64
from ..storage.log_archive_chain import Chain, Gap
from ..storage.log_archive_listing import LogArchiveListing, log_order
from ..storage.log_archive_note import Through
from ..storage.registry import SnapshotRecord
from .log_archive_alarms import Failure
from .log_now import LogNow

OFF = "off"


@dataclass(frozen=True, slots=True)
class ArchiveContents:
    """What the archive held when it was looked over."""

    time_us: int
    listing: LogArchiveListing
    chain: Chain

    @property
    def segments(self) -> int:
        """WAL segments, whole or not."""
        return len(self.listing.names)

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return self.listing.size_bytes

    @property
    def begins_after(self) -> Sequence64 | None:
        """The sequence in front of a pruned archive; None for one that was never pruned, or of which nobody knows."""
        if not self.listing.begins or self.chain.unread or not self.chain.links:
            return None
        header = self.chain.links[0].header
        return None if header is None else header.previous_sequence

    @property
    def begins_where_pruned(self) -> bool:
        """Whether it begins with the very WAL segment that a prune let it begin with."""
        return bool(self.chain.links) and self.chain.links[0].name == self.listing.begins

    @property
    def why_it_begins(self) -> str:
        """Why the history without a gap at its end does not begin earlier, in words."""
        unbroken = self.chain.unbroken
        if self.chain.gaps:
            return self.chain.gaps[-1].why
        if self.chain.unread:
            return "what lies before it was not looked into yet"
        header = unbroken[0].header if unbroken else None
        if header is None:
            return ""
        if self.begins_where_pruned:
            return (
                f"the archive was pruned: what came before sequence {header.previous_sequence + 1} was removed from it"
            )
        return "nothing older lies there" if header.previous_sequence else "the log begins there"


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


@dataclass(frozen=True, slots=True)
class ArchiveReach:
    """From behind ``begins_after`` the archive leads to a moment that is ``behind_us`` old; ``manifest``: the store's.

    From behind 0 it needs no snapshot to begin with.
    """

    begins_after: Sequence64
    behind_us: int
    manifest: Manifest

    def leads_from(self, base: SnapshotRecord) -> bool:
        """Whether it leads there from a snapshot."""
        reaches_back = self.manifest.reaches_back_to(base.timeline, base.sequence)
        return base.sequence >= self.begins_after and reaches_back


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
