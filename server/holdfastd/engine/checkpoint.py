"""Checkpoint: memtables become segments, so that a prefix of the log is no longer needed.

    freeze   between two groups: every memtable is set aside at one sequence S, a new one takes over
    sync     the log is made durable through S, before anything that reflects S is published (RULES 4)
    write    segments, kills files, id-index runs: written and synced while writes go on
    commit   the manifest names them: from here on recovery starts after S
    install  between two groups: readers get segments for memtables; kills made since S are carried over
    clean    files that nothing names any more are removed and the log is trimmed

A checkpoint that fails anywhere before the commit changes nothing: its files are garbage, the memtables stay frozen and
the next checkpoint takes them along (RULES 27).
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import msgspec

from ..errors import EngineFailed, ResourceExhausted
from ..format.manifest import Manifest
from ..format.requests import RequestRow
from ..model import CatalogOrigin, Mark, Sequence64
from ..storage.bulk import Pace
from ..storage.clock import Randomness
from ..storage.files import FileSystem, remove_tree
from ..storage.names import Layout
from .apply import Applier
from .committer import Committer
from .disk_errors import disk_errors_of, lacks_space
from .manifest_keeper import ManifestKeeper
from .populating import settle
from .recovery_open import staged_or_new_entry
from .requests import store_requests
from .room import Room
from .sealing import FrozenCollection, Sealer, Written, freeze, install


@dataclass(frozen=True, slots=True)
class Frozen:
    """The whole store at the checkpoint's sequence."""

    sequence: Sequence64
    logged_sequence: Sequence64
    time_us: int
    collections: tuple[FrozenCollection, ...]
    aliases: dict[str, uuid.UUID]
    marks: tuple[Mark, ...]
    requests: list[RequestRow]
    catalog_origin: CatalogOrigin | None


class Checkpointer:
    """See the module. One checkpoint at a time; callable from any thread; blocks until it is done."""

    def __init__(
        self,
        *,
        fs: FileSystem,
        layout: Layout,
        randomness: Randomness,
        applier: Applier,
        committer: Committer,
        keeper: ManifestKeeper,
        pace: Pace,
        trim: Callable[[Sequence64], None],
    ) -> None:
        self._trim_log = trim
        self._fs = fs
        self._layout = layout
        self._applier = applier
        self._committer = committer
        self._keeper = keeper
        self._one_at_a_time = threading.Lock()
        # Guarded by _one_at_a_time: files that only the manifest before the current one still names.
        self._obsolete: list[str] = []
        # Guarded by _one_at_a_time.
        self._sealer = Sealer(fs, layout, randomness, pace)
        # Set once by the engine.
        self.room: Room | None = None

    def run(self, *, clean: bool = False, insist: bool = False) -> Sequence64:
        """Checkpoint the whole store; returns the sequence through which everything is in segments.

        On a full disk the reserve gives way to it, all of it with ``insist``: for what nothing else would keep.
        ``clean`` marks the store as stopped in order. Raises a HoldfastError; then nothing has changed.
        """
        with self._one_at_a_time:
            try:
                return self._run(clean)
            except ResourceExhausted as error:
                if self.room is None or not lacks_space(error) or not self.room.give_way(last=insist):
                    raise
                return self._run(clean)

    def _run(self, clean: bool) -> Sequence64:
        with disk_errors_of("a checkpoint"):
            frozen: Frozen = self._committer.between_groups(self._freeze)
            self._sync_log()
            before = self._keeper.current
            written = self._publish(frozen, clean)
            self._committer.between_groups(lambda: self._install(frozen, written))
            self._remove_obsolete(before, [path for done in written for path in done.replaced])
            return frozen.sequence

    def _publish(self, frozen: Frozen, clean: bool) -> list[Written]:
        """Files, then the manifest that names them; where one fails, those before it are thrown away (RULES 27)."""
        self._sealer.begun.clear()
        try:
            written = [self._write(each, frozen.sequence) for each in frozen.collections]
            requests_file = self._write_requests(frozen)
            self._keeper.update(lambda manifest: self._updated(manifest, frozen, written, requests_file, clean))
        except EngineFailed:
            # A restart may find the manifest that names them.
            raise
        except BaseException:
            for path in self._sealer.begun:
                with suppress(OSError):
                    remove_tree(self._fs, path)
            raise
        return written

    def _sync_log(self) -> None:
        try:
            if self._committer.log is not None:
                self._committer.log.sync()
        except EngineFailed as error:
            self._committer.fail(error)
            raise

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold off checkpoints while the block publishes something of its own."""
        with self._one_at_a_time:
            yield

    def leave(self, path: str) -> None:
        """Remove a file with the next checkpoint: only the manifest before the current one names it. For the block."""
        self._obsolete.append(path)

    # Freeze ---------------------------------------------------------------------------------------------------------

    def _freeze(self) -> Frozen:
        applier = self._applier
        log = self._committer.log
        collections = tuple(map(freeze, applier.catalog.collections.values()))
        applier.recount()
        return Frozen(
            sequence=applier.sequence,
            logged_sequence=log.last_sequence if log is not None else self._keeper.current.logged_sequence,
            time_us=applier.time_us,
            collections=collections,
            aliases=dict(applier.catalog.aliases),
            marks=tuple(applier.marks.values()),
            requests=self._committer.requests.rows(),
            catalog_origin=applier.catalog.origin,
        )

    # Write ----------------------------------------------------------------------------------------------------------

    def _write(self, frozen: FrozenCollection, sequence: Sequence64) -> Written:
        known = {entry.spec.id: entry for entry in self._keeper.current.collections}
        entry = known.get(frozen.spec.id) or staged_or_new_entry(self._fs, self._layout, frozen.collection)
        if frozen.collection.quarantined:
            # What it will be cannot be known before its segment can be read again: the log keeps what follows.
            return Written(entry, None, (), frozen.index, ())
        written = self._sealer.write(frozen, entry, sequence)
        settle(written.segment, written.index, self._keeper.current.mmap_of(frozen.spec.id))
        return written

    def _write_requests(self, frozen: Frozen) -> str | None:
        path = self._layout.requests(frozen.sequence)
        if frozen.requests and path.rsplit("/", 1)[1] != self._keeper.current.requests_file:
            self._sealer.begun.append(path)
        return store_requests(self._fs, self._layout, frozen.requests, frozen.sequence)

    def _updated(
        self, manifest: Manifest, frozen: Frozen, written: Sequence[Written], requests_file: str | None, clean: bool
    ) -> Manifest:
        log = self._committer.log
        directories = manifest.wal_directories
        if log is not None:
            # Where the settings have it as well, though a move there may have failed: a start goes on there.
            used = (*log.directories, self._layout.wal_dir(manifest.wal_settings.path))
            directories = tuple(dict.fromkeys(map(self._layout.relative, used)))
        return replace(
            manifest,
            sequence=frozen.sequence,
            logged_sequence=frozen.logged_sequence,
            last_timestamp_us=frozen.time_us,
            collections=tuple(done.entry for done in written),
            aliases=frozen.aliases,
            marks=frozen.marks,
            requests_file=requests_file,
            catalog_origin=frozen.catalog_origin or msgspec.UNSET,
            log_start_required=min([frozen.sequence, *_held_back(frozen.collections)]) + 1,
            wal_directories=directories,
            clean=clean,
        )

    # Install --------------------------------------------------------------------------------------------------------

    def _install(self, frozen: Frozen, written: Sequence[Written]) -> None:
        """Exchange memtables for segments in every collection that still exists (on the committing thread)."""
        for each, done in zip(frozen.collections, written, strict=True):
            collection = each.collection
            if self._applier.catalog.get(each.spec.id) is not collection or collection.quarantined:
                continue
            install(each, done, frozen.sequence)
        self._applier.recount()

    def _remove_obsolete(self, before: Manifest, replaced: list[str]) -> None:
        """Delete what was replaced by the checkpoint before this one, and the log that no kept manifest needs.

        What this checkpoint replaced stays until the next one: the manifest before the current one still names it, and
        has to do when the current one is ever damaged. Whoever drops a collection wants its space back, however: then
        the manifest is replaced once more, by itself, and nothing names it any longer.
        """
        current = self._keeper.current
        if before.requests_file not in (None, current.requests_file):
            replaced.append(f"{self._layout.root}/{before.requests_file}")
        kept = {entry.spec.id for entry in current.collections}
        dropped = [entry.spec.id for entry in before.collections if entry.spec.id not in kept]
        replaced += map(self._layout.collection_dir, dropped)
        if dropped:
            self._keeper.update(lambda manifest: manifest)
            before, self._obsolete = current, [*self._obsolete, *replaced]
            replaced = []
        obsolete, self._obsolete = self._obsolete, replaced
        for path in obsolete:
            # What cannot be removed now is removed at the next start.
            with suppress(OSError):
                remove_tree(self._fs, path)
        self._trim_log(before.log_start_required)


def _held_back(collections: Sequence[FrozenCollection]) -> Iterator[Sequence64]:
    """Where the log has to begin behind, because a checkpoint does not reach what it holds of these collections."""
    for each in collections:
        if each.collection.held_back:
            yield each.collection.checkpoint_sequence
