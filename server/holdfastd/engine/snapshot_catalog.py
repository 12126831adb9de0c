"""Which snapshots there are: the registry and the files in a directory, under one lock.

A file says everything about itself, so that a directory of copied snapshots is as good as the registry; what the
registry adds is memory of files that are elsewhere, or gone.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..errors import Corruption, FailedPrecondition, HoldfastError, InvalidArgument, NotFound
from ..format.urls import is_object_url
from ..storage.archive_reader import ArchiveReader, Tap, nobody
from ..storage.archive_sums import read_sums_sha256
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout, check_snapshot_id
from ..storage.registry import PendingSnapshot, Registry, SnapshotRecord, part_path, snapshot_file_id
from ..storage.store_errors import StoreError
from .snapshot_adoption import has_become, is_same_file, judge
from .snapshot_directory import NOTHING_SEEN, Seen, SnapshotDirectory, ids_in
from .snapshot_errors import file_in_use, file_missing, id_is_taken
from .snapshot_info import MISSING, READY, SnapshotInfo, SnapshotListing, age_key, newest
from .snapshot_lineage import Lineage, is_base_of
from .snapshot_record import record_of
from .snapshot_unsettled import Unsettled

LATEST = "latest"

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
        self._in_use: dict[str, int] = {}
        self._rewritten: set[str] = set()
        self._replaced = 0
        self._doubtful: set[uuid.UUID] = set()
        self._unsettled = Unsettled()

    # At start -------------------------------------------------------------------------------------------------------

    def load(self, store_id: str) -> None:
        """Read the registry and remove what a crash left half-written. Call once, before anything else.

        ``store_id``: whose registry it is.
        """
        self._store_id = store_id
        with self._lock:
            self._registry = registry = Registry.load(self._fs, self._layout)
            for pending in registry.pending:
                if is_object_url(pending.path):
                    # A start waits for no network.
                    self._unsettled.add(pending)
                else:
                    self._settle(registry, pending)
        if self._fs.exists(self._layout.snapshots):
            for name in self._fs.listdir(self._layout.snapshots):
                stem, dot, suffix = name.rpartition(".")
                if dot and suffix == "part" and snapshot_file_id(stem):
                    self._fs.unlink(posixpath.join(self._layout.snapshots, name))

    def _settle(self, registry: Registry, pending: PendingSnapshot) -> None:
        """A snapshot that was under way when the daemon ended: whole under its final name, or not at all.

        One that was being rewritten is what it was, or what it was to be.
        """
        pending = replace(pending, path=self._layout.resolve(pending.path))
        with contextlib.suppress(OSError):
            if self._fs.exists(pending.part_path):
                self._fs.unlink(pending.part_path)
                self._fs.sync_dir(parent_of(pending.part_path))
        known = registry.find(pending.id)
        if not self._fs.exists(pending.path):
            # Which of both it is, of one that was known, is seen once its file is there again.
            if known is None:
                registry.abandon(pending.id)
            return
        try:
            found = record_of(self._fs, self._layout, pending.path)
        except StoreError:
            raise
        except (HoldfastError, OSError):
            registry.abandon(pending.id)
            return
        # Of a file that was to be replaced and was not, more is known than it says.
        registry.put(known if known is not None and is_same_file(known, found) else found)

    # Looking --------------------------------------------------------------------------------------------------------

    def listing(self, path: str | None = None, collection: str | None = None) -> SnapshotListing:
        """Snapshots of the registry and of the default directory, or of the directory ``path``.

        What lies in that directory and is new to the registry is adopted; durable on return.
        """
        return self._undisturbed(lambda: self._listing(path, collection))

    def _listing(self, path: str | None, collection: str | None) -> SnapshotListing:
        directory = self._layout.snapshots if path is None else self._layout.resolve(path)
        if not (path is None or is_object_url(directory) or self._fs.is_dir(directory)):
            raise NotFound(
                f"there is no directory {directory}",
                reason="DIRECTORY_NOT_FOUND",
                hint="leave --path out to list every snapshot that the store knows",
                path=directory,
            )
        warnings = [problem for problem in (self._the_registry().problem,) if problem]
        warnings += self._settle_in(directory)
        here = self._directory(directory)
        unnamed, unreadable = here.unnamed()
        warnings += [*unreadable.values(), *self._adopt((*unnamed, *here.changed()))]
        shown = {self._layout.resolve(record.path): record for record in self._records()}
        if path is not None:
            shown = {where: record for where, record in shown.items() if parent_of(where) == directory}
        shown = {self._layout.resolve(record.path): record for record in unnamed} | shown
        lineage = self._lineage(seen=here.seen)
        found = [lineage.info(record) for record in shown.values()]
        if collection is not None:
            found = [info for info in found if collection in info.collections]
        return SnapshotListing(sorted(found, key=age_key, reverse=True), warnings, unreadable)

    def get(self, reference: str) -> SnapshotInfo:
        """The snapshot that an id, ``latest`` or a path stands for. Raises NotFound, InvalidArgument or Corruption."""
        if is_path(reference):
            return self._undisturbed(lambda: self._at(self._layout.resolve(reference)))
        if reference == LATEST:
            return newest(self.listing())
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
        return self._undisturbed(lambda: self._lineage().chain(info.record))

    def open(self, info: SnapshotInfo, *, tap: Tap = nobody) -> ArchiveReader:
        """Open a snapshot's file. Raises NotFound when it is not where it was, or Corruption."""
        try:
            return ArchiveReader(self._fs, info.path, tap)
        except FileNotFoundError:
            raise file_missing(info.path) from None

    def paths_of(self, snapshot_id: str) -> list[str]:
        """Where the registry knows a snapshot of this id to lie, absolute."""
        return [self._layout.resolve(record.path) for record in self._records() if record.id == snapshot_id]

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

    def _undisturbed(self, look: Callable[[], T]) -> T:
        """What is found while no file is replaced: one of the old record and the new file would look damaged."""
        while True:
            with self._lock:
                seen = self._replaced
            found = look()
            if seen == self._replaced:
                return found

    def _at(self, path: str) -> SnapshotInfo:
        for record in self._records():
            if self._layout.resolve(record.path) == path:
                return self._lineage().info(record)
        if not self._fs.exists(path) or self._fs.is_dir(path):
            raise file_missing(path)
        return self._lineage().info(record_of(self._fs, self._layout, path))

    def _lineage(self, *, seen: Seen = NOTHING_SEEN) -> Lineage:
        """What is known now."""
        return Lineage(self._fs, self._layout, self._store_id, self._records(), seen)

    def _directory(self, path: str) -> SnapshotDirectory:
        return SnapshotDirectory(self._fs, self._layout, path, self._records())

    def _settle_in(self, directory: str) -> list[str]:
        """Find out what became of those left half-done in a directory; returns what is to be said of others."""
        with self._lock:
            registry = self._the_registry()
            for pending in self._unsettled.within(registry, directory):
                self._settle(registry, pending)
            return self._unsettled.warnings(registry)

    def _records(self) -> tuple[SnapshotRecord, ...]:
        return self._the_registry().snapshots

    def _the_registry(self) -> Registry:
        assert self._registry is not None, "load() comes first"
        return self._registry

    # Changing -------------------------------------------------------------------------------------------------------

    def reserve(self, created_us: int, directory: str, suffix: str) -> PendingSnapshot:
        """An id that nobody has, noted as being written into ``directory``."""
        stem = datetime.fromtimestamp(created_us // 1_000_000, UTC).strftime("snap-%Y-%m-%d-%H%M%S")
        with self._lock:
            registry = self._the_registry()
            taken = {record.id for record in registry.snapshots} | {pending.id for pending in registry.pending}
            for place in {directory, self._layout.snapshots}:
                taken |= ids_in(self._fs, place)
            number, id = 1, stem
            while id in taken:
                number += 1
                id = f"{stem}-{number}"
            pending = PendingSnapshot(id, posixpath.join(directory, f"{id}.{suffix}"))
            registry.begin(replace(pending, path=self._layout.relative(pending.path)))
            return pending

    def abandon(self, pending: PendingSnapshot) -> None:
        """Forget what was reserved: nothing is left of it on the disk."""
        with self._lock:
            self._the_registry().abandon(pending.id)

    def leave_unsettled(self, pending: PendingSnapshot) -> None:
        """Keep what was reserved: what is left of it cannot be found out now."""
        with self._lock:
            self._unsettled.add(pending)

    def doubt(self, ids: Iterable[uuid.UUID]) -> None:
        """Note collections that keep history for a snapshot which may turn out not to be there: see ``uncovered``."""
        with self._lock:
            self._doubtful.update(ids)

    def uncovered(self) -> tuple[uuid.UUID, ...]:
        """Of the collections doubted, those that no snapshot covers; nothing is in doubt any more then.

        None of them while the registry knows of a snapshot that is being written: it may cover them yet.
        """
        with self._lock:
            if self._the_registry().pending:
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
        record = replace(record_of(self._fs, self._layout, part), path=self._layout.relative(path))
        with self._lock:
            registry = self._the_registry()
            known = registry.find(record.id)
            is_there = known is not None and self._fs.exists(self._layout.resolve(known.path))
            finding = judge(record, path, known, is_there=is_there, store_id=self._store_id)
            being_written = any(pending.id == record.id for pending in registry.pending)
            if finding.warning or being_written or self._fs.exists(path):
                raise id_is_taken(record.id, path, finding.warning)
            self._fs.rename(part, path)
            self._fs.sync_dir(parent_of(path))
            if finding.record is not None:
                registry.put(finding.record)

    def put(self, record: SnapshotRecord) -> None:
        """Add or replace what is known of a snapshot; its path may be absolute."""
        with self._lock:
            self._the_registry().put(replace(record, path=self._layout.relative(record.path)))

    def _adopt(self, unnamed: Iterable[SnapshotRecord]) -> list[str]:
        """Let the registry know what was found, as far as it should; durable on return. Returns what is to be said."""
        warnings: list[str] = []
        with self._lock:
            registry = self._the_registry()
            known = {record.id: record for record in registry.snapshots}
            being_written = {pending.id for pending in registry.pending}
            adopted: dict[str, SnapshotRecord] = {}
            for record in unnamed:
                path, same = self._layout.resolve(record.path), known.get(record.id)
                # One that is being published gets there by itself; another may have been deleted since it was read.
                if record.id in being_written or not NOTHING_SEEN.exists(self._fs, path):
                    continue
                if same is not None and self._layout.resolve(same.path) == path:
                    if has_become(same, record):
                        known[record.id] = adopted[record.id] = record
                    continue
                is_there = same is not None and NOTHING_SEEN.exists(self._fs, self._layout.resolve(same.path))
                finding = judge(record, path, same, is_there=is_there, store_id=self._store_id)
                if finding.warning:
                    warnings.append(finding.warning)
                if finding.record is not None:
                    known[record.id] = adopted[record.id] = finding.record
            try:
                registry.put(*adopted.values())
            except OSError as error:
                warnings.append(
                    f"the registry could not be written ({error.strerror}): what was found is not kept in it"
                )
        return warnings

    def note_verified(self, path: str, now_us: int) -> None:
        """Keep that the whole file has been read and is right, if the registry knows it."""
        self._note(lambda known: known == path, verified_us=now_us, damage="")

    def note_damage(self, found: Corruption) -> None:
        """Keep what is wrong with the file that an error names, if the registry knows it."""
        self._note(lambda known: f"{found.path}:".startswith(f"{known}:"), damage=found.message)

    def _note(self, is_it: Callable[[str], bool], **facts: Any) -> None:
        with self._lock:
            registry = self._the_registry()
            for record in registry.snapshots:
                path = self._layout.resolve(record.path)
                if is_it(path):
                    size = record.size_bytes if facts["damage"] else self._fs.size(path)
                    registry.put(replace(record, size_bytes=size, **facts))

    def get_to_delete(self, reference: str) -> SnapshotInfo:
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
        info = self.get_to_delete(reference)
        beside, _ = self._directory(parent_of(info.path)).unnamed()
        with self._lock:
            # Whoever writes an increment has its base in use until the registry knows of it.
            if self._in_use.get(info.path):
                raise file_in_use(
                    f"{info.id} is being read: a restore, a check, a comparison, a download or a new increment needs it"
                )
            dependents = self._dependents(info.record, beside)
            if dependents:
                raise FailedPrecondition(
                    f"{info.id} is the base of {', '.join(dependents)}",
                    reason="SNAPSHOT_IS_BASE",
                    hint="delete those first, or let them stand alone from now on: "
                    f"holdfast storage snapshot delete {info.id} --consolidate",
                    dependents=",".join(dependents),
                )
            if validate_only:
                return info
            # The file first: a crash in between leaves an entry that says "missing", never a file that nobody knows.
            if info.state != MISSING:
                # Of a file in an object store nobody has looked whether it is there.
                with contextlib.suppress(FileNotFoundError):
                    self._fs.unlink(info.path)
                self._fs.sync_dir(parent_of(info.path))
            known = self._the_registry().find(info.id)
            if known is not None and self._layout.resolve(known.path) == info.path:
                self._the_registry().remove(info.id)
        return info

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
        beside, _ = self._directory(directory).unnamed()
        for record in beside:
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
            self._the_registry().begin(*(replace(each, path=self._layout.relative(each.path)) for each in pending))
            self._rewritten.update(each.id for each in pending)
            return pending

    def check_not_rewritten(self, infos: Iterable[SnapshotInfo]) -> None:
        """Raise FailedPrecondition while one of these snapshots is being rewritten."""
        with self._lock:
            self._check_not_rewritten(infos)

    def _check_not_rewritten(self, infos: Iterable[SnapshotInfo]) -> None:
        for info in infos:
            if info.id in self._rewritten:
                raise file_in_use(f"{info.id} is being consolidated already")

    def replace_files(self, records: Iterable[SnapshotRecord]) -> bool:
        """Put what was rewritten in the place of the files before, all of it, and let the registry know.

        False, and nothing is done, while somebody but the caller reads one of them. May be called again after an
        OSError: what was done by then stays done. Durable on return.
        """
        with self._lock:
            done = []
            paths = {self._layout.resolve(record.path): record for record in records}
            if any(self._in_use.get(path, 0) > 1 for path in paths):
                return False
            try:
                for path, record in paths.items():
                    if self._fs.exists(part_path(path)):
                        self._fs.rename(part_path(path), path)
                        self._replaced += 1
                    done.append(replace(record, path=self._layout.relative(path)))
                    self._fs.sync_dir(parent_of(path))
            finally:
                self._the_registry().put(*done)
            return True

    def end_rewriting(self, *pending: PendingSnapshot) -> None:
        """Remove what is left of files that were not put in their places. Durable on return. Raises OSError."""
        with self._lock:
            self._rewritten.difference_update(each.id for each in pending)
            registry = self._the_registry()
            begun = {each.id for each in registry.pending}
            for each in pending:
                if each.id in begun:
                    self._settle(registry, each)

    # Reading --------------------------------------------------------------------------------------------------------

    @property
    def replaced(self) -> int:
        """How many files have been replaced since the start: whoever sees it unchanged has seen the same files."""
        return self._replaced

    def is_in_use(self, *paths: str) -> bool:
        """Whether somebody but the caller, who has them in use, reads one of them."""
        with self._lock:
            return any(self._in_use.get(path, 0) > 1 for path in paths)

    @contextmanager
    def in_use(self, *paths: str) -> Iterator[None]:
        """Keep the snapshots at these paths from being deleted or replaced while the block reads them."""
        with self._lock:
            for path in paths:
                self._in_use[path] = self._in_use.get(path, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                for path in paths:
                    self._in_use[path] -= 1
                    if not self._in_use[path]:
                        del self._in_use[path]


def is_path(reference: str) -> bool:
    """Whether a reference names a file rather than an id."""
    return "/" in reference or reference.endswith((".snap", ".gz"))
