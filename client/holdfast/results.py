"""The results of operations as documents, with the keys of the command line's answers first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.documents import Document, timestamp
from holdfast.enums import to_word

if TYPE_CHECKING:
    from holdfast.v1 import operation_pb2


def result_document(operation: operation_pb2.Operation) -> Document:
    """What came of a successful operation; with ``status`` "completed", or "validated" for a dry run."""
    kind = operation.WhichOneof("result")
    status = "completed" if operation.id else "validated"
    return Document(status=status) if kind is None else _DOCUMENTS[kind](getattr(operation, kind), status)


def _snapshot(result: operation_pb2.SnapshotResult, status: str) -> Document:
    from holdfast.snapshot_documents import snapshot_document

    made = snapshot_document(result.snapshot)
    return Document(
        snapshot_id=made.id,
        type=made.type,
        collections=made.collections,
        vectors=made.vectors,
        size_bytes=made.size_bytes,
        compressed=made.compressed,
        path=made.path,
        duration_ms=result.duration_ms,
        status=status,
        created_at=made.created_at,
        sequence=made.sequence,
        base_id=made.base_id,
        base_sequence=made.base_sequence,
        deleted=result.deleted_count,
        uncompressed_bytes=made.uncompressed_bytes,
        sha256=made.sha256,
        warnings=list(result.warnings),
    )


def _restore(result: operation_pb2.RestoreResult, status: str) -> Document:
    return Document(
        snapshot_id=result.snapshot_id,
        collections_restored=list(result.collections_restored),
        vectors_restored=result.vectors_restored,
        duration_ms=result.duration_ms,
        status=status,
        collections_untouched=list(result.collections_untouched),
        collections_overwritten=list(result.collections_overwritten),
        chain=list(result.chain),
        restored_through_sequence=result.restored_through_sequence,
        restored_through_time=timestamp(result.restored_through_time),
        operations_replayed=result.operations_replayed,
        verified=result.verified,
        sequence=result.sequence,
        warnings=list(result.warnings),
        **({"changes": [_collection_diff(each) for each in result.changes]} if status == "validated" else {}),
    )


def _replay(result: operation_pb2.ReplayResult, status: str) -> Document:
    return Document(
        segments_replayed=result.segments_replayed,
        operations_replayed=result.operations_replayed,
        operations_skipped=result.operations_skipped,
        collections_affected=list(result.collections_affected),
        duration_ms=result.duration_ms,
        status=status,
        snapshot_id=result.snapshot_id or None,
        vectors_affected=result.vectors_affected,
        first_sequence=result.first_sequence,
        through_sequence=result.through_sequence,
        through_time=timestamp(result.through_time),
        verified=result.verified,
        warnings=list(result.warnings),
    )


def _compact(result: operation_pb2.CompactResult, status: str) -> Document:
    return Document(
        collections_compacted=list(result.collections_compacted),
        before_size_bytes=result.before_size_bytes,
        after_size_bytes=result.after_size_bytes,
        freed_bytes=result.freed_bytes,
        reduction_percent=round(result.reduction_percent, 2),
        duration_ms=result.duration_ms,
        status=status,
        rows_dropped=result.rows_dropped,
        warnings=list(result.warnings),
    )


def _verify(result: operation_pb2.VerifyResult, status: str) -> Document:
    subject = (
        {
            "level": result.level,
            "reached": None if result.reached_level < 0 else result.reached_level,
            "subset": result.subset or None,
            "seed": result.subset_seed or None,
            "snapshot_id": result.snapshot_id,
            "chain": list(result.chain),
            "vectors": result.vector_count,
            "rows_checked": result.row_count,
            "bytes_read": result.bytes_read,
            "bytes_per_second": result.bytes_per_second,
            "digests": [_digest_check(check) for check in result.digests],
            "problem_count": result.problem_count,
            "receipt_kept": result.receipt_kept,
        }
        if result.snapshot_id
        else {"segments": result.file_count, "operations": result.operation_count}
    )
    return Document(
        valid=result.valid,
        **subject,
        path=result.path,
        files=result.file_count,
        size_bytes=result.size_bytes,
        first_sequence=result.first_sequence,
        last_sequence=result.last_sequence,
        problems=[
            Document(
                path=problem.path,
                offset=problem.offset if problem.HasField("offset") else None,
                message=problem.message,
                hint=problem.hint or None,
                **({"level": problem.level} if result.snapshot_id else {}),
            )
            for problem in result.problems
        ],
        duration_ms=result.duration_ms,
        status=status,
        warnings=list(result.warnings),
    )


def _digest_check(check: operation_pb2.VerifyResult.DigestCheck) -> Document:
    return Document(
        collection=check.collection,
        vectors=check.vector_count,
        digest=check.digest,
        expected_vectors=check.expected_vector_count,
        expected_digest=check.expected_digest,
        equal=check.equal,
    )


def _consolidate(result: operation_pb2.ConsolidateResult, status: str) -> Document:
    return Document(
        snapshot_id=result.snapshot_id,
        path=result.path,
        rewritten=[
            Document(
                snapshot_id=each.snapshot_id,
                path=each.path,
                chain=list(each.chain),
                before_size_bytes=each.before_size_bytes,
                size_bytes=each.size_bytes,
            )
            for each in result.rewritten
        ],
        written_bytes=result.written_bytes,
        working_bytes=result.working_bytes,
        freed_bytes=result.freed_bytes,
        duration_ms=result.duration_ms,
        status=status,
        warnings=list(result.warnings),
    )


def _diff(result: operation_pb2.DiffResult, status: str) -> Document:
    return Document(
        first=result.first,
        second=result.second,
        identical=result.identical,
        collections=[_collection_diff(each) for each in result.collections],
        aliases=[
            Document(alias=each.alias, first=each.first_collection or None, second=each.second_collection or None)
            for each in result.aliases
        ],
        uncovered=list(result.uncovered_collections),
        duration_ms=result.duration_ms,
        status=status,
        first_sequence=result.first_sequence,
        second_sequence=result.second_sequence,
        first_time=timestamp(result.first_time),
        second_time=timestamp(result.second_time),
        warnings=list(result.warnings),
    )


def _collection_diff(entry: operation_pb2.CollectionDiff) -> Document:
    from holdfast.v1 import operation_pb2

    return Document(
        collection=entry.collection,
        change=to_word(operation_pb2.CollectionDiff.Change, entry.change, "CHANGE_"),
        added=entry.added_count,
        removed=entry.removed_count,
        changed=entry.changed_count,
        vector_changed=entry.vector_changed_count,
        payload_changed=entry.payload_changed_count,
        unchanged=entry.unchanged_count,
        largest_drift=entry.largest_drift if entry.HasField("largest_drift") else None,
        mean_drift=entry.mean_drift if entry.HasField("mean_drift") else None,
        first_vectors=entry.first_count,
        second_vectors=entry.second_count,
        added_ids=list(entry.added_ids),
        removed_ids=list(entry.removed_ids),
        vector_changed_ids=list(entry.vector_changed_ids),
        payload_changed_ids=list(entry.payload_changed_ids),
        notes=list(entry.notes),
    )


def _flush(result: operation_pb2.FlushArchiveResult, status: str) -> Document:
    return Document(
        through_sequence=result.through_sequence,
        through_time=timestamp(result.through_time),
        bytes=result.sent_bytes,
        duration_ms=result.duration_ms,
        status=status,
    )


def _prune(result: operation_pb2.PruneArchiveResult, status: str) -> Document:
    begins = Document(sequence=result.first_sequence, time=timestamp(result.first_time))
    return Document(
        runs=[
            Document(
                keep=run.keep,
                segments=run.segment_count,
                first_sequence=run.first_sequence,
                last_sequence=run.last_sequence,
                first_time=timestamp(run.first_time),
                last_time=timestamp(run.last_time),
                size_bytes=run.size_bytes,
                reasons=list(run.reasons),
            )
            for run in result.runs
        ],
        kept=result.kept_count,
        deleted=result.deleted_count,
        freed_bytes=result.freed_bytes,
        begins=begins if result.first_sequence else None,
        duration_ms=result.duration_ms,
        status=status,
        warnings=list(result.warnings),
    )


_DOCUMENTS: Mapping[str, Callable[[Any, str], Document]] = {
    "snapshot": _snapshot,
    "restore": _restore,
    "replay": _replay,
    "compact": _compact,
    "verify": _verify,
    "consolidate": _consolidate,
    "diff": _diff,
    "flush": _flush,
    "prune": _prune,
}
