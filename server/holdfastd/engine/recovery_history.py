"""What recovery knows of history: whether some of it may be missing, and the log in which it goes on."""

from __future__ import annotations

from dataclasses import replace

from ..format.manifest import Manifest
from ..model import Sequence64, StorageKind, SyncMode
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.wal import NewLock, Wal
from ..storage.wal_recovery import RecoveredLog, Verdict
from .apply import Applier
from .catalog import Catalog
from .manifest_keeper import ManifestKeeper


def may_have_lost_writes(manifest: Manifest, catalog: Catalog, *, fallback: bool) -> bool:
    """Whether acknowledged sequences may be missing, so that they must not be used again (RULES 2)."""
    settings = manifest.wal_settings
    if fallback:
        # The lost manifest may have changed how the log is synced.
        return True
    # Writes to memory collections take sequences, too, and no log tells how many.
    volatile = any(each.spec.storage is StorageKind.MEMORY for each in catalog.collections.values())
    lossless = settings.enabled and settings.sync_mode is SyncMode.FSYNC and not volatile
    return not manifest.clean and not lossless


def cut_below_reflected(manifest: Manifest, recovered: RecoveredLog, reached: Sequence64) -> bool:
    """Whether the log ends before logged operations that are reflected: no replay may run across that place.

    ``reached``: the store's sequence. The numbers of memory collections alone, which no log ever holds, are nothing
    that is missing.
    """
    return recovered.problem is not None and recovered.last_sequence < min(manifest.logged_sequence, reached)


def leave_timeline(keeper: ManifestKeeper, manifest: Manifest, verdict: Verdict) -> None:
    """Publish a new timeline while the log is still uncut: a crash must not leave a cut log on the old one.

    What segments reflect stays required of the log until a WAL segment says that history before it is missing.
    """
    logged = verdict.end.link.sequence if verdict.end is not None else 0
    end = max(logged, manifest.sequence)
    keeper.update(
        lambda current: replace(
            current.leaving_timeline(known_through(manifest, logged)),
            logged_sequence=min(current.logged_sequence, end),
            clean=False,
        )
    )


def known_through(manifest: Manifest, logged: Sequence64) -> Sequence64:
    """Through which sequence nothing is missing of the history that a start goes on with. ``logged``: the log's last.

    What the catalog reflects beyond the log is no more than its own changes, unless the log lost nothing.
    """
    if logged < manifest.logged_sequence:
        return max(logged, manifest.checkpoint_sequence)
    return max(logged, manifest.sequence if manifest.wal_settings.enabled else _checkpointed_through(manifest))


def _checkpointed_through(manifest: Manifest) -> Sequence64:
    """Of the last checkpoint, which reached all but quarantined collections: these take no writes, and the log is kept
    for what they took before."""
    entries = manifest.collections
    # One that no checkpoint has reached stands where it was made.
    reached = (e.checkpoint_sequence for e in entries if e.checkpoint_sequence > e.spec.created_sequence)
    return max(manifest.checkpoint_sequence, *reached, 0)


def continue_log(
    fs: FileSystem,
    layout: Layout,
    clock: Clock,
    randomness: Randomness,
    make_lock: NewLock,
    manifest: Manifest,
    recovered: RecoveredLog,
    applier: Applier,
    *,
    cut: bool,
) -> Wal | None:
    """The log, ready to be appended to; None where the manifest says that it is disabled. Blocks.

    ``cut``: whether reflected history is missing from it. Then, as after a log that was closed, a new WAL segment
    says that there is a gap before it.
    """
    settings = manifest.wal_settings
    if not settings.enabled:
        return None
    directory = layout.wal_dir(settings.path)
    if recovered.tail is None or recovered.closed or cut:
        return Wal.create(
            fs,
            clock,
            randomness,
            make_lock,
            directory,
            store_id=manifest.store_id,
            timeline=manifest.timeline,
            segment_size_bytes=settings.segment_size_bytes,
            first_sequence=applier.sequence + 1,
            previous_sequence=applier.sequence,
            last_timestamp_us=applier.time_us,
            gap_before=recovered.closed or bool(applier.sequence),
            older=recovered.files,
        )
    return Wal.open_after_recovery(
        fs,
        clock,
        randomness,
        make_lock,
        recovered,
        directory=directory,
        timeline=manifest.timeline,
        segment_size_bytes=settings.segment_size_bytes,
        # A new timeline leaves the one before where the store stands, which may be behind its last logged operation.
        first_sequence=applier.sequence + 1,
    )
