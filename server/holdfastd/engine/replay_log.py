"""Which log a replay reads, where that log ends, and what of it lies within a request's bounds."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Corruption, EngineFailed, FailedPrecondition, OutOfRange
from ..model import Origin, Sequence64
from ..storage.clock import Clock
from ..storage.names import Layout, parse_wal_name
from ..storage.wal import LoggedRecord
from ..storage.wal_files import FoundFile, find_wal_files
from ..storage.wal_reader import LogReader, read_log
from .apply import Applier
from .collection import Collection
from .committer import Committer
from .history import History, iso_time, left
from .left_out import Ranges
from .log_source import LogSource
from .manifest_keeper import ManifestKeeper
from .wal_control import WalControl


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to replay. Bounds are inclusive; ``before`` is exclusive; None leaves an end open.

    ``path``: another log directory, relative to the data directory or absolute. ``collection``: only this one.
    ``skip``: sequences, and ``skip_request_ids``: request ids, of operations that ``into`` is to be without.
    """

    path: str | None = None
    from_sequence: Sequence64 | None = None
    from_us: int | None = None
    to_sequence: Sequence64 | None = None
    to_us: int | None = None
    verify: bool = False
    collection: str | None = None
    into: str | None = None
    validate_only: bool = False
    skip: Ranges = ()
    skip_request_ids: tuple[str, ...] = ()


class ReplayLogs:
    """See the module. Thread-safe; blocks while it reads files."""

    def __init__(
        self,
        *,
        layout: Layout,
        clock: Clock,
        applier: Applier,
        committer: Committer,
        keeper: ManifestKeeper,
        control: WalControl,
    ) -> None:
        self._layout = layout
        self._clock = clock
        self._applier = applier
        self._committer = committer
        self._keeper = keeper
        self._control = control

    def open(self, path: str | None) -> LogSource:
        """The store's own log, whole, where ``path`` is None or one of its directories; else the one in ``path``."""
        directory = None if path is None else self._layout.resolve(path)
        if directory is None or directory in self._own_directories():
            self._sync()
            return self._control.source(None)
        return self._control.source(directory)

    def _sync(self) -> None:
        """What is acknowledged belongs to history, whatever the store's mode is."""
        log = self._committer.log
        if log is None:
            return
        try:
            log.sync()
        except EngineFailed as error:
            self._committer.fail(error)
            raise

    def history(self, path: str | None) -> History:
        """What a log holds, up to the newest operation that was done before the call. Raises as ``open``."""
        sequence, time_us = self._applier.sequence, self._applier.time_us
        source = self.open(path)
        if not self.is_own(source):
            sequence, time_us, damage = self._reach(source)
            return History(source, self.files(source), sequence, time_us, damage=damage)
        went_through = self._keeper.current.reaches_back_to
        return History(source, self.files(source), sequence, time_us, went_through)

    def check_sound(self, path: str | None, from_sequence: Sequence64 = 0) -> None:
        """Read a log, but what lies before a sequence, against every checksum and link.

        Raises Corruption for the first thing that is wrong with it.
        """
        problems = self._control.verify(path, from_sequence).problems
        if problems:
            raise problems[0].error()

    def is_own(self, source: LogSource) -> bool:
        """Whether this very store writes the log, or did before it was switched off; not where it is a copy."""
        return not self._own_directories().isdisjoint(source.directories)

    def _own_directories(self) -> set[str]:
        return {self._layout.wal_dir(each) for each in self._keeper.current.wal_directories}

    def files(self, source: LogSource) -> list[FoundFile]:
        """The WAL segments of a log, oldest first."""
        return find_wal_files(source.fs, source.directories, store_id=source.store_id)

    def read(self, source: LogSource, through: Sequence64, request: ReplayRequest) -> Iterator[LoggedRecord]:
        """The operations of a log behind ``through`` and up to the request's end: see ``between``."""
        return self.between(source, through, request.to_sequence, request.to_us)

    def between(
        self, source: LogSource, through: Sequence64, to_sequence: Sequence64 | None, to_us: int | None = None
    ) -> Iterator[LoggedRecord]:
        """The operations of a log behind ``through`` and up to an end, inclusive, in order, without a gap.

        Raises OutOfRange where the log does not reach back so far. What lies behind the end is not looked at: a gap
        there is nobody's business.
        """
        if to_sequence is not None and to_sequence <= through:
            return
        records = read_log(
            source.fs,
            source.directories,
            store_id=source.store_id,
            from_sequence=through + 1,
            upto_synced=source.upto_synced,
            beside=source.beside,
        )
        for record in records:
            past = to_sequence is not None and record.sequence > to_sequence
            if past or (to_us is not None and record.timestamp_us > to_us):
                return
            yield record
            if to_sequence == record.sequence or to_us == record.timestamp_us:
                return

    def check_end(self, request: ReplayRequest) -> None:
        """Raise OutOfRange for a target later than max(now, last record): it has not happened yet (RULES 12).

        Corruption for one behind damage in the newest WAL segment: nobody knows whether it has.
        A sequence behind the end of a log that is switched off has happened, but no replay leads to it.
        """
        if request.to_sequence is None and request.to_us is None:
            return
        sequence, time_us, damage = self._reach(self.open(request.path))
        if damage is not None and ((request.to_sequence or 0) > sequence or (request.to_us or 0) > time_us):
            raise damage
        time_us = max(time_us, self._clock.now_us())
        if request.to_sequence is not None and request.to_sequence > sequence:
            raise OutOfRange(
                f"the log ends with sequence {sequence}; there is no sequence {request.to_sequence} to replay to",
                hint="leave --to out to replay everything that the log holds",
                last_sequence=sequence,
            )
        if request.to_us is not None and request.to_us > time_us:
            raise OutOfRange(
                f"{iso_time(request.to_us)} lies in the future: nothing was done after {iso_time(time_us)} yet",
                hint="leave --to out to replay everything there is; check the clocks of client and server",
                latest_us=time_us,
            )

    def end_of_closed(self, source: LogSource) -> Sequence64 | None:
        """The last sequence of the store's own log where it is switched off and operations followed; else None."""
        if source.upto_synced is not None or not self.is_own(source):
            return None
        sequence, _ = self._end(source)
        return sequence if sequence < self._applier.sequence else None

    def _end(self, source: LogSource) -> tuple[Sequence64, int]:
        """The last sequence of a log and its time, microseconds. Raises Corruption where that cannot be told."""
        sequence, time_us, damage = self._reach(source)
        if damage is not None:
            raise damage
        return sequence, time_us

    def _reach(self, source: LogSource) -> tuple[Sequence64, int, Corruption | None]:
        """The last sequence of a log and its time, microseconds, or the last before damage, and what that is.

        Reads one WAL segment where it is not written to.
        """
        if source.upto_synced is not None:
            # Numbers behind the last record are those of collections in memory: nothing that a log could hold.
            return self._applier.sequence, self._applier.time_us, None
        files = self.files(source)
        if not files:
            return 0, 0, None
        header = files[-1].sound_header()
        sequence, time_us = header.previous_sequence, 0
        reader = LogReader(
            source.fs, source.directories, store_id=source.store_id, first_path=files[-1].path, one_file=True
        )
        try:
            for record in reader.read():
                sequence, time_us = record.sequence, record.header.timestamp_us
        except Corruption as damage:
            return sequence, time_us, damage
        return sequence, time_us, None

    def check_history(self, target: Collection, origin: Origin, files: list[FoundFile]) -> None:
        """Raise unless the snapshot's moment lies on the log's history (RULES 2)."""
        for file in files:
            if file.timeline > origin.timeline and left(file) < origin.through:
                raise FailedPrecondition(
                    f"{target.spec.name} reflects sequence {origin.through} of timeline {origin.timeline}, but history "
                    f"went on from {left(file)} on timeline {file.timeline}",
                    reason="TIMELINE_DIVERGED",
                    hint="restore a snapshot that was made on the current timeline",
                )


def timeline_of(record: LoggedRecord) -> int:
    """The timeline of the WAL segment that a record stands in."""
    name = parse_wal_name(posixpath.basename(record.path))
    assert name is not None
    return name[0]


def too_early(record: LoggedRecord, request: ReplayRequest) -> bool:
    """Whether a record lies before the start of what is to be replayed."""
    under_sequence = request.from_sequence is not None and record.sequence < request.from_sequence
    return under_sequence or (request.from_us is not None and record.header.timestamp_us < request.from_us)


def check_start(name: str, through: Sequence64, record: LoggedRecord, request: ReplayRequest) -> None:
    """Raise OutOfRange where starting as asked would leave ``record`` out, which ``name`` does not reflect."""
    if too_early(record, request):
        raise OutOfRange(
            f"{name} is complete through sequence {through}; starting later would leave out operation "
            f"{record.sequence}",
            reason="REPLAY_HOLE",
            hint="leave --from out: a replay starts where the snapshot ended",
            through=through,
        )
