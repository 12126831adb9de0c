"""Up to where snapshots hold every collection, so that no history before that is needed to bring the store back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model import Sequence64
from .snapshot_info import READY, SnapshotInfo


def covered_through(
    snapshots: Iterable[SnapshotInfo], goes_on: Callable[[int, Sequence64], bool], collections: Iterable[str]
) -> Sequence64:
    """The newest sequence of which, or of later ones, snapshots can bring back each of some collections (ids).

    0 where there are none. ``goes_on``: whether history has gone through a sequence of a timeline.
    """
    missing = set(collections)
    for info in sorted(snapshots, key=lambda info: info.record.sequence, reverse=True):
        record = info.record
        if info.foreign or info.state != READY or not goes_on(record.timeline, record.sequence):
            continue
        missing.difference_update(member.collection_id for member in record.members)
        if record.everything or not missing:
            return record.sequence
    return 0
