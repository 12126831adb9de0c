"""Restoring a snapshot: staged beside the live data, proven, then published at once.

    plan      which collections become which names; what exists and may be replaced
    verify    with --verify: the whole archive is read before anything is staged
    stage     under new ids, durable; checksums and digests hold, or nothing has happened
    publish   one record in the log, then one manifest (RULES 3); from the record on, recovery redoes it from staging
    clean     what was replaced is removed

A failure or a cancellation before the record leaves the store as it was and removes the staging.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..errors import (
    Aborted,
    AlreadyExists,
    CommitUnknown,
    Corruption,
    EngineFailed,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from ..format.snapshot import SnapshotManifest, data_members
from ..model import CatalogOrigin, CollectionSpec, Origin
from ..storage.files import remove_tree
from ..storage.names import check_collection_name
from . import writer
from .catalog import Catalog
from .changes import Restore, RestoredCollection
from .manifest_swap import swap_manifest
from .operations import Work
from .recovery_open import open_collection
from .snapshot_catalog import SnapshotCatalog
from .snapshot_chain import Chain, ChainFinder, open_link
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_info import SnapshotInfo
from .snapshot_stage import Stager
from .snapshot_verify import verify_archive
from .tickets import Caller, Outcome

REPORT_BYTES = 1 << 20
INDEX_BYTES_PER_ROW = 20


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What to restore. ``snapshot``: an id, ``latest`` or a path; ``collection``: the name to restore to.

    ``to_…`` and ``before_…``: where on the history to end, by sequence or time (µs).
    """

    snapshot: str
    collection: str | None = None
    from_collection: str | None = None
    overwrite: bool = False
    verify: bool = False
    validate_only: bool = False
    base_path: str | None = None
    to_sequence: int | None = None
    to_us: int | None = None
    before_sequence: int | None = None
    before_us: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One collection to be: its number in the archive, its spec, what it replaces, the aliases that it brings."""

    number: int
    spec: CollectionSpec
    replaces: uuid.UUID | None
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do. ``untouched``: names that a restore of everything leaves alone.

    ``whole``: a store is restored, every collection under its own name.
    """

    manifest: SnapshotManifest
    targets: tuple[Target, ...]
    untouched: tuple[str, ...]
    warnings: tuple[str, ...]
    whole: bool

    @property
    def names(self) -> list[str]:
        """The names that the collections will have, sorted."""
        return sorted(target.spec.name for target in self.targets)

    @property
    def sources(self) -> set[uuid.UUID]:
        """The ids, in the archive, of the collections that are restored."""
        return {self.manifest.collections[target.number].spec.id for target in self.targets}

    @property
    def vectors(self) -> int:
        """Live points that will be there."""
        return sum(self.manifest.collections[target.number].count for target in self.targets)


def refuse_unbuilt(request: RestoreRequest) -> None:
    """Raise Unimplemented for what the request may say and this version does not do."""
    targets = (request.to_sequence, request.to_us, request.before_sequence, request.before_us)
    if any(target is not None for target in targets):
        raise Unimplemented(
            "restoring to a point of the history is not built yet",
            reason="PITR_UNIMPLEMENTED",
            hint="restore the snapshot under another name, then roll it forward: holdfast storage wal replay --to",
        )


def plan_restore(
    request: RestoreRequest, manifest: SnapshotManifest, catalog: Catalog, new_id: Callable[[], uuid.UUID]
) -> RestorePlan:
    """Decide what becomes what. Raises InvalidArgument, NotFound or AlreadyExists; changes nothing.

    ``manifest``: of the snapshot itself, the last link of its chain.
    """
    chosen = _chosen(request, manifest)
    as_it_was = request.collection is None and request.from_collection is None
    targets, warnings = [], []
    for number in chosen:
        source = manifest.collections[number].spec
        name = request.collection or source.name
        replaces = _replaced(name, catalog, request)
        aliases: tuple[str, ...] = ()
        if as_it_was:
            aliases, more = _aliases(manifest, source.id, name, catalog, replaces)
            warnings += more
        origin = Origin(manifest.store_id, manifest.timeline, source.id, manifest.sequence)
        targets.append(Target(number, replace(source, id=new_id(), name=name, origin=origin), replaces, aliases))
    touched = {target.spec.name for target in targets}
    whole = as_it_was and manifest.everything
    untouched = tuple(sorted(catalog.names.keys() - touched)) if whole else ()
    return RestorePlan(manifest, tuple(targets), untouched, tuple(warnings), whole)


def _chosen(request: RestoreRequest, manifest: SnapshotManifest) -> list[int]:
    names = [collection.spec.name for collection in manifest.collections]
    if request.collection is not None:
        check_collection_name(request.collection)
    if request.from_collection is not None:
        if request.from_collection not in names:
            raise NotFound(
                f"{manifest.id} holds no collection {request.from_collection!r}",
                reason="COLLECTION_NOT_FOUND",
                hint=f"it holds {', '.join(sorted(names)) or 'none'}",
                collection=request.from_collection,
            )
        return [names.index(request.from_collection)]
    if request.collection is not None and len(names) != 1:
        raise InvalidArgument(
            f"{manifest.id} holds {len(names)} collections, and --collection {request.collection} names one target",
            field="from_collection",
            hint=f"say which with --from-collection: {', '.join(sorted(names)) or 'it is empty'}",
        )
    return list(range(len(names)))


def _replaced(name: str, catalog: Catalog, request: RestoreRequest) -> uuid.UUID | None:
    """The collection that has to make room for ``name``, or None. Raises AlreadyExists."""
    existing = catalog.names.get(name)
    catalog.check_free(name, except_id=existing)
    if existing is not None and not request.overwrite:
        raise AlreadyExists(
            f"a collection named {name!r} already exists",
            reason="COLLECTION_EXISTS",
            hint="replace it with --overwrite, or restore under another name with --collection",
            collection=name,
        )
    return existing


def _aliases(
    manifest: SnapshotManifest, source: uuid.UUID, name: str, catalog: Catalog, replaces: uuid.UUID | None
) -> tuple[tuple[str, ...], list[str]]:
    """The aliases of a collection that are free or point to it already, and what is to be said of the others."""
    wanted = [alias for alias, target in sorted(manifest.aliases.items()) if target == source]
    free, warnings = [], []
    for alias in wanted:
        holder = catalog.aliases.get(alias)
        if alias in catalog.names:
            warnings.append(f"the alias {alias} was not restored: a collection has that name")
        elif holder is None:
            free.append(alias)
        elif holder != replaces:
            other = catalog.collections[holder].spec.name
            warnings.append(f"the alias {alias} was left pointing to {other}, not to {name}")
    return tuple(free), warnings


class Restoration:
    """One restore; ``run`` is the whole of it. Runs on an operation's thread; blocks."""

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        request: RestoreRequest,
        info: SnapshotInfo,
        caller: Caller,
        work: Work,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._request = request
        self._info = info
        self._caller = caller
        self._work = work
        self._started_ns = context.clock.monotonic_ns()
        self._done_bytes = self._done_vectors = self._reported_bytes = 0
        self._warnings: list[str] = []

    def run(self) -> dict[str, Any]:
        """Restore; returns the result document. Raises HoldfastError; before the record the store is as it was."""
        try:
            return self._restore()
        except Corruption as error:
            with contextlib.suppress(OSError):
                self._catalog.note_damage(error)
            raise
        except OSError as error:
            raise disk_error(error, "nothing was restored", self._context.layout.collections) from error

    def _restore(self) -> dict[str, Any]:
        context = self._context
        plan = plan_restore(
            self._request, self._catalog.open(self._info).manifest, context.applier.catalog, context.randomness.uuid4
        )
        self._warnings += plan.warnings
        chain = ChainFinder(context.fs, self._catalog, self._request.base_path).find(self._info, plan.sources)
        context.check_space(context.layout.collections, _needed(plan, chain))
        if self._request.validate_only:
            return self._document(plan, chain, None)
        with self._catalog.in_use(*(link.path for link in chain.links)):
            outcome = self._carry_out(plan, chain)
        with contextlib.suppress(OSError):
            for link in chain.links:
                self._catalog.note_verified(link.path, context.clock.now_us())
        return self._document(plan, chain, outcome)

    def _carry_out(self, plan: RestorePlan, chain: Chain) -> Outcome:
        if self._request.verify:
            self._verify(plan, chain)
        with contextlib.ExitStack() as held:
            try:
                self._stage(plan, chain)
                self._work.begin_final_phase("publishing")
                self._hold_off(held)
            except BaseException:
                self._discard(plan)
                raise
            outcome = self._commit(plan)
            self._make_durable(plan)
        return outcome

    # Before anything is visible -------------------------------------------------------------------------------------

    def _verify(self, plan: RestorePlan, chain: Chain) -> None:
        """Read every archive of the chain before the first byte is staged."""
        self._begin_phase("verifying", chain, sum(link.manifest.vectors for link in chain.links))
        for link in chain.links:
            verify_archive(open_link(self._context.fs, link), self._advance)

    def _stage(self, plan: RestorePlan, chain: Chain) -> None:
        context = self._context
        self._begin_phase("staging", chain, _staged_vectors(plan, chain))
        specs = {target.number: target.spec for target in plan.targets}
        for entry in Stager(context, chain, specs).run(self._advance, deep=self._request.verify):
            # What cannot be opened must not reach the applier, where it would end the process.
            open_collection(context.fs, context.layout, entry)

    def _begin_phase(self, phase: str, chain: Chain, total_vectors: int) -> None:
        self._done_bytes = self._done_vectors = self._reported_bytes = 0
        total_bytes = sum(member.size for link in chain.links for member in data_members(link.manifest))
        self._work.report(
            phase=phase, done_bytes=0, done_vectors=0, total_bytes=total_bytes, total_vectors=total_vectors
        )

    def _advance(self, count: int, vectors: int) -> None:
        self._done_bytes += count
        self._done_vectors += vectors
        self._work.check_cancelled()
        if vectors or self._done_bytes - self._reported_bytes >= REPORT_BYTES:
            self._reported_bytes = self._done_bytes
            self._work.report(done_bytes=self._done_bytes, done_vectors=self._done_vectors)

    def _hold_off(self, held: contextlib.ExitStack) -> None:
        """Checkpoints, for as long as ``held`` lasts; with the log disabled writes as well.

        Without a log a kill takes the last writes, and never one before a restore that it leaves: what came before is
        in segments, and what comes meanwhile waits until the manifest has the restore.
        """
        context = self._context
        with contextlib.ExitStack() as turn:
            turn.enter_context(context.checkpointer.exclusive())
            if self._is_logged():
                held.enter_context(turn.pop_all())
                return
        # Not while checkpoints are held off: a write that is under way may be waiting for one.
        held.enter_context(context.committer.writes_held("a restore is being published"))
        while True:
            reached = context.keeper.current.checkpoint_sequence
            if context.applier.sequence > reached:
                reached = context.checkpointer.run()
            with contextlib.ExitStack() as turn:
                turn.enter_context(context.checkpointer.exclusive())
                # Only now do the log and the sequence stand still: it may have been enabled, another restore published.
                if self._is_logged() or context.applier.sequence == reached:
                    held.enter_context(turn.pop_all())
                    return

    def _is_logged(self) -> bool:
        return self._context.committer.log is not None

    def _discard(self, plan: RestorePlan) -> None:
        """Remove the staging; what cannot be removed is garbage to the next start."""
        for target in plan.targets:
            with contextlib.suppress(OSError):
                remove_tree(self._context.fs, self._context.layout.collection_dir(target.spec.id))

    # Publishing -----------------------------------------------------------------------------------------------------

    def _commit(self, plan: RestorePlan) -> Outcome:
        """The record: from here on the restore has happened, and recovery redoes it."""
        collections = tuple(
            RestoredCollection(
                target.spec,
                plan.manifest.collections[target.number].digest,
                plan.manifest.collections[target.number].count,
                target.replaces,
                target.aliases,
            )
            for target in plan.targets
        )
        submission = writer.make_submission(
            Restore(collections, plan.manifest.id, self._catalog_of(plan)),
            Caller(actor=self._caller.actor),
            barrier=True,
            check=lambda: self._check_unchanged(plan),
            after_sequence=plan.manifest.sequence,
        )
        try:
            return writer.commit(self._context.committer, submission)
        except CommitUnknown:
            # The record may be in the log: then the next start publishes what is staged, else it removes it.
            raise
        except BaseException:
            self._discard(plan)
            raise

    def _catalog_of(self, plan: RestorePlan) -> CatalogOrigin | None:
        """Whose catalog a replay may continue: another store's, where all of it has been restored as it was."""
        manifest = plan.manifest
        if not plan.whole or manifest.store_id == self._context.keeper.current.store_id:
            return None
        return CatalogOrigin(manifest.store_id, manifest.timeline, manifest.sequence)

    def _check_unchanged(self, plan: RestorePlan) -> None:
        """Raise unless names and aliases are as they were when the plan was made (on the committing thread)."""
        catalog = self._context.applier.catalog
        for target in plan.targets:
            if _replaced(target.spec.name, catalog, self._request) != target.replaces:
                raise Aborted(
                    f"the collection {target.spec.name!r} was created, replaced or deleted meanwhile",
                    hint="look at it again, and restore once more if that is still wanted",
                )
            for alias in target.aliases:
                catalog.check_free(alias)

    def _make_durable(self, plan: RestorePlan) -> None:
        """Name the restored collections in the manifest, remove what they replaced (RULES 3, 4)."""
        context = self._context
        try:
            context.committer.between_groups(partial(swap_manifest, context))
        except EngineFailed as error:
            context.committer.fail(error)
            raise _unknown(error) from error
        except (ResourceExhausted, FailedPrecondition) as error:
            if context.committer.log is None:
                raise _unknown(error) from error
            self._warnings.append(f"restored, but the manifest does not say so yet: {error.message}")
            return
        replaced = [target.replaces for target in plan.targets if target.replaces is not None]
        if not replaced:
            return
        # The restore is durable by now. A manifest that fails here has turned the store read-only, which alarms tell.
        with contextlib.suppress(HoldfastError, OSError):
            # Once more, so that the manifest before the current one does not name what is removed either.
            context.keeper.update(lambda manifest: manifest)
            for collection_id in replaced:
                remove_tree(context.fs, context.layout.collection_dir(collection_id))

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
            "verified": self._request.verify,
            "sequence": 0 if outcome is None else outcome.sequence,
            "warnings": self._warnings,
        }


def _unknown(error: HoldfastError) -> CommitUnknown:
    """The error for a restore that is made, and of which nobody knows whether a restart would find it."""
    return CommitUnknown(
        f"the collections are restored, but that could not be written to the disk: {error.message}; after a restart "
        "they may be as they were before",
        hint=error.hint,
    )


def _staged_vectors(plan: RestorePlan, chain: Chain) -> int:
    """Rows that the chosen collections have in all links together, those that later links replace included."""
    links = [(source, link) for source in plan.sources for link in chain.links_of(source)]
    return sum(collection.rows for source, link in links if (collection := link.collection(source)) is not None)


def _needed(plan: RestorePlan, chain: Chain) -> int:
    """Bytes that the staged files will take."""
    size = 0
    for link in chain.links:
        numbers = {n for n, each in enumerate(link.manifest.collections) if each.spec.id in plan.sources}
        size += sum(member.size for member in data_members(link.manifest) if member.collection in numbers)
    return size + _staged_vectors(plan, chain) * INDEX_BYTES_PER_ROW
