"""The fake daemon's snapshots, log, storage and operations."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import grpc

from holdfast.v1 import (
    common_pb2,
    operation_pb2,
    operation_pb2_grpc,
    snapshot_pb2,
    snapshot_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    wal_pb2,
    wal_pb2_grpc,
)
from tests.support.fake_state import CHUNK_BYTES, START_SECONDS, FakeState, Refusal


class SnapshotServicer(snapshot_pb2_grpc.SnapshotServiceServicer):
    def __init__(self, daemon: FakeState) -> None:
        self._daemon = daemon

    def CreateSnapshot(self, request: Any, context: Any) -> Any:
        names = [request.collection] if request.collection else sorted(self._daemon.collections)
        members = [
            common_pb2.SnapshotCollection(name=name, vector_count=len(self._daemon.find(name).points), digest="0" * 32)
            for name in names
        ]
        snapshot_id = f"snap-2024-01-20-1030{45 + len(self._daemon.snapshots):02d}"
        suffix = "gz" if request.compress else "snap"
        directory = request.path or "/data/snapshots"
        if not directory.startswith("/"):
            directory = f"{request.working_directory}/{directory.removeprefix('./')}"
        snapshot = common_pb2.Snapshot(
            id=snapshot_id, state=common_pb2.Snapshot.STATE_READY, collections=members,
            type=common_pb2.Snapshot.TYPE_INCREMENTAL if request.incremental else common_pb2.Snapshot.TYPE_FULL,
            vector_count=sum(member.vector_count for member in members), size_bytes=52428800,
            compressed=request.compress, path=f"{directory}/{snapshot_id}.{suffix}", sequence=self._daemon.sequence,
        )  # fmt: skip
        snapshot.description, snapshot.pinned = request.description, request.pinned
        snapshot.create_time.seconds = START_SECONDS + len(self._daemon.snapshots)
        if request.incremental:
            base = self._find(request.base_id or "latest")
            snapshot.base_id, snapshot.base_sequence = base.id, base.sequence
        gone = 2 if request.incremental else 0
        result = operation_pb2.SnapshotResult(snapshot=snapshot, duration_ms=5432, deleted_count=gone)
        if request.validate_only:
            state = operation_pb2.Operation.STATE_SUCCEEDED
            return operation_pb2.Operation(state=state, snapshot=result)
        self._daemon.snapshots[snapshot_id] = snapshot
        return self._daemon.operate(operation_pb2.Operation.KIND_CREATE_SNAPSHOT, snapshot=result)

    def ListSnapshots(self, request: Any, context: Any) -> Any:
        found = [
            snapshot
            for snapshot in sorted(self._daemon.snapshots.values(), key=lambda s: s.id, reverse=True)
            if not request.collection or request.collection in [member.name for member in snapshot.collections]
        ]
        start = int(request.page_token or 0)
        page = found[start : start + 2]
        token = str(start + 2) if start + 2 < len(found) else ""
        return snapshot_pb2.ListSnapshotsResponse(snapshots=page, next_page_token=token, total_count=len(found))

    def _find(self, name: str) -> common_pb2.Snapshot:
        if name == "latest" and self._daemon.snapshots:
            return self._daemon.snapshots[max(self._daemon.snapshots)]
        for snapshot in self._daemon.snapshots.values():
            if name in (snapshot.id, snapshot.path):
                return snapshot
        raise Refusal(
            grpc.StatusCode.NOT_FOUND, f"there is no snapshot {name!r}", "SNAPSHOT_NOT_FOUND",
            snapshot=name, hint="holdfast storage snapshot list",
        )  # fmt: skip

    def GetSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        chain = [snapshot]
        while chain[0].base_id:
            chain.insert(0, self._find(chain[0].base_id))
        return snapshot_pb2.GetSnapshotResponse(
            snapshot=snapshot, chain=chain[:-1], first_sequence=chain[0].sequence, last_sequence=snapshot.sequence,
            first_time=chain[0].create_time, last_time=snapshot.create_time, exclusive_bytes=snapshot.size_bytes,
            freeable_bytes=snapshot.size_bytes,
        )  # fmt: skip

    def RestoreSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        names = [request.collection] if request.collection else [member.name for member in snapshot.collections]
        result = operation_pb2.RestoreResult(
            snapshot_id=snapshot.id, collections_restored=names, vectors_restored=snapshot.vector_count,
            duration_ms=3210, verified=request.verify, chain=[snapshot.id],
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, restore=result)
        return self._daemon.operate(operation_pb2.Operation.KIND_RESTORE_SNAPSHOT, restore=result)

    def VerifySnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        damaged = snapshot.state == common_pb2.Snapshot.STATE_DAMAGED
        problem = operation_pb2.VerifyResult.Problem(path=f"{snapshot.path}:ids.npy", offset=512, message="checksum",
                                                    hint="take another copy")  # fmt: skip
        result = operation_pb2.VerifyResult(
            valid=not damaged, snapshot_id=snapshot.id, path=snapshot.path, chain=[snapshot.id], file_count=7,
            vector_count=snapshot.vector_count, size_bytes=snapshot.size_bytes, duration_ms=100,
            problems=[problem, problem] if damaged else [], level=request.level if request.HasField("level") else 2,
            reached_level=-1 if damaged else request.level, subset=request.subset, subset_seed=request.subset_seed,
            problem_count=3 if damaged else 0, row_count=snapshot.vector_count, bytes_read=10, bytes_per_second=100,
            digests=[operation_pb2.VerifyResult.DigestCheck(collection="c", vector_count=3, digest="00",
                     expected_vector_count=3, expected_digest="00", equal=True)] if request.level == 4 else [],
        )  # fmt: skip
        return self._daemon.operate(operation_pb2.Operation.KIND_VERIFY_SNAPSHOT, verify=result)

    def DeleteSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        if not request.validate_only:
            del self._daemon.snapshots[snapshot.id]
        return snapshot_pb2.DeleteSnapshotResponse(snapshot=snapshot, freed_bytes=snapshot.size_bytes)

    def ConsolidateSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        increments = [each for each in self._daemon.snapshots.values() if each.base_id == snapshot.id]
        rewritten = [
            operation_pb2.ConsolidateResult.Rewritten(
                snapshot_id=each.id, path=each.path, chain=[snapshot.id, each.id],
                before_size_bytes=each.size_bytes, size_bytes=2 * each.size_bytes,
            )
            for each in increments
        ]  # fmt: skip
        result = operation_pb2.ConsolidateResult(
            snapshot_id=snapshot.id, path=snapshot.path, rewritten=rewritten, duration_ms=4321,
            written_bytes=sum(each.size_bytes for each in rewritten), working_bytes=1 << 20,
            freed_bytes=snapshot.size_bytes + sum(each.size_bytes for each in increments),
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, consolidate=result)
        for each in increments:
            each.base_id = ""
        del self._daemon.snapshots[snapshot.id]
        return self._daemon.operate(operation_pb2.Operation.KIND_CONSOLIDATE_SNAPSHOT, consolidate=result)

    def UpdateSnapshot(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.snapshot)
        if request.HasField("pinned"):
            snapshot.pinned = request.pinned
        if request.HasField("description"):
            snapshot.description = request.description
        return snapshot_pb2.UpdateSnapshotResponse(snapshot=snapshot)

    def ListSchedules(self, request: Any, context: Any) -> Any:
        policy = snapshot_pb2.RetentionPolicy(keep_daily=7)
        policy.keep_within.seconds = 172800
        schedule = snapshot_pb2.Schedule(name="nightly", cron="0 2 * * *", time_zone="UTC", policy=policy)
        schedule.next_time.seconds = START_SECONDS
        schedule.outcome, schedule.message = snapshot_pb2.Schedule.OUTCOME_FAILED, "no room"
        return snapshot_pb2.ListSchedulesResponse(schedules=[schedule, snapshot_pb2.Schedule(name="new")])

    def PruneSnapshots(self, request: Any, context: Any) -> Any:
        """Knows one rule: keep_last."""
        decisions = []
        newest_first = sorted(self._daemon.snapshots.values(), key=lambda s: s.id, reverse=True)
        for place, snapshot in enumerate(newest_first):
            keep = place < request.policy.keep_last
            reasons = ["last"] if keep else []
            decisions.append(
                snapshot_pb2.PruneSnapshotsResponse.Decision(snapshot=snapshot, keep=keep, reasons=reasons)
            )
            if not keep and not request.validate_only:
                del self._daemon.snapshots[snapshot.id]
        gone = [decision.snapshot.size_bytes for decision in decisions if not decision.keep]
        return snapshot_pb2.PruneSnapshotsResponse(
            decisions=decisions, kept_count=len(decisions) - len(gone), deleted_count=len(gone), freed_bytes=sum(gone)
        )

    def DiffSnapshots(self, request: Any, context: Any) -> Any:
        snapshot = self._find(request.first)
        entry = operation_pb2.CollectionDiff(
            collection="products",
            change=operation_pb2.CollectionDiff.CHANGE_CHANGED,
            first_count=2,
            second_count=3,
            added_count=1,
            added_ids=["z"],
            changed_count=1,
            vector_changed_count=1,
            vector_changed_ids=["a"],
            unchanged_count=1,
            largest_drift=0.25,
            mean_drift=0.25,
            drift_count=1,
            notes=["another metric"],
        )
        result = operation_pb2.DiffResult(
            first=snapshot.id, second=request.second or "live", collections=[entry], first_sequence=1,
            aliases=[operation_pb2.AliasDiff(alias="shop", second_collection="products")], second_sequence=2,
            uncovered_collections=["other"], duration_ms=12,
        )  # fmt: skip
        return self._daemon.operate(operation_pb2.Operation.KIND_DIFF_SNAPSHOTS, diff=result)

    def DownloadSnapshot(self, request: Any, context: Any) -> Iterator[Any]:
        snapshot = self._find(request.snapshot)
        content = self._daemon.files[snapshot.id]
        for offset in range(request.read_offset, len(content), CHUNK_BYTES):
            data = content[offset : offset + CHUNK_BYTES]
            yield snapshot_pb2.DownloadSnapshotResponse(offset=offset, data=data, total_bytes=len(content))
            broken = self._daemon.due_failure("DownloadSnapshotMidway")
            if broken is not None:
                raise broken
        digest = hashlib.sha256(content).hexdigest()
        yield snapshot_pb2.DownloadSnapshotResponse(
            offset=len(content), total_bytes=len(content), file_sha256=self._daemon.claimed_sha256 or digest
        )

    def UploadSnapshot(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        header = next(request_iterator).header
        content = self._daemon.uploads.setdefault(header.filename, bytearray())
        yield snapshot_pb2.UploadSnapshotResponse(committed_bytes=len(content))
        while len(content) < header.total_bytes:
            request = next(request_iterator, None)
            if request is None:
                return
            chunk = request.chunk
            if chunk.offset != len(content):
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"byte {chunk.offset}", "BAD_OFFSET")
            content += chunk.data
            self._daemon.chunk_sums.append(chunk.crc32c if chunk.HasField("crc32c") else None)
            broken = self._daemon.due_failure("UploadSnapshotMidway")
            if broken is not None:
                raise broken
        if hashlib.sha256(content).hexdigest() != header.file_sha256:
            raise Refusal(grpc.StatusCode.DATA_LOSS, "wrong sum", "CHECKSUM_MISMATCH")
        directory = header.path or "/data/snapshots"
        snapshot = common_pb2.Snapshot(
            id=header.filename.partition(".")[0], path=f"{directory}/{header.filename}", size_bytes=len(content)
        )
        yield snapshot_pb2.UploadSnapshotResponse(committed_bytes=len(content), snapshot=snapshot)


class WalServicer(wal_pb2_grpc.WalServiceServicer):
    def __init__(self, daemon: FakeState) -> None:
        self._daemon = daemon

    def EnableWal(self, request: Any, context: Any) -> Any:
        status = wal_pb2.WalStatus()
        status.CopyFrom(self._daemon.wal)
        status.enabled, status.state = True, wal_pb2.WalStatus.STATE_ACTIVE
        status.path = request.path if request.HasField("path") else status.path
        status.sync_mode = request.sync_mode or status.sync_mode
        if request.HasField("segment_size_bytes"):
            status.segment_size_bytes = request.segment_size_bytes
        if request.HasField("retention"):
            status.retention.CopyFrom(request.retention)
        if request.HasField("flush_interval"):
            status.flush_interval.CopyFrom(request.flush_interval)
        if not request.validate_only:
            self._daemon.wal = status
        return wal_pb2.EnableWalResponse(status=status)

    def DisableWal(self, request: Any, context: Any) -> Any:
        self._daemon.wal.enabled = False
        self._daemon.wal.state = wal_pb2.WalStatus.STATE_DISABLED
        warning = "from now on a write is durable only with the next checkpoint"
        return wal_pb2.DisableWalResponse(status=self._daemon.wal, warnings=[warning])

    def GetWalStatus(self, request: Any, context: Any) -> Any:
        return wal_pb2.GetWalStatusResponse(status=self._daemon.wal, marks=self._daemon.marks)

    def ReplayWal(self, request: Any, context: Any) -> Any:
        result = operation_pb2.ReplayResult(
            segments_replayed=5, operations_replayed=50000, collections_affected=["embeddings", "products"],
            duration_ms=8765, verified=request.verify,
            snapshot_id="snap-2024-01-20-103045" if request.into == "copy" else "",
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, replay=result)
        return self._daemon.operate(operation_pb2.Operation.KIND_REPLAY_WAL, replay=result)

    def VerifyWal(self, request: Any, context: Any) -> Any:
        result = operation_pb2.VerifyResult(
            valid=True, path=request.path or "/data/wal", file_count=1, operation_count=len(self._daemon.records)
        )
        return self._daemon.operate(operation_pb2.Operation.KIND_VERIFY_WAL, verify=result)

    def DumpWal(self, request: Any, context: Any) -> Iterator[Any]:
        records = [
            record
            for record in self._daemon.records
            if (not request.kinds or record.kind in request.kinds)
            and (not request.ids or set(request.ids).intersection(record.first_ids))
            and (not request.request_ids or record.request_id in request.request_ids)
        ][: request.limit or None]
        yield wal_pb2.DumpWalResponse(through_sequence=1)
        if request.stats:
            total = wal_pb2.WalTally(operation_count=len(records), size_bytes=2048)
            kinds = [wal_pb2.WalTally(kind=record.kind, collection=record.collection) for record in records]
            stats = wal_pb2.WalStats(total=total, kinds=kinds, actors=[wal_pb2.WalTally(actor="unix")])
            yield wal_pb2.DumpWalResponse(stats=stats)
            return
        for start in range(0, len(records), 2):
            yield wal_pb2.DumpWalResponse(records=records[start : start + 2])
        yield wal_pb2.DumpWalResponse(warnings=self._daemon.log_warnings)

    def TailWal(self, request: Any, context: Any) -> Iterator[Any]:
        first = request.start.sequence if request.HasField("start") else self._daemon.sequence + 1
        records = [record for record in self._daemon.records if record.sequence >= first]
        yield wal_pb2.TailWalResponse(durable_sequence=self._daemon.sequence, warnings=self._daemon.log_warnings)
        for start in range(0, len(records) or 1, 2):
            some = records[start : start + 2]
            yield wal_pb2.TailWalResponse(records=some, durable_sequence=self._daemon.sequence)
            broken = self._daemon.due_failure("TailWalMidway")
            if broken is not None:
                raise broken

    def CreateMark(self, request: Any, context: Any) -> Any:
        mark = common_pb2.Mark(name=request.name, sequence=self._daemon.next_sequence())
        mark.time.seconds = START_SECONDS
        self._daemon.marks.append(mark)
        return wal_pb2.CreateMarkResponse(mark=mark, durable=True)

    def GetArchiveStatus(self, request: Any, context: Any) -> Any:
        return wal_pb2.GetArchiveStatusResponse(status=self._daemon.archive)

    def FlushArchive(self, request: Any, context: Any) -> Any:
        result = operation_pb2.FlushArchiveResult(through_sequence=9, sent_bytes=4096, duration_ms=12)
        result.through_time.seconds = START_SECONDS
        return self._daemon.operate(operation_pb2.Operation.KIND_FLUSH_ARCHIVE, flush=result)

    def PruneArchive(self, request: Any, context: Any) -> Any:
        run = operation_pb2.PruneArchiveResult.Run
        result = operation_pb2.PruneArchiveResult(
            runs=[
                run(segment_count=7, first_sequence=1, last_sequence=40, size_bytes=7 << 20),
                run(keep=True, segment_count=2, first_sequence=41, last_sequence=60, size_bytes=2 << 20,
                    reasons=["needed by snap-2024-01-20-103045", "still in the log"]),
            ],
            kept_count=2, deleted_count=7, freed_bytes=7 << 20, first_sequence=41, duration_ms=12,
            warnings=[f"keep within {request.keep_within.seconds}, before {request.before_snapshot or None}"],
        )  # fmt: skip
        result.first_time.seconds = START_SECONDS
        if not request.validate_only:
            return self._daemon.operate(operation_pb2.Operation.KIND_PRUNE_ARCHIVE, prune=result)
        state = operation_pb2.Operation.STATE_SUCCEEDED
        return operation_pb2.Operation(kind=operation_pb2.Operation.KIND_PRUNE_ARCHIVE, state=state, prune=result)


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    def __init__(self, daemon: FakeState) -> None:
        self._daemon = daemon

    def GetStatus(self, request: Any, context: Any) -> Any:
        status = storage_pb2.StorageStatus(
            version="0.1.0", store_id="store", timeline=1, state=storage_pb2.StorageStatus.STATE_SERVING,
            data_dir="/data", sequence=self._daemon.sequence, durable_sequence=self._daemon.sequence,
            collection_count=len(self._daemon.collections), wal=self._daemon.wal, mmap=self._daemon.mmap,
            alarms=self._daemon.alarms,
        )  # fmt: skip
        return storage_pb2.GetStatusResponse(status=status)

    def ConfigureMmap(self, request: Any, context: Any) -> Any:
        if request.HasField("enable"):
            self._daemon.mmap.mmap_enabled = request.enable
        if request.HasField("populate"):
            self._daemon.mmap.populate = request.populate
        self._daemon.mmap.advise_mode = request.advise_mode or self._daemon.mmap.advise_mode
        read_in = self._daemon.mmap.total_mapped_bytes if request.populate else 0
        return storage_pb2.ConfigureMmapResponse(status=self._daemon.mmap, populated_bytes=read_in)

    def GetTiers(self, request: Any, context: Any) -> Any:
        return storage_pb2.GetTiersResponse()

    def Compact(self, request: Any, context: Any) -> Any:
        names = [request.collection] if request.collection else sorted(self._daemon.collections)
        for name in names:
            self._daemon.find(name)
        result = operation_pb2.CompactResult(
            collections_compacted=names, before_size_bytes=157286400, after_size_bytes=125829120,
            freed_bytes=31457280, reduction_percent=20.0, duration_ms=12345,
        )  # fmt: skip
        if request.validate_only:
            return operation_pb2.Operation(state=operation_pb2.Operation.STATE_SUCCEEDED, compact=result)
        return self._daemon.operate(operation_pb2.Operation.KIND_COMPACT, compact=result)

    def ListAlarms(self, request: Any, context: Any) -> Any:
        return storage_pb2.ListAlarmsResponse(alarms=self._daemon.alarms)


class OperationServicer(operation_pb2_grpc.OperationServiceServicer):
    def __init__(self, daemon: FakeState) -> None:
        self._daemon = daemon

    def _steps(self, operation_id: str) -> list[operation_pb2.Operation]:
        if operation_id not in self._daemon.operations:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"there is no operation {operation_id!r}", "OPERATION_NOT_FOUND")
        return self._daemon.operations[operation_id]

    def GetOperation(self, request: Any, context: Any) -> Any:
        return operation_pb2.GetOperationResponse(operation=self._steps(request.id)[0])

    def ListOperations(self, request: Any, context: Any) -> Any:
        found = [steps[0] for steps in reversed(self._daemon.operations.values())]
        found = [o for o in found if not request.states or o.state in request.states]
        return operation_pb2.ListOperationsResponse(operations=found, total_count=len(found))

    def WatchOperation(self, request: Any, context: Any) -> Iterator[Any]:
        steps = self._steps(request.id)
        while True:
            yield operation_pb2.WatchOperationResponse(operation=steps[0])
            if len(steps) == 1:
                return
            self.wait_step()
            broken = self._daemon.due_failure("WatchOperationMidway")
            if broken is not None:
                raise broken
            steps.pop(0)

    def wait_step(self) -> None:
        if self._daemon.step_seconds:
            time.sleep(self._daemon.step_seconds)

    def CancelOperation(self, request: Any, context: Any) -> Any:
        steps = self._steps(request.id)
        self._daemon.cancelled.set()
        final = operation_pb2.Operation()
        final.CopyFrom(steps[0])
        final.state = operation_pb2.Operation.STATE_CANCELLED
        final.error.CopyFrom(Refusal(grpc.StatusCode.CANCELLED, "cancelled by its owner", "CANCELLED").status)
        self._daemon.operations[request.id][1:] = [final]
        return operation_pb2.CancelOperationResponse(operation=steps[0])
