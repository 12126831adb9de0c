"""``db.archive``: how far the log is archived, and bringing all of it there now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from holdfast.checks import text_or_none
from holdfast.connection import Connection, request_id_of
from holdfast.documents import Document, duration, timestamp
from holdfast.enums import to_word
from holdfast.history import duration_message
from holdfast.operations import OnProgress, Operation, run_operation

if TYPE_CHECKING:
    from datetime import timedelta

    from google.protobuf.timestamp_pb2 import Timestamp

    from holdfast.v1 import wal_pb2


class Archive:
    """The archive of a store's log, which the daemon's settings name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self) -> Document:
        """How far the log is archived, what is waiting, what the archive holds and what is missing there.

        ``state``: off, archiving, behind, failing or foreign. ``segments``, ``size_bytes``, ``window`` and what is
        missing there are as they were found at the time ``looked_over``, which may be an hour ago where nothing was
        written; a flush looks anew. They are None until the archive has answered.
        """
        from holdfast.v1 import wal_pb2

        request = wal_pb2.GetArchiveStatusRequest()
        return archive_document(self._connection.call(self._connection.wal.GetArchiveStatus, request).status)

    @overload
    def flush(
        self, *, request_id: str | None = ..., wait: Literal[True] = ..., on_progress: OnProgress | None = ...
    ) -> Document: ...
    @overload
    def flush(
        self, *, request_id: str | None = ..., wait: bool, on_progress: OnProgress | None = ...
    ) -> Document | Operation: ...
    def flush(
        self, *, request_id: str | None = None, wait: bool = True, on_progress: OnProgress | None = None
    ) -> Document | Operation:
        """Bring everything that was acknowledged into the archive; it is there on return. Harmless at any time.

        Raises what kept it from that, such as `Unavailable` for a store that does not answer; `FailedPrecondition`
        where the daemon has no archive.
        """
        from holdfast.v1 import wal_pb2

        request = wal_pb2.FlushArchiveRequest(request_id=request_id_of(request_id))
        method = self._connection.wal.FlushArchive
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)

    @overload
    def prune(
        self, *, before_snapshot: str | None = ..., keep_within: str | timedelta | None = ...,
        validate_only: bool = ..., request_id: str | None = ..., wait: Literal[True] = ...,
        on_progress: OnProgress | None = ...,
    ) -> Document: ...  # fmt: skip
    @overload
    def prune(
        self, *, before_snapshot: str | None = ..., keep_within: str | timedelta | None = ...,
        validate_only: bool = ..., request_id: str | None = ..., wait: bool, on_progress: OnProgress | None = ...,
    ) -> Document | Operation: ...  # fmt: skip
    def prune(
        self,
        *,
        before_snapshot: str | None = None,
        keep_within: str | timedelta | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Document | Operation:
        """Remove from the archive what no snapshot is rolled forward with; ``runs`` says what stays, and why.

        ``before_snapshot``: an id; keep what rolls that snapshot and those of later moments forward, instead of all.
        ``keep_within``: also keep what is younger, counted back from the archive's end. `FailedPrecondition` where the
        archive is the only backup of anything.
        """
        from holdfast.v1 import wal_pb2

        request = wal_pb2.PruneArchiveRequest(
            before_snapshot=text_or_none(before_snapshot, "before_snapshot"),
            keep_within=duration_message(keep_within, "keep_within"),
            validate_only=validate_only,
            request_id=request_id_of(request_id),
        )
        method = self._connection.wal.PruneArchive
        return run_operation(self._connection, method, request, wait=wait, on_progress=on_progress)


def archive_document(status: wal_pb2.ArchiveStatus) -> Document:
    """Archiving as ``archive status`` shows it."""
    from holdfast.v1 import wal_pb2

    known = status.HasField("segment_count")
    window = status.window
    return Document(
        path=status.path or None,
        state=to_word(wal_pb2.ArchiveStatus.State, status.state, "STATE_"),
        archived_through=_place(status.through_sequence, status.through_time) if status.through_sequence else None,
        lag_seconds=round(status.lag.seconds + status.lag.nanos / 1e9, 3),
        waiting_segments=status.waiting_segments,
        waiting_bytes=status.waiting_bytes,
        interval=duration(status.interval) if status.path else None,
        segments=status.segment_count if known else None,
        size_bytes=status.size_bytes if known else None,
        looked_over=timestamp(status.looked_over_time) if status.HasField("looked_over_time") else None,
        window=Document(
            [
                ("from", _place(window.first_sequence, window.first_time)),
                ("to", _place(window.last_sequence, window.last_time)),
                ("reason", window.reason or None),
            ]
        )
        if status.HasField("window")
        else None,
        gaps=[_gap_document(gap) for gap in status.gaps],
        unread_segments=status.unread_segment_count,
        last_error=_error_document(status) if status.HasField("error") else None,
    )


def _place(sequence: int, time: Timestamp) -> Document:
    return Document(sequence=sequence, time=timestamp(time))


def _gap_document(gap: wal_pb2.ArchiveStatus.Gap) -> Document:
    from holdfast.v1 import wal_pb2

    return Document(
        kind=to_word(wal_pb2.ArchiveStatus.Gap.Kind, gap.kind, "KIND_"),
        first_sequence=gap.first_sequence,
        last_sequence=gap.last_sequence,
        first_time=timestamp(gap.first_time),
        last_time=timestamp(gap.last_time),
        reason=gap.reason,
    )


def _error_document(status: wal_pb2.ArchiveStatus) -> Document:
    from holdfast.status import error_of_status

    error = error_of_status(status.error)
    return Document(message=error.message, time=timestamp(status.error_time), reason=error.reason, hint=error.hint)
