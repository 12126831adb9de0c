"""Snapshots' files through the daemon, out and in: for whoever does not share its file system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from holdfast.v1 import snapshot_pb2

from ..engine.open_upload import Upload
from ..engine.snapshot_download import Download
from ..engine.snapshot_info import SnapshotInfo
from ..engine.snapshot_upload import UploadRequest, Uploads
from ..errors import Cancelled, InvalidArgument
from ..format.checksum import crc32c
from ..storage.clock import Clock
from .convert import timestamp
from .convert_snapshots import snapshot_message
from .draining import Draining
from .requests import Paths
from .routes import Unparsed

MAX_CHUNK_BYTES = 1 << 20


def download(
    file: Download, request: snapshot_pb2.DownloadSnapshotRequest, context: grpc.ServicerContext, draining: Draining
) -> Iterator[snapshot_pb2.DownloadSnapshotResponse]:
    """The pieces of a file; the snapshot with the first one."""
    if request.read_offset < 0:
        raise InvalidArgument(f"read_offset is {request.read_offset}, it cannot be negative", field="read_offset")
    first = True
    for piece in file.pieces(request.read_offset, request.if_match):
        if not draining.goes_on(context):
            return
        yield snapshot_pb2.DownloadSnapshotResponse(
            snapshot=snapshot_message(file.info) if first else None,
            offset=piece.offset,
            data=piece.data,
            crc32c=crc32c(piece.data),
            total_bytes=file.total_bytes,
            file_sha256=piece.file_sha256,
        )
        first = False


@dataclass(frozen=True, slots=True)
class UploadStreams:
    """Serves uploads. Handlers run in worker threads and block for the disk and for the client."""

    uploads: Uploads
    paths: Paths
    clock: Clock
    draining: Draining

    def serve(
        self, requests: Iterator[snapshot_pb2.UploadSnapshotRequest | Unparsed], context: grpc.ServicerContext
    ) -> Iterator[snapshot_pb2.UploadSnapshotResponse]:
        """How much is here, then from time to time how much is synced, then the snapshot."""

        def check() -> None:
            if not self.draining.goes_on(context):
                raise Cancelled("the client has gone")

        begun = self.uploads.begin(self._asked(next(requests, None), context), check)
        if isinstance(begun, SnapshotInfo):
            yield self._done(begun)
            return
        with begun as upload:
            yield self._so_far(upload)
            try:
                # Of one that is complete nothing more comes, and its client may wait for the end with the stream open.
                while not upload.complete and (request := next(requests, None)) is not None:
                    self.draining.check()
                    if self._take(request, upload):
                        yield self._so_far(upload)
            finally:
                # What has come is worth keeping, whatever ends the stream.
                upload.sync(self.clock.now_us())
            if upload.complete:
                yield self._done(self.uploads.publish(upload, self.draining.check))

    def _asked(
        self, request: snapshot_pb2.UploadSnapshotRequest | Unparsed | None, context: grpc.ServicerContext
    ) -> UploadRequest:
        if isinstance(request, Unparsed):
            raise request.error
        if request is None or not request.HasField("header"):
            raise InvalidArgument(
                "an upload begins with its header", field="header", hint="send filename, total_bytes and file_sha256"
            )
        header = request.header
        directory = self.paths.resolve(header.path, header.working_directory, context)
        return UploadRequest(header.filename, header.total_bytes, header.file_sha256, directory)

    def _take(self, request: snapshot_pb2.UploadSnapshotRequest | Unparsed, upload: Upload) -> bool:
        if isinstance(request, Unparsed):
            raise request.error
        chunk = request.chunk
        if not request.HasField("chunk") or not 0 < len(chunk.data) <= MAX_CHUNK_BYTES:
            raise InvalidArgument(
                "what follows an upload's header are chunks of 1 byte to 1 MiB", field="chunk", hint="cut the file"
            )
        crc = chunk.crc32c if chunk.HasField("crc32c") else None
        return upload.write(chunk.offset, chunk.data, crc, self.clock.now_us())

    def _so_far(self, upload: Upload) -> snapshot_pb2.UploadSnapshotResponse:
        expires = timestamp(upload.expires_us)
        return snapshot_pb2.UploadSnapshotResponse(committed_bytes=upload.committed_bytes, expire_time=expires)

    def _done(self, info: SnapshotInfo) -> snapshot_pb2.UploadSnapshotResponse:
        size = info.record.size_bytes
        return snapshot_pb2.UploadSnapshotResponse(committed_bytes=size, snapshot=snapshot_message(info))
