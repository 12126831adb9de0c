"""The log as messages: its status, what verifying it found, and the points of the history that requests name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from holdfast.v1 import common_pb2, snapshot_pb2, wal_pb2

from ..engine.pitr_window import PitrWindow
from ..engine.wal_control import WalControl, WalStatus
from ..errors import InvalidArgument
from ..model import Mark
from ..storage.wal_files import DAMAGE_HINT
from ..storage.wal_verify import LogCheck
from .convert import SYNC_MODE_OF, duration, time_of, timestamp

_STATES: Mapping[str, wal_pb2.WalStatus.State.ValueType] = {
    "active": wal_pb2.WalStatus.STATE_ACTIVE,
    "disabled": wal_pb2.WalStatus.STATE_DISABLED,
    "full": wal_pb2.WalStatus.STATE_FULL,
    "failed": wal_pb2.WalStatus.STATE_FAILED,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range of the history: a sequence or a time in microseconds, inclusive; both None = open."""

    sequence: int | None = None
    time_us: int | None = None

    def before(self) -> Bound:
        """The last moment that lies before this one."""
        if self.sequence is not None:
            return Bound(sequence=max(0, self.sequence - 1))
        return Bound(time_us=max(0, (self.time_us or 0) - 1))


def bound_of(point: common_pb2.HistoryPoint, field: str, wal: WalControl, path: str | None = None) -> Bound:
    """The moment that a request names. Raises InvalidArgument for none, NotFound for a mark that the log lacks.

    ``path``: of another log than the store's own.
    """
    which = point.WhichOneof("point")
    if which == "mark":
        return Bound(sequence=wal.find_mark(point.mark, path).sequence)
    if which == "time":
        return Bound(time_us=time_of(point.time, f"{field}.time"))
    if which == "sequence":
        return Bound(sequence=point.sequence)
    raise InvalidArgument(
        f"{field} names no moment", field=field, hint="send a time, a sequence or the name of a mark in it"
    )


def start_of(
    request: wal_pb2.DumpWalRequest | wal_pb2.TailWalRequest | wal_pb2.ReplayWalRequest,
    wal: WalControl,
    path: str | None = None,
) -> Bound:
    """Where a range of the store's own log begins, or of the one in ``path``."""
    return bound_of(request.start, "start", wal, path) if request.HasField("start") else Bound()


def end_of(
    request: wal_pb2.DumpWalRequest | wal_pb2.ReplayWalRequest | snapshot_pb2.RestoreSnapshotRequest,
    wal: WalControl,
    path: str | None = None,
) -> Bound:
    """Where a range ends, as an inclusive bound."""
    if request.HasField("to"):
        return bound_of(request.to, "to", wal, path)
    if request.HasField("before"):
        return bound_of(request.before, "before", wal, path).before()
    return Bound()


def check_order(request: wal_pb2.DumpWalRequest, start: Bound, end: Bound) -> None:
    """Raise InvalidArgument for a range that ends before it starts; a sequence and a time cannot be compared.

    One whose start is its exclusive end is empty, and no mistake.
    """
    field = "before" if request.HasField("before") else "to"
    slack = 1 if field == "before" else 0
    for first, last in ((start.sequence, end.sequence), (start.time_us, end.time_us)):
        if first is not None and last is not None and first > last + slack:
            raise InvalidArgument(
                f"start lies behind {field}: the range ends before it begins",
                field="start",
                hint="exchange the two, or leave one out",
            )


def status_message(status: WalStatus, window: PitrWindow) -> wal_pb2.WalStatus:
    """The log as it is now, and how far back a moment can be."""
    settings = status.settings
    directories = dict.fromkeys([*(file.directory for file in status.files), status.path])
    return wal_pb2.WalStatus(
        enabled=settings.enabled,
        path=status.path,
        sync_mode=SYNC_MODE_OF[settings.sync_mode],
        segment_size_bytes=settings.segment_size_bytes,
        retention=duration(settings.retention_us),
        flush_interval=duration(settings.flush_interval_us),
        state=_STATES[status.state],
        timeline=status.timeline,
        first_sequence=status.first_sequence,
        last_sequence=status.last_sequence,
        durable_sequence=status.synced_sequence,
        segment_count=len(status.files),
        size_bytes=status.size_bytes,
        pitr_window=wal_pb2.PitrWindow(
            available=window.available,
            earliest_sequence=window.sequence,
            latest_sequence=status.last_sequence if window.available else 0,
            earliest_time=timestamp(window.time_us),
            latest_time=timestamp(status.latest_us if window.available else 0),
            reason=window.reason,
        ),
        pending_checkpoint_sequence=_pending(status),
        max_size_bytes=settings.max_wal_bytes,
        directories=directories,
    )


def mark_message(mark: Mark) -> common_pb2.Mark:
    """A named restore point."""
    return common_pb2.Mark(name=mark.name, sequence=mark.sequence, time=timestamp(mark.time_us))


def verify_document(check: LogCheck, path: str) -> dict[str, object]:
    """The result document of a verified log."""
    return {
        "valid": check.sound,
        "problems": [
            {"path": problem.path, "offset": problem.offset, "message": problem.message, "hint": DAMAGE_HINT}
            for problem in check.problems
        ],
        "path": path,
        "files": check.files,
        "operations": check.operations,
        "size_bytes": check.bytes,
        "first_sequence": check.first_sequence,
        "last_sequence": check.last_sequence,
        "warnings": list(_warnings_of(check)),
    }


def _warnings_of(check: LogCheck) -> Iterator[str]:
    """What is no damage."""
    if check.torn_bytes:
        yield f"{check.torn_bytes} bytes of an unfinished write stand at the end; the next start cuts them off"
    if check.gaps:
        yield f"the log was disabled meanwhile in {check.gaps} places: point-in-time recovery does not reach across"


def _pending(status: WalStatus) -> int:
    waiting = status.last_sequence > status.checkpoint_sequence and bool(status.files)
    return max(status.checkpoint_sequence + 1, status.first_sequence) if waiting else 0
