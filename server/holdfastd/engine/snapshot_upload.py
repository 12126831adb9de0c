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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..errors import Aborted, AlreadyExists, Corruption, HoldfastError, InvalidArgument, UnsupportedFormat
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
        fs, oldest_us = self._context.fs, self._context.clock.now_us() - LIFE_US
        with self._lock:
            uploads = self._the_list()
            for record in uploads.uploads:
                if record.key in self._open:
                    continue
                if record.touched_us < oldest_us or not fs.exists(self._part_of(record)):
                    with contextlib.suppress(OSError):
                        self._remove_part(record)
                        uploads.remove(record)

    def begin(self, request: UploadRequest, check: Check = lambda: None) -> Upload | SnapshotInfo:
        """Begin an upload, or go on with it; the snapshot itself where it is here already.

        Whoever has the same upload open loses it: the next thing that he does is refused. Blocks; durable on return.
        Raises InvalidArgument, AlreadyExists, ResourceExhausted, FailedPrecondition, Aborted where yet another takes
        it, and Corruption where the very file is here, and damaged.
        """
        path = self._checked(request)
        self.forget_old()
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

    def publish(self, upload: Upload, check: Check) -> SnapshotInfo:
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
        check_snapshot_place(context.fs, context.layout, directory, logs)
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
                    self._catalog.listing(parent_of(path))  # which adopts it
                    return self._catalog.get(path)
        raise AlreadyExists(
            f"{path} exists, and it is another file",
            reason="SNAPSHOT_EXISTS",
            hint="upload into another directory with --path, or delete that snapshot first",
            path=path,
        )

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
            for _ in archive.members():
                for _ in archive.pieces():
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
        part = self._part_of(record)
        if self._context.fs.exists(part):
            self._context.fs.unlink(part)
            self._context.fs.sync_dir(parent_of(part))

    def _forget(self, record: UploadRecord) -> None:
        with self._lock:
            self._the_list().remove(record)

    def _part_of(self, record: UploadRecord) -> str:
        return self._context.layout.resolve(record.part_path)

    def _the_list(self) -> UploadList:
        assert self._list is not None, "load() comes first"
        return self._list


class Upload:
    """One file on its way here, held by one connection. One thread; ``lose`` by any other."""

    def __init__(self, uploads: Uploads, key: tuple[str, str], path: str, former: Upload | None) -> None:
        """``key``: what it is known by; ``path``: the final one, absolute; ``former``: whom it is taken from."""
        self._uploads = uploads
        self.key = key
        self.path = path
        self._former = former
        # Held while the file changes; guards _lost.
        self._lock = threading.Lock()
        self._lost = False
        # From ``open`` on.
        self.record: UploadRecord
        self._file: File
        self._written = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.end(self)
        self._file.close()

    def open(self, record: UploadRecord, file: File) -> None:
        """Begin to write. Inside ``changing``."""
        self.record, self._file = record, file
        self._written = record.committed_bytes

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """While the block runs nobody takes the upload away. Raises Aborted where somebody has."""
        with self._lock:
            self.check_held()
            with refused_upload(self.path):
                yield

    def check_held(self) -> None:
        """Raise Aborted where somebody has taken the upload away."""
        if self._lost:
            raise Aborted(
                f"another connection goes on with the upload to {self.path}",
                reason="UPLOAD_TAKEN_OVER",
                hint="leave it to that one; two uploads of one file at a time make no sense",
            )

    def lose(self) -> None:
        """Somebody else goes on with it. Blocks for what is being written."""
        with self._lock:
            self._lost = True
        self.take_from_former()

    def take_from_former(self) -> None:
        """Whoever had it before has nothing to do with its file any more on return. Blocks for what he is writing."""
        former = self._former
        if former is not None:
            former.lose()
            self._former = None

    @property
    def part_path(self) -> str:
        """Where the bytes gather, absolute."""
        return self._file.path

    @property
    def committed_bytes(self) -> int:
        """Bytes from the start of the file that are on the disk for good."""
        return self.record.committed_bytes

    @property
    def expires_us(self) -> int:
        """When what is here is thrown away if nothing more comes."""
        return self.record.touched_us + LIFE_US

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
        with self.changing():
            self._file.pwrite([data], offset)
        self._written = end
        if end - self.committed_bytes < SYNC_BYTES and end < self.record.total_bytes:
            return False
        self.sync(now_us)
        return True

    def sync(self, now_us: int) -> None:
        """Make durable what was written, and keep how far that is. What a failure has lost has to come again."""
        written, self._written = self._written, self.committed_bytes
        if written == self.committed_bytes:
            return
        with self.changing():
            self._file.sync()
            # The kernel reports a lost write once: only now is it known that there was none.
            self._written = written
            self.record = replace(self.record, committed_bytes=written, touched_us=now_us)
            self._uploads.note(self.record)

    @property
    def complete(self) -> bool:
        """Whether all of it is here, durable."""
        return self.committed_bytes == self.record.total_bytes

    def publish(self, check: Check = lambda: None) -> SnapshotInfo:
        """See ``Uploads.publish``."""
        return self._uploads.publish(self, check)


def refused_upload(path: str) -> AbstractContextManager[None]:
    """What an error of the disk makes of the upload to ``path``."""
    return disk_errors_of(f"the upload to {path}")
