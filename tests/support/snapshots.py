"""Snapshots in tests: an engine that makes and reads them, and archives taken apart and put together wrongly."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from holdfastd import errors
from holdfastd.engine.compactions import CompactRequest
from holdfastd.engine.operations import Operation, OperationState
from holdfastd.engine.snapshot_sides import LIVE
from holdfastd.engine.snapshots import DiffRequest, RestoreRequest, SnapshotInfo, SnapshotRequest, VerifyRequest
from holdfastd.format.snapshot import (
    MANIFEST,
    SUMS,
    SnapshotManifest,
    decode_snapshot,
    encode_snapshot,
    sums_text,
)
from holdfastd.storage.files import make_dirs, parent_of
from tests.support.engines import CALLER, ROOT, Kit

SECOND_US = 1_000_000
COLLECTIONS_DIR = f"{ROOT}/collections"
SNAPSHOTS_DIR = f"{ROOT}/snapshots"


def raise_failure(operation: Operation) -> dict[str, Any]:
    """The result of an operation that has ended well; of any other, the error that it ended with."""
    if operation.state is OperationState.SUCCEEDED and operation.result is not None:
        return operation.result
    assert operation.error is not None, f"the operation has {operation.state} without an error"
    kind = getattr(errors, operation.error.kind, None)
    assert kind is not None, operation.error.message
    raised = errors.HoldfastError(operation.error.message, reason=operation.error.reason, hint=operation.error.hint)
    raised.__class__ = kind
    raise raised


class SnapshotKit(Kit):
    """A store that makes snapshots and restores them, each call waiting for its end."""

    def snapshot(self, **request: Any) -> dict[str, Any]:
        """Create one; returns the result document."""
        return self._wait(self.engine.snapshots.start_create(SnapshotRequest(**request), caller=CALLER))

    def restore(self, snapshot: str, **request: Any) -> dict[str, Any]:
        """Restore one; returns the result document."""
        return self._wait(self.engine.snapshots.start_restore(RestoreRequest(snapshot, **request), caller=CALLER))

    def verify(self, snapshot: str, **request: Any) -> dict[str, Any]:
        """Verify one; returns the result document."""
        return self._wait(self.engine.snapshots.start_verify(VerifyRequest(snapshot, **request), caller=CALLER))

    def diff(self, first: str, second: str = LIVE, **request: Any) -> dict[str, Any]:
        """Compare two snapshots, or one with the live store; returns the result document."""
        return self._wait(self.engine.snapshots.start_diff(DiffRequest(first, second, **request), caller=CALLER))

    def consolidate(self, snapshot: str, *, validate_only: bool = False) -> dict[str, Any]:
        """Delete one that increments may build on; returns the result document."""
        start = self.engine.snapshots.start_consolidate
        return self._wait(start(snapshot, caller=CALLER, validate_only=validate_only))

    def compact(self, collection: str | None = None, **request: Any) -> dict[str, Any]:
        """Compact; returns the result document."""
        return self._wait(self.engine.compactions.start(CompactRequest(collection, **request), caller=CALLER))

    def later(self, **request: Any) -> SnapshotInfo:
        """A snapshot of the next second."""
        self.clock.advance_us(SECOND_US)
        return self.engine.snapshots.get(self.snapshot(**request)["snapshot_id"])

    def ids(self) -> list[str]:
        """The ids of the snapshots listed, newest first."""
        return [info.id for info in self.engine.snapshots.list()]

    def put(self, path: str, data: bytes) -> str:
        """Write a file, replacing it, and its directory where there is none; returns its path."""
        make_dirs(self.fs, parent_of(path))
        if self.fs.exists(path):
            self.fs.unlink(path)
        file = self.fs.create(path)
        file.pwrite([data], 0)
        file.sync()
        file.close()
        return path

    def _wait(self, operation: Operation) -> dict[str, Any]:
        return raise_failure(self.engine.operations.wait(operation.id))


def two_points() -> SnapshotKit:
    """A store with one collection of two points."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    return kit


def sound_archives() -> dict[bool, bytes]:
    """An archive, plain and compressed: ids a, bb and ccc, the second without a payload."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["a", "bb", "ccc"], 1, 2, 3, payloads=[b'{"n":1}', None, b'{"n":3}'])
    kit.engine.collections.create_alias("alias", "c", caller=CALLER)
    return {compress: kit.fs.read(kit.snapshot(compress=compress)["path"]) for compress in (False, True)}


@dataclass
class Piece:
    """A member of an archive. ``kind``, ``link``: what tar says of it besides."""

    name: str
    data: bytes
    kind: bytes = tarfile.REGTYPE
    link: str = ""


@dataclass
class Archive:
    """A snapshot's members, to be changed and written again with checksums that hold."""

    pieces: list[Piece]
    tail: bytes = b""

    @classmethod
    def of(cls, data: bytes) -> Archive:
        """An archive, compressed or not."""
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return cls([Piece(info.name, tar.extractfile(info).read()) for info in tar])  # type: ignore[union-attr]

    @property
    def manifest(self) -> SnapshotManifest:
        return decode_snapshot(self.find(MANIFEST).data)

    def find(self, ending: str) -> Piece:
        """The first member whose name ends so."""
        return next(piece for piece in self.pieces if piece.name.endswith(ending))

    def set_manifest(self, change: Callable[[SnapshotManifest], SnapshotManifest]) -> None:
        """Make the manifest say something else, intact."""
        self.find(MANIFEST).data = encode_snapshot(change(self.manifest))

    def set_collection(self, change: Callable[[Any], Any], number: int = 0) -> None:
        """Make the manifest say something else of one collection."""

        def changed(manifest: SnapshotManifest) -> SnapshotManifest:
            collections = list(manifest.collections)
            collections[number] = change(collections[number])
            return replace(manifest, collections=tuple(collections))

        self.set_manifest(changed)

    def seal(self) -> None:
        """SHA256SUMS of what the members are now."""
        sums = {piece.name: hashlib.sha256(piece.data).hexdigest() for piece in self.pieces if piece.name != SUMS}
        for piece in self.pieces:
            if piece.name == SUMS:
                piece.data = sums_text(sums)

    def tar(self, *, seal: bool = True) -> bytes:
        """The archive as a plain tar."""
        if seal:
            self.seal()
        return b"".join(map(member, self.pieces)) + bytes(1024) + self.tail

    def gz(self, *, seal: bool = True) -> bytes:
        """The archive, compressed."""
        return gzip.compress(self.tar(seal=seal), 1, mtime=0)


def member(piece: Piece) -> bytes:
    """One member as tar has it."""
    info = tarfile.TarInfo(piece.name)
    info.type, info.linkname, info.size = piece.kind, piece.link, len(piece.data)
    head = info.tobuf(tarfile.USTAR_FORMAT)
    return head + piece.data + bytes(-len(piece.data) % 512)
