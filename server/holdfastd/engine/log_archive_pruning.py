"""Which part of an archive of the log may go: a pure function of what lies there and of who needs it.

    needs    a snapshot is rolled forward from its own sequence on, an increment like a full one: the WAL segments that
             go on from there stay, and so does all behind them. One from before the archive began needs nothing
    age      what is younger stays, counted back from the archive's end: while nothing is written, nothing grows old
    the log  what the log itself still has stays: it would be archived again. So does the WAL segment in front of it,
             off whose end a start tells whether anything is missing between them
    the end  the newest WAL segment stays

It goes from the oldest on and without a hole, so that what stays is history without a hole, as far as it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from ..model import Sequence64
from ..storage.log_archive_chain import ChainLink
from ..storage.log_archive_listing import LogArchiveListing, log_order
from .keeping import duration_text

IN_LOG, LEADS_TO_LOG, NEWEST = "still in the log", "the log goes on from it", "newest"
NEXT_UNREADABLE = "the next one cannot be read"


@dataclass(frozen=True, slots=True)
class Held:
    """A WAL segment in an archive. ``begins_after``: the last sequence in front of it. ``last``: its last operation.

    Times in microseconds. ``sound``: whether its header can be read, so that an archive may begin with it.
    """

    name: str
    begins_after: Sequence64
    first: Sequence64
    last: Sequence64
    first_us: int
    last_us: int
    size_bytes: int
    sound: bool = True


class Need(NamedTuple):
    """Who is rolled forward from what is behind ``sequence``."""

    sequence: Sequence64
    by: str


@dataclass(frozen=True, slots=True)
class Run:
    """WAL segments that lie side by side and of which the same is decided. ``reasons``: why they stay, or none.

    ``first`` and ``last``: sequences of operations; times in microseconds, 0 where they are not known.
    """

    keep: bool
    segments: int
    first: Sequence64
    last: Sequence64
    first_us: int
    last_us: int
    size_bytes: int
    reasons: tuple[str, ...] = ()


def held_in(listing: LogArchiveListing, links: Iterable[ChainLink]) -> tuple[Held, ...]:
    """What lies in an archive, in log order. ``links``: of all of it."""
    sizes = dict.fromkeys(listing.names, 0)
    for name, size in listing.whole.items():
        sizes[name] += size
    for parts in (listing.pieces, listing.short):
        for name in parts.keys() & sizes.keys():
            sizes[name] += sum(piece.end - piece.start for piece in parts[name])
    found: list[Held] = []
    for link in reversed(tuple(links)):
        first, header = log_order(link.name)[1], link.header
        if header is not None:
            times = link.first_us or header.created_us, link.time_us
            each = Held(link.name, header.previous_sequence, first, link.sequence, *times, sizes[link.name])
        else:
            # What its neighbour tells: it ends where that begins.
            last, time_us = (found[-1].begins_after, found[-1].first_us) if found else (first - 1, 0)
            each = Held(link.name, first - 1, first, last, time_us, time_us, sizes[link.name], sound=False)
        found.append(each)
    return tuple(reversed(found))


class Plan:
    """What becomes of an archive, which holds ``held``. ``log``: the first WAL segment that the log still has, or "".

    ``within_us``: what is younger than the end by less than that stays.
    """

    def __init__(self, held: Sequence[Held], needs: Iterable[Need], *, log: str, within_us: int) -> None:
        self.held = tuple(held)
        reached = (need for need in needs if self.held and need.sequence >= self.held[0].begins_after)
        needed = sorted((self._bound(need.sequence), need) for need in reached)
        # Where each begins to need it, and who is the first.
        self._bounds, self._first_by = [place for place, _ in needed], needed[0][1].by if needed else ""
        self._in_log = len(self.held) + 1
        if log:
            self._in_log = self._first(lambda each: log_order(each.name) >= log_order(log))
        horizon = self.held[-1].last_us - within_us if self.held else 0
        self._young = self._first(lambda each: each.last_us > horizon) if within_us else len(self.held)
        self._within_us = within_us
        limit = max(0, min([len(self.held) - 1, self._in_log - 1, self._young, *self._bounds]))
        # An archive begins with what can be read.
        self.going = next((n for n in range(limit, 0, -1) if self.held[n].sound), 0)
        self._limit = limit

    @property
    def begins(self) -> Held | None:
        """What the archive begins with then; None for an archive without anything."""
        return self.held[self.going] if self.held else None

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of it, the oldest first."""
        grouped = groupby(range(len(self.held)), lambda place: (place >= self.going, self._reasons(place)))
        return tuple(_run(keep, [self.held[n] for n in places], why) for (keep, why), places in grouped)

    def _reasons(self, place: int) -> tuple[str, ...]:
        """Why the WAL segment at a place stays; none where it goes."""
        if place < self.going:
            return ()
        needing = bisect_right(self._bounds, place)
        more = f" and {needing - 1} more" if needing > 1 else ""
        found = [
            f"needed by {self._first_by}{more}" if needing else "",
            f"within {duration_text(self._within_us)}" if place >= self._young else "",
            IN_LOG if place >= self._in_log else LEADS_TO_LOG if place == self._in_log - 1 else "",
            NEXT_UNREADABLE if place < self._limit else "",
        ]
        return tuple(filter(None, found)) or (NEWEST,)

    def _bound(self, sequence: Sequence64) -> int:
        """The place of the first that has anything behind a sequence."""
        behind = self._first(lambda each: each.begins_after > sequence)
        return behind - 1

    def _first(self, is_meant: Callable[[Held], bool]) -> int:
        """The place of the first that is meant; behind the last where none is."""
        return next((place for place, each in enumerate(self.held) if is_meant(each)), len(self.held))


def _run(keep: bool, held: Sequence[Held], reasons: tuple[str, ...]) -> Run:
    first, last = held[0], held[-1]
    size = sum(each.size_bytes for each in held)
    return Run(keep, len(held), first.first, last.last, first.first_us, last.last_us, size, reasons)
