"""Recovery: from what a stop or a crash left on the disk to a state that may serve.

    manifest   what the store consisted of at its last checkpoint
    open       its collections, with what is damaged set aside: nothing is touched yet (recovery_open)
    judge      where the log ends: torn tail or corruption? nothing is touched yet
    leave      where durable history is to be cut, the manifest goes to a new timeline first (recovery_history)
    settle     the tail is cut and made durable
    mend       damaged parts of id indexes are made anew
    apply      every record after the checkpoint, through the one function that applies changes (recovery_apply)
    publish    a manifest that says so (new timeline, too, where acknowledged writes may have been lost)
    continue   the log, or a new WAL segment that says what is missing before it
    clean      files that neither manifest nor log names are removed, and only now (recovery_garbage)

Single-threaded. A crash anywhere leaves a store from which the next start gets to the same state. A start from the
manifest before the current one is in ``recovery_fallback``, that of a new store in ``recovery_create``.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace

import msgspec

from ..model import MmapSettings, StorageKind, renewed
from ..storage import faults
from ..storage import manifest as manifest_files
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem, make_dirs
from ..storage.id_index import IdIndex
from ..storage.manifest import LoadedManifest
from ..storage.names import Layout
from ..storage.wal import NewLock
from ..storage.wal_reader import Mode, read_log
from ..storage.wal_recovery import RecoveredLog, judge_log, settle_log
from .apply import Applier
from .collection import Collection
from .manifest_keeper import ManifestKeeper
from .recovered import RecoveredStore, RecoveryReport
from .recovery_apply import apply_log
from .recovery_create import create_store
from .recovery_fallback import find_fallback
from .recovery_garbage import remove_garbage
from .recovery_history import continue_log, cut_below_reflected, known_through, leave_timeline, may_have_lost_writes
from .recovery_open import StartOpener, staged_opener
from .requests import RequestTable, store_requests
from .settings import EngineConfig
from .wal_locks import WalLocks


def open_store(
    fs: FileSystem,
    layout: Layout,
    clock: Clock,
    randomness: Randomness,
    config: EngineConfig,
    make_lock: NewLock,
    wal_locks: WalLocks,
) -> RecoveredStore:
    """Open or create the store in ``layout``, whose lock is held; ``wal_locks`` is to hold those of the log. Blocks.

    Raises Corruption (nothing was touched), UnsupportedFormat, FailedPrecondition, DataDirectoryLocked or EngineFailed.
    """
    started_ns = clock.monotonic_ns()
    loaded = manifest_files.load(fs, layout)
    if loaded is None:
        store = create_store(fs, layout, clock, randomness, config, make_lock, wal_locks)
    else:
        wal_locks.hold(map(layout.wal_dir, loaded.manifest.wal_directories))
        store = _Recovery(fs, layout, clock, randomness, config, make_lock, loaded).run()
    elapsed_ms = (clock.monotonic_ns() - started_ns) / 1e6
    return replace(store, report=replace(store.report, duration_ms=elapsed_ms))


class _Recovery:
    """One recovery of an existing store; ``run`` is the walk through it."""

    def __init__(
        self,
        fs: FileSystem,
        layout: Layout,
        clock: Clock,
        randomness: Randomness,
        config: EngineConfig,
        make_lock: NewLock,
        loaded: LoadedManifest,
    ) -> None:
        self.fs = fs
        self.layout = layout
        self.clock = clock
        self.randomness = randomness
        self.mode: Mode = "strict" if config.recovery == "strict" else "point-in-time"
        self.make_lock = make_lock
        self.fallback = find_fallback(fs, layout, loaded)
        self.manifest = loaded.manifest if self.fallback is None else self.fallback.manifest
        self.keeper = ManifestKeeper(fs, layout, self.manifest)
        self.warnings = [] if loaded.problem is None else [f"{loaded.problem}; recovered from {loaded.path}"]
        self.last_words = faults.last_words(fs, layout)
        bad_page = self.last_words is not None and faults.BUS_ERROR in self.last_words
        self.opener = StartOpener(fs, layout, self._mmap_of, thorough=bad_page)
        self.applier = Applier(self.opener.open_restored, IdIndex)
        self.requests = RequestTable()
        self.records = 0

    def run(self) -> RecoveredStore:
        for path in (self.layout.collections, self.layout.snapshots, self.layout.operations):
            make_dirs(self.fs, path)
        self._sync_names()
        self._adopt()
        recovered = self._recover_log()
        self._renew_memory_collections()
        self.applier.publish()
        cut = cut_below_reflected(self.manifest, recovered, self.applier.sequence)
        self._publish(recovered, cut)
        log = continue_log(
            self.fs,
            self.layout,
            self.clock,
            self.randomness,
            self.make_lock,
            self.keeper.current,
            recovered,
            self.applier,
            cut=cut,
        )
        requests_file = self.keeper.current.requests_file
        remove_garbage(self.fs, self.layout, self.manifest, self.applier.catalog, requests_file)
        self.applier.open_restored = staged_opener(self.fs, self.layout, self._mmap_of)
        self._mind_last_words()
        closed = recovered.files if log is None else ()
        return RecoveredStore(self.keeper, self.applier, self.requests, log, self._report(recovered), closed)

    def _mmap_of(self, collection_id: uuid.UUID) -> MmapSettings:
        return self.keeper.current.mmap_of(collection_id)

    def _report(self, recovered: RecoveredLog) -> RecoveryReport:
        return RecoveryReport(
            records=self.records,
            cut_bytes=recovered.cut_bytes,
            copies=recovered.copies,
            new_timeline=self.keeper.current.timeline != self.manifest.timeline,
            warnings=(*self.warnings, *self.opener.warnings),
            rebuilt=tuple(self.opener.rebuilt),
        )

    def _mind_last_words(self) -> None:
        """Say what ended the daemon before this one; where that was a bad page that is still there, look again."""
        if self.last_words is None:
            return
        damaged = any(each.quarantined for each in self.applier.catalog.collections.values())
        where = self.layout.faults
        if not damaged:
            # A full disk is no reason to refuse the data; then the next start says it once more.
            with suppress(OSError):
                faults.set_aside(self.fs, self.layout)
                where = self.layout.last_faults
        self.warnings.append(
            f"the last daemon was ended by a fatal signal, {self.last_words!r}: {where} has its stacks"
        )

    # What the manifest names ----------------------------------------------------------------------------------------

    def _sync_names(self) -> None:
        """What a killed daemon had made or renamed and not synced is here, and would be taken for durable."""
        for path in (self.layout.root, self.layout.collections, self.layout.operations, *self._directories()):
            if self.fs.exists(path):
                self.fs.sync_dir(path)

    def _adopt(self) -> None:
        manifest = self.manifest
        self.applier.adopt(
            [self.opener.open(e) for e in manifest.collections],
            manifest.aliases,
            manifest.sequence,
            manifest.catalog_origin or None,
        )
        self.applier.time_us = manifest.last_timestamp_us
        self.applier.marks = {mark.name: mark for mark in manifest.marks}

    def _load_requests(self, recovered: RecoveredLog) -> None:
        """The answers that the manifest goes with, but for those that a crash or a cut of the log has belied."""
        name = self.manifest.requests_file
        if name is None:
            return
        path = f"{self.layout.root}/{name}"
        try:
            self.requests = RequestTable.load(self.fs.read(path))
        except (ValueError, OSError) as error:
            # No reason to refuse the data: what is lost is the protection of retries for the last ten minutes.
            self.warnings.append(
                f"{path}: {error}; writes before sequence {self.manifest.sequence} that are sent again are done again"
            )
        self.requests.forget_lost(known_through(self.manifest, recovered.last_sequence))

    # The log --------------------------------------------------------------------------------------------------------

    def _directories(self) -> list[str]:
        return [self.layout.wal_dir(path) for path in self.manifest.wal_directories]

    def _recover_log(self) -> RecoveredLog:
        manifest = self.manifest
        verdict = judge_log(
            self.fs,
            self._directories(),
            store_id=manifest.store_id,
            from_sequence=manifest.log_start_required,
            required_sequence=manifest.logged_sequence,
            mode=self.mode,
        )
        if self.fallback is not None:
            verdict, warning = self.fallback.settle(self.fs, verdict, strict=self.mode == "strict")
            self.warnings += [warning] if warning is not None else []
        if verdict.problem is not None:
            self.warnings.append(f"history was cut: {verdict.problem.path}: {verdict.problem.message}")
            leave_timeline(self.keeper, manifest, verdict)
        recovered = settle_log(self.fs, verdict)
        self._load_requests(recovered)
        for collection in self.applier.catalog.collections.values():
            self.opener.mend(collection)
        # Also when the log is disabled: what was acknowledged before that may not be in any segment yet.
        self._apply_log()
        # The last records may be reflected already, and those before them not: the counters never go back (RULES 1).
        self.applier.sequence = max(self.applier.sequence, manifest.sequence, recovered.last_sequence)
        self.applier.time_us = max(self.applier.time_us, manifest.last_timestamp_us, recovered.last_timestamp_us)
        return recovered

    def _apply_log(self) -> None:
        records = read_log(
            self.fs,
            self._directories(),
            store_id=self.manifest.store_id,
            from_sequence=self.manifest.log_start_required,
            mode=self.mode,
            # Those behind the manifest's start were left by a recovery that went on from what the catalog reflected.
            allow_gaps=True,
        )
        self.records = apply_log(records, self.manifest, self.applier, self.requests)

    # The manifest ---------------------------------------------------------------------------------------------------

    def _renew_memory_collections(self) -> None:
        """Give every memory collection a new id: its points are gone, it must not pass for the old one (RULES 30).

        No record tells of it, so the id has to: who follows the log knows a collection by its family.
        """
        catalog = self.applier.catalog
        for collection in list(catalog.collections.values()):
            spec = collection.spec
            if spec.storage is not StorageKind.MEMORY:
                continue
            fresh = Collection(
                replace(spec, id=renewed(spec.id, self.randomness.uuid4())),
                index=IdIndex(),
                sequence=collection.sequence,
                updated_us=collection.updated_us,
            )
            aliases = catalog.aliases_of(spec.id)
            catalog = catalog.without(spec.id).with_collection(fresh)
            for alias in aliases:
                catalog = catalog.with_alias(alias, fresh.spec.id)
        self.applier.catalog = catalog

    def _publish(self, recovered: RecoveredLog, cut: bool) -> None:
        """A manifest in which all changes of the catalog are reflected; points after the checkpoint stay in the log.

        ``cut``: history that is reflected is missing from the log.
        """
        catalog = self.applier.catalog
        entries = tuple(map(self.opener.entry_of, catalog.collections.values()))
        left = self.keeper.current.timeline != self.manifest.timeline
        forks = not left and may_have_lost_writes(self.manifest, catalog, fallback=self.fallback is not None)
        # A start that finds no WAL segment which begins after this refuses, instead of going on across the gap.
        gap = self.manifest.wal_settings.enabled and cut
        # The next start will not apply these changes of the catalog again, and could not tell what they answered.
        requests_file = store_requests(self.fs, self.layout, self.requests.rows(), self.applier.sequence)
        through = known_through(self.manifest, recovered.last_sequence)
        self.keeper.update(
            lambda manifest: replace(
                manifest.leaving_timeline(through) if forks else manifest,
                sequence=self.applier.sequence,
                logged_sequence=self.applier.sequence if gap else recovered.last_sequence,
                last_timestamp_us=max(self.applier.time_us, recovered.last_timestamp_us),
                collections=entries,
                aliases=dict(catalog.aliases),
                marks=tuple(self.applier.marks.values()),
                requests_file=requests_file,
                catalog_origin=catalog.origin or msgspec.UNSET,
                clean=False,
            )
        )
