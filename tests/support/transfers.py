"""Snapshots' files on their way out of one store and into another, piece by piece."""

from __future__ import annotations

import hashlib
import posixpath

from holdfastd.engine.open_upload import Upload
from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.engine.snapshot_upload import UploadRequest
from holdfastd.format.checksum import crc32c
from tests.support.snapshots import SNAPSHOTS_DIR, SnapshotKit


def request_of(name: str, content: bytes, directory: str | None = None) -> UploadRequest:
    """What the upload of a file begins with."""
    return UploadRequest(name, len(content), hashlib.sha256(content).hexdigest(), directory)


def read_file(kit: SnapshotKit, snapshot: str) -> tuple[str, bytes]:
    """The name and the bytes of a snapshot's file, as they lie on the disk."""
    path = kit.engine.snapshots.get(snapshot).path
    return posixpath.basename(path), kit.fs.read(path)


def send(kit: SnapshotKit, upload: Upload, content: bytes, piece: int, upto: int | None = None) -> None:
    """Send what is not there yet, up to a byte."""
    end = len(content) if upto is None else upto
    for at in range(upload.committed_bytes, end, piece):
        data = content[at : min(end, at + piece)]
        upload.write(at, data, crc32c(data), kit.clock.now_us())


def begun(kit: SnapshotKit, request: UploadRequest) -> Upload:
    """An upload, of a file that is not there yet."""
    upload = kit.engine.snapshots.uploads.begin(request)
    assert isinstance(upload, Upload)
    return upload


def parts(kit: SnapshotKit, directory: str = SNAPSHOTS_DIR) -> list[str]:
    """The names under which uploads gather in a directory."""
    return [name for name in kit.fs.listdir(directory) if name.endswith(".upload")]


def bring(
    kit: SnapshotKit, name: str, content: bytes, directory: str | None = None, *, piece: int = 64 << 10
) -> SnapshotInfo:
    """The whole of an upload, or what is left of it."""
    opened = kit.engine.snapshots.uploads.begin(request_of(name, content, directory))
    if isinstance(opened, SnapshotInfo):
        return opened
    with opened as upload:
        send(kit, upload, content, piece)
        return kit.engine.snapshots.uploads.publish(upload)
