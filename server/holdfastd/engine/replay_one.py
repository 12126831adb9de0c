"""One collection of a replay: its origin's operations behind the watermark, applied in order."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..errors import FailedPrecondition, HoldfastError
from ..format.described import upsert_body
from ..model import Origin, Sequence64
from ..storage.wal import LoggedRecord
from . import writer
from .apply import Applier
from .change_codec import Logged
from .changes import Change, DeleteIds, DropCollection, Replayed, Restore, Truncate, UpsertRows
from .collection import Collection
from .committer import Committer
from .history import timeline_at
from .log_source import LogSource
from .logged import decode_record
from .operations import Work
from .replay_log import ReplayLogs, ReplayRequest, check_start, timeline_of
from .tickets import Caller, Outcome, Ticket

MAX_IN_FLIGHT = 1024
MAX_IN_FLIGHT_BYTES = 32 << 20
"""Operations that wait for their turn: enough of them for a group and the one after it, however small they are."""


@dataclass(slots=True)
class Tally:
    """What a replay has done so far. ``replayed``: operations sent off, or only counted; ``applied``: done for good.

    ``vectors``: points that those changed; ``first``, ``through``: sequences of the origin's history, 0 where there was
    nothing; ``through_us``: the time of the last operation that was looked at.
    """

    replayed: int = 0
    vectors: int = 0
    first: Sequence64 = 0
    through: Sequence64 = 0
    through_us: int = 0
    skipped: int = 0
    applied: int = 0
    files: set[str] = field(default_factory=set)
    affected: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def saw(self, record: LoggedRecord) -> None:
        """Note an operation that is to be applied."""
        self.first = min(self.first or record.sequence, record.sequence)
        self.through_us = max(self.through_us, record.timestamp_us)


@dataclass(slots=True)
class _Range:
    """How far the log has been read. ``news``: whether there was more in it than what replays leave there.

    ``timeline``: the one that the target has been told of.
    """

    end: Sequence64
    timeline: int
    news: bool = False


class CollectionReplay:
    """See the module. Belongs to the thread that runs the replay."""

    def __init__(
        self,
        applier: Applier,
        committer: Committer,
        logs: ReplayLogs,
        request: ReplayRequest,
        source: LogSource,
        tally: Tally,
        work: Work,
    ) -> None:
        self._applier = applier
        self._committer = committer
        self._logs = logs
        self._request = request
        self._source = source
        self._tally = tally
        self._work = work
        self._in_flight: deque[tuple[Ticket, int]] = deque()
        self._in_flight_bytes = 0

    def run(self, target: Collection) -> None:
        """Replay to ``target``. Blocks. Whatever ends it early, nothing is under way any more when it returns."""
        origin, tally = target.spec.origin, self._tally
        assert origin is not None
        self._logs.check_history(target, origin, self._logs.files(self._source))
        before, read = tally.replayed, _Range(origin.through, origin.timeline)
        try:
            for record, logged, change in self._history(target, origin, read):
                if target.own_writes:
                    raise own_writes(target)
                tally.files.add(record.path)
                tally.replayed += 1
                if not self._request.validate_only:
                    self._follow_history(target, record, read)
                    body = _body_of(record) if isinstance(change, UpsertRows) else None
                    self._send(target, change, record.sequence, actor=logged.actor, body=body)
            while self._in_flight:
                self._settle_first()
            self._complete(target, read, tally.replayed - before)
            while self._in_flight:
                self._settle_first()
        finally:
            # Nobody may read a watermark that is about to move.
            self._settle_all()
        if tally.replayed > before:
            tally.affected.append(target.spec.name)
            tally.through = max(tally.through, read.end)

    # What is to be applied ------------------------------------------------------------------------------------------

    def _history(
        self, target: Collection, origin: Origin, read: _Range
    ) -> Iterator[tuple[LoggedRecord, Logged, Change]]:
        """The origin's operations behind the watermark and within the bounds, as changes of ``target``."""
        request, tally = self._request, self._tally
        for record in self._logs.read(self._source, origin.through, request):
            logged = decode_record(record)
            if _ends(logged.change, origin.collection_id):
                tally.warnings.append(
                    f"{target.spec.name}: stopped before sequence {record.sequence}, "
                    "which dropped or replaced the original"
                )
                return
            change = _retarget(logged.change, origin.collection_id, target.spec.id)
            if change is not None:
                check_start(target.spec.name, origin.through, record, request)
                tally.saw(record)
                yield record, logged, change
            elif not is_trace(logged):
                tally.skipped += 1
            read.end = record.sequence
            read.news |= not is_trace(logged)
        read.end = max(read.end, request.to_sequence or 0)

    def _follow_history(self, target: Collection, record: LoggedRecord, read: _Range) -> None:
        """Before the first operation of a later timeline: note that history goes on there, not on the one before."""
        timeline = timeline_of(record)
        if timeline > read.timeline:
            read.timeline = timeline
            self._send(target, Replayed(target.spec.id, read.end, timeline=timeline), read.end)

    def _complete(self, target: Collection, read: _Range, count: int) -> None:
        """The range is done: move the watermark to its end, so that nothing of it is ever read again.

        Not where there is nothing behind it but traces of replays, or each replay would leave one more of its own.
        """
        if read.news and not self._request.validate_only and not target.own_writes:
            # The range may end on a later timeline than the last operation that was applied.
            timeline = max(read.timeline, timeline_at(read.end, self._logs.files(self._source)))
            self._send(target, Replayed(target.spec.id, read.end, count, timeline), read.end)

    # Committing -----------------------------------------------------------------------------------------------------

    def _send(
        self,
        target: Collection,
        change: Change,
        origin_sequence: Sequence64,
        *,
        actor: str = "",
        body: bytes | None = None,
    ) -> None:
        """Send one operation off; it is refused when the one before it was: no hole stays behind."""
        self._make_room()
        previous = self._in_flight[-1][0] if self._in_flight else None

        def check() -> None:
            if previous is not None and previous.failed:
                raise FailedPrecondition(
                    f"{target.spec.name}: an operation before sequence {origin_sequence} of its origin was refused",
                    reason="REPLAY_HOLE",
                    hint="replay again: it goes on before the operation that was refused",
                )
            if self._applier.catalog.get(target.spec.id) is not target or target.own_writes:
                raise own_writes(target)

        submission = writer.make_submission(
            change,
            Caller(actor=actor),
            check=check,
            origin_sequence=origin_sequence,
            body=body,
            while_waiting=self._work.check_cancelled,
        )
        self._committer.submit_nowait(submission)
        self._in_flight.append((submission.ticket, submission.size))
        self._in_flight_bytes += submission.size
        if isinstance(change, Replayed):
            # It is no operation of the origin.
            self._tally.applied -= 1

    def _make_room(self) -> None:
        """Settle what is done, and wait where too much is under way. Raises Cancelled."""
        waiting = len(self._in_flight)
        while self._in_flight and (self._in_flight[0][0].done or self._is_full()):
            self._settle_first()
        if len(self._in_flight) < waiting:
            self._work.report(done_vectors=max(0, self._tally.applied))

    def _is_full(self) -> bool:
        return len(self._in_flight) >= MAX_IN_FLIGHT or self._in_flight_bytes >= MAX_IN_FLIGHT_BYTES

    def _settle_first(self) -> None:
        ticket, size = self._in_flight.popleft()
        self._in_flight_bytes -= size
        outcome: Outcome = ticket.wait()
        self._tally.applied += 1
        self._tally.vectors += outcome.count

    def _settle_all(self) -> None:
        while self._in_flight:
            try:
                self._settle_first()
            except HoldfastError:
                # The error that matters is the one that ended the work.
                continue


def _body_of(record: LoggedRecord) -> bytes | None:
    """What an upsert says, to be logged again as it stands; None where it does not stand at the end.

    A copy: a view would keep all that was read with it in memory until the operation is settled.
    """
    body = upsert_body(record.payload)
    return None if body is None else bytes(body)


def is_trace(logged: Logged) -> bool:
    """Whether a record is one that replays and the store itself leave in the log, not one that somebody asked for."""
    return bool(logged.origin_sequence) or logged.change is None or isinstance(logged.change, Replayed)


def own_writes(target: Collection) -> FailedPrecondition:
    """The error for a collection that has left its origin's history."""
    return FailedPrecondition(
        f"{target.spec.name} has been written to since it was restored; the log's older operations must not go on top",
        reason="TARGET_HAS_OWN_WRITES",
        hint="make a new collection of that history, under the name that its original had there: holdfast storage wal "
        "replay --collection ORIGINAL --into NEW_NAME; or restore the snapshot under another name and replay there",
        collection=target.spec.name,
    )


def _ends(change: Change | None, collection_id: uuid.UUID) -> bool:
    match change:
        case DropCollection(dropped):
            return dropped == collection_id
        case Restore(collections):
            return any(restored.replaces == collection_id for restored in collections)
    return False


def _retarget(change: Change | None, origin: uuid.UUID, target: uuid.UUID) -> Change | None:
    """The change made to ``target`` instead; None for one that does not concern the points of ``origin``."""
    if isinstance(change, UpsertRows | DeleteIds | Truncate) and change.collection_id == origin:
        return replace(change, collection_id=target)
    return None
