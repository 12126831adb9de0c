"""``db.snapshots``: backups of one exact moment, one file each on the daemon's machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from holdfast.connection import Connection, new_request_id
from holdfast.documents import Document, Documents, timestamp
from holdfast.enums import to_word
from holdfast.history import Moment, history_point
from holdfast.operations import OnProgress, Operation, settle
from holdfast.paths import looks_like_path, working_directory

if TYPE_CHECKING:
    from holdfast.v1 import common_pb2


class Snapshots:
    """Snapshots of a store. Wherever one is named: its id, ``"latest"``, or the path of its file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @overload
    def create(
        self, collection: str | None = ..., *, path: str | None = ..., compress: bool = ..., incremental: bool = ...,
        base_id: str | None = ..., validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def create(
        self, collection: str | None = ..., *, path: str | None = ..., compress: bool = ..., incremental: bool = ...,
        base_id: str | None = ..., validate_only: bool = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def create(
        self,
        collection: str | None = None,
        *,
        path: str | None = None,
        compress: bool = False,
        incremental: bool = False,
        base_id: str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Write a snapshot of one collection or of everything; reads and writes go on meanwhile.

        path: a directory; None: ``snapshots`` in the data directory. With ``wait`` it returns when the file is
        complete, synced and under its final name; without, an `Operation`.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.CreateSnapshotRequest(
            collection=collection or "",
            path=path or "",
            working_directory=working_directory(self._connection, path),
            compress=compress,
            incremental=incremental,
            base_id=base_id or "",
            validate_only=validate_only,
            request_id=request_id or new_request_id(),
        )
        message = self._connection.call(self._connection.snapshots.CreateSnapshot, request)
        return settle(Operation(self._connection, message), wait=wait, on_progress=on_progress)

    @overload
    def restore(
        self, snapshot: str, *, collection: str | None = ..., from_collection: str | None = ..., overwrite: bool = ...,
        verify: bool = ..., to: Moment | None = ..., before: Moment | None = ..., base_path: str | None = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def restore(
        self, snapshot: str, *, collection: str | None = ..., from_collection: str | None = ..., overwrite: bool = ...,
        verify: bool = ..., to: Moment | None = ..., before: Moment | None = ..., base_path: str | None = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def restore(
        self,
        snapshot: str,
        *,
        collection: str | None = None,
        from_collection: str | None = None,
        overwrite: bool = False,
        verify: bool = False,
        to: Moment | None = None,
        before: Moment | None = None,
        base_path: str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Restore a snapshot: staged beside the live data, proven, then published at once; a failure changes nothing.

        collection: the name to restore to; to, before: where on the history to end (a time, a sequence, a mark), with
        the log replayed behind the snapshot. AlreadyExists unless ``overwrite``.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.RestoreSnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot, base_path),
            collection=collection or "",
            from_collection=from_collection or "",
            overwrite=overwrite,
            verify=verify,
            base_path=base_path or "",
            to=history_point(to, "to"),
            before=history_point(before, "before"),
            validate_only=validate_only,
            request_id=request_id or new_request_id(),
        )
        message = self._connection.call(self._connection.snapshots.RestoreSnapshot, request)
        return settle(Operation(self._connection, message), wait=wait, on_progress=on_progress)

    @overload
    def verify(
        self, snapshot: str, *, skip_chain: bool = ..., base_path: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def verify(
        self, snapshot: str, *, skip_chain: bool = ..., base_path: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def verify(
        self,
        snapshot: str,
        *,
        skip_chain: bool = False,
        base_path: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Read a snapshot and its chain against every checksum. Damage is a result: ``valid`` False, ``problems``."""
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.VerifySnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot, base_path),
            skip_chain=skip_chain,
            base_path=base_path or "",
            request_id=new_request_id(),
        )
        message = self._connection.call(self._connection.snapshots.VerifySnapshot, request)
        return settle(Operation(self._connection, message), wait=wait, on_progress=on_progress)

    def list(self, *, path: str | None = None, collection: str | None = None) -> Documents:
        """Snapshots, newest first: those that the store knows, or those in one directory."""
        return self.list_with_warnings(path=path, collection=collection)[0]

    def list_with_warnings(
        self, *, path: str | None = None, collection: str | None = None
    ) -> tuple[Documents, tuple[str, ...]]:
        """As `list`, with what is to be said of files that cannot be read as snapshots."""
        from holdfast.v1 import snapshot_pb2

        found: Documents = []
        warnings: dict[str, None] = {}
        token = ""
        while True:
            request = snapshot_pb2.ListSnapshotsRequest(
                path=path or "",
                working_directory=working_directory(self._connection, path),
                collection=collection or "",
                page_size=1000,
                page_token=token,
            )
            page = self._connection.call(self._connection.snapshots.ListSnapshots, request)
            found += [snapshot_document(message) for message in page.snapshots]
            warnings.update(dict.fromkeys(page.warnings))
            token = page.next_page_token
            if not token:
                return found, tuple(warnings)

    def get(self, snapshot: str) -> Document:
        """Everything known of one snapshot, with the ids of the chain that it builds on, base first."""
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.GetSnapshotRequest(snapshot=snapshot, working_directory=self._directory(snapshot))
        response = self._connection.call(self._connection.snapshots.GetSnapshot, request)
        return Document(
            snapshot_document(response.snapshot),
            members=_members(response.snapshot),
            chain=[link.id for link in response.chain],
        )

    def delete(self, snapshot: str, *, validate_only: bool = False, request_id: str | None = None) -> Document:
        """Delete a snapshot's file. FailedPrecondition, naming them, if incremental snapshots build on it."""
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.DeleteSnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot),
            validate_only=validate_only,
            request_id=request_id or new_request_id(),
        )
        response = self._connection.call(self._connection.snapshots.DeleteSnapshot, request)
        return Document(
            snapshot_id=response.snapshot.id,
            path=response.snapshot.path,
            freed_bytes=response.freed_bytes,
            status="validated" if validate_only else "deleted",
        )

    def _directory(self, snapshot: str, *others: str | None) -> str:
        return working_directory(self._connection, snapshot if looks_like_path(snapshot) else None, *others)


def snapshot_document(message: common_pb2.Snapshot) -> Document:
    """A snapshot as ``snapshot list`` shows it, then what else is known of it."""
    from holdfast.v1 import common_pb2

    return Document(
        id=message.id,
        type=to_word(common_pb2.Snapshot.Type, message.type, "TYPE_"),
        collections=[member.name for member in message.collections],
        vectors=message.vector_count,
        size_bytes=message.size_bytes,
        compressed=message.compressed,
        created_at=timestamp(message.create_time),
        path=message.path,
        state=to_word(common_pb2.Snapshot.State, message.state, "STATE_"),
        base_id=message.base_id or None,
        sequence=message.sequence,
        base_sequence=message.base_sequence,
        timeline=message.timeline,
        store_id=message.store_id,
        uncompressed_bytes=message.uncompressed_bytes,
        duration_ms=message.duration_ms,
        sha256=message.sha256,
        dependents=list(message.dependent_ids),
        verified_at=timestamp(message.verify_time),
        daemon_version=message.daemon_version,
    )


def _members(message: common_pb2.Snapshot) -> Documents:
    from holdfast.v1 import common_pb2

    return [
        Document(
            name=member.name,
            vectors=member.vector_count,
            deleted=member.deleted_count,
            total_vectors=member.total_vector_count,
            dimensions=member.dimensions,
            metric=to_word(common_pb2.Metric, member.metric, "METRIC_"),
            storage=to_word(common_pb2.StorageKind, member.storage, "STORAGE_KIND_"),
            digest=member.digest,
            whole=member.whole,
            id=member.collection_id,
        )
        for member in message.collections
    ]
