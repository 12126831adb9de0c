"""The history that a log holds: which moment a caller means, and how far one can get from a snapshot without a gap.

Sequences decide; a time is an index into them that never goes back (RULES 12). Timelines keep histories apart: where a
recovery has cut the log, what a snapshot reflects may not be what the log goes on from (RULES 2).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ..errors import Corruption, OutOfRange
from ..format.record import RecordKind
from ..model import Sequence64
from ..storage.wal_files import FoundFile, link_at_end
from ..storage.wal_reader import LogReader, sequence_at_time
from .log_source import LogSource

OUT_OF_WINDOW = "PITR_OUT_OF_WINDOW"


@dataclass(frozen=True, slots=True)
class Ending:
    """A moment, inclusive: a sequence, or a time in microseconds; with both None it is the newest there is."""

    sequence: Sequence64 | None = None
    time_us: int | None = None

    def __str__(self) -> str:
        if self.sequence is not None:
            return f"sequence {self.sequence}"
        return "the newest moment" if self.time_us is None else iso_time(self.time_us)


def iso_time(time_us: int) -> str:
    """A time as people read it, in UTC, and exact: what is said may be what is asked for next."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Stretch:
    """How far a log leads from some moment. ``why``: what keeps it from going on to the log's end, or ""."""

    last: Sequence64
    why: str = ""


class Cause(enum.Enum):
    """Why something that was done is not in a log."""

    DISABLED = "the log was disabled"
    CUT = "a recovery has cut the log"
    LOST = "WAL segments are missing where this log lies"


@dataclass(frozen=True, slots=True)
class Gap:
    """What was done that a log has not: behind ``last``, not before ``closed_us``, and through ``through``.

    ``begun_us``: when the log went on, with ``first``; both 0 where it never did.
    """

    last: Sequence64
    closed_us: int
    through: Sequence64
    cause: Cause
    first: Sequence64
    begun_us: int

    def __str__(self) -> str:
        if not self.first:
            return f"{self.cause.value} behind sequence {self.last}"
        return f"{self.cause.value} between sequence {self.last} and {self.first}"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the history a caller's moment lies: ``sequence`` was the last operation by then.

    ``uncertain``: it lies in a time without a log, and ``sequence`` is the last that can have been done by then.
    """

    sequence: Sequence64
    uncertain: bool = False


class History:
    """See the module. One thread; blocks while it reads files. ``files``: those of ``source``, oldest first.

    ``end`` and ``end_us``: the last sequence that belongs to it, and its time. ``went_through``: whether the store that
    wrote it has gone through a sequence of a timeline, where anybody but the log knows. ``damage``: behind ``end``, in
    the newest WAL segment.
    """

    def __init__(
        self,
        source: LogSource,
        files: list[FoundFile],
        end: Sequence64,
        end_us: int,
        went_through: Callable[[int, Sequence64], bool] | None = None,
        damage: Corruption | None = None,
    ) -> None:
        self._files = files
        self._went_through = went_through
        self._damage = damage
        self._gaps: dict[str, Gap | None] = {}
        self._forks = _forks(files)
        self.source = source
        self.end = end
        self.end_us = end_us

    @property
    def begins_after(self) -> Sequence64 | None:
        """The sequence before the first that the log can hold; None without a log."""
        return self._files[0].sound_header().previous_sequence if self._files else None

    def locate(self, ending: Ending, now_us: int) -> Moment | None:
        """Where the moment that a caller means lies; None for a time before the log's first record.

        Raises OutOfRange for what has not happened yet, Corruption.
        """
        if ending.sequence is not None:
            if ending.sequence > self.end:
                self._check_end()
                raise OutOfRange(
                    f"history ends with sequence {self.end}; there is no sequence {ending.sequence} yet",
                    reason=OUT_OF_WINDOW,
                    hint="leave --to out for the newest moment",
                    latest_sequence=self.end,
                )
            return Moment(ending.sequence)
        time_us = ending.time_us
        if time_us is None:
            self._check_end()
            return Moment(self.end)
        if time_us > max(now_us, self.end_us):
            raise OutOfRange(
                f"{ending} lies in the future: the daemon's clock says {iso_time(now_us)}",
                reason=OUT_OF_WINDOW,
                hint="leave --to out for the newest moment; check the clocks of client and server",
                latest_us=self.end_us,
            )
        if time_us >= self.end_us > 0:
            self._check_end()
            return Moment(self.end)
        return self._at_time(time_us)

    def _check_end(self) -> None:
        """Raise Corruption where nobody knows what was done behind the last operation that can be read."""
        damage = self._damage
        if damage is not None:
            raise Corruption(
                damage.problem,
                path=damage.path,
                offset=damage.offset,
                reason=damage.reason,
                hint=f"bring the file back as it was; without it, what can be restored ends with --to {self.end}",
            )

    def _at_time(self, time_us: int) -> Moment | None:
        found = sequence_at_time(
            self.source.fs,
            self.source.directories,
            time_us,
            store_id=self.source.store_id,
            upto_synced=self.source.upto_synced,
        )
        floor = self.begins_after if found is None else found
        if floor is None:
            return None
        gap = next((gap for gap in self._gaps_behind(floor) if gap.last <= floor), None)
        if gap is None or time_us <= gap.closed_us:
            return None if found is None else Moment(found)
        return Moment(gap.through, uncertain=not gap.begun_us or time_us < gap.begun_us)

    def gap_at(self, sequence: Sequence64) -> Gap | None:
        """The time without a log in which a sequence was given, if it was."""
        return next((gap for gap in self._gaps_behind(sequence - 1) if gap.last < sequence), None)

    def left_behind(self, timeline: int, sequence: Sequence64) -> str:
        """Why what a snapshot of that moment holds is no moment of this history, or "" (RULES 2)."""
        for later, through in self._forks:
            if later > timeline and through < sequence:
                return f"history went on from sequence {through} on timeline {later}, not through that moment"
        if self._went_through is not None:
            known = self._went_through(timeline, sequence)
        else:
            # A timeline of which the log has nothing began somewhere: behind its end, for all that can be known.
            known = not self._files or timeline <= self._files[-1].timeline or sequence >= self.end
        return "" if known else f"sequence {sequence} of timeline {timeline} is not on the way that history went"

    def stretch(self, timeline: int, sequence: Sequence64) -> Stretch:
        """How far the log leads on from what a snapshot holds: ``sequence`` of ``timeline``. Raises Corruption."""
        why = self.left_behind(timeline, sequence)
        if why:
            return Stretch(sequence, why)
        begins_after = self.begins_after
        if begins_after is None:
            return Stretch(sequence, "there is no log")
        if begins_after > sequence:
            gap = self._files[0].sound_header().gap_before
            how = "pruned from this archive" if self.source.pruned else "not there" if gap else "trimmed"
            return Stretch(sequence, f"the log before sequence {begins_after + 1} is {how}")
        for without in self._gaps_behind(sequence):
            return Stretch(max(without.last, sequence), str(without))
        return Stretch(max(self.end, sequence))

    def timeline_at(self, sequence: Sequence64) -> int:
        """The timeline of the latest history that has led to ``sequence``; 0 without files."""
        return timeline_at(sequence, self._files)

    def bytes_between(self, sequence: Sequence64, to: Sequence64) -> int:
        """At most how many bytes of the log lie behind ``sequence`` and up to ``to``."""
        size = 0
        for file, successor in zip(self._files, [*self._files[1:], None], strict=True):
            if (successor is None or successor.first_sequence > sequence + 1) and file.first_sequence <= to:
                size += file.size
        return size

    def _gaps_behind(self, sequence: Sequence64) -> Iterator[Gap]:
        """The times in which something behind ``sequence`` was done without the log, oldest first.

        Reads a WAL segment for each, once; none that lies before: damage there is nobody's business.
        """
        for before, file in pairwise(self._files):
            header = file.header
            if header is None or header.previous_sequence <= sequence:
                continue
            if header.gap_before:
                yield from self._gap(before, header.previous_sequence, file.first_sequence, header.created_us)
            elif self.source.elsewhere:
                yield from self._lost(before, header.previous_sequence, file)
        if self._files and self.source.upto_synced is None and self._damage is None and self.end > sequence:
            yield from self._gap(self._files[-1], self.end, 0, 0)

    def _gap(self, before: FoundFile, through: Sequence64, first: Sequence64, begun_us: int) -> Iterator[Gap]:
        """The time without a log behind the WAL segment ``before``, if anything was done in it."""
        if before.path not in self._gaps:
            last, closed_us, closed = self._end_of(before)
            if not closed_us:
                closed_us = self._last_time_before(before)
            gap = Gap(last, closed_us, through, Cause.DISABLED if closed else Cause.CUT, first, begun_us)
            self._gaps[before.path] = gap if last < through else None
        found = self._gaps[before.path]
        if found is not None:
            yield found

    def _lost(self, before: FoundFile, through: Sequence64, file: FoundFile) -> Iterator[Gap]:
        """What lay between two WAL segments and is not here, if anything: a log of its own store's has all of it."""
        if before.path not in self._gaps:
            link, gap = link_at_end(self.source.fs, before), None
            if link is not None and link.sequence < through:
                closed_us = link.timestamp_us or self._last_time_before(before)
                gap = Gap(link.sequence, closed_us, through, Cause.LOST, file.first_sequence, file.first_timestamp_us)
            self._gaps[before.path] = gap
        found = self._gaps[before.path]
        if found is not None:
            yield found

    def _last_time_before(self, file: FoundFile) -> int:
        """The time of the last record in front of a WAL segment that has none; 0 where nothing was ever recorded."""
        older = self._files[: next(n for n, each in enumerate(self._files) if each.path == file.path)]
        return next((time_us for each in reversed(older) if (time_us := self._end_of(each)[1])), 0)

    def _end_of(self, file: FoundFile) -> tuple[Sequence64, int, bool]:
        """The sequence of the last operation in a WAL segment, or of the one before it, and its last record's time.

        The time is 0 where it has no record: that of its header is the clock's, and the clock may have been set back
        since, so that what was done behind it has earlier ones. Also whether it ends with the log switched off.
        """
        last, time_us, closed = file.sound_header().previous_sequence, 0, False
        reader = LogReader(
            self.source.fs,
            self.source.directories,
            store_id=self.source.store_id,
            first_path=file.path,
            one_file=True,
            operations_only=False,
        )
        for record in reader.read(self.source.upto_synced):
            time_us = max(time_us, record.timestamp_us)
            closed = record.kind == RecordKind.CLOSED
            if record.kind == RecordKind.OPERATION:
                last = record.sequence
        return last, time_us, closed


def _forks(files: list[FoundFile]) -> list[tuple[int, Sequence64]]:
    """Where each timeline of the log but the first began, and behind which sequence."""
    return [(file.timeline, left(file)) for before, file in pairwise(files) if file.timeline != before.timeline]


def timeline_at(sequence: Sequence64, files: list[FoundFile]) -> int:
    """The timeline of the latest history that has led to ``sequence``; 0 without files."""
    return max((file.timeline for file in files if left(file) < sequence), default=0)


def left(file: FoundFile) -> Sequence64:
    """The store's sequence when a WAL segment was begun: not always a logged one, which is its previous sequence."""
    return file.first_sequence - 1
