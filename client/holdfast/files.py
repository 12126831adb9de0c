"""Files on the client's own disk: synced, and published by rename."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO


def replaceable(path: Path) -> Path:
    """Where ``path`` leads, which nobody or a regular file is. Raises OSError for anything else: a device, a pipe or a
    directory must not be replaced by a file."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return path


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
