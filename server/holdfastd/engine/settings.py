"""What the engine is told when it is opened; everything else is in the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model import WalSettings
from .schedule import Schedule


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes in bytes. ``data_dir`` is absolute.

    ``memtable_bytes``: a collection is checkpointed beyond that; writers wait when all memtables together hold three
    times as much. ``laggard_bytes``: and once the log since then exceeds that.
    ``disk_reserve_bytes``: set aside for the day on which the disk is full; on a small disk less (see ``room``).
    ``background_bytes_per_second``: what checkpoints and restores write while clients write, and snapshots and the
    archive of the log a fifth of it; 0: no bound.
    ``snapshot_max_links``, ``snapshot_max_increment_percent``: when a new chain of snapshots begins (snapshot_policy).
    ``recovery_point_objective_us``, ``verify_within_us``: how old the newest snapshot may be while there is something
    newer, and how long none may have been verified, before an alarm says so; 0: no objective. ``host``: this machine's
    name, for receipts. ``archive_path``: where the log is archived, a directory or an object store's URL, or "" for
    nowhere; ``archive_interval_us``: how often, at least; ``archive_keep_within_us``: what a prune behind that of a
    schedule's snapshots keeps in any case, 0: there is none.
    ``recovery``: what to do with a damaged log, ``strict`` (refuse) or ``point-in-time`` (cut there, keep a copy).
    ``allowed_paths``: directories below which paths given over TCP must lie. ``fresh_wal``: the log's settings in
    a store that is created; later ones are in the manifest. ``schedules``: of snapshots, with names of their own.
    """

    data_dir: str
    memtable_bytes: int = 128 << 20
    laggard_bytes: int = 1 << 30
    recovery: str = "strict"
    auto_compact: bool = True
    allowed_paths: tuple[str, ...] = ()
    disk_reserve_bytes: int = 16 << 20
    background_bytes_per_second: int = 300_000_000
    snapshot_max_links: int = 100
    snapshot_max_increment_percent: int = 100
    recovery_point_objective_us: int = 0
    verify_within_us: int = 0
    host: str = ""
    archive_path: str = ""
    archive_interval_us: int = 60 * 1_000_000
    archive_keep_within_us: int = 0
    fresh_wal: WalSettings = field(default_factory=WalSettings)
    schedules: tuple[Schedule, ...] = ()
