"""What pruning the archive of the log is asked and comes to, as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.v1 import operation_pb2, wal_pb2

from ..engine.log_archive_prune import ArchivePruneRequest
from ..errors import InvalidArgument
from .convert import microseconds_of, timestamp


def archive_prune_of(request: wal_pb2.PruneArchiveRequest) -> ArchivePruneRequest:
    """What is asked. Raises InvalidArgument."""
    within_us = 0
    if request.HasField("keep_within"):
        within_us = microseconds_of(request.keep_within, "keep_within")
        if not within_us:
            raise InvalidArgument("keep_within is 0, which keeps nothing", field="keep_within", hint="leave it out")
    return ArchivePruneRequest(request.before_snapshot or None, within_us, request.validate_only)


def pruned_message(document: Mapping[str, Any]) -> operation_pb2.PruneArchiveResult:
    """The result as a message."""
    runs = document.get("runs", ())
    return operation_pb2.PruneArchiveResult(
        runs=map(_run, runs),
        kept_count=sum(run["segments"] for run in runs if run["keep"]),
        deleted_count=sum(run["segments"] for run in runs if not run["keep"]),
        freed_bytes=sum(run["size_bytes"] for run in runs if not run["keep"]),
        first_sequence=document.get("first_sequence", 0),
        first_time=timestamp(document.get("first_us", 0)),
        duration_ms=document.get("duration_ms", 0),
        warnings=document.get("warnings", ()),
    )


def _run(run: Mapping[str, Any]) -> operation_pb2.PruneArchiveResult.Run:
    return operation_pb2.PruneArchiveResult.Run(
        keep=run["keep"],
        segment_count=run["segments"],
        first_sequence=run["first"],
        last_sequence=run["last"],
        first_time=timestamp(run["first_us"]),
        last_time=timestamp(run["last_us"]),
        size_bytes=run["size_bytes"],
        reasons=run["reasons"],
    )
