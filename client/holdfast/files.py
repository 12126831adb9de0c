"""Files on the client's own disk: synced, and published by rename."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def sync_file(file: BinaryIO) -> None:
    """Flush and sync; durable on return."""
    file.flush()
    os.fsync(file.fileno())


def publish(part: Path, target: Path) -> None:
    """Rename a synced file to its final name; durable on return."""
    part.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
