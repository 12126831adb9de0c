"""The log at start, judged: where does history end? Nothing is changed here; ``wal_recovery`` acts on the verdict.

All that recovery will need is read and checked before anything is touched: a refused log stays as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..format.walfile import WalFileHeader
from .files import FileSystem
from .wal_errors import unreadable
from .wal_files import FoundFile, find_wal_files, start_index
from .wal_reader import Mode
from .wal_scan import ScanEnd, exhaust, scan_file
from .wal_tail import Before, Problem, chain_problem, link_into, sealed_problem, tail_problem, torn_bytes

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where the log ends, and what has to be done about it. Nothing has been changed yet.

    ``kept``: the files that stay, in log order, of which the last ends as ``end`` says. ``aside``: files behind a
    damaged place. ``problem``: the damage at which point-in-time recovery ends history, or None: then only a torn tail
    is cut, ``torn_bytes`` long, and no acknowledged-as-durable byte is lost.
    """

    directories: tuple[str, ...]
    kept: tuple[FoundFile, ...]
    end: ScanEnd | None
    aside: tuple[FoundFile, ...]
    problem: Problem | None
    torn_bytes: int

    @property
    def history_cut(self) -> bool:
        """Whether durable history is given up, so that the timeline has to change before anything is written."""
        return self.problem is not None


def judge_log(
    fs: FileSystem,
    directories: Sequence[str],
    *,
    store_id: uuid.UUID,
    from_sequence: int = 0,
    required_sequence: int = 0,
    mode: Mode = "strict",
) -> Verdict:
    """Find the end of the log. Reads from the WAL segment that holds ``from_sequence`` on; changes nothing.

    ``from_sequence``: the first sequence that recovery will apply, 0 for all there are. ``required_sequence``: the
    highest logged sequence that the manifest or a segment reflects. ``strict`` raises Corruption at damage;
    ``point-in-time`` ends the log before it. Raises UnsupportedFormat for what a newer version wrote,
    FailedPrecondition for files that may not be read.
    """
    try:
        return _judge(fs, tuple(directories), store_id, from_sequence, required_sequence, mode)
    except OSError as error:
        raise unreadable(error) from error


def _judge(
    fs: FileSystem,
    directories: tuple[str, ...],
    store_id: uuid.UUID,
    from_sequence: int,
    required_sequence: int,
    mode: Mode,
) -> Verdict:
    files = find_wal_files(fs, directories, store_id=store_id)
    walk = _Walk(fs, files, required_sequence)
    if files:
        walk.run(start_index(files, from_sequence), from_sequence)
    elif required_sequence:
        walk.problem = Problem(
            directories[-1], 0, f"there is no WAL segment, but the manifest reflects sequence {required_sequence}"
        )
    if walk.problem is not None and mode == "strict":
        raise walk.problem.error()
    return walk.verdict(directories)


class _Walk:
    """One reading of the log: ``ends`` by file index, and the first problem, at file ``stopped``."""

    def __init__(self, fs: FileSystem, files: Sequence[FoundFile], required_sequence: int) -> None:
        self.fs = fs
        self.files = files
        self.required_sequence = required_sequence
        self.ends: dict[int, ScanEnd] = {}
        self.problem: Problem | None = None
        self.stopped = len(files) - 1

    def run(self, start: int, from_sequence: int) -> None:
        before: Before | None = None
        for index in range(start, len(self.files)):
            file = self.files[index]
            self.stopped = index
            self.problem = chain_problem(file, before) or _missing_start(file, before, from_sequence)
            if self.problem is None:
                header = file.sound_header()
                end = self._scan(file, header, before, last=index == len(self.files) - 1)
                self.ends[index] = end
                self.problem = self._judge(file, header, end, last=index == len(self.files) - 1)
                before = Before.of(file.path, end)
            if self.problem is not None:
                return

    def verdict(self, directories: tuple[str, ...]) -> Verdict:
        count = self.stopped + 1
        if self.problem is not None and self.problem.offset == 0 and self.files:
            count = self.stopped
        kept = tuple(self.files[:count])
        end = self._end_of(count - 1) if kept else None
        if end is not None and not end.link.timestamp_us:
            end = replace(end, link=end.link._replace(timestamp_us=self._last_time(count - 1)))
        torn = torn_bytes(self.fs, kept[-1].path, end) if end is not None else 0
        return Verdict(directories, kept, end, tuple(self.files[count:]), self.problem, torn)

    def _scan(self, file: FoundFile, header: WalFileHeader, before: Before | None, *, last: bool) -> ScanEnd:
        link = link_into(header, before)
        end = exhaust(scan_file(self.fs, file.path, header, link, check_only=True))
        if not last:
            return end
        # The page cache may show bytes that a failed sync never brought to the disk: ask the disk about whatever no
        # record says to be durable.
        unproven = end.proven // PAGE * PAGE
        self.fs.drop_cache(file.path, unproven, max(0, file.size - unproven))
        return exhaust(scan_file(self.fs, file.path, header, link, check_only=True))

    def _judge(self, file: FoundFile, header: WalFileHeader, end: ScanEnd, *, last: bool) -> Problem | None:
        if not last:
            return sealed_problem(self.fs, file.path, end)
        return tail_problem(self.fs, file.path, header, end, required_sequence=self.required_sequence)

    def _end_of(self, index: int) -> ScanEnd:
        """The end of a kept file, which was not read when the damage stands at the head of the first one that was."""
        if index not in self.ends:
            file = self.files[index]
            header = file.sound_header()
            self.ends[index] = exhaust(scan_file(self.fs, file.path, header, link_into(header, None), check_only=True))
        return self.ends[index]

    def _last_time(self, before: int) -> int:
        """The time of the last operation in the files before index ``before``, 0 where none is left."""
        for index in range(before - 1, -1, -1):
            if self.files[index].header is not None and (time_us := self._end_of(index).link.timestamp_us):
                return time_us
        return 0


def _missing_start(file: FoundFile, before: Before | None, from_sequence: int) -> Problem | None:
    header = file.sound_header()
    if before is not None or header.previous_sequence < from_sequence or from_sequence == 0:
        return None
    return Problem(
        file.path,
        0,
        f"the log begins after sequence {header.previous_sequence}, but recovery needs it from {from_sequence} on: "
        "WAL segments before it are missing",
    )
