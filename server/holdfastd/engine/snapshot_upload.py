"""Bringing a snapshot's file here: resumed where it broke, published only when every sum in it holds.

The bytes gather beside the final name, under one that nobody takes for a snapshot. Order: note the upload, create the
file, write, sync, note how far; at the end prove the whole archive, rename, sync the directory, let the registry know,
forget the upload. A kill at any place leaves the snapshot whole under its name, or an upload to go on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import AlreadyExists, Corruption, HoldfastError, InvalidArgument, UnsupportedFormat
from ..storage.archive_reader import ArchiveReader
from ..storage.files import make_lasting_dir, parent_of, remove_file
from ..storage.registry import snapshot_file_id
from ..storage.uploads import UploadList, UploadRecord
from .open_upload import LIFE_US, Upload, refused_upload
from .places import check_snapshot_place
from .snapshot_catalog import SnapshotCatalog
from .snapshot_context import SnapshotContext
from .snapshot_info import SnapshotInfo

READ_BYTES = 1 << 20
LARGEST_BYTES = 1 << 50

Check: TypeAlias = Callable[[], None]
"""Is called now and then while a file is read; raises what is to end that."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What an upload begins with. ``directory``: absolute; None: that of the store. ``sha256``: of the whole file."""

    filename: str
    total_bytes: int
    sha256: str
    directory: str | None = None


class Uploads:
    """All uploads of a store. Thread-safe. ``load`` comes first."""

    def __init__(self, context: SnapshotContext, catalog: SnapshotCatalog) -> None:
        self._context = context
        self._catalog = catalog
        # Guarded by _lock. The files are not: a disk that does not answer must not hold up the uploads to others.
        self._lock = threading.Lock()
        self._list: UploadList | None = None
        self._open: dict[tuple[str, str], Upload] = {}

    def load(self) -> str | None:
        """Read the list, and remove what nobody goes on with. Call once, at start. Returns what is to be said, or None.

        Raises OSError and UnsupportedFormat.
        """
        with self._lock:
            self._list = UploadList.load(self._context.fs, self._context.layout)
        self.forget_old()
        return self._list.problem

    def forget_old(self) -> None:
        """Remove what nobody has gone on with in time, and forget what somebody else has removed. Blocks.

        What cannot be removed now, such as in a directory that is read-only, stays noted, to be tried again.
        """
        with self._lock:
            records = self._the_list().uploads
        for record in records:
            if self._is_over(record):
                self._forget_over(record)

    def begin(self, request: UploadRequest, check: Check = lambda: None) -> Upload | SnapshotInfo:
        """Begin an upload, or go on with it; the snapshot itself where it is here already.

        Whoever has the same upload open loses it: the next thing that he does is refused. Blocks; durable on return.
        Raises InvalidArgument, AlreadyExists, ResourceExhausted, FailedPrecondition, Aborted where yet another takes
        it, and Corruption where the very file is here, and damaged.
        """
        path = self._checked(request)
        while True:
            here = self._is_here(path, request, check) or self._opened(path, request)
            if here is not None:
                return here

    # For an Upload --------------------------------------------------------------------------------------------------

    def note(self, record: UploadRecord) -> None:
        """Keep how far an upload has come. Inside ``changing``; durable on return."""
        with self._lock:
            self._the_list().put(record)

    def end(self, upload: Upload) -> None:
        """Nobody writes to it for now."""
        with self._lock:
            if self._open.get(upload.key) is upload:
                del self._open[upload.key]

    def publish(self, upload: Upload, check: Check = lambda: None) -> SnapshotInfo:
        """Prove the file and give it its name; durable on return. Raises Corruption or AlreadyExists; then it is gone.

        Blocks for as long as reading all of it takes.
        """
        path = self._context.layout.resolve(upload.record.path)
        try:
            with refused_upload(path):
                self._prove(upload, path, check)
            with upload.changing():
                self._catalog.take_in(upload.part_path, path)
                self._forget(upload.record)
        except (Corruption, AlreadyExists, InvalidArgument, UnsupportedFormat):
            with upload.changing():
                self._remove_part(upload.record)
                self._forget(upload.record)
            raise
        return self._catalog.get(path)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _checked(self, request: UploadRequest) -> str:
        """The final path. Raises InvalidArgument."""
        problem, field = None, "filename"
        if posixpath.basename(request.filename) != request.filename or snapshot_file_id(request.filename) is None:
            problem = f"{request.filename!r} is no name of a snapshot's file"
        elif not 0 < request.total_bytes <= LARGEST_BYTES:
            problem, field = f"total_bytes is {request.total_bytes}", "total_bytes"
        elif len(request.sha256) != 64 or not set(request.sha256) <= set("0123456789abcdef"):
            problem, field = "file_sha256 is no SHA-256: 64 hexadecimal digits in lower case", "file_sha256"
        if problem is not None:
            hint = "send a file that holdfastd wrote, under the name that it had, such as snap-2026-01-20-103045.gz"
            raise InvalidArgument(problem, field=field, hint=hint)
        context = self._context
        directory = context.layout.snapshots if request.directory is None else request.directory
        logs = map(context.layout.wal_dir, context.keeper.current.wal_directories)
        check_snapshot_place(context.fs, context.layout, directory, logs, context.config.archive_path)
        return posixpath.join(directory, request.filename)

    def _is_here(self, path: str, request: UploadRequest, check: Check) -> SnapshotInfo | None:
        """The snapshot, where the very file is under its name already: a reply was lost, or a crash came before it."""
        fs = self._context.fs
        with refused_upload(path):
            if not fs.exists(path):
                return None
            if fs.size(path) == request.total_bytes:
                sha256, flaw = self._examine(path, path, check)
                if sha256 == request.sha256:
                    if flaw is not None:
                        raise flaw
                    # After a kill the name may be the kernel's alone.
                    fs.sync_dir(parent_of(path))
                    self._catalog.listing(parent_of(path))  # which adopts it
                    return self._catalog.get(path)
        raise AlreadyExists(
            f"{path} exists, and it is another file",
            reason="SNAPSHOT_EXISTS",
            hint="upload into another directory with --path, or delete that snapshot first",
            path=path,
        )

    def _is_over(self, record: UploadRecord) -> bool:
        is_old = record.touched_us < self._context.clock.now_us() - LIFE_US
        return is_old or not self._context.fs.exists(self._part_of(record))

    def _forget_over(self, record: UploadRecord) -> None:
        """Hold it like somebody who brings it, that nobody does meanwhile; unless somebody does, or did since."""
        with self._lock:
            if record.key in self._open or record not in self._the_list().uploads:
                return
            held = self._open[record.key] = Upload(self, record.key, self._context.layout.resolve(record.path), None)
        try:
            with contextlib.suppress(HoldfastError), held.changing():
                if self._context.fs.exists(parent_of(held.path)):
                    # What names there are, and which are gone, may be in the kernel alone after a kill.
                    self._context.fs.sync_dir(parent_of(held.path))
                if self._context.fs.exists(held.path):
                    # It got its name, and a crash came before the registry knew of it: a look adopts it.
                    self._catalog.listing(parent_of(held.path))
                self._remove_part(record)
                self._forget(record)
        finally:
            self.end(held)

    def _opened(self, path: str, request: UploadRequest) -> Upload | None:
        """Take the upload from whoever has it, and open its file. None where it has been published meanwhile."""
        key = self._context.layout.relative(path), request.sha256
        with self._lock:
            upload = self._open[key] = Upload(self, key, path, former=self._open.get(key))
        try:
            upload.take_from_former()
            with upload.changing():
                if self._context.fs.exists(path):
                    self.end(upload)
                    return None
                self._open_part(upload, request)
        except BaseException:
            self.end(upload)
            raise
        return upload

    def _open_part(self, upload: Upload, request: UploadRequest) -> None:
        fs = self._context.fs
        make_lasting_dir(fs, parent_of(upload.path))
        with self._lock:
            record = self._the_list().find(*upload.key)
        # Who named another size was wrong then or is now: the sum decides, at the end.
        if record is None or record.total_bytes != request.total_bytes or not fs.exists(self._part_of(record)):
            record = self._fresh(upload.path, request)
        upload.open(record, fs.open(self._part_of(record)))

    def _fresh(self, path: str, request: UploadRequest) -> UploadRecord:
        context = self._context
        record = UploadRecord(
            path=context.layout.relative(path),
            total_bytes=request.total_bytes,
            sha256=request.sha256,
            committed_bytes=0,
            touched_us=context.clock.now_us(),
        )
        self._remove_part(record)  # of a list that is lost, or of another size
        context.check_space(parent_of(path), request.total_bytes)
        self.note(record)
        try:
            context.fs.create(self._part_of(record), request.total_bytes).close()
            context.fs.sync_dir(parent_of(path))
        except OSError:
            self._remove_part(record)
            self._forget(record)
            raise
        return record

    def _prove(self, upload: Upload, path: str, check: Check) -> None:
        """Raise unless the whole file is what was promised, and a whole snapshot of the id that its name says."""

        def check_both() -> None:
            check()
            upload.check_held()

        sha256, flaw = self._examine(upload.part_path, path, check_both)
        if sha256 != upload.record.sha256:
            raise Corruption(
                "what arrived does not have the SHA-256 that the upload began with",
                path=upload.part_path,
                reason="CHECKSUM_MISMATCH",
                hint="send it again: the file changed while it was sent",
            )
        if flaw is not None:
            raise flaw

    def _examine(self, path: str, final: str, check: Check) -> tuple[str, HoldfastError | None]:
        """The SHA-256 of a file, and why it is no whole snapshot that can have the name ``final``, or None."""
        found = hashlib.sha256()
        try:
            archive = ArchiveReader(self._context.fs, path, found.update)
            for _ in archive.steps():
                check()
        except (Corruption, UnsupportedFormat) as error:
            return self._sha256_of(path, check), error
        if archive.manifest.id != snapshot_file_id(posixpath.basename(final)):
            return found.hexdigest(), InvalidArgument(
                f"{posixpath.basename(final)} says of itself that it is {archive.manifest.id}",
                field="filename",
                hint="give the file the name that it had",
            )
        return found.hexdigest(), None

    def _sha256_of(self, path: str, check: Check) -> str:
        digest, position = hashlib.sha256(), 0
        while data := self._context.fs.read(path, position, READ_BYTES):
            check()
            digest.update(data)
            position += len(data)
        return digest.hexdigest()

    def _remove_part(self, record: UploadRecord) -> None:
        """Before it is forgotten: a crash in between leaves a note of nothing, never a file that nobody knows."""
        remove_file(self._context.fs, self._part_of(record))

    def _forget(self, record: UploadRecord) -> None:
        with self._lock:
            self._the_list().remove(record)

    def _part_of(self, record: UploadRecord) -> str:
        return self._context.layout.resolve(record.part_path(self._context.keeper.current.store_id))

    def _the_list(self) -> UploadList:
        assert self._list is not None, "load() comes first"
        return self._list
