"""Comparisons as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.v1 import operation_pb2

from .convert import timestamp

_CHANGES: Mapping[str, operation_pb2.CollectionDiff.Change.ValueType] = {
    "none": operation_pb2.CollectionDiff.CHANGE_NONE,
    "changed": operation_pb2.CollectionDiff.CHANGE_CHANGED,
    "added": operation_pb2.CollectionDiff.CHANGE_ADDED,
    "removed": operation_pb2.CollectionDiff.CHANGE_REMOVED,
}


def diff_result(result: Mapping[str, Any]) -> operation_pb2.DiffResult:
    """How two sides differ."""
    aliases = [
        operation_pb2.AliasDiff(
            alias=each["alias"], first_collection=each["first"] or "", second_collection=each["second"] or ""
        )
        for each in result.get("aliases", ())
    ]
    return operation_pb2.DiffResult(
        first=result.get("first") or "",
        second=result.get("second") or "",
        identical=bool(result.get("identical")),
        collections=map(collection_diff, result.get("collections", ())),
        aliases=aliases,
        uncovered_collections=result.get("uncovered", ()),
        first_sequence=result.get("first_sequence", 0),
        second_sequence=result.get("second_sequence", 0),
        first_time=timestamp(result.get("first_us", 0)),
        second_time=timestamp(result.get("second_us", 0)),
        duration_ms=result.get("duration_ms", 0),
        warnings=result.get("warnings", ()),
    )


def collection_diff(entry: Mapping[str, Any]) -> operation_pb2.CollectionDiff:
    """How one collection differs."""
    return operation_pb2.CollectionDiff(
        collection=entry["collection"],
        change=_CHANGES[entry["change"]],
        first_count=entry["first_count"],
        second_count=entry["second_count"],
        added_count=entry["added"],
        removed_count=entry["removed"],
        changed_count=entry["changed"],
        vector_changed_count=entry["vector_changed"],
        payload_changed_count=entry["payload_changed"],
        unchanged_count=entry["unchanged"],
        added_ids=entry["added_ids"],
        removed_ids=entry["removed_ids"],
        vector_changed_ids=entry["vector_changed_ids"],
        payload_changed_ids=entry["payload_changed_ids"],
        largest_drift=entry["largest_drift"],
        mean_drift=entry["mean_drift"],
        drift_count=entry["drift_count"],
        notes=entry["notes"],
    )
