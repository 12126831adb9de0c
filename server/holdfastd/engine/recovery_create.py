"""A store made in an empty data directory."""

from __future__ import annotations

from ..errors import FailedPrecondition
from ..format.manifest import Manifest
from ..storage import manifest as manifest_files
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem, make_dirs, make_lasting_dir
from ..storage.id_index import IdIndex
from ..storage.names import Layout
from ..storage.wal import NewLock, Wal
from .apply import Applier
from .manifest_keeper import ManifestKeeper
from .recovered import RecoveredStore, RecoveryReport
from .recovery_open import staged_opener
from .requests import RequestTable
from .settings import EngineConfig
from .wal_left import with_directory
from .wal_locks import LOCK_NAME, WalLocks


def create_store(
    fs: FileSystem,
    layout: Layout,
    clock: Clock,
    randomness: Randomness,
    config: EngineConfig,
    make_lock: NewLock,
    wal_locks: WalLocks,
) -> RecoveredStore:
    """Make the directories, a manifest and a log. Blocks. Raises FailedPrecondition where something lies already."""
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
    made = not fs.exists(log_dir)
    for path in (layout.collections, layout.snapshots, layout.operations):
        make_dirs(fs, path)
    make_lasting_dir(fs, log_dir)
    wal_locks.hold([log_dir])
    manifest = Manifest(
        store_id=randomness.uuid4(),
        timeline=1,
        generation=1,
        sequence=0,
        last_timestamp_us=0,
        wal_directories=(),
        wal_settings=settings,
    )
    manifest = with_directory(manifest, settings.path, made=made)
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
    applier = Applier(staged_opener(fs, layout, lambda id: keeper.current.mmap_of(id)), IdIndex)
    return RecoveredStore(keeper, applier, RequestTable(), log, RecoveryReport(created=True))
