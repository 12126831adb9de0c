"""Copying a snapshot's file to the daemon: the daemon says how much it has, and the client sends on from there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO

from holdfast.checksums import crc32c
from holdfast.connection import Connection, Retries, new_request_id
from holdfast.documents import Document
from holdfast.download import ATTEMPTS, broken, pause_after
from holdfast.errors import InvalidArgument, Unavailable
from holdfast.paths import AnyPath, path_text

if TYPE_CHECKING:
    from holdfast.v1 import common_pb2, snapshot_pb2

_CHUNK = 1 << 20


def upload(
    connection: Connection,
    file: Path,
    path: AnyPath | None,
    directory: str,
    on_bytes: Callable[[int, int], None] | None,
) -> Document:
    """Send ``file`` to ``path`` (a directory on the daemon's machine; None: its default). Verified there on return."""
    from holdfast.snapshot_documents import snapshot_document
    from holdfast.v1 import snapshot_pb2

    with _opened(file) as source:
        try:
            size, digest = os.fstat(source.fileno()).st_size, _sha256(source)
        except OSError as error:
            raise _cannot_read(file, error.strerror) from None
        header = snapshot_pb2.UploadSnapshotRequest.Header(
            filename=file.name,
            total_bytes=size,
            file_sha256=digest,
            path=path_text(path),
            working_directory=directory,
            request_id=new_request_id(),
        )
        made = snapshot_document(_Sender(connection, source, file, header, on_bytes).run())
    return Document(snapshot_id=made.id, path=made.path, size_bytes=made.size_bytes, sha256=digest, status="completed")


def _opened(file: Path) -> BinaryIO:
    """The file, kept open: what is sent is what the sum was made of, whatever becomes of the name."""
    try:
        # A pipe must not keep us waiting for its other end.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_read(file, error.strerror) from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise _cannot_read(file, "it is no regular file")


def _cannot_read(file: Path, why: str | None) -> InvalidArgument:
    return InvalidArgument(f"cannot read {file}: {why}", reason="CANNOT_READ")


class _Sender:
    """One file on its way; taken up again after a break as long as the daemon's count grows."""

    def __init__(
        self,
        connection: Connection,
        source: BinaryIO,
        file: Path,
        header: snapshot_pb2.UploadSnapshotRequest.Header,
        on_bytes: Callable[[int, int], None] | None,
    ) -> None:
        self._connection = connection
        self._source = source
        self._file = file
        self._header = header
        self._on_bytes = on_bytes
        self._begun = False
        self._committed = 0
        self._problem: str | None = None

    def run(self) -> common_pb2.Snapshot:
        failures = 0
        retries = Retries(self._connection)
        while True:
            before = self._committed
            try:
                return self._attempt()
            except Unavailable as error:
                if not self._begun:
                    # As any other call that does not reach the daemon.
                    if not retries.wait_after(error):
                        raise
                    continue
                failures = 0 if self._committed > before else failures + 1
                if failures >= ATTEMPTS:
                    raise broken(error, "what the daemon has of it") from None
                self._connection.pause(pause_after(failures))

    def _attempt(self) -> common_pb2.Snapshot:
        import grpc

        starts: SimpleQueue[int | None] = SimpleQueue()
        call = self._connection.snapshots.UploadSnapshot(self._requests(starts), metadata=self._connection.metadata)
        try:
            for number, response in enumerate(call):
                self._note(response.committed_bytes)
                if number == 0:
                    starts.put(response.committed_bytes)
                if response.HasField("snapshot"):
                    return response.snapshot
        except grpc.RpcError as failure:
            if self._problem is None:
                raise self._connection.error(failure) from None
        finally:
            starts.put(None)
            call.cancel()
        if self._problem is not None:
            raise _cannot_read(self._file, self._problem)
        raise Unavailable("the daemon ended the upload before it had the whole file", reason="BAD_TRANSFER")

    def _requests(self, starts: SimpleQueue[int | None]) -> Iterator[snapshot_pb2.UploadSnapshotRequest]:
        """The header; then, once the daemon has said from where, the chunks. Runs on gRPC's sending thread."""
        from holdfast.v1 import snapshot_pb2

        yield snapshot_pb2.UploadSnapshotRequest(header=self._header)
        offset = starts.get()
        if offset is None:
            return
        checksum = crc32c()
        while offset < self._header.total_bytes:
            data = self._read(offset)
            if not data:
                return
            crc = None if checksum is None else checksum(data)
            chunk = snapshot_pb2.UploadSnapshotRequest.Chunk(offset=offset, data=data, crc32c=crc)
            yield snapshot_pb2.UploadSnapshotRequest(chunk=chunk)
            offset += len(data)

    def _read(self, offset: int) -> bytes:
        """The next bytes; b"" where there are none, which is a problem."""
        try:
            # At its own place: a former attempt's thread may still be reading.
            data = os.pread(self._source.fileno(), min(_CHUNK, self._header.total_bytes - offset), offset)
        except (OSError, ValueError) as error:  # ValueError: the transfer has ended, and closed it
            self._problem = str(error)
            return b""
        if not data:
            self._problem = "it has become shorter since the upload began"
        return data

    def _note(self, committed: int) -> None:
        self._begun, self._committed = True, committed
        if self._on_bytes is not None:
            self._on_bytes(committed, self._header.total_bytes)


def _sha256(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
