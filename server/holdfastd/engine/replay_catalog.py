"""The catalog's part of a replay: what another store's log says of collections and aliases (RULES 33).

A data directory is lost, its log is not. Once the newest snapshot of that whole store has been restored, the log behind
it brings back what was created and aliased since, and takes away what was dropped. It is applied in order, each change
moving the catalog's own watermark, before the collections are rolled forward one by one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..errors import FailedPrecondition
from ..model import CatalogOrigin, Origin, Sequence64
from ..storage.clock import Randomness
from ..storage.wal import LoggedRecord
from . import writer
from .apply import Applier
from .changes import (
    Change,
    CreateCollection,
    DeleteAlias,
    DeleteIds,
    DropCollection,
    PutAlias,
    Restore,
    Truncate,
    UpsertRows,
)
from .collection import Collection
from .committer import Committer
from .log_source import LogSource
from .logged import decode_record
from .operations import Work
from .replay_log import ReplayLogs, ReplayRequest, check_start, timeline_of
from .replay_one import Tally, own_writes
from .tickets import Caller

_NAME = "the catalog"


@dataclass(slots=True)
class _Planned:
    """What a plan would have created and dropped by now, by the origin's ids; of the former, how often written to."""

    created: dict[uuid.UUID, int] = field(default_factory=dict)
    dropped: set[uuid.UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of the catalog, and what has to be so when it is committed."""

    change: Change
    check: Callable[[], None]
    name: str = ""


class CatalogReplay:
    """See the module. Belongs to the thread that runs the replay."""

    def __init__(
        self,
        applier: Applier,
        committer: Committer,
        randomness: Randomness,
        logs: ReplayLogs,
        request: ReplayRequest,
        source: LogSource,
        tally: Tally,
        work: Work,
    ) -> None:
        self._applier = applier
        self._committer = committer
        self._randomness = randomness
        self._logs = logs
        self._request = request
        self._source = source
        self._tally = tally
        self._work = work
        self._planned = _Planned()

    def run(self, origin: CatalogOrigin) -> Sequence64 | None:
        """Replay the catalog. Returns the last sequence that the collections may be rolled forward to; None: any."""
        for record in self._logs.read(self._source, origin.through, self._request):
            logged = decode_record(record)
            if isinstance(logged.change, Restore):
                self._tally.warnings.append(
                    f"stopped before sequence {record.sequence}, which restored the snapshot "
                    f"{logged.change.snapshot_id}: its content is not in the log. Restore that snapshot too, then "
                    "replay each collection with --collection"
                )
                return record.sequence - 1
            if self._request.validate_only:
                self._plan(logged.change)
            step = self._step(origin, logged.change, record)
            if step is not None:
                check_start(_NAME, origin.through, record, self._request)
                self._take(step, record, logged.actor)
        self._tally.replayed += sum(self._planned.created.values())
        return None

    def _take(self, step: _Step, record: LoggedRecord, actor: str) -> None:
        tally = self._tally
        tally.files.add(record.path)
        tally.replayed += 1
        if step.name:
            tally.affected.append(step.name)
        if self._request.validate_only:
            return
        self._work.report(phase="replaying the catalog")
        submission = writer.make_submission(
            step.change,
            Caller(actor=actor),
            barrier=True,
            check=step.check,
            origin_sequence=record.sequence,
            while_waiting=self._work.check_cancelled,
        )
        writer.commit(self._committer, submission)
        tally.applied += 1

    # What a change of the origin's catalog means here ---------------------------------------------------------------

    def _step(self, origin: CatalogOrigin, change: Change | None, record: LoggedRecord) -> _Step | None:
        match change:
            case CreateCollection(spec):
                here = Origin(origin.store_id, timeline_of(record), spec.id, record.sequence)
                made = replace(spec, id=self._randomness.uuid4(), origin=here)
                return _Step(CreateCollection(made), lambda: self._check_free(spec.name, record), spec.name)
            case DropCollection(collection_id):
                heir = self._heir_of(collection_id, record, "was dropped")
                return None if heir is None else self._drop(heir)
            case PutAlias(alias, collection_id):
                heir = self._heir_of(collection_id, record, f"was given the alias {alias}")
                return None if heir is None else self._put_alias(alias, heir, record)
            case DeleteAlias(alias) if alias in self._applier.catalog.aliases:
                return _Step(change, lambda: None)
        return None

    def _drop(self, heir: Collection) -> _Step:
        return _Step(DropCollection(heir.spec.id, heir.spec.name), lambda: self._check_same(heir), heir.spec.name)

    def _put_alias(self, alias: str, heir: Collection, record: LoggedRecord) -> _Step:
        return _Step(PutAlias(alias, heir.spec.id), lambda: self._check_alias(alias, heir, record))

    def _heir_of(self, collection_id: uuid.UUID, record: LoggedRecord, what: str) -> Collection | None:
        """The collection here that a change is about; a warning where there is none, such as one in memory."""
        planned = collection_id in self._planned.created or collection_id in self._planned.dropped
        heir = self._applier.catalog.heir_of(collection_id)
        if heir is None and not planned:
            self._tally.skipped += 1
            self._tally.warnings.append(f"sequence {record.sequence}: the collection that {what} is not here")
        return heir

    def _check_free(self, name: str, record: LoggedRecord) -> None:
        catalog = self._applier.catalog
        if name in catalog.names or name in catalog.aliases:
            raise _name_taken(f"sequence {record.sequence} creates the collection {name!r}", name)

    def _check_alias(self, alias: str, target: Collection, record: LoggedRecord) -> None:
        self._check_same(target)
        if alias in self._applier.catalog.names:
            raise _name_taken(f"sequence {record.sequence} makes {alias!r} an alias of {target.spec.name}", alias)

    def _check_same(self, target: Collection) -> None:
        if self._applier.catalog.get(target.spec.id) is not target or target.own_writes:
            raise own_writes(target)

    # A plan ---------------------------------------------------------------------------------------------------------

    def _plan(self, change: Change | None) -> None:
        """Count what would happen to collections that are not there yet."""
        planned = self._planned
        match change:
            case CreateCollection(spec):
                planned.created[spec.id] = 0
            case DropCollection(collection_id):
                if planned.created.pop(collection_id, None) is not None:
                    planned.dropped.add(collection_id)
                    self._tally.replayed += 1
            case UpsertRows() | DeleteIds() | Truncate() if change.collection_id in planned.created:
                planned.created[change.collection_id] += 1
            case PutAlias(_, collection_id) if collection_id in planned.created:
                self._tally.replayed += 1
            case _:
                pass


def _name_taken(what: str, name: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{what}, but that name stands for something else here",
        reason="NAME_TAKEN",
        hint=f"free the name {name}, then replay again: it goes on there",
        name=name,
    )
