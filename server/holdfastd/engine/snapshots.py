"""Snapshots by command: create, list, restore, verify, compare, consolidate, delete, prune.

What takes long runs as an operation; what can be refused at once is refused before it begins.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ..errors import HoldfastError, InvalidArgument, NotFound
from ..format.subset import Subset, parse_subset
from ..format.verify_receipt import CHECKSUMS
from ..model import Sequence64, StorageKind
from ..storage.bulk import Pace, Quiet, never, unpaced
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.store_errors import StoreError
from ..storage.wal_files import WalFileInfo
from .answers import Answers
from .apply import Applier
from .checkpoint import Checkpointer
from .committer import Committer
from .description import check_description
from .disk_errors import disk_errors_of
from .history import Ending
from .log_archive_footing import Footings
from .manifest_keeper import ManifestKeeper
from .moments import Moments
from .operations import Operation, OperationRegistry
from .pitr_window import PitrWindow, pitr_window
from .places import check_snapshot_place
from .replay_log import ReplayLogs
from .retention import Retention
from .room import Room
from .settings import EngineConfig
from .snapshot_advice import Adviser, damage_told
from .snapshot_base import choose_base
from .snapshot_catalog import SnapshotCatalog
from .snapshot_consolidate import Consolidation, finder_of, look
from .snapshot_context import SnapshotContext
from .snapshot_coverage import covered_through
from .snapshot_create import SnapshotCreation, forget_history
from .snapshot_diff import DiffRequest, SnapshotComparison, names_to_compare, sides_of
from .snapshot_download import Download
from .snapshot_errors import check_allowed
from .snapshot_info import SnapshotInfo, SnapshotListing, along_the_log
from .snapshot_marks import Marks, check_not_pinned
from .snapshot_plan import RestoreRequest
from .snapshot_prune import Pruned, PruneRequest, Pruning, anywhere, carry_out, check_collection, check_policy
from .snapshot_request import SnapshotRequest
from .snapshot_restore import Restoration, refuse_early
from .snapshot_sides import LIVE
from .snapshot_upload import Uploads
from .snapshot_verify import Verification, VerifyRequest
from .tickets import NOBODY, Caller
from .wal_control import WalControl

__all__ = [
    "DiffRequest",
    "Marks",
    "PruneRequest",
    "Pruned",
    "RestoreRequest",
    "SnapshotInfo",
    "SnapshotListing",
    "SnapshotRequest",
    "Snapshots",
    "VerifyRequest",
]


class Snapshots:
    """See the module. Thread-safe. ``load`` comes first."""

    def __init__(
        self,
        *,
        fs: FileSystem,
        layout: Layout,
        clock: Clock,
        randomness: Randomness,
        applier: Applier,
        committer: Committer,
        keeper: ManifestKeeper,
        checkpointer: Checkpointer,
        operations: OperationRegistry,
        config: EngineConfig,
        room: Room,
        logs: ReplayLogs,
        control: WalControl,
        retention: Retention,
        pace: Pace = unpaced,
        backup_pace: Pace = unpaced,
        quiet: Quiet = never,
    ) -> None:
        self._context = SnapshotContext(
            fs=fs,
            layout=layout,
            clock=clock,
            randomness=randomness,
            applier=applier,
            committer=committer,
            keeper=keeper,
            checkpointer=checkpointer,
            config=config,
            pace=pace,
            backup_pace=backup_pace,
            quiet=quiet,
        )
        self._operations = operations
        self._room = room
        self._logs = logs
        self._retention = retention
        self._catalog = SnapshotCatalog(fs, layout)
        self._ends = control.ends
        self._adviser = Adviser(self._catalog, logs)
        self.footings = Footings(
            fs,
            self._catalog,
            lambda: keeper.current,
            lambda: [each.spec for each in applier.catalog.collections.values()],
        )
        self.moments = Moments(self._context, self._catalog, logs, control, retention, operations)
        self.uploads = Uploads(self._context, self._catalog)
        self._answers = Answers(fs, layout.receipts, clock)
        problem = self._answers.problem
        self.known = self._catalog.known
        """What the registry knows, newest first: blocks for the names of files, and looks into no directory."""
        self.unverified_since_us = self._catalog.unverified_since_us
        self.warnings: tuple[str, ...] = () if problem is None else (problem,)

    def load(self) -> None:
        """Read the registry, remove what a crash left half-written. Blocks; call once, at start."""
        self._catalog.load(str(self._context.keeper.current.store_id))
        problem = self.uploads.load()
        if problem is not None:
            self.warnings = (*self.warnings, problem)
        self._retention.newest_snapshot = self._newest_moment

    def _newest_moment(self) -> Sequence64 | None:
        return self._catalog.newest_moment(self._context.keeper.current.reaches_back_to)

    def covered_through(self) -> Sequence64:
        """The newest sequence of which, or of later ones, snapshots can bring back every collection that there is, but
        for those in memory, of which no log knows; 0 for none. Blocks for the names of files."""
        collections = self._context.applier.catalog.collections.values()
        logged = [str(each.spec.id) for each in collections if each.spec.storage is not StorageKind.MEMORY]
        return covered_through(self.known(), self._context.keeper.current.reaches_back_to, logged)

    # Long work ------------------------------------------------------------------------------------------------------

    def start_create(self, request: SnapshotRequest, *, caller: Caller) -> Operation:
        """Begin a snapshot. Raises NotFound for an unknown collection, InvalidArgument for a path among the store's own
        files.

        FailedPrecondition for an incremental one, where no snapshot can be its base.
        """
        asked: tuple[str | int | None, ...] = (request.collection, request.path, request.compress)
        if request.incremental:
            asked = (*asked, "incremental", request.base_id)
        if request.description or request.pinned:
            asked = (*asked, "marked", check_description(request.description), request.pinned)
        caller = caller.asking("create snapshot", *asked)
        if request.path is not None:
            layout = self._context.layout
            logs = map(layout.wal_dir, self._context.keeper.current.wal_directories)
            archive = self._context.config.archive_path
            check_snapshot_place(self._context.fs, layout, layout.resolve(request.path), logs, archive)
        catalog = self._context.applier.catalog
        names = sorted(catalog.names)
        if request.collection is not None:
            names = [catalog.resolve(request.collection).spec.name]
        if request.incremental and self._operations.begun(caller.request_id, caller.request_digest) is None:
            wanted = None if request.collection is None else catalog.resolve(request.collection).spec.id
            current = self._context.keeper.current
            with damage_told(self._context, self._catalog, self._logs), disk_errors_of("looking for the base"):
                self._catalog.undisturbed(lambda: choose_base(self._catalog, current, wanted, request.base_id))
        return self._operations.start(
            "snapshot",
            lambda work: SnapshotCreation(self._context, self._catalog, request, work).run(),
            request={
                "collection": request.collection,
                "collections": names,
                "path": request.path,
                "compress": request.compress,
                "incremental": request.incremental,
            },
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
            planned=request.validate_only,
        )

    def start_restore(self, request: RestoreRequest, *, caller: Caller) -> Operation:
        """Begin a restore. What the snapshot and the names decide is refused here, before anything is begun.

        Raises NotFound, AlreadyExists, InvalidArgument, UnsupportedFormat or Corruption; OutOfRange, with the window,
        for a moment of the history that nothing leads to.
        """
        asked: tuple[str | int | None, ...] = (request.snapshot, request.collection, request.from_collection)
        asked = (*asked, request.overwrite, request.verify)
        if request.base_path is not None or request.ending is not None:
            ending = request.ending or Ending()
            asked = (*asked, request.base_path, ending.sequence, ending.time_us)
        if request.wal_path is not None:
            asked = (*asked, request.wal_path)
        caller = caller.asking("restore", *asked)
        known = None if request.validate_only else self._operations.begun(caller.request_id, caller.request_digest)
        if known is not None:
            return known
        if request.ending is not None:
            return self.moments.start_restore(request, caller=caller)
        info = self.get(request.snapshot, base_path=request.base_path)
        damaged = damage_told(self._context, self._catalog, self._logs, info.record)
        try:
            with damaged, disk_errors_of(f"reading {info.path}"):
                plan = refuse_early(self._context, self._catalog, request, info)
        except HoldfastError as error:
            if isinstance(error.__cause__, StoreError) and not info.foreign:
                error.hint = f"{error.hint}; {along_the_log(info)}"
            raise
        return self._operations.start(
            "restore",
            lambda work: Restoration(self._context, self._catalog, self._logs, request, info, caller, work).run(),
            request={
                "snapshot": info.id,
                "path": info.path,
                "collections": plan.names,
                "overwrite": request.overwrite,
                "verify": request.verify,
            },
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
            planned=request.validate_only,
        )

    def subset(self, text: str, seed: int = 0) -> Subset | None:
        """The part of a snapshot that a text means, None for "", which is all; without a seed a random one is drawn.

        Raises InvalidArgument.
        """
        return parse_subset(text, seed or self._context.randomness.u64()) if text else None

    def start_verify(self, request: VerifyRequest, *, caller: Caller) -> Operation:
        """Begin verifying a snapshot and its chain.

        Raises NotFound, UnsupportedFormat, InvalidArgument or Corruption.
        """
        request.check()
        info = self.get(request.snapshot, base_path=request.base_path)
        asked: tuple[str | int | None, ...] = (request.snapshot,)
        if request.skip_chain or request.base_path is not None:
            asked = (*asked, request.skip_chain, request.base_path)
        if request.level != CHECKSUMS or request.subset is not None:
            asked = (*asked, "level", request.level, None if request.subset is None else request.subset.text)
        caller = caller.asking("verify snapshot", *asked)
        return self._operations.start(
            "verify",
            lambda work: Verification(
                self._context, self._catalog, self._room, self._adviser, request, info, work
            ).run(),
            request={
                "snapshot": info.id,
                "path": info.path,
                "collections": list(info.collections),
            },
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
        )

    def start_diff(self, request: DiffRequest, *, caller: Caller) -> Operation:
        """Begin comparing two snapshots, or one with the live store. Nothing is changed by it.

        Raises NotFound, InvalidArgument, UnsupportedFormat or Corruption: what the manifests decide is told at once.
        """
        asked: tuple[str | int | None, ...] = (request.first, request.second, request.collection, request.sample)
        caller = caller.asking("compare snapshots", *asked, request.base_path)
        known = self._operations.begun(caller.request_id, caller.request_digest)
        if known is not None:
            return known
        references = (request.first, request.second)
        if references == (LIVE, LIVE):
            raise InvalidArgument("the live store is the same as itself", field="first", hint="name a snapshot")
        first, second = (None if each == LIVE else self.get(each, base_path=request.base_path) for each in references)
        with disk_errors_of("reading what is to be compared"):
            names, _ = names_to_compare(*sides_of(self._context, self._catalog, (first, second)), request.collection)
        return self._operations.start(
            "diff",
            lambda work: SnapshotComparison(self._context, self._catalog, request, (first, second), work).run(),
            request={
                "first": LIVE if first is None else first.id,
                "second": LIVE if second is None else second.id,
                "collections": names,
            },
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
        )

    def start_consolidate(
        self, snapshot: str, *, caller: Caller, validate_only: bool = False, allowed: Callable[[str], bool] = anywhere
    ) -> Operation:
        """Begin deleting a snapshot whose increments are made full ones first. Where there are none it is just deleted.

        ``allowed``: whether the caller may change a file at this absolute path. Raises NotFound, InvalidArgument,
        FailedPrecondition, PermissionDenied or Corruption: what is missing or damaged by what is known is told at once.
        """
        caller = caller.asking("consolidate snapshot", snapshot)
        known = None if validate_only else self._operations.begun(caller.request_id, caller.request_digest)
        if known is not None:
            return known
        with disk_errors_of(f"looking for what builds on {snapshot}"):
            info = self._catalog.get_named(snapshot)
            check_not_pinned(info)
            increments = look(self._catalog, info)
            for each in (info, *increments):
                check_allowed(allowed, each.path)
            finder = finder_of(self._context, self._catalog)
            for each in increments:
                finder.find(each)
        return self._operations.start(
            "consolidate",
            lambda work: Consolidation(
                self._context, self._catalog, self._room, info, self._delete_now, work, validate_only=validate_only
            ).run(),
            request={"snapshot": info.id, "path": info.path, "collections": list(info.collections)},
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
            planned=validate_only,
        )

    # Short work -----------------------------------------------------------------------------------------------------

    def listing(self, path: str | None = None, collection: str | None = None) -> SnapshotListing:
        """Snapshots, newest first: those that the store knows, or those in the directory ``path``; with warnings.

        What is found there is known from then on. Blocks; durable on return.
        """
        with disk_errors_of("listing snapshots"):
            return self._catalog.listing(path, collection)

    def list(self, path: str | None = None, collection: str | None = None) -> list[SnapshotInfo]:
        """As ``listing``, without the warnings."""
        return self.listing(path, collection).snapshots

    def get(self, snapshot: str, *, base_path: str | None = None) -> SnapshotInfo:
        """The snapshot that an id, ``latest`` or a path stands for; ``base_path``: where else its links may lie.

        Raises NotFound, InvalidArgument, FailedPrecondition or Corruption.
        """
        with disk_errors_of(f"reading {snapshot}"):
            return self._catalog.get(snapshot, base_path=base_path)

    def chain(self, info: SnapshotInfo) -> tuple[SnapshotInfo, ...]:
        """The snapshots that one builds on, base first; none of a full one.

        It begins with one whose ``state`` is missing where a link is nowhere. Blocks: may read manifests.
        """
        with disk_errors_of(f"looking for what {info.id} builds on"):
            return self._catalog.chain(info)

    def window(self, log: tuple[WalFileInfo, ...]) -> PitrWindow:
        """From which moment on history can be brought back along these WAL segments. Blocks."""
        return pitr_window(log, self._context.keeper.current, self._catalog.known(), self._ends)

    def download(self, snapshot: str) -> Download:
        """A snapshot's file on its way to somebody elsewhere. Raises as ``get``."""
        return Download(self._context, self._catalog, self.get(snapshot))

    def delete(
        self,
        snapshot: str,
        *,
        caller: Caller = NOBODY,
        validate_only: bool = False,
        allowed: Callable[[str], bool] = anywhere,
    ) -> SnapshotInfo:
        """Delete a snapshot's file; returns the snapshot as it was. Raises NotFound or FailedPrecondition.

        ``allowed``: whether the caller may delete a file at this absolute path; else PermissionDenied.
        A collection that no snapshot covers any more forgets that one did, so that its history is no longer kept; while
        a snapshot is being written, not before that one is done.
        """

        def look() -> SnapshotInfo:
            with disk_errors_of(f"deleting {snapshot}"):
                info = self._catalog.delete(snapshot, validate_only=True)
            check_allowed(allowed, info.path)
            return info

        if validate_only:
            return look()
        caller = caller.asking("delete snapshot", snapshot)
        # On a full disk this is what makes room, so it may have the reserve.
        return self._room.insist(lambda: self._answers.once(caller, SnapshotInfo, look, self._delete))

    def mark(self, snapshot: str, marks: Marks, *, caller: Caller = NOBODY) -> SnapshotInfo:
        """Pin or unpin a snapshot, or say what it is for; returns it as it is then. Blocks; durable on return.

        Raises NotFound, InvalidArgument, FailedPrecondition for a file that no id stands for.
        """
        if marks.description:
            check_description(marks.description)
        if marks == Marks():
            raise InvalidArgument(
                "nothing is to be said of the snapshot", field="pinned", hint="send pinned or description"
            )

        def look() -> SnapshotInfo:
            with disk_errors_of(f"reading {snapshot}"):
                info = self._catalog.get_named(snapshot)
            return replace(info, record=marks.on(info.record))

        def do(info: SnapshotInfo) -> SnapshotInfo:
            with disk_errors_of(f"marking {info.id}"):
                self._catalog.mark(info, marks)
            return info

        caller = caller.asking("mark snapshot", snapshot, marks.pinned, marks.description)
        return self._answers.once(caller, SnapshotInfo, look, do)

    def prune(self, request: PruneRequest, *, caller: Caller = NOBODY, validate_only: bool = False) -> Pruned:
        """Delete the snapshots that a policy does not keep, as far as nobody uses them; returns what became of each.

        Blocks; each deletion is durable, and one that fails leaves those before it done: sent again, the request goes
        on from there. Raises InvalidArgument for a policy that keeps nothing, NotFound, or what the disk says.
        """
        check_policy(request.policy)
        catalog = self._context.applier.catalog
        if request.collection is not None:
            request = replace(request, collection=self.name_of(request.collection))
        pruning = Pruning(self._context.fs, self._catalog, request, self.moments.lost_with)

        def look() -> Pruned:
            with disk_errors_of("looking for snapshots to be pruned"):
                found = pruning.look(self._context.clock.now_us())
            if request.collection is not None:
                check_collection(request.collection, found, catalog.names)
            return found

        if validate_only:
            return look()
        policy = request.policy
        counts = (policy.last, policy.hourly, policy.daily, policy.weekly, policy.monthly, policy.yearly)
        caller = caller.asking("prune snapshots", *counts, policy.within_us, request.path, request.collection)
        return self._answers.once(caller, Pruned, look, self._carry_out)

    def name_of(self, collection: str) -> str:
        """The name of the collection that an alias stands for; any other name as it is."""
        catalog = self._context.applier.catalog
        aliased = catalog.aliases.get(collection)
        return collection if aliased is None else catalog.collections[aliased].spec.name

    def _carry_out(self, pruned: Pruned) -> Pruned:
        try:
            return carry_out(pruned, lambda info: self._room.insist(lambda: self._delete_at(info.path, info)))
        finally:
            self._forget(*pruned.going)

    def _delete_now(self, info: SnapshotInfo) -> None:
        # On a full disk this is what makes room, so it may have the reserve.
        self._room.insist(lambda: self._delete(info))

    def _delete(self, info: SnapshotInfo) -> SnapshotInfo:
        """Delete what is left of a snapshot: after a crash half of it may be gone, and all of it by another's hand."""
        for reference in (info.id, info.path):
            self._delete_at(reference, info)
        self._forget(info)
        return info

    def _delete_at(self, reference: str, info: SnapshotInfo) -> None:
        """Delete a snapshot if it is still the one that the reference stands for."""
        with disk_errors_of(f"deleting {info.id}"), suppress(NotFound):
            found = self._catalog.get(reference)
            if (found.id, found.path) == (info.id, info.path):
                self._catalog.delete(reference)

    def _forget(self, *deleted: SnapshotInfo) -> None:
        """Let collections that no snapshot covers any more forget that one did."""
        self._catalog.doubt(uuid.UUID(member.collection_id) for info in deleted for member in info.record.members)
        forget_history(self._context, self._catalog)
