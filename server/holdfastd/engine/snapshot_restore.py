"""Restoring a snapshot: staged beside the live data, proven, then published at once.

    plan      which collections become which names; what exists and may be replaced
    verify    with --verify: the whole archive is read before anything is staged
    stage     under new ids, durable; checksums and digests hold, or nothing has happened
    roll      with --to: what is staged is brought forward along the log, and proven again
    publish   one record in the log, then one manifest (RULES 3); from the record on, recovery redoes it from staging
    clean     what was replaced is removed

A failure or a cancellation before the record leaves the store as it was and removes the staging.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import CommitUnknown, Corruption, OutOfRange
from ..format.manifest import CollectionEntry
from ..format.snapshot import SnapshotCollection, SnapshotManifest
from ..format.verify_receipt import CHECKSUMS, ROWS, VerifyReceipt
from ..model import Digest, StorageKind
from ..storage.files import remove_tree
from .archive_proof import verify_archive
from .course import Course
from .left_out import LeftOut
from .meter import Meter
from .operations import Work
from .recovery_open import open_collection
from .replay_log import ReplayLogs
from .roll_forward import Rolled, RollForward, foresee
from .routes import Route, snapshots_wanted
from .snapshot_advice import advise
from .snapshot_catalog import LATEST, SnapshotCatalog
from .snapshot_chain import Chain, ChainFinder, Link, open_link
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_foretold import QUICK_BYTES, foretell, foretell_staged
from .snapshot_info import SnapshotInfo
from .snapshot_plan import RestorePlan, RestoreRequest, plan_restore
from .snapshot_publish import Publisher
from .snapshot_receipts import note_damage, receipt_of_use
from .snapshot_stage import Stager, staged_bytes, staged_rows
from .tickets import Caller, Outcome


class Restoration:
    """One restore; ``run`` is the whole of it. Runs on an operation's thread; blocks.

    ``info``: the snapshot; None where the log alone leads to the moment. ``route``: how that is reached; None: the
    snapshot's own moment is wanted.
    """

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        logs: ReplayLogs,
        request: RestoreRequest,
        info: SnapshotInfo | None,
        caller: Caller,
        work: Work,
        route: Route | None = None,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._logs = logs
        self._request = request
        self._info = info
        self._route = route
        self.start = 0 if route is None else route.start
        self._work = work
        self._meter = Meter(work)
        self._publisher = Publisher(context, request, caller)
        self._started_ns = context.clock.monotonic_ns()
        self._ids: dict[uuid.UUID, uuid.UUID] = {}
        self.rolled = Rolled()
        left_out = request.left_out, request.left_out_requests
        self.left_out = LeftOut(*left_out) if any(left_out) else None
        self._warnings: list[str] = [] if route is None else list(route.warnings)

    def run(self) -> dict[str, Any]:
        """Restore; returns the result document. Raises HoldfastError; before the record the store is as it was."""
        try:
            return self._restore()
        except Corruption as error:
            note_damage(self._context, self._catalog, error)
            self._advise(error)
            raise
        except OutOfRange as error:
            if self._route is not None and self._info is None and self._route.history.source.elsewhere:
                error.hint = f"{snapshots_wanted(self._route.history)}; or {error.hint}"
            raise
        except OSError as error:
            raise disk_error(error, "nothing was restored", self._context.layout.collections) from error

    def _advise(self, error: Corruption) -> None:
        """Say what brings back what was asked for. Of a moment the same command does, now that the damage is known."""
        wanted = None if self._info is None else self._info.record
        if self._route is None:
            advise(self._catalog, self._logs, error, wanted)
            return
        advise(self._catalog, self._logs, error)
        if self._catalog.path_in(error.path):
            again = (
                "the same command again takes" if self._request.snapshot == LATEST else "`latest` in its place takes"
            )
            error.hint = f"{again} another way to that moment, if there is one; {error.hint}"

    def _restore(self) -> dict[str, Any]:
        context = self._context
        plan = _plan(context, self._catalog, self._request, self._info, self._route, self._id_of)
        if self._route is None:
            self._warnings += plan.warnings
        with self._chain_of(plan) as chain:
            self._distrust(chain)
            needed = staged_bytes(chain, plan.sources) + self._bytes_to_roll()
            context.check_space(context.layout.collections, needed)
            if self._request.validate_only:
                return self._dry_run(plan, chain)
            times = self._times(chain)
            plan, outcome = self._carry_out(plan, chain)
            # While nobody may put another file in the place of one that was read.
            with contextlib.suppress(OSError):
                read = [link for link in chain.links if link.path in times]
                self._catalog.note({link.path: self._receipt(link, plan, times[link.path]) for link in read})
        return self._document(plan, chain, outcome)

    def _times(self, chain: Chain) -> dict[str, int]:
        """When the links were last written to, before they are read; of one that does not tell there is no receipt."""
        times = {}
        for link in chain.links:
            with contextlib.suppress(OSError):
                times[link.path] = self._context.fs.modified_ns(link.path)
        return times

    def _receipt(self, link: Link, plan: RestorePlan, modified_ns: int) -> VerifyReceipt:
        """Every byte of a link was read, and with --verify every row of the collections that were restored."""
        all_rows = self._request.verify and {each.spec.id for each in link.manifest.collections} <= plan.sources
        level = ROWS if all_rows else CHECKSUMS
        return receipt_of_use(self._context, link.path, modified_ns=modified_ns, level=level)

    def _distrust(self, chain: Chain) -> None:
        """Of a chain with a file that was found damaged once, every byte and row is proven before anything is touched.

        It is not refused: the file may have been put right since, and nobody has looked.
        """
        for link in chain.links:
            record = self._catalog.record_at(link.path)
            if record is not None and record.damage:
                self._request = replace(self._request, verify=True)
                self._warnings.append(
                    f"{record.id} was found damaged before ({record.damage}): all of it is verified before anything is "
                    "touched, as with --verify"
                )

    def _dry_run(self, plan: RestorePlan, chain: Chain) -> dict[str, Any]:
        if self._route is not None:
            return self._dry_run_of_moment(self._route, plan, chain)
        assert self._info is not None, "without a route it is a snapshot's own moment"
        finder = ChainFinder(self._context.fs, self._catalog, self._request.base_path)
        changes, warnings = foretell(self._context, finder, self._meter, self._info, plan)
        self._warnings += warnings
        return self._document(plan, chain, None) | {"changes": changes}

    def _dry_run_of_moment(self, route: Route, plan: RestorePlan, chain: Chain) -> dict[str, Any]:
        """Where something may be replaced, and telling how it would change is quick, it is staged as the restore would,
        and thrown away; else the log alone is read."""
        if not self._request.overwrite:
            return self._document(self._foreseen(route, plan), chain, None)
        if staged_bytes(chain, plan.sources) + self._bytes_to_roll() > QUICK_BYTES:
            self._warnings.append(
                "how what is there would change takes reading more than a dry run does: restore one collection of that "
                "moment beside it, with --from-collection NAME and --collection NEW_NAME, and look"
            )
            return self._document(self._foreseen(route, plan), chain, None)
        try:
            reached = self._stage(plan, chain)
            changes, warnings = foretell_staged(self._context, self._meter, reached)
        finally:
            self._discard()
        self._warnings += warnings
        return self._document(reached, chain, None) | {"changes": changes}

    def _carry_out(self, plan: RestorePlan, chain: Chain) -> tuple[RestorePlan, Outcome]:
        """Returns the plan as it was carried out: of a moment it is known only when the log has been read."""
        if self._request.verify:
            self._verify(chain)
        with contextlib.ExitStack() as held:
            try:
                plan = self._stage(plan, chain)
                self._work.begin_final_phase("publishing")
                self._publisher.hold_off(held)
                outcome = self._publisher.commit(plan)
            except CommitUnknown:
                raise
            except BaseException:
                self._discard()
                raise
            self._publisher.settle(plan)
        self._warnings += self._publisher.warnings
        return plan, outcome

    # What -----------------------------------------------------------------------------------------------------------

    def _chain_of(self, plan: RestorePlan) -> contextlib.AbstractContextManager[Chain]:
        """The archives that this is made of; while they are read nobody deletes or replaces them."""
        if self._info is None:
            return contextlib.nullcontext(Chain(()))
        finder = ChainFinder(self._context.fs, self._catalog, self._request.base_path)
        return finder.hold(self._info, plan.sources)

    def _id_of(self, source: uuid.UUID) -> uuid.UUID:
        """The id under which a collection is restored; the same each time."""
        if source not in self._ids:
            self._ids[source] = self._context.randomness.uuid4()
        return self._ids[source]

    def _foreseen(self, route: Route, plan: RestorePlan) -> RestorePlan:
        """The plan with the moment in it, for which the log is read and nothing staged."""
        course = self._course(plan)
        records = self._logs.between(route.history.source, route.start, route.to)
        self.rolled = foresee(records, course, self._meter.advance, self.left_out)
        if self.left_out is not None:
            self.left_out.check()
            if self.left_out.unchecked:
                self._warnings.append(
                    "a deletion of every point is left out: whether points of it were written since turns out when it "
                    "is carried out, and refuses it then"
                )
        if self.rolled.operations:
            self._warnings.append(
                f"the vectors are those of {plan.manifest.id or 'the beginning of the log'}: {self.rolled.operations} "
                "operations follow, and what they add and remove is not counted"
            )
        known = {each.spec.id: each for each in plan.manifest.collections}
        collections = tuple(
            known.get(spec.id) or SnapshotCollection(spec, 0, Digest(), spec.created_us)
            for spec in course.here.values()
        )
        return self._reached(route, plan, collections, course)

    def _course(self, plan: RestorePlan) -> Course:
        """Where the way to a moment begins: with what is taken of the snapshot."""
        request, wanted = self._request, wanted_names(self._request, plan)
        sources = [each.spec for each in plan.manifest.collections if each.spec.id in plan.sources]
        implied = request.implied or request.from_collection is None
        not_meant = None if not implied or wanted is None or request.collection in wanted else request.collection
        return Course(wanted, sources, plan.manifest.aliases, not_meant=not_meant)

    def _reached(
        self, route: Route, plan: RestorePlan, collections: tuple[SnapshotCollection, ...], course: Course
    ) -> RestorePlan:
        """What a snapshot of that moment would have been restored as."""
        manifest = replace(
            plan.manifest,
            sequence=route.to,
            time_us=self.rolled.time_us or plan.manifest.time_us,
            timeline=max(plan.manifest.timeline, route.history.timeline_at(route.to)),
            collections=collections,
            aliases=course.aliases,
        )
        reached = plan_restore(self._request, manifest, self._context.applier.catalog, self._id_of)
        self._warnings += [*reached.warnings, *_left_behind(manifest, plan, route)]
        return reached

    def _bytes_to_roll(self) -> int:
        route = self._route
        return 0 if route is None else route.history.bytes_between(route.start, route.to)

    # Before anything is visible -------------------------------------------------------------------------------------

    def _verify(self, chain: Chain) -> None:
        """Read every archive of the chain before the first byte is staged."""
        self._meter.begin("verifying", chain.member_bytes, sum(link.manifest.vectors for link in chain.links))
        for link in chain.links:
            verify_archive(open_link(self._context.fs, link), self._meter.advance)

    def _stage(self, plan: RestorePlan, chain: Chain) -> RestorePlan:
        """Stage the snapshot, roll it forward where a moment is wanted; returns the plan of what is there then."""
        context, entries = self._context, []
        if plan.targets:
            self._meter.begin("staging", chain.member_bytes, staged_rows(chain, plan.sources))
            specs = {target.number: target.spec for target in plan.targets}
            entries = Stager(context, chain, specs).run(self._meter.advance, deep=self._request.verify)
        if self._route is not None:
            return self._roll(self._route, plan, entries)
        for entry in entries:
            # What cannot be opened must not reach the applier, where it would end the process.
            open_collection(context.fs, context.layout, entry)
        return plan

    def _roll(self, route: Route, plan: RestorePlan, entries: list[CollectionEntry]) -> RestorePlan:
        """Bring what is staged forward along the route; a snapshot of that moment would have had this plan."""
        context, history = self._context, route.history
        course = self._course(plan)
        roll = RollForward(context, course, self._id_of, self.left_out)
        sources = {self._id_of(each.spec.id): each.spec for each in plan.manifest.collections}
        for entry in entries:
            roll.begin(sources[entry.spec.id], entry, route.start)
        self._meter.begin("rolling forward", history.bytes_between(route.start, route.to), 0)
        roll.run(self._logs.between(history.source, route.start, route.to), self._meter.advance)
        if self.left_out is not None:
            course.check_end()
            self.left_out.check()
        self.rolled = roll.done
        self._meter.begin("proving", 0, roll.count)
        collections = tuple(roll.finish(route.to, self._meter.advance, deep=self._request.verify))
        self._check_against_live(collections, route)
        return self._reached(route, plan, collections, course)

    def _check_against_live(self, collections: tuple[SnapshotCollection, ...], route: Route) -> None:
        """Where a collection was not written to since the moment, both must be the same. Raises Corruption."""
        if self.left_out is not None or not self._logs.is_own(route.history.source):
            return
        for each in collections:
            live = self._context.applier.catalog.get(each.spec.id)
            if live is None or live.quarantined or each.spec.storage is StorageKind.MEMORY:
                continue
            view = live.view
            if view.sequence <= route.to and (view.count, view.digest) != (each.count, each.digest):
                raise Corruption(
                    f"{each.spec.name} as rolled forward has {each.count} rows with the digest {each.digest.hex()}; "
                    f"the live one, not written to since, has {view.count} with {view.digest.hex()}",
                    path=self._context.layout.collection_dir(each.spec.id),
                    reason="DIGEST_MISMATCH",
                    hint="check them with `holdfast storage snapshot verify` and `holdfast storage wal verify`",
                )

    def _discard(self) -> None:
        """Remove the staging; what cannot be removed is garbage to the next start."""
        for collection_id in self._ids.values():
            with contextlib.suppress(OSError):
                remove_tree(self._context.fs, self._context.layout.collection_dir(collection_id))

    # The result -----------------------------------------------------------------------------------------------------

    def _document(self, plan: RestorePlan, chain: Chain, outcome: Outcome | None) -> dict[str, Any]:
        overwritten = [target.spec.name for target in plan.targets if target.replaces is not None]
        return {
            "snapshot_id": plan.manifest.id,
            "collections_restored": plan.names,
            "vectors_restored": plan.vectors,
            "duration_ms": (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000,
            "status": "planned" if outcome is None else "completed",
            "collections_untouched": list(plan.untouched),
            "collections_overwritten": sorted(overwritten),
            "chain": chain.ids,
            "restored_through_sequence": plan.manifest.sequence,
            "restored_through_us": plan.manifest.time_us,
            "operations_replayed": self.rolled.operations,
            "verified": self._request.verify,
            "sequence": 0 if outcome is None else outcome.sequence,
            "warnings": self._warnings,
        }


def refuse_early(
    context: SnapshotContext,
    catalog: SnapshotCatalog,
    request: RestoreRequest,
    info: SnapshotInfo | None,
    route: Route | None = None,
) -> RestorePlan:
    """Refuse what names and archives decide, before an operation begins; returns what is staged of the snapshot.

    Blocks: reads the manifests of its chain. Raises as ``plan_restore`` and ``ChainFinder.find``.
    """
    plan = _plan(context, catalog, request, info, route, lambda _: context.randomness.uuid4())
    if info is not None:
        ChainFinder(context.fs, catalog, request.base_path).find(info, plan.sources)
    return plan


def _plan(
    context: SnapshotContext,
    catalog: SnapshotCatalog,
    request: RestoreRequest,
    info: SnapshotInfo | None,
    route: Route | None,
    new_id: Callable[[uuid.UUID], uuid.UUID],
) -> RestorePlan:
    if info is not None:
        manifest = catalog.open(info).manifest
    else:
        assert route is not None, "without a snapshot it is a moment that is wanted"
        manifest = nothing(route)
    return plan_restore(request, manifest, context.applier.catalog, new_id, begins=route is not None)


def wanted_names(request: RestoreRequest, plan: RestorePlan) -> frozenset[str] | None:
    """The names, in the history, of what is to be restored; None where that is the whole store."""
    if plan.whole:
        return None
    return plan.source_names or frozenset({request.from_collection or ""})


def nothing(route: Route) -> SnapshotManifest:
    """What a snapshot from before the first operation would have held."""
    return SnapshotManifest(
        id="",
        store_id=route.history.source.store_id,
        timeline=1,
        sequence=0,
        time_us=0,
        created_us=0,
        everything=True,
        planes=False,
        collections=(),
        aliases={},
    )


def _left_behind(manifest: SnapshotManifest, plan: RestorePlan, route: Route) -> list[str]:
    """What is to be said of collections whose writes no log has."""
    known = plan.sources
    return [
        f"{each.spec.name} lives in memory, and its writes are not in the log: it is "
        + (f"as {manifest.id} has it" if each.spec.id in known else "empty")
        for each in manifest.collections
        if each.spec.storage is StorageKind.MEMORY and route.to > route.start
    ]
