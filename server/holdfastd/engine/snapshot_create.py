"""Creating a snapshot: every collection asked for, at one sequence, as one file.

    base      with --incremental: the snapshot to build on, or the reason why there is none; where its chain is long
              enough, a new one begins
    reserve   an id, noted in the registry before anything is written
    pin       the views of all collections between two groups: one sequence S; the log is made durable through S, and
              where S is in no log, the manifest: no start may give it to another write (RULES 4)
    plan      which rows, in which members, of which sizes; the digests are proven. Of a collection that the base
              holds: the rows written since, and the ids that are gone
    write     the archive under its ``.part`` name, synced; with the log disabled, a checkpoint of what is in it
    publish   the final name, durable; then the registry; then the collections remember S (RULES 21)

A failure or a cancellation before the final name removes the ``.part``; so does the next start after a crash.
"""

from __future__ import annotations

import contextlib
import errno
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from .. import __version__
from ..errors import Corruption, EngineFailed, HoldfastError, InvalidArgument
from ..format.manifest import Manifest
from ..format.snapshot import SnapshotCollection, SnapshotDelta, SnapshotManifest
from ..format.urls import is_object_url
from ..model import CollectionSpec, Sequence64, StorageKind
from ..storage.files import make_lasting_dir, parent_of
from ..storage.registry import PendingSnapshot, SnapshotMember
from ..storage.store_errors import StoreError
from .disk_errors import disk_errors_of
from .manifest_swap import swap_manifest
from .meter import Meter
from .operations import Work
from .snapshot_base import NO_BASE, Base, choose_base
from .snapshot_catalog import SnapshotCatalog
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_policy import cannot_grow, too_long
from .snapshot_record import make_record, record_of
from .snapshot_removed import NOTHING_REMOVED, RemovedIds, removed_since
from .snapshot_request import SnapshotRequest
from .snapshot_rows import TakenPart, digest_of, take
from .snapshot_write import Plan, write_archive
from .view import View


@dataclass(frozen=True, slots=True)
class Pinned:
    """The collections asked for, at ``sequence``. ``logged``: the log holds what led to it."""

    sequence: Sequence64
    time_us: int
    timeline: int
    views: tuple[View, ...]
    aliases: dict[str, uuid.UUID]
    logged: bool


class SnapshotCreation:
    """One snapshot being made; ``run`` is the whole of it. Runs on an operation's thread; blocks."""

    def __init__(
        self, context: SnapshotContext, catalog: SnapshotCatalog, request: SnapshotRequest, work: Work
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._request = request
        self._work = work
        self._started_ns = context.clock.monotonic_ns()
        self._created_us = context.clock.now_us()
        self._directory = context.layout.snapshots
        if request.path is not None:
            self._directory = context.layout.resolve(request.path)
        self._meter = Meter(work)
        self._begins_anew: str | None = None
        self._has_its_name = False

    def run(self) -> dict[str, Any]:
        """Write it; returns the result document. Raises HoldfastError; nothing is left then."""
        with self._held_base() as base:
            return self._create(base)

    def _create(self, base: Base | None) -> dict[str, Any]:
        compress = self._request.compress
        if self._request.validate_only:
            plan = self._plan("snap-0000-00-00-000000", self._pin(keep_history=False), base)
            size = plan.file_bytes(compress=compress)
            self._context.check_space(self._directory, size)
            return self._document(plan, "", size, "planned", [])
        while True:
            pending = self._reserve("gz" if compress else "snap")
            try:
                return self._carry_out(pending, base)
            except FileExistsError:
                # Another daemon took the name in the same second. Its file makes the next reservation another one.
                with disk_errors_of("giving up a name that another daemon took"):
                    self._catalog.abandon(pending)

    def _carry_out(self, pending: PendingSnapshot, base: Base | None) -> dict[str, Any]:
        """Raises FileExistsError where the reserved name turns out to be taken; another's files are left alone."""
        compress = self._request.compress
        try:
            pinned = self._pin(keep_history=True)
            plan = self._plan(pending.id, pinned, base)
            self._context.check_space(self._directory, plan.file_bytes(compress=compress))
            size, sums = self._write(plan, pending)
            self._outlive(pinned)
            self._work.begin_final_phase("publishing")
            self._publish(pending)
        except BaseException as error:
            if isinstance(error, FileExistsError) and error.filename in (pending.part_path, pending.path):
                raise
            self._clean_up(pending)
            if isinstance(error, OSError):
                raise disk_error(error, "the snapshot was not made", self._directory) from error
            raise
        warnings = self._record(plan, pending, size, sums)
        return self._document(plan, pending.path, size, "completed", warnings) | {
            "sha256": sums,
            "created_us": self._created_us,
        }

    def _publish(self, pending: PendingSnapshot) -> None:
        """Give the file its name. Raises FileExistsError, with that file gone, where another has the name."""
        fs = self._context.fs
        try:
            if fs.exists(pending.path):
                raise FileExistsError(errno.EEXIST, "another snapshot has the name", pending.path)
            fs.rename(pending.part_path, pending.path)
        except FileExistsError:
            fs.unlink(pending.part_path)
            raise
        except StoreError:
            # The answer may have been lost, and the upload be an object all the same.
            self._has_its_name = True
            raise
        self._has_its_name = True
        fs.sync_dir(self._directory)

    @contextlib.contextmanager
    def _held_base(self) -> Iterator[Base | None]:
        """The base, which nobody deletes before the registry knows what builds on it."""
        while True:
            base = self._choose_base()
            if base is None:
                yield None
                return
            with self._catalog.in_use(base.info.path):
                # Between being chosen and being held it may have been deleted.
                if self._context.fs.exists(base.info.path):
                    yield base
                    return

    def _choose_base(self) -> Base | None:
        if not self._request.incremental:
            return None
        context, collection = self._context, self._request.collection
        wanted = None if collection is None else context.applier.catalog.resolve(collection).spec.id
        with disk_errors_of("looking for the base"):
            base, self._begins_anew = self._catalog.undisturbed(lambda: self._judged_base(wanted))
        return base if self._begins_anew is None else None

    def _judged_base(self, wanted: uuid.UUID | None) -> tuple[Base, str | None]:
        """The base, and why its chain is not continued. Raises as ``choose_base``."""
        context, named = self._context, self._request.base_id
        base = choose_base(self._catalog, context.keeper.current, wanted, named)
        links = (*self._catalog.chain(base.info), base.info)
        if named is None:
            config = context.config
            most, percent = config.snapshot_max_links, config.snapshot_max_increment_percent
            return base, too_long(links, max_links=most, max_percent=percent)
        if cannot_grow(links):
            raise InvalidArgument(
                f"{base.info.id} cannot be the base of this snapshot: its chain has {len(links)} links, and a longer "
                "one could not be restored",
                field="base_id",
                reason=NO_BASE,
                hint="leave --base out: a full one is made then",
                snapshot=base.info.id,
            )
        return base, None

    def _reserve(self, suffix: str) -> PendingSnapshot:
        try:
            make_lasting_dir(self._context.fs, self._directory)
            return self._catalog.reserve(self._created_us, self._directory, suffix, pinned=self._request.pinned)
        except OSError as error:
            raise disk_error(error, "the snapshot was not begun", self._directory) from error

    # Pin ------------------------------------------------------------------------------------------------------------

    def _pin(self, *, keep_history: bool) -> Pinned:
        """The collections between two groups; on return their sequence is taken for good (RULES 4).

        ``keep_history``: nothing is to be made with what is pinned, where it is false, and nothing is written for it.
        """
        context = self._context
        self._work.report(phase="pinning")
        with context.checkpointer.exclusive():
            pinned: Pinned = context.committer.between_groups(self._pinned)
            log = context.committer.log
            if log is not None:
                try:
                    log.sync()
                except EngineFailed as error:
                    context.committer.fail(error)
                    raise
            if keep_history:
                self._hold_on_to(pinned)
            return pinned

    def _pinned(self) -> Pinned:
        """On the committing thread."""
        applier = self._context.applier
        catalog = applier.catalog
        wanted = list(catalog.collections.values())
        if self._request.collection is not None:
            wanted = [catalog.resolve(self._request.collection)]
        views = sorted((collection.view for collection in wanted), key=lambda view: view.spec.name)
        for view in views:
            view.require_whole("it cannot be backed up; others can, by name: holdfast storage snapshot create NAME")
        ids = {view.spec.id for view in views}
        return Pinned(
            sequence=applier.sequence,
            time_us=applier.time_us,
            timeline=self._context.keeper.current.timeline,
            views=tuple(views),
            aliases={alias: target for alias, target in sorted(catalog.aliases.items()) if target in ids},
            logged=self._context.committer.log is not None,
        )

    def _hold_on_to(self, pinned: Pinned) -> None:
        """Make S survive, and from S on keep what dies in collections that had no snapshot (RULES 4, 21).

        The first increment will ask for it; where there is a snapshot already, more than that is kept anyway. The
        checkpointer is held off meanwhile.
        """
        context = self._context
        known = {entry.spec.id: entry.high_water for entry in context.keeper.current.collections}
        alive = context.applier.catalog.collections
        kept = [view.spec.id for view in pinned.views if _is_kept(view.spec) and view.spec.id in alive]
        fresh = tuple(id for id in kept if not known.get(id))
        if not fresh and self._survives(pinned.sequence):
            return
        self._catalog.doubt(fresh)
        context.committer.between_groups(
            lambda: swap_manifest(context, lambda manifest: with_high_water(manifest, fresh, pinned.sequence))
        )

    def _survives(self, sequence: Sequence64) -> bool:
        """Whether a start after a kill or a power cut goes on behind ``sequence``."""
        log = self._context.committer.log
        logged = 0 if log is None else log.synced_sequence
        return sequence <= max(logged, self._context.keeper.current.sequence)

    # Plan -----------------------------------------------------------------------------------------------------------

    def _plan(self, snapshot_id: str, pinned: Pinned, base: Base | None) -> Plan:
        self._work.report(phase="planning")
        collections, taken, removed = [], [], []
        for view in pinned.views:
            since = 0 if base is None else base.since(self._context.keeper.current, view.spec.id)
            parts = take(view, pinned.sequence, planes=self._request.compress, since=since)
            gone = removed_since(view, pinned.sequence, since) if since else NOTHING_REMOVED
            self._prove(view, parts, gone, None if base is None or not since else base.member(view.spec.id))
            taken.append(parts)
            removed.append(gone)
            collections.append(_described(view, parts, gone, whole=not since))
            self._work.check_cancelled()
        manifest = SnapshotManifest(
            id=snapshot_id,
            store_id=self._context.keeper.current.store_id,
            timeline=pinned.timeline,
            sequence=pinned.sequence,
            time_us=pinned.time_us,
            created_us=self._created_us,
            everything=self._request.collection is None,
            planes=self._request.compress,
            collections=tuple(collections),
            aliases=pinned.aliases,
            base=None if base is None else base.named,
            daemon_version=__version__,
            description=self._request.description or msgspec.UNSET,
        )
        return Plan.of(manifest, taken, removed)

    def _prove(self, view: View, parts: list[TakenPart], gone: RemovedIds, before: SnapshotMember | None) -> None:
        """Raise Corruption unless what is taken makes what the collection counts: never back up a wrong state.

        ``before``: the collection as the base has it, of an increment.
        """
        count, digest = sum(len(part.rows) for part in parts), digest_of(parts)
        if before is not None:
            count += before.total_vectors - gone.died
            digest = digest.plus(*before.digest_halves).plus(-gone.died_digest.high, -gone.died_digest.low)
        if (count, digest) != (view.count, view.digest):
            what = "were found" if before is None else "follow from the base and what changed since"
            raise Corruption(
                f"{view.spec.name} counts {view.count} vectors with digest {view.digest.hex()}, but {count} rows with "
                f"digest {digest.hex()} {what}",
                path=self._context.layout.collection_dir(view.spec.id),
                reason="DIGEST_MISMATCH",
                hint="make a full snapshot; where that says the same, restore the collection from an older one"
                if before is not None
                else "restore the collection from an older snapshot; restart the daemon to recover it from the log",
            )

    # Write ----------------------------------------------------------------------------------------------------------

    def _write(self, plan: Plan, pending: PendingSnapshot) -> tuple[int, str]:
        """The whole archive under its ``.part`` name, durable but for the name: (its size, the SHA-256 of its sums)."""
        self._meter.begin("writing", plan.size, plan.manifest.vectors)
        advance, compress = self._meter.advance, self._request.compress
        return write_archive(self._context, plan, pending.part_path, advance, compress=compress)

    def _outlive(self, pinned: Pinned) -> None:
        """With the log disabled: make durable what the snapshot holds, or the store could lose what an increment on it
        takes for granted (RULES 4)."""
        if not pinned.logged:
            self._work.report(phase="checkpoint")
            self._context.checkpointer.run()

    def _clean_up(self, pending: PendingSnapshot) -> None:
        """Leave nothing: neither file nor note nor a reason to keep history."""
        fs = self._context.fs
        with contextlib.suppress(OSError):
            if fs.exists(pending.part_path):
                fs.unlink(pending.part_path)
            if self._has_its_name and self._is_ours(pending.path):
                fs.unlink(pending.path)
            fs.sync_dir(parent_of(pending.path))
        with contextlib.suppress(OSError):
            self._catalog.end_writing(pending)
        with contextlib.suppress(HoldfastError):
            forget_history(self._context, self._catalog)

    def _is_ours(self, path: str) -> bool:
        """Whether what has the name is this store's. A store that knows no conditions keeps nobody else away."""
        if not is_object_url(path):
            return self._context.fs.exists(path)
        with contextlib.suppress(HoldfastError, FileNotFoundError):
            found = record_of(self._context.fs, self._context.layout, path)
            return found.store_id == str(self._context.keeper.current.store_id)
        return False

    # Publish --------------------------------------------------------------------------------------------------------

    def _record(self, plan: Plan, pending: PendingSnapshot, size: int, sums: str) -> list[str]:
        """Let registry and manifest know. The snapshot is whole by now: what fails here is a warning."""
        manifest = plan.manifest
        record = make_record(
            manifest,
            path=pending.path,
            size_bytes=size,
            uncompressed_bytes=plan.size,
            compressed=self._request.compress,
        )
        warnings = []
        try:
            pinned = self._request.pinned
            self._catalog.put(replace(record, sha256=sums, duration_ms=self._elapsed_ms(), pinned=pinned))
        except OSError as error:
            warnings.append(f"the registry could not be written ({error.strerror}); the next start adds the snapshot")
        try:
            with self._context.checkpointer.exclusive():
                self._remember(manifest)
            forget_history(self._context, self._catalog)
        except EngineFailed:
            raise
        except HoldfastError as error:
            warnings.append(f"more history is kept than needed: {error.message}")
        return warnings

    def _remember(self, snapshot: SnapshotManifest) -> None:
        kept = tuple(collection.spec.id for collection in snapshot.collections if _is_kept(collection.spec))
        if kept:
            self._context.keeper.update(lambda manifest: with_high_water(manifest, kept, snapshot.sequence))

    # The result -----------------------------------------------------------------------------------------------------

    def _elapsed_ms(self) -> int:
        return (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000

    def _document(self, plan: Plan, path: str, size: int, status: str, warnings: list[str]) -> dict[str, Any]:
        manifest = plan.manifest
        return {
            "snapshot_id": manifest.id if path else "",
            "type": manifest.type,
            "collections": [collection.spec.name for collection in manifest.collections],
            "vectors": manifest.vectors,
            "size_bytes": size,
            "compressed": self._request.compress,
            "path": path or self._directory,
            "duration_ms": self._elapsed_ms(),
            "status": status,
            "sequence": manifest.sequence,
            "timeline": manifest.timeline,
            "uncompressed_bytes": plan.size,
            "warnings": [*self._full_instead(), *_volatile(manifest), *_whole_again(manifest), *warnings],
        } | (
            {}
            if manifest.base is None
            else {
                "base_id": manifest.base.id,
                "base_sequence": manifest.base.sequence,
                "deleted": sum(collection.deleted for collection in manifest.collections),
            }
        )

    def _full_instead(self) -> list[str]:
        if self._begins_anew is None:
            return []
        return [f"this is a full snapshot, with which a new chain begins: {self._begins_anew}"]


def _described(view: View, parts: list[TakenPart], gone: RemovedIds, *, whole: bool) -> SnapshotCollection:
    """A collection as the manifest has it."""
    delta: SnapshotDelta | msgspec.UnsetType = msgspec.UNSET
    if not whole:
        delta = SnapshotDelta(digest_of(parts), gone.sizes)
    entries = tuple(part.entry for part in parts)
    return SnapshotCollection(
        view.spec, view.count, view.digest, view.updated_us, entries, whole=whole, deleted=gone.count, delta=delta
    )


def _is_kept(spec: CollectionSpec) -> bool:
    """Whether an increment can ever build on it: a memory collection is another one after each start."""
    return spec.storage is not StorageKind.MEMORY


def with_high_water(manifest: Manifest, ids: tuple[uuid.UUID, ...], sequence: Sequence64) -> Manifest:
    """The manifest in which these collections remember ``sequence``; 0 forgets, anything else never goes back."""
    entries = tuple(
        replace(entry, high_water=max(entry.high_water, sequence) if sequence else 0) if entry.spec.id in ids else entry
        for entry in manifest.collections
    )
    return replace(manifest, collections=entries)


def forget_history(context: SnapshotContext, catalog: SnapshotCatalog) -> None:
    """Let the collections in doubt that no snapshot covers forget that one did: their history is no longer kept.

    One that is covered keeps its high water: what died before it may be gone. Call without the checkpointer's lock,
    which holds off snapshots that begin; blocks; durable on return.
    """
    with context.checkpointer.exclusive():
        gone = catalog.uncovered()
        if not any(entry.high_water and entry.spec.id in gone for entry in context.keeper.current.collections):
            return
        try:
            context.keeper.update(lambda manifest: with_high_water(manifest, gone, 0))
        except HoldfastError:
            catalog.doubt(gone)
            raise


def _whole_again(manifest: SnapshotManifest) -> list[str]:
    """What of an increment is none, though its base may hold it."""
    if manifest.base is None:
        return []
    names = [c.spec.name for c in manifest.collections if c.whole and _is_kept(c.spec) and c.count]
    return [f"{name} is whole in it: {manifest.base.id} does not hold it, or a later snapshot does" for name in names]


def _volatile(manifest: SnapshotManifest) -> list[str]:
    names = [c.spec.name for c in manifest.collections if c.spec.storage is StorageKind.MEMORY]
    return [f"{name} lives in memory: this snapshot is its only copy on a disk" for name in names]
