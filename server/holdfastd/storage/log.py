"""What the engine knows of a log, so that an archive, a follower or another kind of log can stand in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .wal_entry import Entry
from .wal_files import WalFileInfo
from .wal_scan import LoggedRecord


class Log(Protocol):
    """A gapless, ordered history of operations. ``Wal`` says which thread may call what."""

    @property
    def last_sequence(self) -> int:
        """The last sequence appended, durable or not."""

    @property
    def synced_sequence(self) -> int:
        """The last sequence known durable."""

    @property
    def last_timestamp_us(self) -> int:
        """The time of the last operation; the next one's must be greater."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Hand a group to the operating system; see ``Wal.append``."""

    def sync(self) -> int:
        """Make durable what was appended before the call; returns the durable sequence."""

    def read(self, from_sequence: int) -> Iterator[LoggedRecord]:
        """The durable operations from ``from_sequence`` on."""

    def trim(self, before_sequence: int) -> tuple[WalFileInfo, ...]:
        """Give up what holds only sequences below ``before_sequence``."""
