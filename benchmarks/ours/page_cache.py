"""Files out of the page cache, and plain reading of them: what reading by the daemon is held against."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def forget(files: Iterable[Path]) -> None:
    """Has the page cache let go of these files; pages that a process has mapped stay."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_plainly(files: Iterable[Path], piece_bytes: int) -> None:
    """All of them, piece by piece into the same memory."""
    piece = bytearray(piece_bytes)
    for file in files:
        with file.open("rb", buffering=0) as source:
            while source.readinto(piece):
                pass
