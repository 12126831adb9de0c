"""Going back to a moment: a snapshot from before it, rolled forward along the log, as one step.

Asked for as a restore (``snapshot restore --to``) or as a replay (``wal replay --into``): the same work, with the
result told in the words of what was asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..errors import AlreadyExists, Corruption, HoldfastError, InvalidArgument, NotFound, OutOfRange
from ..model import Sequence64
from ..storage.store_errors import StoreError
from .disk_errors import disk_errors_of
from .history import Ending
from .left_out import merged
from .log_findings import Range, Wanted
from .log_names import LogNames
from .log_search import LogSearch
from .operations import Operation, OperationRegistry, Work
from .replay_log import ReplayLogs, ReplayRequest
from .retention import Retention
from .routes import Route, RouteFinder, not_read
from .snapshot_advice import damage_told
from .snapshot_catalog import LATEST, SnapshotCatalog
from .snapshot_context import SnapshotContext
from .snapshot_info import SnapshotInfo
from .snapshot_plan import RestoreRequest
from .snapshot_restore import Restoration, refuse_early
from .tickets import Caller
from .wal_control import WalControl


class Moments:
    """See the module. Thread-safe; what can be refused is refused before an operation begins."""

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        logs: ReplayLogs,
        control: WalControl,
        retention: Retention,
        operations: OperationRegistry,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._logs = logs
        self._control = control
        self._retention = retention
        self._operations = operations
        self._routes = RouteFinder(catalog, logs, context.clock)

    def start_restore(self, request: RestoreRequest, *, caller: Caller) -> Operation:
        """Begin a restore to ``request.ending``, from the named snapshot or, for ``latest``, from the best one.

        The way leads along the log in ``request.wal_path``, or the store's own.

        Raises OutOfRange (PITR_OUT_OF_WINDOW) with the window where nothing leads there, NotFound, AlreadyExists,
        InvalidArgument, FailedPrecondition or Corruption.
        """
        if request.snapshot == LATEST:
            request = self._named(request)
        return self._start("restore", request, request.snapshot, lambda done, document: document, caller)

    def start_replay(self, request: ReplayRequest, *, caller: Caller) -> Operation:
        """Begin making a new collection, ``request.into``, that holds a moment of another one's past.

        Raises as ``start_restore`` does.
        """
        if request.from_sequence is not None or request.from_us is not None:
            raise InvalidArgument(
                "--into makes a collection that holds one moment: it has an end, and no start",
                field="start",
                hint="leave --from out",
            )
        if request.collection is None:
            raise InvalidArgument(
                "--into needs to know whose past it should hold",
                field="collection",
                hint="name the collection with --collection",
            )
        catalog = self._context.applier.catalog
        known = catalog.names.get(request.collection) or catalog.aliases.get(request.collection)
        name = request.collection if known is None else catalog.collections[known].spec.name
        asked = RestoreRequest(
            snapshot=LATEST,
            collection=request.into,
            from_collection=name,
            verify=request.verify,
            validate_only=request.validate_only,
            ending=Ending(request.to_sequence, request.to_us),
            wal_path=request.path,
            left_out=merged(request.skip),
            left_out_requests=request.skip_request_ids,
        )
        if request.into in catalog.names:
            raise AlreadyExists(
                f"a collection named {request.into!r} already exists, and a replay replaces none",
                reason="COLLECTION_EXISTS",
                hint="choose another name for --into",
                collection=request.into,
            )
        return self._start("replay", asked, None, _as_replay, caller)

    def lost_with(self, going: Iterable[SnapshotInfo]) -> tuple[str, ...]:
        """What of the window is lost once these snapshots are deleted, in sentences; or why nobody can say. Blocks."""
        try:
            return self._routes.lost_with(going)
        except HoldfastError as error:
            return (f"what point-in-time recovery loses by it cannot be told: {error.message}",)

    # Finding --------------------------------------------------------------------------------------------------------

    def _way(self, request: RestoreRequest, snapshot: str | None, away: dict[str, str]) -> tuple[Route, list[str]]:
        """The route, and the names that are known to be there afterwards.

        Where none is named, a snapshot that is found damaged now is passed over, as one that was known to be, and so is
        one in an object store that does not let it be read, which is added to ``away``.
        """
        seen: set[str] = set()
        refused: HoldfastError | None = None
        while True:
            route = None
            try:
                route = self._find(request, snapshot, away)
                return route, self._check(request, route)
            except Corruption as error:
                path = self._catalog.path_in(error.path)
                if snapshot not in (None, LATEST) or not path or path in seen:
                    raise
                seen.add(path)
            except HoldfastError as error:
                cause, base = error.__cause__, None if route is None else route.base
                if snapshot not in (None, LATEST) or not isinstance(cause, StoreError) or base is None:
                    # Where there is no other way, what keeps from this one helps more than the window.
                    raise (refused if refused is not None and isinstance(error, OutOfRange) else error) from None
                refused = refused or error
                away[base.path] = not_read(cause)

    def _find(
        self, request: RestoreRequest, snapshot: str | None, away: dict[str, str], first: Sequence64 = 0
    ) -> Route:
        """The route that begins before ``first``, where that is one, and before the first sequence that is left out."""
        name, firsts = request.from_collection, [each for each, _ in request.left_out]
        before = min([*firsts, *([first] if first else [])], default=None)
        damaged = damage_told(self._context, self._catalog, self._logs)
        try:
            with damaged, disk_errors_of("looking for a way to that moment"):
                assert request.ending is not None
                route = self._routes.find(
                    request.ending, snapshot=snapshot, path=request.wal_path, name=name, before=before, away=away
                )
        except OutOfRange as error:
            if before is None:
                raise
            what = f"nothing leads from before sequence {before}, the first that is left out, to the end"
            raise OutOfRange(
                f"{what}: {error.message}", reason=error.reason, hint=error.hint, **error.metadata
            ) from None
        return route if request.collection is not None or name is not None else self._told_what_it_lacks(route)

    def _told_what_it_lacks(self, route: Route) -> Route:
        """The route with a warning, where it leads to less than the whole store that was asked for."""
        names = () if route.base is None else route.base.collections
        if route.base is None or route.base.record.everything or self._context.applier.catalog.names.keys() <= {*names}:
            return route
        warning = f"{route.base.id} holds {', '.join(names)} alone: other collections stay as they are"
        return replace(route, warnings=(*route.warnings, warning))

    def _snapshots_along(self, wal_path: str | None) -> list[SnapshotInfo]:
        """Those of the store that wrote the log."""
        store = str(self._control.source(wal_path).store_id)
        return [info for info in self._catalog.listing().snapshots if info.record.store_id == store]

    def _first_of_requests(self, request: RestoreRequest, work: Work) -> Sequence64:
        """The first sequence of the request ids that are left out, 0 for none. Reads the log. Raises NotFound.

        In any collection: that of which the wanted one is made may be gone, and no name of it known.
        """
        if not request.left_out_requests:
            return 0
        work.report(phase="looking for what is left out")
        ending = request.ending or Ending()
        search = LogSearch(
            self._control, Wanted(request_ids=frozenset(request.left_out_requests)), LogNames(()), look_around=False
        )
        for run in search.runs(Range(to_sequence=ending.sequence, to_us=ending.time_us, path=request.wal_path)):
            work.check_cancelled()
            if run.findings:
                return run.findings[0].record.sequence
        raise NotFound(
            f"the log has no operation with the request id {' or '.join(request.left_out_requests)}",
            reason="NOTHING_LEFT_OUT",
            hint=f"find it with `holdfast storage wal grep --collection {request.from_collection}`",
        )

    def _named(self, request: RestoreRequest) -> RestoreRequest:
        """The request with the collection that it means, where it names a target alone. Raises InvalidArgument."""
        if request.collection is None or request.from_collection is not None:
            return request
        with disk_errors_of("listing snapshots"):
            known = {name for info in self._snapshots_along(request.wal_path) for name in info.collections}
        if request.collection in known:
            return replace(request, from_collection=request.collection)
        if request.collection in self._context.applier.catalog.names:
            known.add(request.collection)
        if len(known) == 1:
            return replace(request, from_collection=known.pop(), implied=True)
        raise InvalidArgument(
            f"the snapshots hold {len(known)} collections, and --collection {request.collection} names one target",
            field="from_collection",
            hint=f"say which with --from-collection: {', '.join(sorted(known)) or 'there is no snapshot'}",
        )

    def _check(self, request: RestoreRequest, route: Route) -> list[str]:
        """Refuse what names and archives decide; returns the names that are known to be there afterwards."""
        damaged = damage_told(self._context, self._catalog, self._logs)
        with damaged, disk_errors_of("reading the snapshot"):
            plan = refuse_early(self._context, self._catalog, request, route.base, route)
        return plan.names or [request.collection or request.from_collection or ""]

    # Running --------------------------------------------------------------------------------------------------------

    def _start(
        self,
        kind: str,
        request: RestoreRequest,
        snapshot: str | None,
        told: Callable[[Restoration, dict[str, Any]], dict[str, Any]],
        caller: Caller,
    ) -> Operation:
        away: dict[str, str] = {}
        route, names = self._way(request, snapshot, away)

        def run(work: Work) -> dict[str, Any]:
            with contextlib.ExitStack() as pins:
                with self._retention.pinned(1):
                    # Again: since the request came, a checkpoint may have trimmed the log.
                    found = self._find(request, snapshot, away, self._first_of_requests(request, work))
                    pins.enter_context(self._retention.pinned(found.start + 1))
                if request.verify:
                    work.report(phase="verifying the log")
                    self._logs.check_sound(request.wal_path, found.start + 1)
                if found.base is not None:
                    pins.enter_context(self._catalog.in_use(found.base.path))
                done = Restoration(
                    self._context, self._catalog, self._logs, request, found.base, caller, work, route=found
                )
                return told(done, done.run())

        return self._operations.start(
            kind,
            run,
            request={
                "snapshot": "" if route.base is None else route.base.id,
                "path": request.wal_path if route.base is None else route.base.path,
                "collections": names,
                "overwrite": request.overwrite,
                "verify": request.verify,
                "to_sequence": route.to,
            },
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
            planned=request.validate_only,
        )


def _as_replay(done: Restoration, document: dict[str, Any]) -> dict[str, Any]:
    """The result of a restore in the words of a replay."""
    return {
        "segments_replayed": len(done.rolled.files),
        "operations_replayed": done.rolled.operations,
        "operations_skipped": 0 if done.left_out is None else done.left_out.operations,
        "collections_affected": document["collections_restored"],
        "duration_ms": document["duration_ms"],
        "status": document["status"],
        "vectors_affected": done.rolled.vectors,
        "first_sequence": done.start + 1,
        "through_sequence": document["restored_through_sequence"],
        "through_us": document["restored_through_us"],
        "verified": document["verified"],
        "snapshot_id": document["snapshot_id"],
        "warnings": document["warnings"],
    }
