"""Operations as messages: the result documents that the engine keeps become the typed results of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import status_pb2

from holdfast.v1 import common_pb2, operation_pb2

from .. import errors
from ..engine.operations import Operation, OperationError, OperationState, Progress
from .convert import duration, timestamp
from .convert_archive_prune import pruned_message
from .convert_diffs import collection_diff, diff_result
from .errors import CODE_OF, make_status

_Message = operation_pb2.Operation

KINDS: Mapping[str, operation_pb2.Operation.Kind.ValueType] = {
    "snapshot": _Message.KIND_CREATE_SNAPSHOT,
    "restore": _Message.KIND_RESTORE_SNAPSHOT,
    "verify": _Message.KIND_VERIFY_SNAPSHOT,
    "replay": _Message.KIND_REPLAY_WAL,
    "verify_wal": _Message.KIND_VERIFY_WAL,
    "compact": _Message.KIND_COMPACT,
    "consolidate": _Message.KIND_CONSOLIDATE_SNAPSHOT,
    "diff": _Message.KIND_DIFF_SNAPSHOTS,
    "flush_archive": _Message.KIND_FLUSH_ARCHIVE,
    "prune_archive": _Message.KIND_PRUNE_ARCHIVE,
}
STATE_OF: Mapping[OperationState, operation_pb2.Operation.State.ValueType] = {
    OperationState.PENDING: _Message.STATE_PENDING,
    OperationState.RUNNING: _Message.STATE_RUNNING,
    OperationState.SUCCEEDED: _Message.STATE_SUCCEEDED,
    OperationState.FAILED: _Message.STATE_FAILED,
    OperationState.CANCELLED: _Message.STATE_CANCELLED,
    OperationState.INTERRUPTED: _Message.STATE_INTERRUPTED,
}
_CODE_OF_NAME: Mapping[str, grpc.StatusCode] = {cls.__name__: code for cls, code in CODE_OF.items()}


def operation_message(operation: Operation) -> operation_pb2.Operation:
    """An operation with its progress and, once it has ended, its result or error."""
    message = operation_pb2.Operation(
        id=operation.id,
        kind=KINDS.get(operation.kind, _Message.KIND_UNSPECIFIED),
        state=STATE_OF[operation.state],
        create_time=timestamp(operation.created_us),
        end_time=timestamp(operation.ended_us),
        collections=_collections(operation.request),
        actor=operation.actor,
        request_id=operation.request_id,
        error=_error(operation),
    )
    if operation.progress != Progress():
        message.progress.CopyFrom(_progress(operation.progress))
    if operation.state is OperationState.SUCCEEDED and operation.result is not None:
        _set_result(message, operation.result)
    return message


def planned_message(operation: Operation) -> operation_pb2.Operation:
    """What ``validate_only`` is answered with: no id, and the plan as the result."""
    message = operation_message(operation)
    for field in ("id", "create_time", "end_time", "progress"):
        message.ClearField(field)
    return message


def failure_of(operation: Operation) -> errors.HoldfastError:
    """The error of an operation that failed, to be raised by the call that waited for it."""
    error = operation.error or OperationError("HoldfastError", "INTERNAL", f"the operation has {operation.state}")
    raised = errors.HoldfastError(error.message, reason=error.reason, hint=error.hint, **error.metadata)
    wanted = getattr(errors, error.kind, errors.HoldfastError)
    if isinstance(wanted, type) and issubclass(wanted, errors.HoldfastError):
        raised.__class__ = wanted
    return raised


def _collections(request: Mapping[str, Any]) -> list[str]:
    names = request.get("collections") or [request.get("collection")]
    return [str(name) for name in names if name]


def _progress(progress: Progress) -> operation_pb2.Progress:
    message = operation_pb2.Progress(
        phase=progress.phase,
        done_bytes=progress.done_bytes,
        total_bytes=progress.total_bytes,
        done_vectors=progress.done_vectors,
        total_vectors=progress.total_vectors,
        bytes_per_second=int(progress.bytes_per_second),
        cancellable=progress.cancellable,
    )
    if progress.eta_seconds is not None:
        message.eta.CopyFrom(duration(int(progress.eta_seconds * 1e6)))
    return message


def _error(operation: Operation) -> status_pb2.Status | None:
    if operation.state is OperationState.INTERRUPTED:
        return make_status(
            grpc.StatusCode.ABORTED,
            "OPERATION_INTERRUPTED",
            f"the daemon ended while operation {operation.id} was at work",
            "look whether its effect is there, then start it again if needed",
            {},
        )
    error = operation.error
    if error is None:
        return None
    code = _CODE_OF_NAME.get(error.kind, grpc.StatusCode.INTERNAL)
    return make_status(code, error.reason, error.message, error.hint, error.metadata)


def _set_result(message: operation_pb2.Operation, result: Mapping[str, Any]) -> None:
    if message.kind == _Message.KIND_CREATE_SNAPSHOT:
        message.snapshot.CopyFrom(_snapshot_result(result))
    elif message.kind == _Message.KIND_RESTORE_SNAPSHOT:
        message.restore.CopyFrom(_restore_result(result))
    elif message.kind == _Message.KIND_REPLAY_WAL:
        message.replay.CopyFrom(_replay_result(result))
    elif message.kind == _Message.KIND_COMPACT:
        message.compact.CopyFrom(_compact_result(result))
    elif message.kind in (_Message.KIND_VERIFY_SNAPSHOT, _Message.KIND_VERIFY_WAL):
        message.verify.CopyFrom(_verify_result(result))
    elif message.kind == _Message.KIND_CONSOLIDATE_SNAPSHOT:
        message.consolidate.CopyFrom(_consolidate_result(result))
    elif message.kind == _Message.KIND_DIFF_SNAPSHOTS:
        message.diff.CopyFrom(diff_result(result))
    elif message.kind == _Message.KIND_FLUSH_ARCHIVE:
        message.flush.CopyFrom(_flush_result(result))
    elif message.kind == _Message.KIND_PRUNE_ARCHIVE:
        message.prune.CopyFrom(pruned_message(result))


def _snapshot_result(result: Mapping[str, Any]) -> operation_pb2.SnapshotResult:
    snapshot = common_pb2.Snapshot(
        id=result.get("snapshot_id") or "",
        create_time=timestamp(result.get("created_us", 0)),
        state=common_pb2.Snapshot.STATE_READY,
        type=common_pb2.Snapshot.TYPE_INCREMENTAL
        if result.get("type") == "incremental"
        else common_pb2.Snapshot.TYPE_FULL,
        collections=[common_pb2.SnapshotCollection(name=name) for name in result.get("collections", ())],
        vector_count=result.get("vectors", 0),
        size_bytes=result.get("size_bytes", 0),
        compressed=bool(result.get("compressed")),
        uncompressed_bytes=result.get("uncompressed_bytes", 0),
        path=result.get("path") or "",
        sequence=result.get("sequence", 0),
        base_id=result.get("base_id") or "",
        base_sequence=result.get("base_sequence", 0),
        timeline=result.get("timeline", 0),
        sha256=result.get("sha256") or "",
        duration_ms=result.get("duration_ms", 0),
    )
    return operation_pb2.SnapshotResult(
        snapshot=snapshot,
        duration_ms=result.get("duration_ms", 0),
        warnings=result.get("warnings", ()),
        deleted_count=result.get("deleted", 0),
    )


def _restore_result(result: Mapping[str, Any]) -> operation_pb2.RestoreResult:
    return operation_pb2.RestoreResult(
        snapshot_id=result.get("snapshot_id") or "",
        collections_restored=result.get("collections_restored", ()),
        vectors_restored=result.get("vectors_restored", 0),
        duration_ms=result.get("duration_ms", 0),
        collections_untouched=result.get("collections_untouched", ()),
        collections_overwritten=result.get("collections_overwritten", ()),
        chain=result.get("chain", ()),
        restored_through_sequence=result.get("restored_through_sequence", 0),
        restored_through_time=timestamp(result.get("restored_through_us", 0)),
        operations_replayed=result.get("operations_replayed", 0),
        verified=bool(result.get("verified")),
        sequence=result.get("sequence", 0),
        warnings=result.get("warnings", ()),
        changes=map(collection_diff, result.get("changes", ())),
    )


def _compact_result(result: Mapping[str, Any]) -> operation_pb2.CompactResult:
    return operation_pb2.CompactResult(
        collections_compacted=result.get("collections_compacted", ()),
        before_size_bytes=result.get("before_size_bytes", 0),
        after_size_bytes=result.get("after_size_bytes", 0),
        freed_bytes=result.get("freed_bytes", 0),
        reduction_percent=round(result.get("reduction_percent", 0.0), 2),
        duration_ms=result.get("duration_ms", 0),
        rows_dropped=result.get("rows_dropped", 0),
        warnings=result.get("warnings", ()),
    )


def _replay_result(result: Mapping[str, Any]) -> operation_pb2.ReplayResult:
    return operation_pb2.ReplayResult(
        segments_replayed=result.get("segments_replayed", 0),
        operations_replayed=result.get("operations_replayed", 0),
        operations_skipped=result.get("operations_skipped", 0),
        collections_affected=result.get("collections_affected", ()),
        duration_ms=result.get("duration_ms", 0),
        vectors_affected=result.get("vectors_affected", 0),
        first_sequence=result.get("first_sequence", 0),
        through_sequence=result.get("through_sequence", 0),
        through_time=timestamp(result.get("through_us", 0)),
        verified=bool(result.get("verified")),
        snapshot_id=result.get("snapshot_id") or "",
        warnings=result.get("warnings", ()),
    )


def _flush_result(result: Mapping[str, Any]) -> operation_pb2.FlushArchiveResult:
    return operation_pb2.FlushArchiveResult(
        through_sequence=result.get("through_sequence", 0),
        through_time=timestamp(result.get("through_us", 0)),
        sent_bytes=result.get("sent_bytes", 0),
        duration_ms=result.get("duration_ms", 0),
    )


def _verify_result(result: Mapping[str, Any]) -> operation_pb2.VerifyResult:
    problems = [
        operation_pb2.VerifyResult.Problem(
            path=problem.get("path") or "",
            offset=problem.get("offset"),
            message=problem.get("message") or "",
            hint=problem.get("hint") or "",
            level=problem.get("level", 0),
        )
        for problem in result.get("problems", ())
    ]
    return operation_pb2.VerifyResult(
        valid=bool(result.get("valid", not problems)),
        problems=problems,
        snapshot_id=result.get("snapshot_id") or "",
        path=result.get("path") or "",
        chain=result.get("chain", ()),
        file_count=result.get("files", 0),
        vector_count=result.get("vectors", 0),
        operation_count=result.get("operations", 0),
        size_bytes=result.get("size_bytes", 0),
        first_sequence=result.get("first_sequence", 0),
        last_sequence=result.get("last_sequence", 0),
        duration_ms=result.get("duration_ms", 0),
        warnings=result.get("warnings", ()),
        level=result.get("level", 0),
        reached_level=result.get("reached", 0),
        subset=result.get("subset") or "",
        subset_seed=result.get("seed", 0),
        problem_count=result.get("problem_count", len(problems)),
        row_count=result.get("rows_checked", 0),
        bytes_read=result.get("bytes_read", 0),
        bytes_per_second=result.get("bytes_per_second", 0),
        digests=map(_digest_check, result.get("digests", ())),
        receipt_kept=bool(result.get("receipt_kept")),
    )


def _digest_check(check: Mapping[str, Any]) -> operation_pb2.VerifyResult.DigestCheck:
    return operation_pb2.VerifyResult.DigestCheck(
        collection=check["collection"],
        vector_count=check["vectors"],
        digest=check["digest"],
        expected_vector_count=check["expected_vectors"],
        expected_digest=check["expected_digest"],
        equal=check["equal"],
    )


def _consolidate_result(result: Mapping[str, Any]) -> operation_pb2.ConsolidateResult:
    rewritten = [
        operation_pb2.ConsolidateResult.Rewritten(
            snapshot_id=each.get("snapshot_id") or "",
            path=each.get("path") or "",
            chain=each.get("chain", ()),
            before_size_bytes=each.get("before_size_bytes", 0),
            size_bytes=each.get("size_bytes", 0),
        )
        for each in result.get("rewritten", ())
    ]
    return operation_pb2.ConsolidateResult(
        snapshot_id=result.get("snapshot_id") or "",
        path=result.get("path") or "",
        rewritten=rewritten,
        written_bytes=result.get("written_bytes", 0),
        freed_bytes=result.get("freed_bytes", 0),
        working_bytes=result.get("working_bytes", 0),
        duration_ms=result.get("duration_ms", 0),
        warnings=result.get("warnings", ()),
    )
