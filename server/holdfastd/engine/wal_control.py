"""The log by command: status, enable, disable, verify, dump, marks.

Settings change between two groups, on the committing thread; the manifest is replaced before the change takes effect,
so that a crash in between leaves either the old settings or the new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import AlreadyExists, FailedPrecondition, NotFound
from ..format.manifest import Manifest
from ..model import Mark, Sequence64, SyncMode, WalSettings
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem
from ..storage.names import Layout, check_mark_name
from ..storage.wal import LoggedRecord, NewLock, Wal, WalFileInfo
from ..storage.wal_reader import read_log
from ..storage.wal_verify import LogCheck, verify_log
from . import writer
from .apply import Applier
from .change_codec import decode_change
from .changes import SetMark
from .checkpoint import Checkpointer
from .committer import Committer
from .log_marks import find_mark_in
from .log_reach import check_reaches_back
from .log_source import LogSource, log_source
from .logged import NO_OPERATION, LoggedOperation
from .manifest_keeper import ManifestKeeper
from .places import check_log_place
from .retention import Retention
from .room import Room
from .syncer import Syncer
from .tickets import Caller
from .unlogged import Ends, Unlogged, unlogged
from .wal_directory import check_directory, take_directory
from .wal_left import with_directory
from .wal_locks import WalLocks
from .wal_settings import check_ranges, merged


@dataclass(frozen=True, slots=True)
class WalChanges:
    """Settings to change; None keeps a value. ``path``: relative to the data directory, or absolute."""

    path: str | None = None
    sync_mode: SyncMode | None = None
    segment_size_bytes: int | None = None
    retention_us: int | None = None
    flush_interval_us: int | None = None
    max_wal_bytes: int | None = None


_SETTINGS = tuple(each.name for each in fields(WalChanges))


@dataclass(frozen=True, slots=True)
class WalStatus:
    """The log as ``wal status`` shows it. Sequences: 0 where there are none.

    ``latest_us``: the time of the newest moment. ``marks``: those that the log holds, newest first: one from before a
    gap is reached from a snapshot from before it.
    """

    settings: WalSettings
    path: str
    state: str
    timeline: int
    first_sequence: Sequence64
    last_sequence: Sequence64
    synced_sequence: Sequence64
    checkpoint_sequence: Sequence64
    files: tuple[WalFileInfo, ...]
    size_bytes: int
    latest_us: int
    marks: tuple[Mark, ...]


class WalControl:
    """See the module. Thread-safe; changes block until they are durable."""

    def __init__(
        self,
        *,
        fs: FileSystem,
        layout: Layout,
        clock: Clock,
        randomness: Randomness,
        new_lock: NewLock,
        applier: Applier,
        committer: Committer,
        keeper: ManifestKeeper,
        checkpointer: Checkpointer,
        syncer: Syncer,
        retention: Retention,
        room: Room,
        locks: WalLocks,
        closed_files: tuple[WalFileInfo, ...],
        archive_path: str,
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._clock = clock
        self._randomness = randomness
        self._new_lock = new_lock
        self._applier = applier
        self._committer = committer
        self._keeper = keeper
        self._checkpointer = checkpointer
        self._syncer = syncer
        self._retention = retention
        self._room = room
        self._locks = locks
        self._archive_path = archive_path
        self.ends = Ends(fs)
        # Changed on the committing thread: what is left of the log while it is disabled.
        self._files_before_gap = closed_files

    # Looking --------------------------------------------------------------------------------------------------------

    def status(self) -> WalStatus:
        """The log now. Does not block."""
        manifest, log = self._keeper.current, self._committer.log
        settings = manifest.wal_settings
        files = log.files if log is not None and not log.closed else ()
        return WalStatus(
            settings=settings,
            path=self._layout.wal_dir(settings.path),
            state=self._state(log),
            timeline=manifest.timeline,
            first_sequence=files[0].first_sequence if files else 0,
            last_sequence=log.last_sequence if log is not None else manifest.logged_sequence,
            synced_sequence=log.synced_sequence if log is not None else manifest.logged_sequence,
            checkpoint_sequence=manifest.checkpoint_sequence,
            files=files,
            size_bytes=log.size_bytes if log is not None else 0,
            latest_us=max(self._clock.now_us(), self._applier.time_us) if files else 0,
            marks=tuple(sorted(filter(self._reaches, self._applier.marks.values()), key=_sequence_of, reverse=True)),
        )

    @property
    def newest_sequence(self) -> Sequence64:
        """That of the newest operation, whether or not the log has it. Does not block."""
        return self._applier.sequence

    def unlogged(self) -> list[Unlogged]:
        """The times in which something was done without the log, as far back as that goes. Blocks."""
        return unlogged(self.status().files, self._keeper.current.store_id, self.ends)

    def files_before_gap(self) -> tuple[WalFileInfo, ...]:
        """What is left of the log while it is disabled. Does not block."""
        return self._files_before_gap

    def find_mark(self, name: str, path: str | None = None) -> Mark:
        """The mark of this name, whether or not the log still reaches back to it; ``path``: in the log that lies there.

        Raises NotFound. Blocks for another log than the store's own: it is read.
        """
        if path is not None:
            return find_mark_in(self.source(path), name)
        mark = self._applier.marks.get(name)
        if mark is None:
            raise NotFound(
                f"there is no mark {name!r}",
                reason="MARK_NOT_FOUND",
                hint="list them with `holdfast storage wal status`",
                mark=name,
            )
        return mark

    def _reaches(self, mark: Mark) -> bool:
        log = self._committer.log
        files = log.files if log is not None else ()
        return any(file.first_sequence <= mark.sequence <= file.last_sequence for file in files)

    def verify(self, path: str | None = None, from_sequence: Sequence64 = 0) -> LogCheck:
        """Read the whole log, or the one in ``path``, and check every record and the chain, going on behind damage.

        ``from_sequence``: leave out the WAL segments that lie before it.
        Blocks. Raises FailedPrecondition where there is nothing to read.
        """
        source = self.source(path)
        with self._retention.pinned(self._oldest()):
            return verify_log(
                source.fs,
                source.directories,
                store_id=source.store_id,
                upto_synced=source.upto_synced,
                from_sequence=from_sequence,
                inspect=_fault_of,
                beside=source.beside,
            )

    def source(self, path: str | None = None) -> LogSource:
        """The store's own log, or the one in the directory ``path``, archived or not, whatever store wrote it.

        Blocks; raises FailedPrecondition where ``path`` holds none.
        """
        return log_source(self._fs, self._layout, self._keeper.current, self._committer.log, path)

    def records(
        self,
        *,
        from_sequence: Sequence64 = 0,
        to_sequence: Sequence64 | None = None,
        from_us: int | None = None,
        to_us: int | None = None,
        path: str | None = None,
        operations_only: bool = True,
    ) -> Iterator[LoggedOperation]:
        """Durable operations in order, bounds inclusive; 0 begins with the oldest. Pins the log while it is read.

        Without ``operations_only`` also markers and closing records, which have the sequence of the operation before.
        Raises OutOfRange where a bound lies in history that was trimmed.
        """
        with self._retention.pinned(from_sequence or self._oldest()):
            source = self.source(path)
            if not from_sequence:
                check_reaches_back(source.fs, source.directories, source.store_id, from_us, to_sequence, to_us)
            for record in self._read(from_sequence, source, operations_only=operations_only):
                time_us = record.timestamp_us
                past = to_sequence is not None and record.sequence > to_sequence
                if past or (to_us is not None and time_us > to_us):
                    return
                if from_us is None or time_us >= from_us:
                    yield LoggedOperation(record)

    def _oldest(self) -> Sequence64:
        log = self._committer.log
        return log.files[0].first_sequence if log is not None else 0

    def _read(self, from_sequence: Sequence64, source: LogSource, *, operations_only: bool) -> Iterator[LoggedRecord]:
        return read_log(
            source.fs,
            source.directories,
            store_id=source.store_id,
            from_sequence=from_sequence,
            upto_synced=source.upto_synced,
            allow_gaps=True,
            operations_only=operations_only,
            beside=source.beside,
        )

    def _state(self, log: Wal | None) -> str:
        if self._committer.failure is not None:
            return "failed"
        if log is None or log.closed:
            return "disabled"
        return "full" if self._room.full else "active"

    # Changing -------------------------------------------------------------------------------------------------------

    def mark(self, name: str, *, caller: Caller) -> Mark:
        """Name this moment as a restore point. A name is free again once the log no longer reaches back to its mark.

        Raises InvalidArgument, AlreadyExists, or FailedPrecondition with the log disabled.
        """
        check_mark_name(name)
        caller = caller.asking("mark", name)
        earlier = self._committer.earlier(caller)
        if earlier is not None:
            return Mark(name, earlier.sequence, earlier.time_us)
        self._check_logging()

        def check() -> None:
            # Again: it may have been disabled meanwhile.
            self._check_logging()
            known = self._applier.marks.get(name)
            if known is not None and self._reaches(known):
                raise AlreadyExists(
                    f"there is a mark {name!r} at sequence {known.sequence}",
                    reason="MARK_EXISTS",
                    hint="choose another name; `holdfast storage wal status` lists those that are taken",
                    mark=name,
                )

        outcome = writer.commit(
            self._committer, writer.make_submission(SetMark(name), caller, barrier=True, check=check)
        )
        return Mark(name, outcome.sequence, outcome.time_us)

    def _check_logging(self) -> None:
        if self._committer.log is None:
            raise FailedPrecondition(
                "the log is disabled, so no moment can be returned to",
                reason="WAL_DISABLED",
                hint="enable it with `holdfast storage wal enable`",
            )

    def enable(self, changes: WalChanges, *, caller: Caller, validate_only: bool = False) -> WalStatus:
        """Change settings, and begin logging again where it was disabled. Durable on return.

        With ``validate_only`` change nothing, and return the status with the settings, path and state that it would
        have.
        """
        given = self._given(changes)
        if validate_only:
            with self._checkpointer.exclusive():
                planned: WalStatus = self._committer.between_groups(lambda: self._planned(given))
            return planned
        try:
            self._change_between_groups(given, changes, caller)
        except _NotCheckpointed:
            self._begin_logging(given, changes, caller)
            return self.status()
        log = self._committer.log
        if log is not None:
            # Whoever asks for less history wants the room now, not with the next checkpoint.
            self._retention.trim_again(log)
        return self.status()

    def _begin_logging(self, given: dict[str, Any], changes: WalChanges, caller: Caller) -> None:
        """Nothing in memory may rely on a log that does not go back to it (RULES 5)."""
        with self._committer.writes_held("the log is being enabled"):
            while True:
                reached = self._checkpointer.run()
                with suppress(_NotCheckpointed):
                    return self._change_between_groups(given, changes, caller, reached)

    def _change_between_groups(
        self, given: dict[str, Any], changes: WalChanges, caller: Caller, reached: Sequence64 | None = None
    ) -> None:
        """``reached``: the sequence of a checkpoint since which no write was let in."""
        with self._checkpointer.exclusive():
            self._committer.between_groups(lambda: self._apply_settings(given, changes, caller, reached))

    def disable(self, *, caller: Caller, validate_only: bool = False) -> WalStatus:
        """Stop logging: from here on nothing is durable before a checkpoint, and replies say so.

        With ``validate_only`` check whether that can be done, and return the status as it is.
        """
        if validate_only:
            self._committer.between_groups(self._check_usable)
            return self.status()
        with self._checkpointer.exclusive():
            self._committer.between_groups(lambda: self._stop_logging(caller))
        return self.status()

    def _given(self, changes: WalChanges) -> dict[str, Any]:
        """The settings to change, by name. Raises InvalidArgument."""
        given = {
            name: getattr(changes, name) for name in _SETTINGS if name != "path" and getattr(changes, name) is not None
        }
        if changes.path is not None:
            given["path"] = self._layout.relative(self._layout.resolve(changes.path))
            check_log_place(self._fs, self._layout, self._layout.resolve(changes.path), self._archive_path)
        check_ranges(given)
        return given

    def _planned(self, given: dict[str, Any]) -> WalStatus:
        """On the committing thread: the status as it would be. Only making a new directory is not tried."""
        self._check_usable()
        wanted, status = merged(self._keeper.current.wal_settings, given), self.status()
        directory = self._layout.wal_dir(wanted.path)
        if directory not in map(self._layout.wal_dir, self._keeper.current.wal_directories):
            try:
                check_directory(self._fs, self._locks, directory)
            finally:
                self._release_unused()
        state = "active" if status.state == "disabled" else status.state
        return replace(status, settings=wanted, path=directory, state=state)

    def _check_usable(self) -> None:
        """Raise EngineFailed after a failed sync of the log or the manifest, which only a restart clears."""
        if self._committer.failure is not None:
            raise self._committer.failure

    def _apply_settings(
        self, given: dict[str, Any], changes: WalChanges, caller: Caller, reached: Sequence64 | None
    ) -> None:
        """On the committing thread."""
        self._check_usable()
        try:
            self._apply_locked(given, changes, caller, reached)
        finally:
            self._release_unused()

    def _release_unused(self) -> None:
        self._locks.keep_only(map(self._layout.wal_dir, self._keeper.current.wal_directories))

    def _apply_locked(
        self, given: dict[str, Any], changes: WalChanges, caller: Caller, reached: Sequence64 | None
    ) -> None:
        before, log = self._keeper.current, self._committer.log
        # Here and not before: somebody else may have changed settings meanwhile, and switched the log off.
        wanted = merged(before.wal_settings, given)
        begins = log is None or log.closed
        if begins and reached != self._applier.sequence:
            raise _NotCheckpointed
        directory = self._layout.wal_dir(wanted.path)
        if directory not in map(self._layout.wal_dir, before.wal_directories):
            made = take_directory(self._fs, self._locks, directory)
            # Named in the manifest before it is used.
            self._keeper.update(lambda manifest: with_directory(manifest, wanted.path, made=made))
        if log is None or log.closed:
            log = self._begin_log(before, wanted, directory, log)
        elif directory != log.files[-1].directory:
            log.rotate(directory=directory)
        if wanted.sync_mode is SyncMode.FSYNC:
            # Before the manifest says that nothing can have been lost.
            log.sync()
        self._keeper.update(lambda manifest: _with_settings(manifest, wanted, changes, caller))
        log.resize(wanted.segment_size_bytes)
        self._committer.log = log
        self._committer.sync_mode = wanted.sync_mode
        self._syncer.sync_every(wanted.flush_interval_us / 1e6)

    def _begin_log(self, manifest: Manifest, wanted: WalSettings, directory: str, closed: Wal | None) -> Wal:
        """``closed``: the log before it, where disabling it was not completed."""
        if closed is not None:
            self._files_before_gap = closed.files
            closed.close()
        return Wal.create(
            self._fs,
            self._clock,
            self._randomness,
            self._new_lock,
            directory,
            store_id=manifest.store_id,
            timeline=manifest.timeline,
            segment_size_bytes=wanted.segment_size_bytes,
            first_sequence=self._applier.sequence + 1,
            previous_sequence=self._applier.sequence,
            last_timestamp_us=self._applier.time_us,
            gap_before=True,
            older=self._files_before_gap,
        )

    def _stop_logging(self, caller: Caller) -> None:
        """On the committing thread: the log's last word first, then the manifest, then no log."""
        log = self._committer.log
        self._check_usable()
        if log is None:
            return
        if not log.closed:
            # Not so where the manifest could not follow the last time.
            self._room.insist(log.close_log)
        self._files_before_gap = log.files
        self._keeper.update(
            lambda manifest: replace(
                manifest,
                wal_settings=replace(manifest.wal_settings, enabled=False),
                logged_sequence=log.last_sequence,
                settings_origin={**manifest.settings_origin, "wal.enabled": caller.origin},
            )
        )
        self._committer.log = None
        log.close()


class _NotCheckpointed(Exception):
    """The log is off, and memory holds what neither a checkpoint nor a log that begins now would."""


def _sequence_of(mark: Mark) -> Sequence64:
    return mark.sequence


def _fault_of(record: LoggedRecord) -> str | None:
    try:
        decode_change(record.payload)
    except ValueError as error:
        return f"{NO_OPERATION}: {error}"
    return None


def _with_settings(manifest: Manifest, wanted: WalSettings, changes: WalChanges, caller: Caller) -> Manifest:
    origin = dict(manifest.settings_origin)
    for name in _SETTINGS:
        if getattr(changes, name) is not None:
            origin[f"wal.{name}"] = caller.origin
    return replace(with_directory(manifest, wanted.path, made=False), wal_settings=wanted, settings_origin=origin)
