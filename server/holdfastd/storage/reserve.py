"""Disk space that is set aside for the day on which there is no other: one preallocated file, DATA/RESERVE.

    file := head zeros
    head := 'holdfast reserve of ' decimal ' bytes; ...' LF      within the first 4096 bytes

The head says how large the file is meant to be; a file that is smaller has been given back in part. One without a whole
head was being made when the power went, and is removed.
"""

from __future__ import annotations

import contextlib
import re

from .files import FileSystem, parent_of

HEAD_BYTES = 4096
_HEAD = re.compile(rb"holdfast reserve of (\d{1,15}) bytes;")


class Reserve:
    """The file as it is on the disk. Not thread-safe: its owner holds a lock. Everything but the properties blocks."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self._fs = fs
        self._path = path
        self._size = self._nominal = 0

    @property
    def size(self) -> int:
        """Bytes that are set aside now."""
        return self._size

    @property
    def nominal(self) -> int:
        """Bytes that it is meant to set aside; more than ``size`` while a part is given back."""
        return self._nominal

    def find(self) -> bool:
        """Look for the file that an earlier process left; returns whether it made no sense and was removed.

        Raises OSError.
        """
        self._size = self._nominal = 0
        if not self._fs.exists(self._path):
            return False
        match = _HEAD.match(self._fs.read(self._path, 0, HEAD_BYTES))
        size = self._fs.size(self._path)
        if match is None or not HEAD_BYTES <= size <= int(match[1]):
            self._fs.unlink(self._path)
            return True
        self._size, self._nominal = size, int(match[1])
        return False

    def take(self, size: int) -> None:
        """Set aside ``size`` bytes, at least as many as now and ``HEAD_BYTES``; durable on return.

        After an OSError there is no more of it than before.
        """
        path, before = self._path, self._size
        file = self._fs.open(path) if self._fs.exists(path) else self._fs.create(path)
        try:
            file.allocate(size)
            file.pwrite([_head(size)], 0)
            file.sync()
            self._fs.sync_dir(parent_of(path))
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise
        finally:
            file.close()
        self._size = self._nominal = size

    def remove(self) -> None:
        """Give it up for good. Raises OSError."""
        self._fs.unlink(self._path)
        self._size = self._nominal = 0

    def give_back(self, size: int) -> bool:
        """Give back all but ``size`` bytes, so that others can use them on return; False when there is no more.

        Raises OSError.
        """
        size = max(size, HEAD_BYTES)
        if size >= self._size:
            return False
        file = self._fs.open(self._path)
        try:
            file.truncate(size)
            # Some file systems hand freed space out again only when it is durably free.
            file.sync()
        finally:
            file.close()
        self._size = size
        return True


def _head(size: int) -> bytes:
    text = (
        f"holdfast reserve of {size} bytes; given back by holdfastd when the disk is full, so that deletes still fit.\n"
    )
    return text.encode()
