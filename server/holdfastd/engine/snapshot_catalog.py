"""Which snapshots there are: the registry and the files in a directory, under one lock.

A file says everything about itself, so that a directory of copied snapshots is as good as the registry; what the
registry adds is memory of files that are elsewhere, or gone.
"""

from __future__ import annotations

import posixpath
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from ..errors import FailedPrecondition, HoldfastError, InvalidArgument, NotFound
from ..format.urls import is_object_url
from ..format.verify_receipt import VerifyReceipt
from ..storage.archive_reader import ArchiveReader, Tap, nobody
from ..storage.archive_sums import read_sums_sha256
from ..storage.files import FileSystem, parent_of
from ..storage.manifest import NO_SPACE
from ..storage.names import Layout, check_snapshot_id, is_path
from ..storage.registry import PendingSnapshot, Registry, SnapshotRecord
from .snapshot_adoption import adopt
from .snapshot_errors import file_in_use, file_missing, is_base, no_id_stands_for
from .snapshot_holds import Holds
from .snapshot_info import MISSING, READY, SnapshotInfo, SnapshotListing, age_key, newest
from .snapshot_lineage import Lineage, is_base_of
from .snapshot_look import Look
from .snapshot_marks import Marks, check_not_pinned, marked_as
from .snapshot_receipts import unverified_since, with_reading
from .snapshot_record import record_of
from .snapshot_seen import NOTHING_SEEN, Seen, ids_in
from .snapshot_settle import is_gone, look_at, remove_parts, settle, settle_removal, take_note
from .snapshot_taking import put_in_place, take_in
from .snapshot_unsettled import Unsettled

LATEST = "latest"
_READERS = "a restore, a check, a comparison, a download or a new increment"
T = TypeVar("T")


class SnapshotCatalog:
    """See the module. Thread-safe; changes block and are durable on return."""

    def __init__(self, fs: FileSystem, layout: Layout) -> None:
        self._fs = fs
        self._layout = layout
        self._store_id = ""
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._registry: Registry | None = None
        self._under_way: set[str] = set()
        self._replaced = 0
        self._doubtful: set[uuid.UUID] = set()
        self._holds = Holds(self._lock)
        self.in_use, self.is_in_use = self._holds.in_use, self._holds.is_in_use

    # At start -------------------------------------------------------------------------------------------------------

    def load(self, store_id: str) -> None:
        """Read the registry and remove what a crash left half-written. Call once, before anything else.

        ``store_id``: whose registry it is.
        """
        self._store_id = store_id
        with self._lock:
            self._registry = registry = Registry.load(self._fs, self._layout)
            for pending in registry.pending:
                if not is_object_url(pending.path):
                    settle(self._fs, self._layout, registry, pending)
            for id in registry.leaving:
                left = registry.find(id)
                self._doubtful.update(uuid.UUID(member.collection_id) for member in (left.members if left else ()))
                # A start waits for no network.
                if left is None or not is_object_url(left.path):
                    settle_removal(self._fs, self._layout, registry, id)
        remove_parts(self._fs, self._layout.snapshots)

    # Looking --------------------------------------------------------------------------------------------------------

    def listing(self, path: str | None = None, collection: str | None = None) -> SnapshotListing:
        """Snapshots of the registry and of the default directory, or of the directory ``path``.

        What lies in that directory and is new to the registry is adopted; durable on return.
        """
        return self.undisturbed(lambda: self._listing(path, collection))

    def _listing(self, path: str | None, collection: str | None) -> SnapshotListing:
        directory = self._layout.snapshots if path is None else self._layout.resolve(path)
        if not (path is None or is_object_url(directory) or self._fs.is_dir(directory)):
            raise NotFound(
                f"there is no directory {directory}",
                reason="DIRECTORY_NOT_FOUND",
                hint="mount its disk, or name another one: `holdfast storage snapshot list` tells where snapshots lie",
                path=directory,
            )
        warnings = [problem for problem in (self._the_registry().problem,) if problem]
        warnings += self._settle_in(directory)
        look = self._look()
        unnamed, unreadable = look.unnamed_in(directory)
        changed = look.changed_in(None if path is None else directory)
        warnings += [*unreadable.values(), *self._adopt((*unnamed, *changed))]
        shown = self._by_path()
        if path is not None:
            shown = {where: record for where, record in shown.items() if parent_of(where) == directory}
        shown = {self._layout.resolve(record.path): record for record in unnamed} | shown
        lineage = self._lineage(seen=look.seen)
        found = [lineage.info(record) for record in shown.values()]
        if collection is not None:
            found = [info for info in found if collection in info.collections]
        return SnapshotListing(sorted(found, key=age_key, reverse=True), warnings, unreadable)

    def get(self, reference: str, *, base_path: str | None = None) -> SnapshotInfo:
        """The snapshot that an id, ``latest`` or a path stands for. Raises NotFound, InvalidArgument or Corruption."""
        if is_path(reference):
            return self.undisturbed(lambda: self._at(self._layout.resolve(reference)))
        if reference == LATEST:
            return newest(self.listing(), links_elsewhere=base_path is not None)
        check_snapshot_id(reference)
        found = [info for info in self.listing().snapshots if info.id == reference]
        if not found:
            raise NotFound(
                f"there is no snapshot {reference}",
                reason="SNAPSHOT_NOT_FOUND",
                hint="list them with `holdfast storage snapshot list`, or name the file by its path",
                snapshot=reference,
            )
        return min(found, key=lambda info: info.state == MISSING)

    def chain(self, info: SnapshotInfo) -> tuple[SnapshotInfo, ...]:
        """The snapshots that one builds on, base first; it begins with a missing one where that is nowhere. Blocks."""
        return self.undisturbed(lambda: self._lineage().chain(info.record))

    def open(self, info: SnapshotInfo, *, tap: Tap = nobody) -> ArchiveReader:
        """Open a snapshot's file. Raises NotFound when it is not where it was, or Corruption."""
        try:
            return ArchiveReader(self._fs, info.path, tap)
        except FileNotFoundError:
            raise file_missing(info.path) from None

    def paths_of(self, snapshot_id: str) -> list[str]:
        """Where the registry knows a snapshot of this id to lie, absolute."""
        return [self._layout.resolve(record.path) for record in self._records() if record.id == snapshot_id]

    def named_paths(self) -> set[str]:
        """Where the registry knows snapshots to lie, absolute."""
        return set(self._by_path())

    def newest_moment(self, goes_on: Callable[[int, int], bool]) -> int | None:
        """The newest sequence that a snapshot of this store can bring back, as far as names and sizes of files tell.

        ``goes_on``: whether history has gone through a sequence of a timeline. Takes no lock; blocks for the disk.
        """
        lineage = self._lineage()
        for record in sorted(self._records(), key=lambda record: record.sequence, reverse=True):
            is_on_the_way = record.store_id == self._store_id and goes_on(record.timeline, record.sequence)
            if is_on_the_way and lineage.info(record).state == READY:
                return record.sequence
        return None

    def sums_sha256(self, info: SnapshotInfo) -> str:
        """The SHA-256 of its SHA256SUMS, read from the file's end. Blocks. As ``open`` raises, and Corruption."""
        return read_sums_sha256(self._fs, self.open(info))

    def undisturbed(self, look: Callable[[], T]) -> T:
        """What is found while no file is replaced: one of the old record and the new file would look damaged."""
        while True:
            # Held from a rename until the registry knows of it.
            seen = self.replaced
            try:
                found = look()
            except HoldfastError:
                if seen == self._replaced:
                    raise
                continue
            if seen == self._replaced:
                return found

    def _at(self, path: str) -> SnapshotInfo:
        self._adopt(self._look().changed_in(parent_of(path)))
        known = self.record_at(path)
        if known is not None:
            return self._lineage().info(known)
        if not self._fs.exists(path) or self._fs.is_dir(path):
            raise file_missing(path)
        return self._lineage().info(record_of(self._fs, self._layout, path))

    def _lineage(self, *, seen: Seen = NOTHING_SEEN) -> Lineage:
        """What is known now."""
        return Lineage(self._fs, self._layout, self._store_id, self._records(), seen)

    def _look(self) -> Look:
        """The files against what is known now."""
        return Look(self._fs, self._layout, self._records())

    def _settle_in(self, directory: str) -> list[str]:
        """Find out what became of those left half-done in a directory; returns what is to be said of others."""
        with self._lock:
            mine = Unsettled(self._the_registry(), self._under_way, self._holds).only_in(directory)
            self._under_way |= mine.ids
        try:
            for pending in mine.written:
                self._settle(pending)
            for record in mine.deleted:
                self._end_removal(record.id, record.path, gone=is_gone(self._fs, record.path))
        finally:
            with self._lock:
                self._under_way -= mine.ids
        with self._lock:
            return Unsettled(self._the_registry(), self._under_way, self._holds).told()

    def _settle(self, pending: PendingSnapshot) -> None:
        """As ``settle``, of one that is in the caller's hands; nobody waits for the network on its account."""
        found = look_at(self._fs, self._layout, pending)
        with self._lock:
            take_note(self._layout, self._the_registry(), pending, found)

    def _end_removal(self, snapshot_id: str, path: str, *, gone: bool, leaving: SnapshotInfo | None = None) -> None:
        """Forget one that is gone, ``leaving``, as it was, or what is known of its deletion, where that has failed."""
        with self._lock:
            known = (registry := self._the_registry()).find(snapshot_id)
            # By now the id may stand for another file.
            if gone and known is not None and self._layout.resolve(known.path) == path:
                registry.remove(snapshot_id, None if leaving is None else unverified_since(registry, leaving))
            else:
                registry.keep(snapshot_id)

    def _by_path(self) -> dict[str, SnapshotRecord]:
        """What the registry knows, by where it lies, absolute."""
        return {self._layout.resolve(record.path): record for record in self._records()}

    def _records(self) -> tuple[SnapshotRecord, ...]:
        return self._the_registry().snapshots

    def _the_registry(self) -> Registry:
        assert self._registry is not None, "load() comes first"
        return self._registry

    # Changing -------------------------------------------------------------------------------------------------------

    def reserve(self, created_us: int, directory: str, suffix: str, *, pinned: bool = False) -> PendingSnapshot:
        """An id that nobody has, noted as being written into ``directory``."""
        stem = datetime.fromtimestamp(created_us // 1_000_000, UTC).strftime("snap-%Y-%m-%d-%H%M%S")
        there: set[str] = set()
        for place in {directory, self._layout.snapshots}:
            there |= ids_in(self._fs, place)
        with self._lock:
            registry = self._the_registry()
            taken = there.union((each.id for each in registry.snapshots), (each.id for each in registry.pending))
            number, id = 1, stem
            while id in taken:
                number += 1
                id = f"{stem}-{number}"
            pending = PendingSnapshot(id, posixpath.join(directory, f"{id}.{suffix}"), pinned)
            self._begin(pending)
            return pending

    def abandon(self, pending: PendingSnapshot) -> None:
        """Forget what was reserved, and leave the files of that name alone: they are another's. Durable on return."""
        with self._lock:
            self._under_way.discard(pending.id)
            self._the_registry().abandon(pending.id)

    def end_writing(self, *pending: PendingSnapshot) -> None:
        """Remove what is left of files that were not put in their places. Durable on return. Raises OSError."""
        with self._lock:
            begun = {each.id for each in self._the_registry().pending}
        failure: OSError | None = None
        try:
            for each in pending:
                if each.id in begun:
                    try:
                        self._settle(each)
                    except OSError as error:
                        failure = error
        finally:
            with self._lock:
                self._under_way.difference_update(each.id for each in pending)
        if failure is not None:
            raise failure

    def _begin(self, *pending: PendingSnapshot) -> None:
        """Note what is about to be written. Durable on return; call with the lock."""
        self._the_registry().begin(*(replace(each, path=self._layout.relative(each.path)) for each in pending))
        self._under_way.update(each.id for each in pending)

    def doubt(self, ids: Iterable[uuid.UUID]) -> None:
        """Note collections that keep history for a snapshot which may turn out not to be there: see ``uncovered``."""
        with self._lock:
            self._doubtful.update(ids)

    def uncovered(self) -> tuple[uuid.UUID, ...]:
        """Of the collections doubted, those that no snapshot covers; nothing is in doubt any more then.

        None of them while a snapshot is being written: it may cover them yet.
        """
        with self._lock:
            if self._under_way:
                return ()
            covered = {member.collection_id for record in self._records() for member in record.members}
            found = tuple(id for id in self._doubtful if str(id) not in covered)
            self._doubtful.clear()
            return found

    def take_in(self, part: str, path: str) -> None:
        """Give a whole archive that has come from elsewhere its name, if the id is free for it. Durable on return.

        Raises AlreadyExists, OSError, and Corruption as ``record_of``; the file is where it was then, but for an
        OSError at the end.
        """
        with self._lock:
            take_in(self._fs, self._layout, self._the_registry(), self._store_id, part, path)

    def put(self, record: SnapshotRecord) -> None:
        """Add or replace what is known of a snapshot; its path may be absolute."""
        with self._lock:
            self._the_registry().put(replace(record, path=self._layout.relative(record.path)))
            self._under_way.discard(record.id)

    def _adopt(self, unnamed: Iterable[SnapshotRecord]) -> list[str]:
        """Let the registry know what was found, as far as it should; durable on return. Returns what is to be said."""
        with self._lock:
            return adopt(self._fs, self._layout, self._the_registry(), self._store_id, unnamed, self._under_way)

    def note(self, found: Mapping[str, VerifyReceipt]) -> list[str]:
        """Keep what readings of files came to, by their paths, all of it or nothing; durable on return.

        Returns the paths of those that the registry does not know, of which nothing is kept. Raises OSError.
        """
        with self._lock:
            known = self._by_path()
            changed = [with_reading(known[path], receipt) for path, receipt in found.items() if path in known]
            self._the_registry().note(*changed)
            return [path for path in found if path not in known]

    def known(self) -> list[SnapshotInfo]:
        """What the registry knows, newest first; no directory is looked into. Takes no lock; blocks for the disk."""
        lineage = self._lineage()
        return sorted(map(lineage.info, self._records()), key=age_key, reverse=True)

    def unverified_since_us(self) -> int:
        """As of the registry."""
        return self._the_registry().unverified_since_us

    def record_at(self, path: str) -> SnapshotRecord | None:
        """What the registry knows of the file at an absolute path."""
        return self._by_path().get(path)

    def path_in(self, place: str) -> str:
        """The path of the file that is known and that an error's place, which may name a member, lies in; else ""."""
        return next((path for path in self._by_path() if f"{place}:".startswith(f"{path}:")), "")

    def mark(self, info: SnapshotInfo, marks: Marks) -> None:
        """Keep what is said of a snapshot. Durable on return. FailedPrecondition for a file that no id stands for."""
        with self._lock:
            self._holds.wait_for_deletions(info.path)
            known = self._the_registry().find(info.id)
            if known is None or self._layout.resolve(known.path) != info.path:
                raise no_id_stands_for(info.path, info.id)
            self._the_registry().put(marks.on(known))

    def get_named(self, reference: str) -> SnapshotInfo:
        """As ``get``; raises InvalidArgument for ``latest``."""
        if reference == LATEST:
            raise InvalidArgument(
                "`latest` may mean another snapshot by the time the command arrives",
                field="snapshot",
                hint="name the id: holdfast storage snapshot list",
            )
        return self.get(reference)

    def delete(self, reference: str, *, validate_only: bool = False) -> SnapshotInfo:
        """Delete a snapshot's file and forget it; returns it as it was. FailedPrecondition while it is needed."""
        info = self.get_named(reference)
        beside = self._look().all_unnamed_in(parent_of(info.path))
        with self._holds.leaving(info.path):
            with self._lock:
                known = self.record_at(info.path)
                is_known = known is not None and known.id == info.id
                # It may have been pinned since it was looked for.
                self._check_unneeded(replace(info, record=known or info.record), beside)
                if validate_only:
                    return info
                if info.state != MISSING and is_known:
                    self._note_removal(info.id)
            if info.state != MISSING:
                # The file first: a crash in between never leaves one that nobody knows. Of one in an object store
                # nobody has looked whether it is there.
                with suppress(FileNotFoundError):
                    self._fs.unlink(info.path)
                self._fs.sync_dir(parent_of(info.path))
            if is_known:
                self._end_removal(info.id, info.path, gone=True, leaving=info)
        return info

    def _check_unneeded(self, info: SnapshotInfo, beside: Iterable[SnapshotRecord]) -> None:
        """Raise FailedPrecondition while a snapshot is needed. Call with the lock."""
        check_not_pinned(info)
        # Whoever writes an increment has its base in use until the registry knows of it.
        if self._holds.readers(info.path):
            raise file_in_use(f"{info.id} is being read: {_READERS} needs it")
        dependents = self._dependents(info.record, beside)
        if dependents:
            raise is_base(info.id, dependents)

    def _note_removal(self, snapshot_id: str) -> None:
        try:
            self._the_registry().begin_removing(snapshot_id)
        except OSError as error:
            # A full disk must not stand in the way. Without the note a crash leaves what is "missing".
            if error.errno not in NO_SPACE:
                raise

    def _dependents(self, base: SnapshotRecord, beside: Iterable[SnapshotRecord]) -> tuple[str, ...]:
        """The ids of what builds on a snapshot: what is known, and each file ``beside`` it."""
        found = {record.id for record in beside if is_base_of(base, record)}
        return tuple(sorted(found.union(self._lineage().dependents(base))))

    # Rewriting ------------------------------------------------------------------------------------------------------

    def increments_on(self, base: SnapshotInfo) -> tuple[SnapshotInfo, ...]:
        """The increments that build directly on a snapshot, to be rewritten without it. Blocks: looks beside it.

        Raises FailedPrecondition for a file that nobody can name by its id: a copy, or one of another store.
        """
        directory = parent_of(base.path)
        if self._fs.is_dir(directory):
            self.listing(directory)
        # One that another daemon has made a full one may have the size that it had.
        self._adopt(self._look().now(record for record in self._records() if is_base_of(base.record, record)))
        for record in self._look().all_unnamed_in(directory):
            if is_base_of(base.record, record):
                path = self._layout.resolve(record.path)
                raise FailedPrecondition(
                    f"{path} builds on {base.id} and is not the {record.id} that the store knows: a copy of it, or of "
                    "another store",
                    reason="SNAPSHOT_IS_BASE",
                    hint=f"move {path} away, or delete it if nobody needs it",
                    dependents=record.id,
                )
        lineage = self._lineage()
        known = {record.id: record for record in self._records()}
        return tuple(lineage.info(known[id]) for id in lineage.dependents(base.record))

    def begin_rewriting(self, *infos: SnapshotInfo) -> tuple[PendingSnapshot, ...]:
        """Note that these snapshots are written anew, each beside its file. Durable on return.

        Raises FailedPrecondition while one of them is being rewritten already.
        """
        with self._lock:
            self._check_not_rewritten(infos)
            pending = tuple(PendingSnapshot(info.id, info.path) for info in infos)
            self._begin(*pending)
            return pending

    def check_not_rewritten(self, infos: Iterable[SnapshotInfo]) -> None:
        """Raise FailedPrecondition while one of these snapshots is being rewritten."""
        with self._lock:
            self._check_not_rewritten(infos)

    def _check_not_rewritten(self, infos: Iterable[SnapshotInfo]) -> None:
        for info in infos:
            if info.id in self._under_way:
                raise file_in_use(f"{info.id} is being consolidated already")

    def replace_files(self, records: Iterable[SnapshotRecord]) -> bool:
        """Put what was rewritten in the place of the files before, all of it, and let the registry know.

        False, and nothing is done, while somebody but the caller reads one of them. May be called again after an
        OSError: what was done by then stays done. Durable on return. Raises FailedPrecondition where a file that was
        written is not there any more.
        """
        with self._lock:
            done = []
            paths = {self._layout.resolve(record.path): record for record in records}
            if any(self._holds.readers(path) > 1 for path in paths):
                return False
            try:
                for path, record in paths.items():
                    # First: whoever looks meanwhile looks again.
                    self._replaced += 1
                    put_in_place(self._fs, self._layout, path, record)
                    known = self._the_registry().find(record.id) or record
                    done.append(replace(marked_as(record, known), path=self._layout.relative(path)))
                    self._fs.sync_dir(parent_of(path))
            finally:
                self._the_registry().put(*done)
            return True

    # Reading --------------------------------------------------------------------------------------------------------

    @property
    def replaced(self) -> int:
        """How many files were replaced since the start: whoever sees it unchanged has seen the same files."""
        with self._lock:
            return self._replaced
