"""One round of archiving: what the log has and its archive has not is copied there, oldest first.

Complete WAL segments whole, the one being written as a piece from where the archive ends up to where it is synced.
What something larger holds is removed behind it, so that what lies there reads as the log at every moment.
"""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable
from contextlib import suppress

from ..errors import Corruption, HoldfastError
from ..storage.bulk import Pace
from ..storage.files import FileSystem
from ..storage.log_archive_listing import log_order
from ..storage.log_archive_note import Through
from ..storage.log_copy import beginning, check_sealed, checked_up_to, copy_piece, copy_sealed
from ..storage.names import PieceName, piece_name
from ..storage.wal_tail import Before
from .log_holdings import LogHoldings, remove_pieces
from .log_now import LogNow, Stretch

MOST_PIECES = 64
"""Of one WAL segment, before one piece takes the place of all: an hour's at the usual interval. A reader opens that
many files at most, and a byte is sent once more for each such hour."""


class LogShipping:
    """See the module. One thread; blocks for the archive. ``sent_bytes``: all that was copied so far."""

    def __init__(self, fs: FileSystem, directory: str, store_id: uuid.UUID, pace: Pace) -> None:
        self._fs = fs
        self._directory = directory
        self._pace = pace
        self.holdings = LogHoldings(fs, directory, store_id)
        self.sent_bytes = 0
        # Where the archive ends of the WAL segment being written, and of those that were copied, their last word.
        self._reached: Before | None = None
        self._ended: dict[str, Before] = {}
        # What was found damaged: read before anything of it is sent once more.
        self._damaged: set[str] = set()

    def look(self, now: LogNow) -> None:
        """Hold the archive against the log, and remove what a kill has left there. Raises as ``LogHoldings.look``."""
        self.holdings.look(now)
        short = (piece.path for piece in self.holdings.cut_short(now))
        remove_pieces(self._fs, self._directory, (*self.holdings.listing.unfinished, *short))
        self._ended = {name: self._ended[name] for name in self._ended.keys() & {each.name for each in now.files}}
        for stretch in now.wanted:
            self._tidy(stretch)

    def ship(self, now: LogNow, progress: Callable[[], None]) -> None:
        """Copy what is missing. ``progress`` is called after each WAL segment.

        Damage to one keeps nothing else away from the archive, and is raised in the end, as Corruption. Raises OSError,
        and FailedPrecondition as ``LogHoldings.look``, with the piece that was just sent taken back.
        """
        try:
            self._ship(now, progress)
        except FileExistsError:
            # Somebody has put it there since the archive was looked at: who was it?
            self.holdings.look(now)
            raise

    def _ship(self, now: LogNow, progress: Callable[[], None]) -> None:
        damage: Corruption | None = None
        for stretch in now.complete:
            if self.holdings.has_whole(stretch):
                continue
            try:
                self._ship_whole(stretch)
            except Corruption as error:
                damage = damage or error
                self._damaged.add(stretch.name)
            progress()
        if now.active is not None and self.holdings.reach(now.active) < now.active.end:
            self._ship_piece(now, now.active)
        if damage is not None:
            raise damage

    def through(self, now: LogNow, known: Through) -> Through:
        """Up to where the archive has the log from its beginning on without a hole. ``known``: what it was before."""
        whole, reach = self._wholes(now), 0
        if whole < len(now.wanted):
            reach = self.holdings.reach(now.wanted[whole])
        found = None if not whole else self._whole(now, whole - 1)
        if reach:
            stretch = now.wanted[whole]
            reached = self._place_at(stretch, reach)
            found = Through(stretch.name, reach, *reached.link[1:], closed=reached.closed)
        if found is not None or not now.files or is_before(known, now.files[0]):
            return found or known
        return start_of(now.files[0])

    def _wholes(self, now: LogNow) -> int:
        """How many WAL segments the archive has whole, from the first one of the log on."""
        missing = (number for number, stretch in enumerate(now.wanted) if not self.holdings.has_whole(stretch))
        return next(missing, len(now.wanted))

    def _whole(self, now: LogNow, number: int) -> Through:
        stretch = now.files[number]
        info, ended = stretch.info, self._ended.get(stretch.name)
        time_us = info.last_timestamp_us if ended is None else ended.link.timestamp_us
        closed = now.ends_closed(number)
        return Through(stretch.name, stretch.end, info.last_sequence, time_us, whole=True, closed=closed)

    def _ship_whole(self, stretch: Stretch) -> None:
        info = stretch.info
        if stretch.name in self._damaged:
            check_sealed(self._fs, info.path, info.header)
            self._damaged.discard(stretch.name)
        ended = copy_sealed(self._fs, info.path, info.header, self._path(stretch.name), pace=self._pace)
        self.sent_bytes += ended.offset
        self.holdings.prove_whole(stretch)
        self._ended[stretch.name] = ended
        self._tidy(stretch)

    def _ship_piece(self, now: LogNow, stretch: Stretch) -> None:
        reach = self.holdings.reach(stretch)
        if len(self.holdings.pieces(stretch)) >= MOST_PIECES:
            reach = 0
        target = self._path(piece_name(PieceName(stretch.name, reach, stretch.end)))
        start, header = self._place_at(stretch, reach), stretch.info.header
        reached = copy_piece(self._fs, start, header, stretch.end, target, pace=self._pace)
        try:
            self.holdings.look(now, target)
        except HoldfastError:
            # Somebody else archives there, too: of two histories there must not be a mixture.
            with suppress(OSError):
                remove_pieces(self._fs, self._directory, [target])
            raise
        self._reached = reached
        self.sent_bytes += stretch.end - reach
        self._tidy(stretch)

    def _place_at(self, stretch: Stretch, offset: int) -> Before:
        """What stands at a byte of a WAL segment; read anew where nobody remembers."""
        path, header = stretch.info.path, stretch.info.header
        if not offset:
            return beginning(path, header)
        known = self._reached
        if known is None or (known.path, known.offset) != (path, offset):
            known = self._reached = checked_up_to(self._fs, path, header, offset)
        return known

    def _tidy(self, stretch: Stretch) -> None:
        gone = self.holdings.superfluous(stretch)
        if gone:
            remove_pieces(self._fs, self._directory, [piece.path for piece in gone])
            self.holdings.forget(stretch, gone)

    def _path(self, name: str) -> str:
        return posixpath.join(self._directory, name)


def start_of(stretch: Stretch) -> Through:
    """The place in front of a WAL segment."""
    header = stretch.info.header
    return Through(stretch.name, 0, header.previous_sequence, header.created_us)


def is_before(through: Through, stretch: Stretch) -> bool:
    """Whether the archive ends in a WAL segment in front of this one."""
    return bool(through.file) and log_order(through.file) < log_order(stretch.name)
