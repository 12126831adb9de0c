"""Finding operations in the log: by what they did, to which collection and points, and who asked for them.

The log is read once, and of most records only what is asked about: vectors are never looked at, and an object is made
for no id of a batch that does not hold one of those that are looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..errors import Corruption, HoldfastError, NotFound, OutOfRange
from ..format.described import Bytes, described
from ..format.logged_ids import IdSearch
from ..format.operation import LogOperation
from ..format.record import RecordKind
from ..model import Sequence64, family
from ..storage.wal_reader import LoggedRecord
from .log_findings import BARE_KINDS, Finding, Range, Run, Wanted, kind_of
from .log_names import LogNames, alias_of, collection_of, collections_of
from .log_reach import first_held
from .logged import decoded_by
from .request_words import RequestWords
from .wal_control import WalControl

EVERY_POINT = frozenset(("truncate", "drop_collection", "restore"))
"""Bodies that write or delete points without naming them."""


class LogSearch:
    """One search. Belongs to one thread; blocks while it reads. ``names``: of the collections that there are now.

    ``look_around``: for the name of a collection that is gone, look for its creation in front of the range, and for its
    end behind, as well. ``bare``: whether records that are no operations may be found.
    """

    def __init__(
        self, control: WalControl, wanted: Wanted, names: LogNames, *, look_around: bool, bare: bool = True
    ) -> None:
        self._control = control
        self._wanted = wanted
        self._names = names
        self._may_look_back = self._may_look_ahead = look_around
        self._bare = bare
        self._ids = IdSearch(wanted.ids) if wanted.ids else None
        self._request_ids = RequestWords(wanted.request_ids)
        self._nameless = 0
        self._closed: LoggedRecord | None = None
        self._last: Sequence64 = 0

    def runs(self, where: Range) -> Iterator[Run]:
        """What is found, in order, and a sign of life where that is nothing for a while.

        What was found before a failure comes before it. Raises OutOfRange, Corruption, and NotFound at the end where
        nothing was ever called by the name wanted.
        """
        if self._must_turn_up():
            yield from self._look_back(where)
        found, run = False, Run()
        try:
            for record in self._records(where, operations_only=not self._bare):
                if record.kind == RecordKind.OPERATION:
                    operation, head = decoded_by(described, record)
                    yield from self._learn_names(operation, head, record, where)
                    finding = self._finding(operation, head, record)
                    self._look_for_gap(record, run)
                else:
                    finding = self._bare_finding(record)
                if finding is not None:
                    found = True
                    run.findings.append(finding)
                run.looked_at(record)
                self._last = record.sequence
                if run.full:
                    yield run
                    run = Run()
        except HoldfastError as error:
            if run.findings or run.warnings:
                yield run
            told = self._with_the_way_on(error, where)
            if told is error:
                raise
            raise told from error
        self._warn_of_the_end(where, run)
        self._warn_of_nameless(run)
        yield run
        self._check_turned_up(found)

    def _records(self, where: Range, *, operations_only: bool = True) -> Iterator[LoggedRecord]:
        operations = self._control.records(
            from_sequence=where.from_sequence,
            to_sequence=where.to_sequence,
            from_us=where.from_us,
            to_us=where.to_us,
            path=where.path,
            operations_only=operations_only,
        )
        return (each.record for each in operations)

    def _with_the_way_on(self, error: HoldfastError, where: Range) -> HoldfastError:
        """The error, with what can be asked for instead."""
        if isinstance(error, Corruption):
            return self._placed(error)
        if error.reason != "LOG_TRIMMED":
            return error
        source = None if where.path is None else self._control.source(where.path)
        if source is not None and source.elsewhere:
            first = first_held(source.fs, source.directories, source.store_id)
            pruned = ", since this archive was pruned" if source.pruned else ""
            longer = "; the snapshots hold what was before" if source.pruned else ""
        else:
            first, pruned = self._control.status().first_sequence, ""
            longer = "; for a longer window: holdfast storage wal enable --retention DURATION"
        if not first:
            return error
        return OutOfRange(
            error.message + pruned,
            reason=error.reason,
            hint=f"what is left begins with sequence {first}: begin there, or leave the start out{longer}",
            **error.metadata,
        )

    def _placed(self, error: Corruption) -> Corruption:
        """Damage, with the operation before it and where to go on behind it."""
        paths = [(file.path, file.first_sequence) for file in self._control.status().files]
        behind = next((first for (path, _), (_, first) in pairwise(paths) if path == error.path), None)
        before = f"; the last operation before it has sequence {self._last}" if self._last else ""
        then = "" if behind is None else f"; the next WAL segment begins with sequence {behind}"
        return Corruption(
            f"{error.problem}{before}{then}",
            path=error.path,
            offset=error.offset,
            reason=error.reason,
            hint=error.hint,
            sequence=self._last or None,
        )

    # What may be missing --------------------------------------------------------------------------------------------

    def _look_for_gap(self, record: LoggedRecord, run: Run) -> None:
        """Warn where the operation before this one is not the one that was done before it."""
        closed, self._closed = self._closed, None
        if closed is not None and record.sequence > closed.sequence + 1:
            run.warnings.append(
                f"the log was disabled between sequence {closed.sequence} and {record.sequence}: what was done "
                "meanwhile is not in it"
            )

    def _warn_of_the_end(self, where: Range, run: Run) -> None:
        """Warn where the newest that was done is not in the log that was read to its end, or lies before the range."""
        newest = self._control.newest_sequence
        if where.from_sequence > newest and where.path is None:
            run.warnings.append(f"the range begins behind sequence {newest}, the newest there is")
        open_end = where.to_sequence is None and where.to_us is None and where.path is None
        if open_end and self._closed is not None and self._closed.sequence < newest:
            run.warnings.append(
                f"the log is disabled since sequence {self._closed.sequence}: what was done since is not in it"
            )

    def _warn_of_nameless(self, run: Run) -> None:
        if self._nameless:
            many = self._nameless > 1
            told = (
                "operations are about collections whose names are" if many else "operation is about one whose name is"
            )
            run.warnings.append(
                f"{self._nameless} more {told} not known any more, and may be meant as well: leave the collection out "
                "to see what that is, or name it by its uuid"
            )

    # One operation --------------------------------------------------------------------------------------------------

    def _finding(self, operation: LogOperation, head: Bytes, record: LoggedRecord) -> Finding | None:
        ids = self._ids_if_asked_for(operation, head)
        if ids is None:
            return None
        if self._concerns_collection(operation):
            return Finding(record, operation, self._name_of(operation), ids)
        self._nameless += self._lacks_name(operation)
        return None

    def _bare_finding(self, record: LoggedRecord) -> Finding | None:
        if record.kind == RecordKind.CLOSED:
            self._closed = record
        return Finding(record, LogOperation()) if self._wanted.takes_bare(BARE_KINDS[RecordKind(record.kind)]) else None

    def _ids_if_asked_for(self, operation: LogOperation, head: Bytes) -> list[str] | None:
        """The ids looked for that it names; None for what is not looked for, whichever collection it is about.

        ``head``: what it was decoded from.
        """
        wanted, kind = self._wanted, kind_of(operation)
        if wanted.kinds and kind not in wanted.kinds:
            return None
        if wanted.actors and operation.actor not in wanted.actors:
            return None
        if self._request_ids and not self._request_ids.match(operation.request_id):
            return None
        if wanted.collection_id is not None and wanted.name is None and not self._concerns_collection(operation):
            return None
        if self._ids is None:
            return []
        return self._ids.found(operation, head) or ([] if kind in EVERY_POINT else None)

    def _concerns_collection(self, operation: LogOperation) -> bool:
        wanted = self._wanted
        if wanted.collection_id is None and wanted.name is None:
            return True
        ids = collections_of(operation)
        if wanted.collection_id is not None and family(wanted.collection_id) in map(family, ids):
            return True
        return wanted.name is not None and (
            alias_of(operation) == wanted.name or any(self._names.of(id) == wanted.name for id in ids)
        )

    def _name_of(self, operation: LogOperation) -> str | None:
        only = collection_of(operation)
        return None if only is None else self._names.of(only)

    # Names ----------------------------------------------------------------------------------------------------------

    def _learn_names(self, operation: LogOperation, head: Bytes, record: LoggedRecord, where: Range) -> Iterator[Run]:
        """Learn the names that an operation tells of, and look around for those that it lacks, where they matter."""
        self._names.learn(operation)
        if not self._lacks_name(operation) or self._ids_if_asked_for(operation, head) is None:
            return
        yield from self._look_back(where)
        if self._lacks_name(operation):
            yield from self._look_ahead(Range(from_sequence=record.sequence, path=where.path))

    def _lacks_name(self, operation: LogOperation) -> bool:
        return any(self._names.of(id) is None for id in collections_of(operation))

    def _look_back(self, where: Range) -> Iterator[Run]:
        """Learn the names in front of the range, once."""
        before = where.before()
        if not self._may_look_back or before is None:
            return
        self._may_look_back = False
        try:
            yield from self._learn_in(before)
        except OutOfRange:
            # What the log does not reach back to has no name any more.
            return
        except Corruption:
            # Only a search by name depends on it.
            if self._wanted.name is not None:
                raise

    def _look_ahead(self, behind: Range) -> Iterator[Run]:
        """Learn the names behind a place, once: what ends a collection tells what it was called."""
        if not self._may_look_ahead:
            return
        self._may_look_ahead = False
        try:
            yield from self._learn_in(behind)
        except (OutOfRange, Corruption):
            # Where it lies within the range, it is told when it is reached.
            return

    def _learn_in(self, where: Range) -> Iterator[Run]:
        run = Run()
        for record in self._records(where):
            self._names.learn(decoded_by(described, record)[0])
            run.looked_at(record)
            if run.full:
                yield Run()
                run = Run()

    def _must_turn_up(self) -> bool:
        """Whether the collection wanted is one of which nothing is known yet."""
        wanted = self._wanted
        return wanted.name is not None and wanted.collection_id is None and not self._names.called(wanted.name)

    def _check_turned_up(self, found: bool) -> None:
        if found or not self._must_turn_up():
            return
        raise NotFound(
            f"there is no collection {self._wanted.name!r}, and the log does not tell of one",
            reason="COLLECTION_NOT_FOUND",
            hint="list those there are with `holdfast collection list`; one that is gone is found by its uuid, however "
            "old the log is",
            collection=self._wanted.name,
        )
