"""What a new snapshot is to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """What to write. ``collection``: a name or an alias, None for all; ``path``: a directory, absolute or relative to
    the data directory, None for the default one. ``pinned``, ``description``: what is said of it from the beginning."""

    collection: str | None = None
    path: str | None = None
    compress: bool = False
    incremental: bool = False
    base_id: str | None = None
    validate_only: bool = False
    description: str = ""
    pinned: bool = False
