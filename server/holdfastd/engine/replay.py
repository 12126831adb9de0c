"""Replay: the log applied again, by command, to collections that came out of a snapshot.

A restored collection remembers its origin: whose history it continues, and through which sequence it is complete. A
replay takes the origin's operations behind that watermark and applies them to the restored collection, in order, each
moving the watermark as it is applied; so a replay that is cut short goes on where it stopped, and one that is repeated
finds nothing to do (RULES 31). A collection that was never restored has nothing to replay: recovery has applied its
log at start.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import EngineFailed, FailedPrecondition, HoldfastError, OutOfRange, Unimplemented
from ..model import Origin, Sequence64, StorageKind
from ..storage.clock import Clock
from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.wal import LoggedRecord
from ..storage.wal_files import FoundFile, find_wal_files
from ..storage.wal_reader import LogReader, read_log
from . import writer
from .apply import Applier
from .change_codec import Logged, decode_change
from .changes import Change, DeleteIds, DropCollection, Restore, Truncate, UpsertRows
from .checkpoint import Checkpointer
from .collection import Collection
from .committer import Committer
from .manifest_keeper import ManifestKeeper
from .operations import Operation, OperationRegistry, Work
from .quarantine import require_writable
from .retention import Retention
from .tickets import Caller, Ticket
from .wal_control import LogSource, WalControl

MAX_IN_FLIGHT = 8


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to replay. Bounds are inclusive; ``before`` is exclusive; None leaves an end open.

    ``path``: another log directory, relative to the data directory or absolute. ``collection``: only this one.
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


@dataclass(slots=True)
class _Tally:
    replayed: int = 0
    skipped: int = 0
    files: set[str] = field(default_factory=set)
    affected: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Replay:
    """See the module. ``start`` returns at once; the work runs as an operation."""

    def __init__(
        self,
        *,
        fs: FileSystem,
        layout: Layout,
        clock: Clock,
        applier: Applier,
        committer: Committer,
        keeper: ManifestKeeper,
        checkpointer: Checkpointer,
        retention: Retention,
        control: WalControl,
        operations: OperationRegistry,
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._clock = clock
        self._applier = applier
        self._committer = committer
        self._keeper = keeper
        self._checkpointer = checkpointer
        self._retention = retention
        self._control = control
        self._operations = operations
        # One replay at a time: two that begin at the same watermark would apply the same operations twice.
        self._running = threading.Lock()

    def start(self, request: ReplayRequest, *, caller: Caller) -> Operation:
        """Begin a replay. Raises NotFound, FailedPrecondition or Unimplemented before anything is begun."""
        if request.into is not None:
            raise Unimplemented(
                "replaying into another collection is not built yet",
                reason="REPLAY_INTO_UNIMPLEMENTED",
                hint="restore the snapshot under another name, then replay: that rolls the copy forward",
            )
        begun = None if request.validate_only else self._operations.begun(caller.request_id)
        if begun is not None:
            return begun
        targets = self._targets(request)
        document = {
            "path": request.path,
            "collection": request.collection,
            "collections": [t.spec.name for t in targets],
        }
        return self._operations.start(
            "replay",
            lambda work: self.run(request, work),
            request=document,
            request_id=caller.request_id,
            actor=caller.actor,
            planned=request.validate_only,
        )

    def run(self, request: ReplayRequest, work: Work) -> dict[str, Any]:
        """Replay, checkpoint, and return the result document. Blocks; runs on an operation's thread.

        What is cut short by an error or a cancellation stays applied, without a hole: the next replay goes on there.
        """
        work.report(phase="waiting for another replay")
        with self._running:
            return self._run(request, work)

    def _run(self, request: ReplayRequest, work: Work) -> dict[str, Any]:
        started_ns = self._clock.monotonic_ns()
        if request.verify:
            work.report(phase="verifying")
            self._verify(request.path)
        self._check_end(request)
        tally = _Tally()
        targets = self._targets(request)
        if not targets:
            tally.warnings.append("no collection came from a snapshot: recovery has applied the whole log already")
        for target in targets:
            work.report(phase=f"replaying {target.spec.name}")
            self._replay_one(target, request, tally, work)
        if tally.replayed and not request.validate_only:
            work.report(phase="checkpoint")
            self._checkpointer.run()
        return {
            "segments_replayed": len(tally.files),
            "operations_replayed": tally.replayed,
            "operations_skipped": tally.skipped,
            "collections_affected": tally.affected,
            "duration_ms": (self._clock.monotonic_ns() - started_ns) // 1_000_000,
            "status": "planned" if request.validate_only else "completed",
            "warnings": tally.warnings,
        }

    # Which ----------------------------------------------------------------------------------------------------------

    def _targets(self, request: ReplayRequest) -> list[Collection]:
        catalog = self._applier.catalog
        if request.collection is not None:
            chosen = [catalog.resolve(request.collection)]
        else:
            chosen = sorted(catalog.collections.values(), key=lambda c: c.spec.name)
        restored = [c for c in chosen if c.spec.origin is not None and c.spec.storage is not StorageKind.MEMORY]
        for collection in restored:
            require_writable(collection.spec, collection.quarantined)
        return restored

    def _verify(self, path: str | None) -> None:
        problems = self._control.verify(path).problems
        if problems:
            raise problems[0].error()

    # One collection -------------------------------------------------------------------------------------------------

    def _replay_one(self, target: Collection, request: ReplayRequest, tally: _Tally, work: Work) -> None:
        origin = target.spec.origin
        assert origin is not None
        source = self._source(target, origin, request.path)
        self._check_history(target, origin, self._files(source))
        before = tally.replayed
        in_flight: deque[Ticket] = deque()
        with self._retention.pinned(origin.through + 1), _settled(in_flight):
            for record, logged, change in self._history(target, origin, source, request, tally):
                if target.own_writes:
                    raise _own_writes(target)
                tally.files.add(record.path)
                tally.replayed += 1
                if request.validate_only:
                    continue
                if len(in_flight) == MAX_IN_FLIGHT:
                    in_flight.popleft().wait()
                    work.report(done_vectors=tally.replayed)
                previous = in_flight[-1] if in_flight else None
                in_flight.append(self._submit(target, change, logged, record.sequence, previous))
            while in_flight:
                in_flight.popleft().wait()
        if tally.replayed > before:
            tally.affected.append(target.spec.name)

    def _submit(
        self, target: Collection, change: Change, logged: Logged, origin_sequence: Sequence64, previous: Ticket | None
    ) -> Ticket:
        """Send one operation off; it is refused when ``previous``, the one before it, was: no hole stays behind."""

        def check() -> None:
            if previous is not None and previous.failed:
                raise FailedPrecondition(
                    f"{target.spec.name}: an operation before sequence {origin_sequence} of its origin was refused",
                    reason="REPLAY_HOLE",
                    hint="replay again: it goes on before the operation that was refused",
                )
            if self._applier.catalog.get(target.spec.id) is not target or target.own_writes:
                raise _own_writes(target)

        submission = writer.make_submission(
            change, Caller(actor=logged.actor), check=check, origin_sequence=origin_sequence
        )
        self._committer.submit_nowait(submission)
        return submission.ticket

    def _history(
        self, target: Collection, origin: Origin, source: LogSource, request: ReplayRequest, tally: _Tally
    ) -> Iterator[tuple[LoggedRecord, Logged, Change]]:
        """The origin's operations behind the watermark and within the bounds, as changes of ``target``."""
        for record in self._read(source, origin.through + 1):
            logged = decode_change(record.payload)
            if _beyond(record, request):
                return
            if _ends(logged.change, origin.collection_id):
                tally.warnings.append(
                    f"{target.spec.name}: stopped before sequence {record.sequence}, "
                    "which dropped or replaced the original"
                )
                return
            change = _retarget(logged.change, origin.collection_id, target.spec.id)
            if change is None:
                tally.skipped += 1
                continue
            if _too_early(record, request):
                raise OutOfRange(
                    f"{target.spec.name} is complete through sequence {origin.through}; starting later would leave out "
                    f"operation {record.sequence}",
                    reason="REPLAY_HOLE",
                    hint="leave --from out: a replay starts where the snapshot ended",
                    through=origin.through,
                )
            yield record, logged, change

    # The log --------------------------------------------------------------------------------------------------------

    def _source(self, target: Collection, origin: Origin, path: str | None) -> LogSource:
        """The log to replay to ``target``. Raises FailedPrecondition when another store wrote it (RULES 33)."""
        source = self._log(path)
        if source.store_id == origin.store_id:
            return source
        if path is None:
            raise FailedPrecondition(
                f"{target.spec.name} comes from store {origin.store_id}, whose log is not here",
                reason="FOREIGN_ORIGIN",
                hint="name the directory of that store's log with --path",
            )
        raise FailedPrecondition(
            f"{target.spec.name} comes from store {origin.store_id}, but {source.directories[0]} holds the log of "
            f"store {source.store_id}",
            reason="FOREIGN_ORIGIN",
            hint="name the directory of the first one's log, and with --collection what it is for",
        )

    def _log(self, path: str | None) -> LogSource:
        """The store's own log, whole, where ``path`` is None or one of its directories; else the one in ``path``."""
        own = {self._layout.wal_dir(each) for each in self._keeper.current.wal_directories}
        directory = None if path is None else self._layout.resolve(path)
        if directory is None or directory in own:
            self._sync()
            return self._control.source(None)
        source = self._control.source(directory)
        if not self._files(source):
            raise FailedPrecondition(
                f"{directory} holds no log",
                reason="LOG_NOT_FOUND",
                hint="name the directory that holds the WAL segments themselves",
                path=directory,
            )
        return source

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

    def _files(self, source: LogSource) -> list[FoundFile]:
        return find_wal_files(self._fs, source.directories, store_id=source.store_id)

    def _read(self, source: LogSource, from_sequence: Sequence64) -> Iterator[LoggedRecord]:
        return read_log(
            self._fs,
            source.directories,
            store_id=source.store_id,
            from_sequence=from_sequence,
            upto_synced=source.upto_synced,
        )

    def _check_end(self, request: ReplayRequest) -> None:
        """Raise OutOfRange for a target later than max(now, last record): it has not happened yet (RULES 12)."""
        if request.to_sequence is None and request.to_us is None:
            return
        sequence, time_us = self._end(self._log(request.path))
        time_us = max(time_us, self._clock.now_us())
        if request.to_sequence is not None and request.to_sequence > sequence:
            raise OutOfRange(
                f"the log ends with sequence {sequence}; there is no sequence {request.to_sequence} to replay to",
                hint="leave --to out to replay everything there is",
                last_sequence=sequence,
            )
        if request.to_us is not None and request.to_us > time_us:
            raise OutOfRange(
                f"the target lies {(request.to_us - time_us) / 1e6:.6f} s in the future: later than now and than the "
                "log's last record",
                hint="leave --to out to replay everything there is; check the clocks of client and server",
                latest_us=time_us,
            )

    def _end(self, source: LogSource) -> tuple[Sequence64, int]:
        """The last sequence of a log and its time, microseconds. Of another store's log, reads one WAL segment."""
        if source.store_id == self._keeper.current.store_id and source.upto_synced is not None:
            return self._applier.sequence, self._applier.time_us
        files = self._files(source)
        if not files:
            return 0, 0
        header = files[-1].sound_header()
        sequence, time_us = header.previous_sequence, 0
        reader = LogReader(
            self._fs, source.directories, store_id=source.store_id, first_path=files[-1].path, allow_gaps=True
        )
        for record in reader.read():
            sequence, time_us = record.sequence, record.header.timestamp_us
        return sequence, time_us

    def _check_history(self, target: Collection, origin: Origin, files: list[FoundFile]) -> None:
        """Raise unless the snapshot's moment lies on the log's history (RULES 2)."""
        for file in files:
            if file.timeline > origin.timeline and file.sound_header().previous_sequence < origin.through:
                raise FailedPrecondition(
                    f"{target.spec.name} reflects sequence {origin.through} of timeline {origin.timeline}, but history "
                    f"went on from {file.sound_header().previous_sequence} on timeline {file.timeline}",
                    reason="TIMELINE_DIVERGED",
                    hint="restore a snapshot that was made on the current timeline",
                )


@contextlib.contextmanager
def _settled(in_flight: deque[Ticket]) -> Iterator[None]:
    """Wait on the way out for what is on its way: nobody may read a watermark that is about to move."""
    try:
        yield
    finally:
        for ticket in in_flight:
            # The error that matters is the one that ended the block.
            with contextlib.suppress(HoldfastError):
                ticket.wait()


def _beyond(record: LoggedRecord, request: ReplayRequest) -> bool:
    past_sequence = request.to_sequence is not None and record.sequence > request.to_sequence
    return past_sequence or (request.to_us is not None and record.header.timestamp_us > request.to_us)


def _too_early(record: LoggedRecord, request: ReplayRequest) -> bool:
    under_sequence = request.from_sequence is not None and record.sequence < request.from_sequence
    return under_sequence or (request.from_us is not None and record.header.timestamp_us < request.from_us)


def _ends(change: Change | None, collection_id: uuid.UUID) -> bool:
    match change:
        case DropCollection(dropped):
            return dropped == collection_id
        case Restore(collections, _):
            return any(restored.replaces == collection_id for restored in collections)
    return False


def _retarget(change: Change | None, origin: uuid.UUID, target: uuid.UUID) -> Change | None:
    """The change made to ``target`` instead; None for one that does not concern the points of ``origin``."""
    if isinstance(change, UpsertRows | DeleteIds | Truncate) and change.collection_id == origin:
        return replace(change, collection_id=target)
    return None


def _own_writes(target: Collection) -> FailedPrecondition:
    return FailedPrecondition(
        f"{target.spec.name} has been written to since it was restored; the log's older operations must not go on top",
        reason="TARGET_HAS_OWN_WRITES",
        hint="restore the snapshot under another name and replay there",
        collection=target.spec.name,
    )
