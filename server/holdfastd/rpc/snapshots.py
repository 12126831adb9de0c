"""SnapshotService: backups of one exact moment, created, restored, verified, compared, listed, deleted and pruned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc

from holdfast.v1 import operation_pb2, snapshot_pb2
from holdfast.v1.snapshot_pb2_grpc import SnapshotServiceServicer

from ..engine.history import Ending
from ..engine.snapshot_info import age_key
from ..engine.snapshot_sides import LIVE
from ..engine.snapshots import DiffRequest, Marks, PruneRequest, RestoreRequest, SnapshotRequest, VerifyRequest
from ..errors import InvalidArgument
from ..format.verify_receipt import CHECKSUMS
from ..storage.clock import Clock
from ..storage.names import is_path
from .convert_operations import operation_message
from .convert_pruning import policy_of, pruned_message
from .convert_schedules import schedule_message
from .convert_snapshots import described, snapshot_message
from .convert_wal import Bound, end_of
from .draining import Draining
from .plans import started_or_planned
from .requests import Callers, Paths, page_by_key
from .routes import Unparsed
from .transfers import UploadStreams, download

if TYPE_CHECKING:
    from ..engine.engine import Engine


DEFAULT_SAMPLE = 10


class SnapshotService(SnapshotServiceServicer):
    """See the module. Handlers run in worker threads; long work becomes an operation."""

    def __init__(self, engine: Engine, callers: Callers, paths: Paths, clock: Clock, draining: Draining) -> None:
        self._snapshots = engine.snapshots
        self._operations = engine.operations
        self._wal = engine.wal
        self._schedules = engine.schedules
        self._callers = callers
        self._paths = paths
        self._draining = draining
        self._uploads = UploadStreams(engine.snapshots.uploads, paths, clock, draining)

    def CreateSnapshot(
        self, request: snapshot_pb2.CreateSnapshotRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        if request.base_id and not request.incremental:
            raise InvalidArgument(
                "base_id is given without incremental", field="base_id", hint="send incremental, or leave out base_id"
            )
        asked = SnapshotRequest(
            collection=request.collection or None,
            path=self._place(request.path, request.working_directory, context),
            compress=request.compress,
            incremental=request.incremental,
            base_id=self._reference(request.base_id, request.working_directory, context, field="base_id") or None,
            validate_only=request.validate_only,
            description=request.description,
            pinned=request.pinned,
        )
        caller = self._callers.of(context, request.request_id)
        operation = self._snapshots.start_create(asked, caller=caller)
        return started_or_planned(self._operations, operation, planned=request.validate_only)

    def ListSnapshots(
        self, request: snapshot_pb2.ListSnapshotsRequest, context: grpc.ServicerContext
    ) -> snapshot_pb2.ListSnapshotsResponse:
        path = self._place(request.path, request.working_directory, context)
        listing = self._snapshots.listing(path=path, collection=request.collection or None)
        page, token = page_by_key(listing.snapshots, age_key, request.page_size, request.page_token, descending=True)
        return snapshot_pb2.ListSnapshotsResponse(
            snapshots=map(snapshot_message, page),
            next_page_token=token,
            total_count=len(listing.snapshots),
            warnings=listing.warnings,
        )

    def GetSnapshot(
        self, request: snapshot_pb2.GetSnapshotRequest, context: grpc.ServicerContext
    ) -> snapshot_pb2.GetSnapshotResponse:
        info = self._snapshots.get(self._reference(request.snapshot, request.working_directory, context))
        return described(info, self._snapshots.chain(info))

    def RestoreSnapshot(
        self, request: snapshot_pb2.RestoreSnapshotRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        wal_path = self._place(request.wal_path, request.working_directory, context, field="wal_path")
        end = end_of(request, self._wal, wal_path)
        asked = RestoreRequest(
            snapshot=self._reference(request.snapshot, request.working_directory, context),
            collection=request.collection or None,
            from_collection=request.from_collection or None,
            overwrite=request.overwrite,
            verify=request.verify,
            validate_only=request.validate_only,
            base_path=self._place(request.base_path, request.working_directory, context, field="base_path"),
            # Along another log than its own a snapshot is followed to the end, unless something else is said.
            ending=None if end == Bound() and wal_path is None else Ending(end.sequence, end.time_us),
            wal_path=wal_path,
        )
        operation = self._snapshots.start_restore(asked, caller=self._callers.of(context, request.request_id))
        return started_or_planned(self._operations, operation, planned=request.validate_only)

    def VerifySnapshot(
        self, request: snapshot_pb2.VerifySnapshotRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        asked = VerifyRequest(
            snapshot=self._reference(request.snapshot, request.working_directory, context),
            level=request.level if request.HasField("level") else CHECKSUMS,
            subset=self._snapshots.subset(request.subset, request.subset_seed),
            skip_chain=request.skip_chain,
            base_path=self._place(request.base_path, request.working_directory, context, field="base_path"),
        )
        return operation_message(
            self._snapshots.start_verify(asked, caller=self._callers.of(context, request.request_id))
        )

    def DeleteSnapshot(
        self, request: snapshot_pb2.DeleteSnapshotRequest, context: grpc.ServicerContext
    ) -> snapshot_pb2.DeleteSnapshotResponse:
        reference = self._reference(request.snapshot, request.working_directory, context)
        caller = self._callers.of(context, request.request_id)
        allowed = self._paths.allowed_for(context)
        info = self._snapshots.delete(reference, caller=caller, validate_only=request.validate_only, allowed=allowed)
        return snapshot_pb2.DeleteSnapshotResponse(snapshot=snapshot_message(info), freed_bytes=info.exclusive_bytes)

    def ConsolidateSnapshot(
        self, request: snapshot_pb2.ConsolidateSnapshotRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        operation = self._snapshots.start_consolidate(
            self._reference(request.snapshot, request.working_directory, context),
            caller=self._callers.of(context, request.request_id),
            validate_only=request.validate_only,
            allowed=self._paths.allowed_for(context),
        )
        return started_or_planned(self._operations, operation, planned=request.validate_only)

    def PruneSnapshots(
        self, request: snapshot_pb2.PruneSnapshotsRequest, context: grpc.ServicerContext
    ) -> snapshot_pb2.PruneSnapshotsResponse:
        asked = PruneRequest(
            policy_of(request.policy),
            path=self._place(request.path, request.working_directory, context),
            collection=request.collection or None,
            allowed=self._paths.allowed_for(context),
        )
        caller = self._callers.of(context, request.request_id)
        return pruned_message(self._snapshots.prune(asked, caller=caller, validate_only=request.validate_only))

    def DiffSnapshots(
        self, request: snapshot_pb2.DiffSnapshotsRequest, context: grpc.ServicerContext
    ) -> operation_pb2.Operation:
        if request.sample_size < 0:
            raise InvalidArgument(f"sample_size is {request.sample_size}", field="sample_size")
        directory = request.working_directory
        asked = DiffRequest(
            first=self._reference(request.first, directory, context, field="first"),
            second=self._reference(request.second, directory, context, field="second") or LIVE,
            collection=request.collection or None,
            sample=request.sample_size or DEFAULT_SAMPLE,
            base_path=self._place(request.base_path, directory, context, field="base_path"),
        )
        return operation_message(
            self._snapshots.start_diff(asked, caller=self._callers.of(context, request.request_id))
        )

    def DownloadSnapshot(
        self, request: snapshot_pb2.DownloadSnapshotRequest, context: grpc.ServicerContext
    ) -> Iterator[snapshot_pb2.DownloadSnapshotResponse]:
        file = self._snapshots.download(self._reference(request.snapshot, request.working_directory, context))
        return download(file, request, context, self._draining)

    def UploadSnapshot(
        self,
        request_iterator: Iterator[snapshot_pb2.UploadSnapshotRequest | Unparsed],
        context: grpc.ServicerContext,
    ) -> Iterator[snapshot_pb2.UploadSnapshotResponse]:
        return self._uploads.serve(request_iterator, context)

    def UpdateSnapshot(
        self, request: snapshot_pb2.UpdateSnapshotRequest, context: grpc.ServicerContext
    ) -> snapshot_pb2.UpdateSnapshotResponse:
        marks = Marks(
            pinned=request.pinned if request.HasField("pinned") else None,
            description=request.description if request.HasField("description") else None,
        )
        reference = self._reference(request.snapshot, request.working_directory, context)
        info = self._snapshots.mark(reference, marks, caller=self._callers.of(context, request.request_id))
        return snapshot_pb2.UpdateSnapshotResponse(snapshot=snapshot_message(info))

    def ListSchedules(
        self, request: snapshot_pb2.ListSchedulesRequest, context: grpc.ServicerContext
    ) -> snapshot_pb2.ListSchedulesResponse:
        return snapshot_pb2.ListSchedulesResponse(schedules=map(schedule_message, self._schedules.status()))

    def _reference(
        self, snapshot: str, working_directory: str, context: grpc.ServicerContext, *, field: str = "snapshot"
    ) -> str:
        """The snapshot as the engine takes it: an id or `latest` as they are, a path made absolute."""
        if not is_path(snapshot):
            return snapshot
        return self._place(snapshot, working_directory, context, field=field) or snapshot

    def _place(
        self, path: str, working_directory: str, context: grpc.ServicerContext, *, field: str = "path"
    ) -> str | None:
        """Where a snapshot may lie: a path of this machine made absolute, or the URL of an object store."""
        return self._paths.resolve(path, working_directory, context, field=field, objects=True)
