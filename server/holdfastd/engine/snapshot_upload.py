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
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NoReturn

from ..errors import Aborted, AlreadyExists, Corruption, InvalidArgument
from ..format.checksum import crc32c
from ..storage.archive_reader import ArchiveReader
from ..storage.files import File, make_lasting_dir, parent_of
from ..storage.registry import snapshot_file_id
from ..storage.uploads import UploadList, UploadRecord
from .disk_errors import disk_errors_of
from .places import check_snapshot_place
from .snapshot_catalog import SnapshotCatalog
from .snapshot_context import SnapshotContext
from .snapshot_info import SnapshotInfo

SYNC_BYTES = 32 << 20
"""What a broken transfer may cost at most."""
LIFE_US = 24 * 3600 * 1_000_000
"""How long an upload waits for its next byte."""
READ_BYTES = 1 << 20
LARGEST_BYTES = 1 << 50


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
        # Guarded by _lock, which is held while files and the list change: they change together.
        self._lock = threading.Lock()
        self._list: UploadList | None = None
        self._open: dict[tuple[str, str], Upload] = {}

    def load(self) -> str | None:
        """Read the list, and remove what nobody goes on with. Call once, at start. Returns what is to be said, or None.

        Raises OSError and UnsupportedFormat.
        """
        with self._lock:
            self._list = UploadList.load(self._context.fs, self._context.layout)
            self._forget_old(self._list)
            return self._list.problem

    def begin(self, request: UploadRequest) -> Upload | SnapshotInfo:
        """Begin an upload, or go on with it; the snapshot itself where it is here already.

        Whoever has the same upload open loses it: his connection is broken. Blocks; durable on return. Raises
        InvalidArgument, AlreadyExists, ResourceExhausted or FailedPrecondition.
        """
        path = self._checked(request)
        here = self._is_here(path, request)
        if here is not None:
            return here
        context = self._context
        with self._lock, _refused(path):
            uploads = self._the_list()
            self._forget_old(uploads)
            make_lasting_dir(context.fs, parent_of(path))
            record = uploads.find(context.layout.relative(path), request.sha256)
            if record is None or not context.fs.exists(self._part_of(record)):
                record = self._fresh(uploads, path, request)
            former = self._open.pop(record.key, None)
            if former is not None:
                former.lose()
            upload = Upload(self, record, self._part_of(record), context.fs.open(self._part_of(record)))
            self._open[record.key] = upload
            return upload

    # For an Upload --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def changing(self, upload: Upload) -> Iterator[None]:
        """While the block runs nobody takes the upload away. Raises Aborted where somebody has."""
        with self._lock:
            if upload.lost:
                raise Aborted(
                    f"another connection goes on with the upload of {upload.record.path}",
                    reason="UPLOAD_TAKEN_OVER",
                    hint="leave it to that one; two uploads of one file at a time make no sense",
                )
            with _refused(self._context.layout.resolve(upload.record.path)):
                yield

    def note(self, record: UploadRecord) -> None:
        """Keep how far an upload has come. Inside ``changing``; durable on return."""
        self._the_list().put(record)

    def end(self, upload: Upload) -> None:
        """Nobody writes to it for now."""
        with self._lock:
            if self._open.get(upload.record.key) is upload:
                del self._open[upload.record.key]
        upload.file.close()

    def publish(self, upload: Upload) -> SnapshotInfo:
        """Prove the file and give it its name; durable on return. Raises Corruption or AlreadyExists; then it is gone.

        Blocks for as long as reading all of it takes.
        """
        path = self._context.layout.resolve(upload.record.path)
        try:
            with _refused(path):
                self._prove(upload, path)
            with self.changing(upload):
                self._catalog.take_in(upload.part_path, path)
                self._the_list().remove(upload.record)
        except (Corruption, AlreadyExists, InvalidArgument):
            self._throw_away(upload)
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
        check_snapshot_place(context.fs, context.layout, directory, logs)
        return posixpath.join(directory, request.filename)

    def _is_here(self, path: str, request: UploadRequest) -> SnapshotInfo | None:
        """The snapshot, where the very file is under its name already: a reply was lost, or a crash came before it."""
        fs = self._context.fs
        with _refused(path):
            if not fs.exists(path):
                return None
            if fs.size(path) == request.total_bytes and self._sha256_of(path) == request.sha256:
                self._catalog.listing(parent_of(path))  # which adopts it
                return self._catalog.get(path)
        raise AlreadyExists(
            f"{path} exists, and it is another file",
            reason="SNAPSHOT_EXISTS",
            hint="upload into another directory with --path, or delete that snapshot first",
            path=path,
        )

    def _fresh(self, uploads: UploadList, path: str, request: UploadRequest) -> UploadRecord:
        context = self._context
        record = UploadRecord(
            path=context.layout.relative(path),
            total_bytes=request.total_bytes,
            sha256=request.sha256,
            committed_bytes=0,
            touched_us=context.clock.now_us(),
        )
        context.check_space(parent_of(path), request.total_bytes)
        if context.fs.exists(self._part_of(record)):  # of a list that is lost
            context.fs.unlink(self._part_of(record))
        uploads.put(record)
        try:
            context.fs.create(self._part_of(record), request.total_bytes).close()
            context.fs.sync_dir(parent_of(path))
        except OSError:
            self._remove(uploads, record)
            raise
        return record

    def _prove(self, upload: Upload, path: str) -> None:
        """Raise unless the whole file is what was promised, and a whole snapshot of the id that its name says."""
        found = hashlib.sha256()
        try:
            archive = ArchiveReader(self._context.fs, upload.part_path, found.update)
            for _ in archive.members():
                pass
        except Corruption:
            if self._sha256_of(upload.part_path) == upload.record.sha256:
                raise
            _refuse_content(upload)
        if found.hexdigest() != upload.record.sha256:
            _refuse_content(upload)
        if archive.manifest.id != snapshot_file_id(posixpath.basename(path)):
            raise InvalidArgument(
                f"{posixpath.basename(path)} says of itself that it is {archive.manifest.id}",
                field="filename",
                hint="give the file the name that it had",
            )

    def _sha256_of(self, path: str) -> str:
        digest, position = hashlib.sha256(), 0
        while data := self._context.fs.read(path, position, READ_BYTES):
            digest.update(data)
            position += len(data)
        return digest.hexdigest()

    def _throw_away(self, upload: Upload) -> None:
        with self.changing(upload):
            self._remove(self._the_list(), upload.record)

    def _forget_old(self, uploads: UploadList) -> None:
        """Remove what nobody has gone on with in time, and forget what somebody else has removed."""
        oldest_us = self._context.clock.now_us() - LIFE_US
        for record in uploads.uploads:
            if record.key not in self._open and (
                record.touched_us < oldest_us or not self._context.fs.exists(self._part_of(record))
            ):
                self._remove(uploads, record)

    def _remove(self, uploads: UploadList, record: UploadRecord) -> None:
        """The file first: a crash in between leaves a note of nothing, never a file that nobody knows."""
        part = self._part_of(record)
        if self._context.fs.exists(part):
            self._context.fs.unlink(part)
            self._context.fs.sync_dir(parent_of(part))
        uploads.remove(record)

    def _part_of(self, record: UploadRecord) -> str:
        return self._context.layout.resolve(record.part_path)

    def _the_list(self) -> UploadList:
        assert self._list is not None, "load() comes first"
        return self._list


class Upload:
    """One file on its way here, held by one connection. One thread; ``lose`` by another, while nothing changes."""

    def __init__(self, uploads: Uploads, record: UploadRecord, part_path: str, file: File) -> None:
        self._uploads = uploads
        self.record = record
        self.part_path = part_path
        self.file = file
        self.lost = False
        self._written = record.committed_bytes

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.end(self)

    @property
    def committed_bytes(self) -> int:
        """Bytes from the start of the file that are on the disk for good."""
        return self.record.committed_bytes

    @property
    def expires_us(self) -> int:
        """When what is here is thrown away if nothing more comes."""
        return self.record.touched_us + LIFE_US

    def lose(self) -> None:
        """Somebody else goes on with it."""
        self.lost = True

    def write(self, offset: int, data: bytes, crc: int | None, now_us: int) -> bool:
        """Take the next bytes; True when all so far are durable by now. Blocks for the disk.

        Raises InvalidArgument for bytes out of their place, Corruption where ``crc`` (CRC-32C) is given and not theirs.
        """
        end = offset + len(data)
        if offset != self._written or end > self.record.total_bytes:
            raise InvalidArgument(
                f"bytes {offset} to {end} came where {self._written} to {self.record.total_bytes} are due",
                field="chunk.offset",
                hint="send the file on from committed_bytes, in order",
            )
        if crc is not None and crc32c(data) != crc:
            raise Corruption(
                f"the CRC-32C of the bytes from {offset} on does not hold",
                path=self.part_path,
                offset=offset,
                reason="CHECKSUM_MISMATCH",
                hint="send the file again: it goes on from what is here",
            )
        with self._uploads.changing(self):
            self.file.pwrite([data], offset)
        self._written = end
        if end - self.committed_bytes < SYNC_BYTES and end < self.record.total_bytes:
            return False
        self.sync(now_us)
        return True

    def sync(self, now_us: int) -> None:
        """Make durable what was written, and keep how far that is."""
        if self._written == self.committed_bytes:
            return
        with self._uploads.changing(self):
            self.file.sync()
            self.record = replace(self.record, committed_bytes=self._written, touched_us=now_us)
            self._uploads.note(self.record)

    @property
    def complete(self) -> bool:
        """Whether all of it is here, durable."""
        return self.committed_bytes == self.record.total_bytes

    def publish(self) -> SnapshotInfo:
        """See ``Uploads.publish``."""
        return self._uploads.publish(self)


def _refuse_content(upload: Upload) -> NoReturn:
    raise Corruption(
        "what arrived does not have the SHA-256 that the upload began with",
        path=upload.part_path,
        reason="CHECKSUM_MISMATCH",
        hint="send it again: the file changed while it was sent",
    )


def _refused(path: str) -> AbstractContextManager[None]:
    return disk_errors_of(f"the upload to {path}")
