"""``db.snapshots``: backups of one exact moment, one file each on the daemon's machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from holdfast.checks import text, text_or_none
from holdfast.connection import Connection, new_request_id, request_id_of
from holdfast.documents import Document, Documents, timestamp
from holdfast.history import Moment, history_point
from holdfast.keeping import Keep, policy_message, pruned_document
from holdfast.operations import OnProgress, Operation, run_operation
from holdfast.paths import AnyPath, looks_like_path, path_text, working_directory
from holdfast.schedules import schedule_document
from holdfast.snapshot_documents import link_document, member_documents, receipt_document, snapshot_document

if TYPE_CHECKING:
    from pathlib import Path


OnBytes: TypeAlias = Callable[[int, int], None]
"""Called with the bytes transferred so far and their total."""


class Snapshots:
    """Snapshots of a store. Wherever one is named: its id, ``"latest"``, or the path of its file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @overload
    def create(
        self, collection: str | None = ..., *, path: AnyPath | None = ..., compress: bool = ...,
        incremental: bool = ..., base: str | None = ..., description: str | None = ..., pinned: bool = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def create(
        self, collection: str | None = ..., *, path: AnyPath | None = ..., compress: bool = ...,
        incremental: bool = ..., base: str | None = ..., description: str | None = ..., pinned: bool = ...,
        validate_only: bool = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def create(
        self,
        collection: str | None = None,
        *,
        path: AnyPath | None = None,
        compress: bool = False,
        incremental: bool = False,
        base: str | None = None,
        description: str | None = None,
        pinned: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Write a snapshot of one collection or of everything; reads and writes go on meanwhile.

        path: a directory; None: ``snapshots`` in the data directory. incremental: only what changed since ``base``;
        None: the newest that covers it (FailedPrecondition if there is none). description, pinned: as in `update`.
        With ``wait`` it returns when the file is complete, synced and under its final name; without, an `Operation`.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.CreateSnapshotRequest(
            collection=text_or_none(collection, "collection"),
            path=path_text(path),
            working_directory=self._directory(base or "", path),
            compress=compress,
            incremental=incremental,
            base_id=base or "",
            description=text_or_none(description, "description"),
            pinned=pinned,
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        method = self._connection.snapshots.CreateSnapshot
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    @overload
    def restore(
        self, snapshot: str, *, collection: str | None = ..., from_collection: str | None = ..., overwrite: bool = ...,
        verify: bool = ..., to: Moment | None = ..., before: Moment | None = ..., base_path: AnyPath | None = ...,
        wal_path: AnyPath | None = ..., validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def restore(
        self, snapshot: str, *, collection: str | None = ..., from_collection: str | None = ..., overwrite: bool = ...,
        verify: bool = ..., to: Moment | None = ..., before: Moment | None = ..., base_path: AnyPath | None = ...,
        wal_path: AnyPath | None = ..., validate_only: bool = ..., request_id: str | None = ...,
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
        base_path: AnyPath | None = None,
        wal_path: AnyPath | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Restore a snapshot: staged beside the live data, proven, then published at once; a failure changes nothing.

        collection: the name to restore to; to, before: the moment to restore (a time, a sequence, a mark), for which
        the log is followed behind the snapshot; ``latest`` is then the newest from before it. base_path: a directory to
        look for the snapshots in that an incremental one builds on, besides where they are known to be. wal_path: the
        log to follow in place of the store's own, such as an archived one; without a moment to its end. AlreadyExists
        unless ``overwrite``; OutOfRange, with the window, for a moment that nothing leads to.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.RestoreSnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot, base_path, wal_path),
            collection=text_or_none(collection, "collection"),
            from_collection=from_collection or "",
            overwrite=overwrite,
            verify=verify,
            base_path=path_text(base_path, "base_path"),
            wal_path=path_text(wal_path, "wal_path"),
            to=history_point(to, "to"),
            before=history_point(before, "before"),
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        method = self._connection.snapshots.RestoreSnapshot
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    @overload
    def verify(
        self, snapshot: str, *, level: int | None = ..., subset: str | None = ..., seed: int = ...,
        skip_chain: bool = ..., base_path: AnyPath | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def verify(
        self, snapshot: str, *, level: int | None = ..., subset: str | None = ..., seed: int = ...,
        skip_chain: bool = ..., base_path: AnyPath | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def verify(
        self,
        snapshot: str,
        *,
        level: int | None = None,
        subset: str | None = None,
        seed: int = 0,
        skip_chain: bool = False,
        base_path: AnyPath | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Verify a snapshot and its chain. Damage is a result: ``valid`` False, and all of it in ``problems``.

        level: 0 manifest, 1 files and sizes, 2 checksums (None: this), 3 rows, 4 a restore that nobody sees. subset: a
        part, at level 2 or 3: ``"1/7"``, the first of seven slices, or ``"10%"``, at random; seed: to choose those
        again. skip_chain: this file alone; base_path: as in `restore`.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.VerifySnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot, base_path),
            skip_chain=skip_chain,
            base_path=path_text(base_path, "base_path"),
            request_id=new_request_id(),
            level=level,
            subset=text_or_none(subset, "subset"),
            subset_seed=seed,
        )
        method = self._connection.snapshots.VerifySnapshot
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    def list(self, *, path: AnyPath | None = None, collection: str | None = None) -> Documents:
        """Snapshots, newest first: those that the store knows, or those in one directory, known from then on."""
        return self.list_with_warnings(path=path, collection=collection)[0]

    def list_with_warnings(
        self, *, path: AnyPath | None = None, collection: str | None = None
    ) -> tuple[Documents, tuple[str, ...]]:
        """As `list`, with what is to be said of files that cannot be read as snapshots."""
        from holdfast.v1 import snapshot_pb2

        found: Documents = []
        warnings: dict[str, None] = {}
        token = ""
        while True:
            request = snapshot_pb2.ListSnapshotsRequest(
                path=path_text(path),
                working_directory=working_directory(self._connection, path),
                collection=text_or_none(collection, "collection"),
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
        """Everything known of one snapshot, with its ``chain``: base first, the snapshot itself last.

        A link that is nowhere to be found is the first, with ``state`` "missing". ``first_sequence``, ``first_time``:
        the earliest moment that the chain holds. ``exclusive_bytes``: what this file alone takes; ``freeable_bytes``:
        what deleting it would free now, 0 while others build on it.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.GetSnapshotRequest(snapshot=snapshot, working_directory=self._directory(snapshot))
        response = self._connection.call(self._connection.snapshots.GetSnapshot, request)
        return Document(
            snapshot_document(response.snapshot),
            members=member_documents(response.snapshot),
            receipts=[receipt_document(message) for message in response.snapshot.receipts],
            chain=[link_document(message) for message in (*response.chain, response.snapshot)],
            first_sequence=response.first_sequence or None,
            last_sequence=response.last_sequence,
            first_time=timestamp(response.first_time, whole_seconds=True),
            last_time=timestamp(response.last_time, whole_seconds=True),
            exclusive_bytes=response.exclusive_bytes,
            freeable_bytes=response.freeable_bytes,
        )

    def update(
        self,
        snapshot: str,
        *,
        pinned: bool | None = None,
        description: str | None = None,
        request_id: str | None = None,
    ) -> Document:
        """Pin a snapshot, which is then neither pruned nor deleted, or unpin it; say what it is for. None: as it is.

        description: one line of at most 1000 bytes; "" removes it. Returns the snapshot as `list` does.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.UpdateSnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot),
            pinned=pinned,
            description=None if description is None else text(description, "description"),
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.snapshots.UpdateSnapshot, request)
        return snapshot_document(response.snapshot)

    def delete(self, snapshot: str, *, validate_only: bool = False, request_id: str | None = None) -> Document:
        """Delete a snapshot's file. FailedPrecondition, naming them, if increments build on it: see `consolidate`."""
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.DeleteSnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot),
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.snapshots.DeleteSnapshot, request)
        return Document(
            snapshot_id=response.snapshot.id,
            path=response.snapshot.path,
            freed_bytes=response.freed_bytes,
            status="validated" if validate_only else "deleted",
        )

    @overload
    def consolidate(
        self, snapshot: str, *, validate_only: bool = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def consolidate(
        self, snapshot: str, *, validate_only: bool = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def consolidate(
        self,
        snapshot: str,
        *,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Delete a snapshot after the incremental ones that build on it were made full ones (``rewritten``).

        They keep their ids, their places and what they hold; what builds on them goes on to. A failure changes nothing.
        ``written_bytes``, and in the data directory ``working_bytes`` besides: for which room has to be there.
        ``freed_bytes``: of the files that go.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.ConsolidateSnapshotRequest(
            snapshot=snapshot,
            working_directory=self._directory(snapshot),
            validate_only=validate_only,
            request_id=request_id or new_request_id(),
        )
        method = self._connection.snapshots.ConsolidateSnapshot
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    def prune(
        self,
        keep: Keep,
        *,
        path: AnyPath | None = None,
        collection: str | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> Document:
        """Delete the snapshots that no rule keeps; a base stays as long as a kept one needs it. Says why each stays.

        The newest whole one of everything, and of each collection that was backed up alone, stays under any policy.
        ``warnings``: what is damaged or missing and was left, and what point-in-time recovery loses.
        """
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.PruneSnapshotsRequest(
            policy=policy_message(keep),
            path=path_text(path),
            working_directory=working_directory(self._connection, path),
            collection=text_or_none(collection, "collection"),
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        response = self._connection.call(self._connection.snapshots.PruneSnapshots, request)
        return pruned_document(response, validate_only=validate_only)

    def schedules(self) -> Documents:
        """The schedules of the daemon's settings: when each comes due next, and what became of its last run."""
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.ListSchedulesRequest()
        response = self._connection.call(self._connection.snapshots.ListSchedules, request)
        return [schedule_document(message) for message in response.schedules]

    @overload
    def diff(
        self, first: str, second: str | None = ..., *, collection: str | None = ..., sample_size: int = ...,
        base_path: AnyPath | None = ..., request_id: str | None = ...,
        wait: Literal[True] = ..., on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def diff(
        self, first: str, second: str | None = ..., *, collection: str | None = ..., sample_size: int = ...,
        base_path: AnyPath | None = ..., request_id: str | None = ...,
        wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def diff(
        self,
        first: str,
        second: str | None = None,
        *,
        collection: str | None = None,
        sample_size: int = 10,
        base_path: AnyPath | None = None,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """What became of ``first`` on the way to ``second``: two snapshots, or one and ``"live"`` (None: live).

        Per collection what was added, removed and changed, in vector or payload, with the first ids of each kind and
        how far vectors turned (1 - cosine). Content counts, not versions or times. Nothing is changed.
        """
        from holdfast.v1 import snapshot_pb2

        other = second if second and looks_like_path(second) else None
        request = snapshot_pb2.DiffSnapshotsRequest(
            first=first,
            second=second or "",
            working_directory=self._directory(first, other, base_path),
            collection=text_or_none(collection, "collection"),
            sample_size=sample_size,
            base_path=path_text(base_path, "base_path"),
            request_id=request_id_of(request_id),
        )
        method = self._connection.snapshots.DiffSnapshots
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    def download(self, snapshot: str, to: str | Path, *, on_bytes: OnBytes | None = None) -> Document:
        """Copy a snapshot's file to this machine: verified, synced, and under its name only when it is complete.

        to: a directory, or a file's name; with a slash at its end it can only be a directory, which must exist. A
        transfer that broke is resumed where it broke.
        """
        from holdfast.download import destination, download

        return download(self._connection, snapshot, self._directory(snapshot), destination(to), on_bytes)

    def upload(self, file: str | Path, *, path: AnyPath | None = None, on_bytes: OnBytes | None = None) -> Document:
        """Copy a snapshot's file from this machine to the daemon, which verifies it; resumed where it broke."""
        from pathlib import Path

        from holdfast.upload import upload

        return upload(self._connection, Path(file), path, working_directory(self._connection, path), on_bytes)

    def _directory(self, snapshot: str, *others: AnyPath | None) -> str:
        named = text(snapshot, "snapshot")
        return working_directory(self._connection, named if looks_like_path(named) else None, *others)
