"""Recovery: from what a stop or a crash left on the disk to a state that may serve.

    manifest   what the store consisted of at its last checkpoint
    judge      where the log ends: torn tail or corruption? nothing is touched yet
    leave      where durable history is to be cut, the manifest goes to a new timeline first
    settle     the tail is cut and made durable
    apply      every record after the checkpoint, through the one function that applies changes
    publish    a manifest that says so (new timeline, too, where acknowledged writes may have been lost)
    clean      files that neither manifest nor log names are removed, and only now

Single-threaded. A crash anywhere leaves a store from which the next start gets to the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from ..errors import Corruption, FailedPrecondition
from ..format.manifest import CollectionEntry, Manifest
from ..model import CollectionSpec, Digest, StorageKind, SyncMode
from ..storage import manifest as manifest_files
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem, make_dirs, remove_tree
from ..storage.id_index import IdIndex, open_index
from ..storage.manifest import LoadedManifest
from ..storage.names import Layout, parse_kills_name, parse_requests_name, parse_uuid
from ..storage.segment import open_segment
from ..storage.wal import NewLock, Wal, WalFileInfo
from ..storage.wal_reader import Mode, read_log
from ..storage.wal_recovery import RecoveredLog, Verdict, judge_log, settle_log
from .apply import Applier
from .change_codec import decode_change
from .changes import DeleteIds, Truncate, UpsertRows
from .collection import Collection
from .manifest_keeper import ManifestKeeper
from .recovery_fallback import find_fallback
from .requests import RequestTable
from .settings import EngineConfig
from .tickets import Outcome
from .wal_locks import LOCK_NAME, WalLocks


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery did. ``cut_bytes``: torn tail removed; ``warnings``: for the operator's log."""

    created: bool = False
    records: int = 0
    cut_bytes: int = 0
    copies: tuple[str, ...] = ()
    new_timeline: bool = False
    duration_ms: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecoveredStore:
    """Everything that the engine is built from."""

    keeper: ManifestKeeper
    applier: Applier
    requests: RequestTable
    log: Wal | None
    report: RecoveryReport
    closed_files: tuple[WalFileInfo, ...] = ()


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
        store = _create_store(fs, layout, clock, randomness, config, make_lock, wal_locks)
    else:
        wal_locks.hold(map(layout.wal_dir, loaded.manifest.wal_directories))
        store = _Recovery(fs, layout, clock, randomness, config, make_lock, loaded).run()
    elapsed_ms = (clock.monotonic_ns() - started_ns) / 1e6
    return replace(store, report=replace(store.report, duration_ms=elapsed_ms))


def _create_store(
    fs: FileSystem,
    layout: Layout,
    clock: Clock,
    randomness: Randomness,
    config: EngineConfig,
    make_lock: NewLock,
    wal_locks: WalLocks,
) -> RecoveredStore:
    settings = config.fresh_wal
    log_dir = layout.wal_dir(settings.path)
    for path in (layout.collections, log_dir):
        if fs.exists(path) and set(fs.listdir(path)) - {LOCK_NAME}:
            raise FailedPrecondition(
                f"{path} is not empty, but there is no {layout.manifest}: this is no new store",
                reason="MANIFEST_MISSING",
                hint="put the manifest back, or choose an empty data directory and restore a snapshot into it",
                path=path,
            )
    for path in (layout.collections, layout.snapshots, layout.operations, log_dir):
        make_dirs(fs, path)
    wal_locks.hold([log_dir])
    manifest = Manifest(
        store_id=randomness.uuid4(),
        timeline=1,
        generation=1,
        sequence=0,
        last_timestamp_us=0,
        wal_directories=(settings.path,),
        wal_settings=settings,
    )
    # The manifest first: a log without one is refused, a manifest whose log was never begun is simply continued.
    manifest_files.commit(fs, layout, manifest)
    log = Wal.create(
        fs,
        clock,
        randomness,
        make_lock,
        log_dir,
        store_id=manifest.store_id,
        timeline=1,
        segment_size_bytes=settings.segment_size_bytes,
    )
    keeper = ManifestKeeper(fs, layout, manifest)
    return RecoveredStore(keeper, make_applier(fs, layout), RequestTable(), log, RecoveryReport(created=True))


def make_applier(fs: FileSystem, layout: Layout) -> Applier:
    """An applier that finds restored collections where they were staged."""

    def open_restored(spec: CollectionSpec) -> Collection:
        entry = read_staged_entry(fs, layout, spec)
        collection = open_collection(fs, layout, replace(entry, spec=spec, checkpoint_sequence=spec.created_sequence))
        # A memory collection too: its points have just been read from a file, and live until the daemon ends.
        collection.count, collection.digest = entry.count, entry.digest
        collection.publish()
        return collection

    return Applier(open_restored, IdIndex)


def open_collection(fs: FileSystem, layout: Layout, entry: CollectionEntry) -> Collection:
    """A collection as a manifest's entry describes it. Maps its segments; no work per row."""
    volatile = entry.spec.storage is StorageKind.MEMORY
    collection = Collection(
        entry.spec,
        index=open_index(fs, layout, entry.spec.id, entry.index_runs),
        segments=tuple(open_segment(fs, layout, entry.spec.id, segment) for segment in entry.segments),
        count=0 if volatile else entry.count,
        digest=Digest() if volatile else entry.digest,
        sequence=entry.checkpoint_sequence,
        updated_us=entry.updated_us,
        own_writes=entry.own_writes,
    )
    return collection


def read_staged_entry(fs: FileSystem, layout: Layout, spec: CollectionSpec) -> CollectionEntry:
    """What a restore left beside the segments of the collection that it staged. Raises Corruption."""
    path = f"{layout.collection_dir(spec.id)}/{STAGED_ENTRY}"
    try:
        return msgspec.json.decode(fs.read(path), type=CollectionEntry)
    except (OSError, msgspec.MsgspecError) as error:
        raise Corruption(
            f"the staged collection {spec.name!r} of a restore cannot be read: {error}",
            path=path,
            hint="restore the snapshot again into another data directory",
        ) from error


STAGED_ENTRY = "staged.json"


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
        self.applier = make_applier(fs, layout)
        self.requests = RequestTable()
        self.records = 0

    def run(self) -> RecoveredStore:
        manifest, layout = self.manifest, self.layout
        for path in (layout.collections, layout.snapshots, layout.operations):
            make_dirs(self.fs, path)
        self._sync_names()
        collections = [open_collection(self.fs, layout, entry) for entry in manifest.collections]
        self.applier.adopt(collections, manifest.aliases, manifest.sequence)
        self.applier.time_us = manifest.last_timestamp_us
        self.applier.marks = {mark.name: mark for mark in manifest.marks}
        self._load_requests()
        recovered = self._recover_log()
        self._renew_memory_collections()
        self.applier.publish()
        self._publish(recovered)
        log = self._continue_log(self.keeper.current, recovered)
        self._remove_garbage()
        report = RecoveryReport(
            records=self.records,
            cut_bytes=recovered.cut_bytes,
            copies=recovered.copies,
            new_timeline=self.keeper.current.timeline != manifest.timeline,
            warnings=tuple(self.warnings),
        )
        closed = recovered.files if log is None else ()
        return RecoveredStore(self.keeper, self.applier, self.requests, log, report, closed)

    def _sync_names(self) -> None:
        """A directory that a killed daemon had made and not synced is here, and would be taken for durable."""
        for path in (self.layout.root, self.layout.collections, *self._directories()):
            if self.fs.exists(path):
                self.fs.sync_dir(path)

    def _load_requests(self) -> None:
        name = self.manifest.requests_file
        if name is None:
            return
        path = f"{self.layout.root}/{name}"
        try:
            self.requests = RequestTable.load(self.fs.read(path))
        except (ValueError, FileNotFoundError) as error:
            # No reason to refuse the data: what is lost is the protection of retries for the last ten minutes.
            self.warnings.append(
                f"{path}: {error}; writes before sequence {self.manifest.sequence} that are sent again are done again"
            )

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
            self._leave_timeline(verdict)
        recovered = settle_log(self.fs, verdict)
        # Also when the log is disabled: what was acknowledged before that may not be in any segment yet.
        self._apply_log()
        # The last records may be reflected already, and those before them not: the counters never go back (RULES 1).
        self.applier.sequence = max(self.applier.sequence, manifest.sequence, recovered.last_sequence)
        self.applier.time_us = max(self.applier.time_us, manifest.last_timestamp_us, recovered.last_timestamp_us)
        return recovered

    def _leave_timeline(self, verdict: Verdict) -> None:
        """Publish a new timeline while the log is still uncut: a crash must not leave a cut log on the old one.

        What segments reflect stays required of the log until a WAL segment says that history before it is missing.
        """
        end = verdict.end.link.sequence if verdict.end is not None else 0
        end = max(end, self.manifest.sequence)
        self.keeper.update(
            lambda manifest: replace(
                manifest,
                timeline=manifest.timeline + 1,
                logged_sequence=min(manifest.logged_sequence, end),
                clean=False,
            )
        )

    def _apply_log(self) -> None:
        """Apply every operation that the manifest does not reflect (RULES 19)."""
        manifest = self.manifest
        records = read_log(
            self.fs,
            self._directories(),
            store_id=manifest.store_id,
            from_sequence=manifest.log_start_required,
            mode=self.mode,
            # Those behind the manifest's start were left by a recovery that went on from what the catalog reflected.
            allow_gaps=True,
        )
        for record in records:
            header = record.header
            try:
                logged = decode_change(record.payload)
            except ValueError as error:
                raise Corruption(
                    f"the record's checksums hold, but it is no operation: {error}",
                    path=record.path,
                    offset=record.offset,
                    hint="report this as a bug; --recovery=point-in-time keeps everything before this place",
                ) from error
            self.records += 1
            change, count = logged.change, 0
            if change is not None and self._is_news(change, header.sequence):
                count = self.applier.apply(change, header.sequence, header.timestamp_us, logged.origin_sequence).count
            if logged.request_id:
                outcome = Outcome(header.sequence, count, durable=True, time_us=header.timestamp_us)
                self.requests.remember(logged.request_id, outcome)

    def _is_news(self, change: object, sequence: int) -> bool:
        if isinstance(change, UpsertRows | DeleteIds | Truncate):
            collection = self.applier.catalog.get(change.collection_id)
            return collection is not None and sequence > collection.checkpoint_sequence
        return sequence > self.manifest.sequence

    def _may_have_lost_writes(self) -> bool:
        """Whether acknowledged sequences may be missing, so that they must not be used again (RULES 2)."""
        settings = self.manifest.wal_settings
        if self.fallback is not None:
            # The lost manifest may have changed how the log is synced.
            return True
        # Writes to memory collections take sequences, too, and no log tells how many.
        volatile = any(each.spec.storage is StorageKind.MEMORY for each in self.applier.catalog.collections.values())
        lossless = settings.enabled and settings.sync_mode is SyncMode.FSYNC and not volatile
        return not self.manifest.clean and not lossless

    def _cut_below_reflected(self, recovered: RecoveredLog) -> bool:
        """Whether the log ends before logged operations that are reflected: no replay may run across that place.

        The numbers of memory collections alone, which no log ever holds, are nothing that is missing.
        """
        end = recovered.last_sequence
        return recovered.problem is not None and end < min(self.manifest.logged_sequence, self.applier.sequence)

    def _continue_log(self, manifest: Manifest, recovered: RecoveredLog) -> Wal | None:
        settings = manifest.wal_settings
        if not settings.enabled:
            return None
        directory = self.layout.wal_dir(settings.path)
        if recovered.tail is None or recovered.closed or self._cut_below_reflected(recovered):
            return Wal.create(
                self.fs,
                self.clock,
                self.randomness,
                self.make_lock,
                directory,
                store_id=manifest.store_id,
                timeline=manifest.timeline,
                segment_size_bytes=settings.segment_size_bytes,
                first_sequence=self.applier.sequence + 1,
                previous_sequence=self.applier.sequence,
                last_timestamp_us=self.applier.time_us,
                gap_before=recovered.closed or bool(self.applier.sequence),
                older=recovered.files,
            )
        return Wal.open_after_recovery(
            self.fs,
            self.clock,
            self.randomness,
            self.make_lock,
            recovered,
            directory=directory,
            timeline=manifest.timeline,
            segment_size_bytes=settings.segment_size_bytes,
        )

    # The manifest ---------------------------------------------------------------------------------------------------

    def _renew_memory_collections(self) -> None:
        """Give every memory collection a new id: its points are gone, it must not pass for the old one (RULES 30)."""
        catalog = self.applier.catalog
        for collection in list(catalog.collections.values()):
            spec = collection.spec
            if spec.storage is not StorageKind.MEMORY:
                continue
            fresh = Collection(
                replace(spec, id=self.randomness.uuid4()),
                index=IdIndex(),
                sequence=collection.sequence,
                updated_us=collection.updated_us,
            )
            aliases = catalog.aliases_of(spec.id)
            catalog = catalog.without(spec.id).with_collection(fresh)
            for alias in aliases:
                catalog = catalog.with_alias(alias, fresh.spec.id)
        self.applier.catalog = catalog

    def _publish(self, recovered: RecoveredLog) -> None:
        """A manifest in which all changes of the catalog are reflected; points after the checkpoint stay in the log."""
        known = {entry.spec.id: entry for entry in self.manifest.collections}
        entries = tuple(
            known.get(collection.spec.id) or staged_or_new_entry(self.fs, self.layout, collection)
            for collection in self.applier.catalog.collections.values()
        )
        left = self.keeper.current.timeline != self.manifest.timeline
        forks = not left and self._may_have_lost_writes()
        # A start that finds no WAL segment which begins after this refuses, instead of going on across the gap.
        gap = self.manifest.wal_settings.enabled and self._cut_below_reflected(recovered)
        self.keeper.update(
            lambda manifest: replace(
                manifest,
                timeline=manifest.timeline + forks,
                sequence=self.applier.sequence,
                logged_sequence=self.applier.sequence if gap else recovered.last_sequence,
                last_timestamp_us=max(self.applier.time_us, recovered.last_timestamp_us),
                collections=entries,
                aliases=dict(self.applier.catalog.aliases),
                marks=tuple(self.applier.marks.values()),
                clean=False,
            )
        )

    # Garbage --------------------------------------------------------------------------------------------------------

    def _remove_garbage(self) -> None:
        """Remove what neither the manifest nor the log names; the log has been applied by now (RULES 3)."""
        live = {str(id): c for id, c in self.applier.catalog.collections.items()}
        for name in self.fs.listdir(self.layout.collections):
            if name not in live:
                remove_tree(self.fs, f"{self.layout.collections}/{name}")
            else:
                self._clean_collection(live[name])
        for name in self.fs.listdir(self.layout.root):
            if parse_requests_name(name) is not None and name != self.manifest.requests_file:
                self.fs.unlink(f"{self.layout.root}/{name}")

    def _clean_collection(self, collection: Collection) -> None:
        directory = self.layout.collection_dir(collection.spec.id)
        segments = {str(segment.info.id): segment for segment in collection.segments}
        for name in self.fs.listdir(directory):
            if parse_uuid(name) is not None and name not in segments:
                remove_tree(self.fs, f"{directory}/{name}")
        kills = {str(e.id): e.kills for entry in self.manifest.collections for e in entry.segments}
        for name in segments.keys() & kills.keys():
            for file in self.fs.listdir(f"{directory}/{name}"):
                if parse_kills_name(file) is not None and file != kills[name]:
                    self.fs.unlink(f"{directory}/{name}/{file}")
        self._clean_runs(collection)

    def _clean_runs(self, collection: Collection) -> None:
        directory = self.layout.ids_dir(collection.spec.id)
        if not self.fs.exists(directory):
            return
        runs = collection.index.entries
        if not runs:
            # Its name may not be durable; the next checkpoint makes it anew.
            remove_tree(self.fs, directory)
            return
        wanted = {path for run in runs for path in self.layout.run_files(collection.spec.id, run.name)}
        for name in self.fs.listdir(directory):
            if f"{directory}/{name}" not in wanted:
                self.fs.unlink(f"{directory}/{name}")


def staged_or_new_entry(fs: FileSystem, layout: Layout, collection: Collection) -> CollectionEntry:
    """The entry of a collection that no manifest knows yet: created or restored by the log."""
    spec = collection.spec
    if fs.exists(f"{layout.collection_dir(spec.id)}/{STAGED_ENTRY}"):
        entry = read_staged_entry(fs, layout, spec)
        return replace(entry, spec=spec, checkpoint_sequence=collection.checkpoint_sequence)
    return CollectionEntry(spec=spec, checkpoint_sequence=spec.created_sequence, count=0, digest=Digest())
