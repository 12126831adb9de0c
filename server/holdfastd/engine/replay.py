"""Replay: the log applied again, by command, to collections that came out of a snapshot.

A restored collection remembers its origin: whose history it continues, and through which sequence it is complete. A
replay takes the origin's operations behind that watermark and applies them to the restored collection, in order, each
moving the watermark as it is applied; so a replay that is cut short goes on where it stopped, and one that is repeated
finds nothing to do (RULES 31). When all of a range is done, the watermark moves to its end. A collection that was never
restored has nothing to replay: recovery has applied its log at start.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from ..errors import Cancelled, FailedPrecondition, InvalidArgument
from ..model import StorageKind
from ..storage.clock import Clock, Randomness
from .apply import Applier
from .checkpoint import Checkpointer
from .collection import Collection
from .committer import Committer
from .log_source import LogSource
from .moments import Moments
from .operations import Operation, OperationRegistry, Work
from .quarantine import require_writable
from .replay_catalog import CatalogReplay
from .replay_log import ReplayLogs, ReplayRequest
from .replay_one import CollectionReplay, Tally
from .retention import Retention
from .tickets import Caller
from .wal_control import WalControl

__all__ = ["Replay", "ReplayRequest"]


class Replay:
    """See the module. ``start`` returns at once; the work runs as an operation."""

    def __init__(
        self,
        *,
        clock: Clock,
        randomness: Randomness,
        applier: Applier,
        committer: Committer,
        checkpointer: Checkpointer,
        retention: Retention,
        control: WalControl,
        operations: OperationRegistry,
        logs: ReplayLogs,
        moments: Moments,
    ) -> None:
        self._clock = clock
        self._randomness = randomness
        self._applier = applier
        self._committer = committer
        self._logs = logs
        self._moments = moments
        self._checkpointer = checkpointer
        self._retention = retention
        self._control = control
        self._operations = operations
        # One replay at a time: two that begin at the same watermark would apply the same operations twice.
        self._running = threading.Lock()

    def start(self, request: ReplayRequest, *, caller: Caller) -> Operation:
        """Begin a replay. Raises NotFound or FailedPrecondition before anything is begun; with ``into`` as Moments."""
        bounds = (request.from_sequence, request.from_us, request.to_sequence, request.to_us)
        asked: tuple[str | int | None, ...] = (request.path, request.collection, request.verify, *bounds)
        without = (*(str(each) for each in request.skip), *request.skip_request_ids)
        caller = caller.asking("replay", *asked, *(() if request.into is None else (request.into, *without)))
        begun = None if request.validate_only else self._operations.begun(caller.request_id, caller.request_digest)
        if begun is not None:
            return begun
        if request.into is not None:
            return self._moments.start_replay(request, caller=caller)
        if without:
            raise InvalidArgument(
                "what was applied cannot be left out: a history without some operations is a new collection",
                field="skip",
                hint="name the new collection with --into",
            )
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
            request_digest=caller.request_digest,
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
            self._logs.check_sound(request.path)
        self._logs.check_end(request)
        tally = Tally()
        try:
            self._replay(request, tally, work)
        except Cancelled as error:
            raise _cut_short(error, tally) if tally.applied else error from None
        return {
            "segments_replayed": len(tally.files),
            "operations_replayed": tally.replayed,
            "operations_skipped": tally.skipped,
            "collections_affected": list(dict.fromkeys(tally.affected)),
            "duration_ms": (self._clock.monotonic_ns() - started_ns) // 1_000_000,
            "status": "planned" if request.validate_only else "completed",
            "vectors_affected": tally.vectors,
            "first_sequence": tally.first,
            "through_sequence": tally.through,
            "through_us": tally.through_us,
            "verified": request.verify,
            "warnings": tally.warnings,
        }

    def _replay(self, request: ReplayRequest, tally: Tally, work: Work) -> None:
        if _is_empty(request):
            tally.warnings.append("the range is empty: it ends before it begins")
            return
        source = self._logs.open(request.path)
        oldest = [t.spec.origin.through for t in self._targets(request) if t.spec.origin is not None]
        with self._retention.pinned(min(oldest, default=0) + 1):
            request = self._replay_catalog(request, source, tally, work)
            targets = self._choose(request, source, tally)
            for target in targets:
                work.report(phase=f"replaying {target.spec.name}")
                CollectionReplay(self._applier, self._committer, self._logs, request, source, tally, work).run(target)
        self._warn_of_what_is_missing(request, source, tally)
        if tally.applied:
            work.report(phase="checkpoint")
            self._checkpointer.run()

    def _replay_catalog(self, request: ReplayRequest, source: LogSource, tally: Tally, work: Work) -> ReplayRequest:
        """Replay the catalog of another store, if all of that one was restored here; returns what is left to do."""
        origin = self._applier.catalog.origin
        if request.collection is not None or origin is None or origin.store_id != source.store_id:
            return request
        last = CatalogReplay(
            self._applier, self._committer, self._randomness, self._logs, request, source, tally, work
        ).run(origin)
        if last is None or (request.to_sequence is not None and request.to_sequence <= last):
            return request
        return replace(request, to_sequence=last)

    def _warn_of_what_is_missing(self, request: ReplayRequest, source: LogSource, tally: Tally) -> None:
        if not tally.replayed and not tally.warnings:
            tally.warnings.append("nothing was left to replay: what is restored holds all of that range already")
        end = self._logs.end_of_closed(source)
        if end is not None and request.to_sequence is None:
            tally.warnings.append(
                f"the log is switched off and ends with sequence {end}: no replay brings back what was done since"
            )

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

    def _choose(self, request: ReplayRequest, source: LogSource, tally: Tally) -> list[Collection]:
        """Those whose history this log is. Raises FailedPrecondition where it is nobody's (RULES 33)."""
        targets = self._targets(request)
        chosen = [each for each in targets if each.spec.origin and each.spec.origin.store_id == source.store_id]
        left_out = [each for each in targets if each not in chosen]
        catalog = self._applier.catalog.origin
        if not chosen and not (catalog is not None and catalog.store_id == source.store_id):
            if left_out:
                raise _foreign(left_out[0], source, request)
            if not self._logs.is_own(source):
                raise _unwanted(source)
        if not chosen and not targets:
            tally.warnings.append("no collection came from a snapshot: recovery has applied the whole log already")
        tally.warnings += [f"{each.spec.name} was left alone: it comes from another store" for each in left_out]
        return chosen


def _is_empty(request: ReplayRequest) -> bool:
    """Whether no operation can lie within the bounds."""
    sequences, times = (request.from_sequence, request.to_sequence), (request.from_us, request.to_us)
    return any(start is not None and end is not None and start > end for start, end in (sequences, times))


def _cut_short(error: Cancelled, tally: Tally) -> Cancelled:
    """The end of a replay that had begun to change something."""
    return Cancelled(
        f"{error.message}; {tally.applied} operations were applied before and stay",
        hint="replay again: it goes on behind the last of them",
        operations_replayed=tally.applied,
    )


def _foreign(target: Collection, source: LogSource, request: ReplayRequest) -> FailedPrecondition:
    origin = target.spec.origin
    assert origin is not None
    if request.path is None:
        return FailedPrecondition(
            f"{target.spec.name} comes from store {origin.store_id}, whose log is not here",
            reason="FOREIGN_ORIGIN",
            hint="name the directory of that store's log with --path",
        )
    return FailedPrecondition(
        f"{target.spec.name} comes from store {origin.store_id}, but {source.directories[0]} holds the log of "
        f"store {source.store_id}",
        reason="FOREIGN_ORIGIN",
        hint="name the directory of the first one's log, and with --collection what it is for",
    )


def _unwanted(source: LogSource) -> FailedPrecondition:
    return FailedPrecondition(
        f"{source.directories[0]} holds the log of store {source.store_id}, and nothing here was restored from a "
        "snapshot of that store",
        reason="FOREIGN_ORIGIN",
        hint="restore a snapshot of that store first, with `holdfast storage snapshot restore`, then replay again",
    )
