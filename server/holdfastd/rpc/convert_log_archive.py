"""The archive of the log as messages: how far it is, what it holds, and what a flush has come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.v1 import wal_pb2

from ..engine.log_archive_status import ArchiveContents, ArchiveStatus
from ..engine.log_archiver import Shipped
from ..storage.log_archive_chain import DISABLED, GIVEN_UP, MISSING, Gap
from .convert import duration, timestamp
from .errors import status_of

_Status = wal_pb2.ArchiveStatus
_STATES: Mapping[str, wal_pb2.ArchiveStatus.State.ValueType] = {
    "off": _Status.STATE_OFF,
    "archiving": _Status.STATE_ARCHIVING,
    "behind": _Status.STATE_BEHIND,
    "failing": _Status.STATE_FAILING,
    "foreign": _Status.STATE_FOREIGN,
}
_KINDS: Mapping[str, wal_pb2.ArchiveStatus.Gap.Kind.ValueType] = {
    GIVEN_UP: _Status.Gap.KIND_GIVEN_UP,
    MISSING: _Status.Gap.KIND_MISSING,
    DISABLED: _Status.Gap.KIND_DISABLED,
}


def archive_message(status: ArchiveStatus) -> wal_pb2.ArchiveStatus:
    """How far the log is archived."""
    message = wal_pb2.ArchiveStatus(
        path=status.path,
        state=_STATES[status.state],
        through_sequence=status.through.sequence if status.used else 0,
        through_time=timestamp(status.through.time_us) if status.used else None,
        lag=duration(status.behind_us),
        waiting_segments=status.waiting.segments,
        waiting_bytes=status.waiting.bytes,
        interval=duration(status.interval_us),
        gaps=map(_gap_message, status.gaps),
    )
    contents = status.contents
    if contents is not None:
        message.segment_count = contents.segments
        message.size_bytes = contents.size_bytes
        message.unread_segment_count = contents.chain.unread
        message.looked_over_time.FromMicroseconds(contents.time_us)
        window = _window(contents)
        if window is not None:
            message.window.CopyFrom(window)
    if status.failure is not None:
        message.error.CopyFrom(status_of(status.failure.error))
        message.error_time.FromMicroseconds(status.failure.time_us)
    return message


def shipped_document(shipped: Shipped) -> dict[str, Any]:
    """The result document of a flush."""
    return {
        "through_sequence": shipped.through_sequence,
        "through_us": shipped.through_us,
        "sent_bytes": shipped.bytes,
        "duration_ms": round(shipped.duration_ms),
    }


def _gap_message(gap: Gap) -> wal_pb2.ArchiveStatus.Gap:
    return wal_pb2.ArchiveStatus.Gap(
        kind=_KINDS[gap.kind],
        first_sequence=gap.first,
        last_sequence=gap.last,
        first_time=timestamp(gap.first_us),
        last_time=timestamp(gap.last_us),
        reason=gap.why,
    )


def _window(contents: ArchiveContents) -> wal_pb2.ArchiveWindow | None:
    links = contents.chain.unbroken
    if not links or links[0].header is None:
        return None
    first, last = links[0], links[-1]
    return wal_pb2.ArchiveWindow(
        first_sequence=links[0].header.first_sequence,
        last_sequence=last.sequence,
        first_time=timestamp(first.first_us or links[0].header.created_us),
        last_time=timestamp(last.time_us),
        reason=contents.why_it_begins,
    )
