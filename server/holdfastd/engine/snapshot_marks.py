"""What people have said of a snapshot: that it is to stay (pinned), and what it is for (its description).

The registry keeps both, whatever becomes of the file: moved, rewritten, gone for a while. The description with which a
snapshot was made is in its file as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import FailedPrecondition
from ..storage.registry import SnapshotRecord
from .snapshot_info import SnapshotInfo

PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Marks:
    """What is to be said from now on; None: what was said before."""

    pinned: bool | None = None
    description: str | None = None

    def on(self, record: SnapshotRecord) -> SnapshotRecord:
        """The record with these marks."""
        return replace(
            record,
            pinned=record.pinned if self.pinned is None else self.pinned,
            description=record.description if self.description is None else self.description,
        )


def marked_as(record: SnapshotRecord, known: SnapshotRecord) -> SnapshotRecord:
    """What was found of a snapshot, with the marks of what was known of it."""
    return Marks(known.pinned, known.description).on(record)


def check_not_pinned(info: SnapshotInfo) -> None:
    """Raise FailedPrecondition for a snapshot that is to stay."""
    if info.record.pinned:
        said = f" ({info.record.description})" if info.record.description else ""
        raise FailedPrecondition(
            f"{info.id}{said} is pinned, so that it is not deleted",
            reason="SNAPSHOT_PINNED",
            hint=f"if nobody needs it any more: holdfast storage snapshot unpin {info.id}",
            snapshot=info.id,
        )
