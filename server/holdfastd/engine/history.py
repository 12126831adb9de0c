"""The history that a log holds: which moment a caller means, and how far one can get from a snapshot without a gap.

Sequences decide; a time is an index into them that never goes back (RULES 12). Timelines keep histories apart: where a
recovery has cut the log, what a snapshot reflects may not be what the log goes on from (RULES 2).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OutOfRange
from ..model import Sequence64
from ..storage.files import FileSystem
from ..storage.wal_files import FoundFile
from ..storage.wal_reader import LogReader, sequence_at_time
from .wal_control import LogSource

NOT_YET = "PITR_OUT_OF_WINDOW"


@dataclass(frozen=True, slots=True)
class Ending:
    """A moment, inclusive: a sequence, or a time in microseconds; with both None it is the newest there is."""

    sequence: Sequence64 | None = None
    time_us: int | None = None

    def __str__(self) -> str:
        if self.sequence is not None:
            return f"sequence {self.sequence}"
        return "the newest moment" if self.time_us is None else "that time"


@dataclass(frozen=True, slots=True)
class Stretch:
    """How far a log leads from some moment. ``why``: what keeps it from going on to the log's end, or ""."""

    last: Sequence64
    why: str = ""


class History:
    """See the module. Immutable; blocks while it reads files. ``files``: those of ``source``, oldest first.

    ``end`` and ``end_us``: the last sequence that belongs to it, and its time.
    """

    def __init__(self, fs: FileSystem, source: LogSource, files: list[FoundFile], end: Sequence64, end_us: int) -> None:
        self._fs = fs
        self._files = files
        self.source = source
        self.end = end
        self.end_us = end_us

    @property
    def begins_after(self) -> Sequence64 | None:
        """The sequence before the first that the log can hold; None without a log."""
        return self._files[0].sound_header().previous_sequence if self._files else None

    def locate(self, ending: Ending, now_us: int) -> Sequence64 | None:
        """The sequence that a caller means; None for a time before the log's first record.

        Raises OutOfRange for what has not happened yet, Corruption.
        """
        if ending.sequence is not None:
            if ending.sequence > self.end:
                raise OutOfRange(
                    f"history ends with sequence {self.end}; there is no sequence {ending.sequence} yet",
                    reason=NOT_YET,
                    hint="leave --to out for the newest moment",
                    latest_sequence=self.end,
                )
            return ending.sequence
        if ending.time_us is None or ending.time_us >= self.end_us > 0:
            if ending.time_us is not None and ending.time_us > max(now_us, self.end_us):
                raise OutOfRange(
                    f"the target lies {(ending.time_us - now_us) / 1e6:.6f} s in the future",
                    reason=NOT_YET,
                    hint="leave --to out for the newest moment; check the clocks of client and server",
                    latest_us=self.end_us,
                )
            return self.end
        return sequence_at_time(
            self._fs,
            self.source.directories,
            ending.time_us,
            store_id=self.source.store_id,
            upto_synced=self.source.upto_synced,
        )

    def stretch(self, timeline: int, sequence: Sequence64) -> Stretch:
        """How far the log leads on from what a snapshot holds: ``sequence`` of ``timeline``. Raises Corruption."""
        for file in self._files:
            if file.timeline > timeline and left(file) < sequence:
                why = f"history went on from sequence {left(file)} on timeline {file.timeline}, not through that moment"
                return Stretch(sequence, why)
        begins_after = self.begins_after
        if begins_after is None:
            return Stretch(sequence, "there is no log")
        if begins_after > sequence:
            gap = self._files[0].sound_header().gap_before
            return Stretch(
                sequence, f"the log before sequence {begins_after + 1} {'was disabled' if gap else 'is trimmed'}"
            )
        for before, file in zip(self._files, self._files[1:], strict=False):
            header = file.sound_header()
            if header.gap_before and header.previous_sequence > sequence:
                last = self._last_of(before)
                if last < header.previous_sequence:
                    why = f"the log was disabled between sequence {last} and {file.first_sequence}"
                    return Stretch(max(last, sequence), why)
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

    def _last_of(self, file: FoundFile) -> Sequence64:
        """The sequence of the last operation in a WAL segment, or of the one before it. Reads it."""
        last = file.sound_header().previous_sequence
        reader = LogReader(
            self._fs, self.source.directories, store_id=self.source.store_id, first_path=file.path, allow_gaps=True
        )
        for record in reader.read(self.source.upto_synced):
            if record.path != file.path:
                break
            last = record.sequence
        return last


def timeline_at(sequence: Sequence64, files: list[FoundFile]) -> int:
    """The timeline of the latest history that has led to ``sequence``; 0 without files."""
    return max((file.timeline for file in files if left(file) < sequence), default=0)


def left(file: FoundFile) -> Sequence64:
    """The store's sequence when a WAL segment was begun: not always a logged one, which is its previous sequence."""
    return file.sound_header().first_sequence - 1
