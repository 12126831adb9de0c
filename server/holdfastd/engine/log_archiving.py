"""Archiving as the engine has it: there where ``--archive-path`` names a place, and nothing at all elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..errors import FailedPrecondition
from ..model import Sequence64
from ..storage.files import parent_of
from ..storage.wal import WalFileInfo
from .log_archive_footing import Footings
from .log_archive_prune import ArchivePruneRequest, ArchivePruning, PrunedArchive
from .log_archive_status import NOT_ARCHIVED, ArchiveReach, ArchiveStatus
from .log_archive_thread import ArchiveThread
from .log_archiver import LogArchiver, Shipped
from .log_holdings import FOREIGN
from .log_now import log_now
from .machinery import Ground, Machinery
from .operations import Operation, OperationRegistry, Work
from .places import check_archive_place
from .snapshot_info import SnapshotInfo
from .tickets import Caller


class Archiving:
    """See the module. ``start`` and ``finish`` are for who starts and stops the store, the rest is for any thread.

    ``closed_files``: what is left of the log while it is switched off. ``known``: the snapshots in the registry.
    ``covered_through``: as for ``LogArchiver``. ``footings``: what a pruned archive stands on.
    """

    def __init__(
        self,
        ground: Ground,
        machinery: Machinery,
        closed_files: Callable[[], tuple[WalFileInfo, ...]],
        known: Callable[[], Iterable[SnapshotInfo]],
        covered_through: Callable[[], Sequence64],
        footings: Footings,
    ) -> None:
        self._ground = ground
        self._machinery = machinery
        self._closed_files = closed_files
        self._known = known
        self._covered_through = covered_through
        self._footings = footings
        self.archiver = self._archiver() if ground.config.archive_path else None
        self._thread = None if self.archiver is None else ArchiveThread(self.archiver)

    def load(self) -> str | None:
        """Check the place, and read what is kept of it; returns what was wrong with that, or None. Once, at start.

        Blocks, but asks no network. Raises InvalidArgument for a place among the store's own files, OSError.
        """
        if self.archiver is None:
            return None
        ground, directory = self._ground, self.archiver.directory
        logs = map(ground.layout.wal_dir, ground.store.keeper.current.wal_directories)
        snapshots = (parent_of(info.path) for info in self._known())
        check_archive_place(ground.fs, ground.layout, directory, {*logs, *snapshots})
        problem = self.archiver.load()
        self._machinery.retention.unarchived_from = self.archiver.keeps_from
        return problem

    def start(self) -> None:
        """Start the thread."""
        if self._thread is not None:
            self._thread.start()

    def finish(self) -> None:
        """Ship what is durable now, and end. Blocks for the archive, though not for long."""
        if self._thread is not None:
            self._thread.finish()

    def look(self) -> None:
        """Bring the alarms up to date, without asking the archive."""
        if self.archiver is not None:
            self.archiver.look()

    def status(self) -> ArchiveStatus:
        """How far archiving is, and what the archive held when it was looked over last; it is not asked for this."""
        return NOT_ARCHIVED if self.archiver is None else self.archiver.status()

    def reach(self) -> ArchiveReach | None:
        """Where the archive leads; None for nowhere, and before it was looked over. It is not asked for this."""
        status = self.status()
        unbroken = () if status.contents is None else status.contents.chain.unbroken
        header = unbroken[0].header if unbroken else None
        if header is None or (status.failure is not None and status.failure.code == FOREIGN):
            return None
        return ArchiveReach(header.previous_sequence, status.behind_us, self._ground.store.keeper.current)

    def check_on(self) -> LogArchiver:
        """What archives the log; raises FailedPrecondition where nothing does."""
        if self.archiver is None:
            raise FailedPrecondition(
                "the log is not archived",
                reason="ARCHIVE_OFF",
                hint="name a place for it in the daemon's settings, --archive-path DIR|URL, and restart it",
            )
        return self.archiver

    def flush(self) -> Shipped:
        """Bring everything that was acknowledged into the archive. Blocks; raises what keeps it from that.

        FailedPrecondition (WAL_DISABLED) where some of it is in no log; what is in one was archived then.
        """
        archiver, log = self.check_on(), self._machinery.committer.log
        if log is not None:
            log.sync()
        shipped = archiver.flush()
        logged = self._ground.store.keeper.current.logged_sequence
        if log is None and self._ground.store.applier.sequence > logged:
            raise FailedPrecondition(
                f"the log is disabled since sequence {logged}: what was written since is in no log, and in no archive",
                reason="WAL_DISABLED",
                hint="enable it with `holdfast storage wal enable`, then make a snapshot: holdfast storage snapshot "
                "create",
            )
        return shipped

    def start_prune(self, request: ArchivePruneRequest, operations: OperationRegistry, *, caller: Caller) -> Operation:
        """Begin removing from the archive what no snapshot needs. Raises FailedPrecondition where there is none."""
        self.check_on()
        caller = caller.asking("prune archive", request.before, request.within_us)
        return operations.start(
            "prune_archive",
            lambda work: self.prune(request, work).document(),
            request={"before_snapshot": request.before, "keep_within_us": request.within_us},
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            actor=caller.actor,
            planned=request.validate_only,
        )

    def prune(self, request: ArchivePruneRequest, work: Work) -> PrunedArchive:
        """The same, at once. Blocks; raises as ``ArchivePruning.run``."""
        ground = self._ground
        return ArchivePruning(ground.fs, ground.clock, self.check_on(), self._footings).run(request, work)

    def _archiver(self) -> LogArchiver:
        ground, machinery = self._ground, self._machinery
        return LogArchiver(
            fs=ground.fs,
            layout=ground.layout,
            clock=ground.clock,
            alarms=machinery.alarms,
            directory=ground.layout.resolve(ground.config.archive_path),
            interval_us=ground.config.archive_interval_us,
            store_id=ground.store.keeper.current.store_id,
            pace=machinery.backup_pace,
            now=lambda: log_now(machinery.committer.log, self._closed_files()),
            covered_through=self._covered_through,
            trim=self._trim,
        )

    def _trim(self) -> None:
        log = self._machinery.committer.log
        if log is not None:
            self._machinery.retention.trim_again(log)
