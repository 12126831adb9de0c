"""The window of point-in-time recovery, as ``wal status`` shows it: the moments from which all of history leads to now.

A moment is brought back from a snapshot of before it and the log from there on. So the window begins with the oldest
snapshot that the log leads on from, not with the log; only where that goes back to the beginning of the store no
snapshot is needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from ..format.manifest import Manifest
from ..model import Sequence64
from ..storage.wal_files import WalFileInfo
from .snapshot_info import READY, SnapshotInfo
from .unlogged import Ends, unlogged


@dataclass(frozen=True, slots=True)
class PitrWindow:
    """From ``sequence`` and ``time_us`` on, both 0 where there is none; ``reason``: why there, or why there is none."""

    sequence: Sequence64
    time_us: int
    reason: str

    @property
    def available(self) -> bool:
        """Whether there is any."""
        return self.sequence > 0


def pitr_window(
    files: tuple[WalFileInfo, ...], manifest: Manifest, known: Iterable[SnapshotInfo], ends: Ends
) -> PitrWindow:
    """``files``: those of the log, oldest first; none while it is disabled. ``known``: the snapshots. Blocks."""
    if not files:
        return PitrWindow(0, 0, "the log is disabled")
    log, without = _without_a_gap(files, manifest.store_id, ends)
    begins_after = log[0].header.previous_sequence
    if not begins_after:
        return PitrWindow(
            log[0].first_sequence, log[0].first_timestamp_us or log[0].header.created_us, "the store was created then"
        )
    begins = f"sequence {log[0].first_sequence}"
    why = f"the log was disabled before {begins}" if without else f"the log before {begins} is trimmed"
    bases = [info for info in known if info.record.sequence >= begins_after and _is_whole_here(info, manifest)]
    whole = [info for info in bases if info.record.everything]
    first = min(whole or bases, key=lambda info: info.record.sequence, default=None)
    if first is None:
        make_one = "make one: holdfast storage snapshot create"
        return PitrWindow(0, 0, f"{why}, and no whole snapshot is there that it leads on from: {make_one}")
    of = "" if whole else f" (of {', '.join(first.collections)} alone)"
    reason = f"{first.id}{of} is the oldest whole snapshot that the log leads on from: {why}"
    return PitrWindow(first.record.sequence, first.record.created_us, reason)


def _without_a_gap(
    files: tuple[WalFileInfo, ...], store_id: uuid.UUID, ends: Ends
) -> tuple[tuple[WalFileInfo, ...], bool]:
    """The files behind the last time in which something was done without a log, and whether there was one (RULES 5)."""
    gaps = unlogged(files, store_id, ends)
    return (files[gaps[-1].file :], True) if gaps else (files, files[0].header.gap_before)


def _is_whole_here(info: SnapshotInfo, manifest: Manifest) -> bool:
    """Whether it is whole, and a moment of the history that the store is on."""
    record = info.record
    own = record.store_id == str(manifest.store_id)
    return own and info.state == READY and manifest.reaches_back_to(record.timeline, record.sequence)
